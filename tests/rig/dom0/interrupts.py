# SPDX-License-Identifier: Apache-2.0
"""Plays requests about interrupts step by step, and says after each what came of it in the function and in the hypervisor.

Runs in dom0, where nothing but the standard library is needed: ``python3 -S -m tests.rig.dom0.interrupts DOMID BDF DEVFN``
reads one JSON order a line, a list of steps, and prints one JSON line for each, a list of :class:`Seen`. The guest DOMID
must run the scripted frontend on libxl's device. A step is one of

    connect                  space               command VALUE      (hexadecimal)
    enable_msi, disable_msi, disable_msix
    enable_msix [E,E,…] [n=COUNT]        the entries of the list, and what is said to be in it if that differs

Steps joined by ``;`` are one step: they follow each other without a pause. "space" reads all that a conventional function has.

With ``storm LIMIT COMMAND`` it reads nothing: it lets the guest enable and disable MSI at DEVFN without pause (not at all if
DEVFN is ``-``), runs the shell command meanwhile, and prints one line of what came of both. ``slow-storm`` is the same with
a slow xenstored. ``by-hand LIMIT`` is a slow storm at DEVFN while BDF is attached there to another device of the same guest, by
the nodes alone: nobody gives it to the guest.
``answering LIMIT`` only lets the guest answer to functions that come and go, and does not wait.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Final, NamedTuple

from tests.rig.dom0.books import Books
from tests.rig.dom0.toolstack import OPTIONS, Instance, Stage
from tests.rig.programs import Target

from pvpci.model.config import constants as pci

DEVICE: Final = 0  #: libxl's only one
HANDLERS: Final = Path("/sys/bus/pci/drivers/pciback/irq_handlers")
#: What the device by hand has before: a function that no order is about.
OTHER: Final = "0000:00:09.0"
Answer = list[Any]


class Seen(NamedTuple):
    """The answers to a step, and how things stand then."""

    answers: list[Answer]  #: to each of its requests: error (None: no answer), value, the list's vectors
    command: int
    msi: int  #: the flag word, as is the next
    msix: int
    handler: str  #: Linux's own on the line, as it lists it
    owner: str  #: this and the rest as in :class:`tests.rig.dom0.books.Entry`
    mapped: list[int]
    usable: list[int]


class Registers:
    """Those of one function that interrupts are about, through dom0's kernel."""

    def __init__(self, bdf: str) -> None:
        self._bdf = bdf
        self._file = os.open(f"/sys/bus/pci/devices/{bdf}/config", os.O_RDONLY)
        found = Target(bdf, os.pread(self._file, 4096, 0)).places()
        self._at = pci.COMMAND, found[pci.CAP_ID_MSI] + pci.MSI_FLAGS, found[pci.CAP_ID_MSIX] + pci.MSIX_FLAGS

    def read(self) -> tuple[int, int, int]:
        command, msi, msix = (int.from_bytes(os.pread(self._file, 2, at), "little") for at in self._at)
        return command, msi, msix

    def handler(self) -> str:
        """Whether there is one, and whether it acknowledges."""
        lines = HANDLERS.read_text().splitlines() if HANDLERS.exists() else []
        mine = next((line for line in lines if line.startswith(self._bdf)), f"{self._bdf}:::")
        return ", ".join(mine.removeprefix(f"{self._bdf}:").split(":")[:2])


def verbs(step: str, devfn: int) -> list[tuple[Any, ...]]:
    """The scripted frontend's words for a step."""
    word, *rest = step.split()
    if word == "connect":
        return [(word, DEVICE)]
    if word == "space":
        return [("ask", DEVICE, "read", devfn, offset, 4) for offset in range(0, pci.CONVENTIONAL_SIZE, 4)]
    if word == "command":
        return [("ask", DEVICE, "write", devfn, pci.COMMAND, 2, int(rest[0], 16))]
    said = [int(text[2:]) for text in rest if text.startswith("n=")]
    entries = [int(number) for text in rest if not text.startswith("n=") for number in text.split(",")]
    return [("interrupt", DEVICE, word, devfn, entries, *said)]


def play(stage: Stage, bdf: str, devfn: int, registers: Registers, books: Books, order: list[str]) -> list[Seen]:
    found = []
    for step in order:
        given = stage.ask(*(verb for each in step.split(";") for verb in verbs(each, devfn)))
        # "connect" answers with the backend's state.
        answers = [[each] if isinstance(each, str) else each or [None, 0] for each in given]
        found.append(Seen(answers, *registers.read(), registers.handler(), *books.of(bdf, stage.domid)))
    return found


@contextmanager
def slow_store(stopped: float = 0.04, running: float = 0.002) -> Iterator[None]:
    """Let xenstored rest most of the time: a guest on the only processor can then meet what a backend does around a write."""
    pid = int(subprocess.run(["pidof", "xenstored"], capture_output=True, text=True, check=True).stdout)
    ended = threading.Event()

    def brake() -> None:
        while not ended.wait(running):
            os.kill(pid, signal.SIGSTOP)
            time.sleep(stopped)
            os.kill(pid, signal.SIGCONT)

    thread = threading.Thread(target=brake)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def storm(
    stage: Stage,
    device: int,
    devfn: int | None,
    limit: float,
    command: Callable[[], tuple[int, str]],
    slow: bool = False,
) -> dict[str, Any]:
    """What the guest saw while `command` ran; `rc` and `out` are the command's."""
    found: dict[str, Any] = {}

    def guest() -> None:
        # A client of its own: the store's is for one thread.
        found.update(Stage(stage.domid).ask(("storm", device, devfn, limit), limit=limit + 30)[0])

    thread = threading.Thread(target=guest)
    thread.start()
    time.sleep(0.3)
    with slow_store() if slow else nullcontext():
        rc, out = command()
        thread.join()
    return found | {"rc": rc, "out": out}


def shell(command: str) -> tuple[int, str]:
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def by_hand(stage: Stage, bdf: str, devfn: int, limit: float) -> dict[str, Any]:
    """`rc` is 0 if the function came."""
    it = stage.instance(OTHER)
    it.one("connect")
    seen = storm(stage, it.devid, devfn, limit, lambda: add(it, bdf), slow=True)
    seen["rc"] = int(it.read("state-1") != "3")
    stage.clear()
    return seen


def add(it: Instance, bdf: str) -> tuple[int, str]:
    """One more function for a device that has one, as libxl has it attached."""
    for key, text in {"key": bdf, "dev": bdf, "opts": OPTIONS, "state": 1}.items():
        it.write(f"{key}-1", text)
    it.write("num_devs", 2)
    it.write("state", 7)
    return 0, ""


def main(domid: str, bdf: str, devfn: str, *rest: str) -> None:
    stage, number = Stage(int(domid)), None if devfn == "-" else int(devfn)
    match rest:
        case ("storm" | "slow-storm" as word, limit, command):
            slow = word == "slow-storm"
            print(json.dumps(storm(stage, DEVICE, number, float(limit), lambda: shell(command), slow)))
        case ("by-hand", limit):
            print(json.dumps(by_hand(stage, bdf, number or 0, float(limit))))
        case ("answering", limit):
            stage.post(("storm", DEVICE, None, float(limit)))
        case _:
            registers, books = Registers(bdf), Books()
            for line in sys.stdin:
                found = play(stage, bdf, number or 0, registers, books, json.loads(line))
                print(json.dumps([seen._asdict() for seen in found]), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
