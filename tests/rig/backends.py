# SPDX-License-Identifier: Apache-2.0
"""Who serves the guests: Linux's xen-pciback or ours, one after the other in one boot, for the same functions.

xen-pciback stays loaded under both. Its PCI half holds the functions, as the toolstack wants it; its xenbus half is
kept off with the bus's `drivers_autoprobe` while ours serves. So libxl creates, attaches and destroys as ever.
"""

from __future__ import annotations

import json
import shlex
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.rig.machine import Machine, RigError

AUTOPROBE = "/sys/bus/xen-backend/drivers_autoprobe"


class Backend(ABC):
    """Use as a context manager, around the life of the guests that it is to serve."""

    name: str

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def __enter__(self) -> Self:
        self.machine.seize()
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    @abstractmethod
    def start(self) -> None: ...

    @abstractmethod
    def stop(self) -> None: ...


class KernelBackend(Backend):
    name = "linux"

    def start(self) -> None:
        self.machine.do(f"echo 1 > {AUTOPROBE}")

    def stop(self) -> None:
        """Nothing runs that could be stopped; what is created from now on is not for the kernel."""
        self.machine.do(f"echo 0 > {AUTOPROBE}")


class OurBackend(Backend):
    """`pvpci serve` in dom0. Log and trace are in the machine's `out` folder under `label` once it has stopped."""

    name = "pvpci"

    def __init__(self, machine: Machine, label: str, options: Sequence[str] = (), trace: bool = True) -> None:
        super().__init__(machine)
        self.log: Path = machine.out / f"{label}.log"
        self.trace: Path | None = machine.out / f"{label}.jsonl" if trace else None
        self._options, self._label = options, label

    def start(self) -> None:
        # The trace is written to memory and copied at the end: the shared folder is slow under emulation.
        trace = ["--trace", f"/run/{self._label}.jsonl"] if self.trace else []
        command = shlex.join(["pvpci", "serve", "--host", "xen", *trace, *self._options])
        log = f"/job/out/{self._label}.log"
        started = shlex.quote(f"echo $$ > /run/{self._label}.pid; exec {command}")
        self.machine.do(
            f"echo 0 > {AUTOPROBE}\nrm -f /run/{self._label}.pid\n"
            f"setsid bash -c {started} < /dev/null > {log} 2>&1 &\n"
            f"for _ in $(seq 200); do grep -q serving {log} && exit 0; sleep 0.1;"
            f" [ -e /proc/$(cat /run/{self._label}.pid) ] || break; done\n"
            f"tail -5 {log}; exit 1"
        )

    @property
    def pid(self) -> int:
        return int(self.machine.do(f"cat /run/{self._label}.pid"))

    def alive(self) -> bool:
        return self.machine.dom0(f"[ -e /proc/$(cat /run/{self._label}.pid)/exe ]").rc == 0

    def memory(self) -> dict[str, int]:
        """VmRSS and VmHWM of the daemon, in KiB."""
        text = self.machine.do(f"grep -E 'VmRSS|VmHWM' /proc/$(cat /run/{self._label}.pid)/status")
        return {line.split(":")[0]: int(line.split()[1]) for line in text.splitlines()}

    def open_devices(self) -> list[str]:
        """What the daemon has open below /dev/xen and /sys, once for each descriptor and mapping."""
        pid = f"/proc/$(cat /run/{self._label}.pid)"
        text = self.machine.do(
            f"for f in {pid}/fd/*; do readlink $f; done | grep -E '^/dev/xen|^/sys'\n"
            f"grep -o '/dev/xen/gntdev' {pid}/maps; true"
        )
        return sorted(text.split())

    def stop(self) -> None:
        """SIGTERM, and the exit status must be 0: a daemon that dies some other way is a finding."""
        label = self._label
        result = self.machine.dom0(
            f"pid=$(cat /run/{label}.pid)\n[ -e /proc/$pid ] || {{ echo died before it was stopped; exit 1; }}\n"
            f"kill -TERM $pid\nfor _ in $(seq 200); do [ -e /proc/$pid ] || break; sleep 0.1; done\n"
            f"[ ! -e /proc/$pid ] || {{ echo still there after 20 s; kill -KILL $pid; exit 1; }}\n"
            + (f"cp /run/{label}.jsonl /job/out/" if self.trace else ""),
            60,
        )
        if result.rc:
            raise RigError(f"pvpci serve: {result.out.strip()}; its log ends with:\n{self.log.read_text()[-2000:]}")


def write_report(machine: Machine, name: str, content: object) -> Path:
    """Keep a result for people, and for the tables of the manual."""
    path = machine.out / f"{name}.json"
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
    return path
