# SPDX-License-Identifier: Apache-2.0
"""The scripted frontend: plays whatever dom0 tells it to, step by step, right or wrong.

Runs in a guest without xen-pcifront. Dom0 writes ``{"id": n, "steps": [[verb, devid, ...], ...]}`` into this domain's
`data/frontend-ask`; the answer, ``{"id": n, "results": [...]}`` or ``{"id": n, "failed": text}``, goes to
`data/frontend-say`. Steps of one message follow each other without a pause. Nothing is done that was not asked for: no
state is written, no event answered, no value checked. `devid` names one frontend folder, `device/pci/<devid>`; the
verbs are the methods of `Frontend`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from typing import Any

from tests.rig.frontend.messages import interrupt, storm
from tests.rig.frontend.operations import Answer, operations, pack
from tests.rig.frontend.page import ACTIVE, Connection
from tests.rig.frontend.store import END, READ, TEXT_LIMIT, WRITE, Store

STALE = 0x5A5A5A5A


class Frontend:
    """One frontend folder. It may have several connections ("generations"), each a page and a port."""

    def __init__(self, store: Store, devid: int) -> None:
        self._store, self._own = store, f"device/pci/{devid}"
        self._backend = store.read(f"{self._own}/backend")
        self.made: list[Connection] = []

    # xenstore

    def set(self, key: str, text: object) -> None:
        self._store.write(f"{self._own}/{key}", text)

    def state(self, text: object) -> None:
        self.set("state", text)

    def wait(self, *states: str | None, limit: float = 5.0) -> str | None:
        """The backend's state as soon as it is one of these, else as it is at the end."""
        return self._store.wait(f"{self._backend}/state", states, limit)[0]

    def stays(self, seconds: float) -> list[str | None]:
        """The backend's states during that time, without repetitions."""
        seen: list[str | None] = []
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            now = self._store.read(f"{self._backend}/state")
            if seen[-1:] != [now]:
                seen.append(now)
            time.sleep(0.005)
        return seen

    # page and port

    def make(self) -> list[int]:
        """One more page and port: [grant reference, port]."""
        self.made.append(Connection())
        return [self.made[-1].ref, self.made[-1].port]

    def _keys(self, made: Connection) -> dict[str, object]:
        keys = {"pci-op-ref": made.ref, "event-channel": made.port, "magic": "7"}
        return {f"{self._own}/{key}": text for key, text in keys.items()}

    def publish(self, generation: int = 0) -> None:
        """The three keys of one generation, in one transaction."""
        self._store.write_all(self._keys(self.made[generation]))

    def swap(self, later: int) -> list[str]:
        """State 3, then `later` idle requests, then the newest keys in one transaction, all sent without a pause.

        So xenstored makes the change between two requests of the backend, and `later` says which. Returns the
        store's answers to the first and the last of these, both "OK" if it is as it should be.
        """
        store, made = self._store, self.made[-1]
        transaction = store.begin()
        for key, text in self._keys(made).items():
            store.write(key, text, transaction)
        idle = (READ, 0, f"{self._own}/state", None)
        first, last = (WRITE, 0, f"{self._own}/state", "3"), (END, transaction, "T", None)
        answers = store.pipeline(first, *[idle] * later, last)
        return [answers[0], answers[-1]]

    def connect(self) -> str | None:
        """The usual way in; returns the backend's state."""
        self.make()
        self.publish(-1)
        self.state(3)
        own = self.wait("4", "5", "6")
        if own == "4":
            self.state(4)
        return own

    def pause(self, seconds: float) -> None:
        time.sleep(seconds)

    # requests

    def post(self, command: str, *fields: int) -> None:
        self.made[-1].post(command, *fields)

    def kick(self, generation: int = -1) -> None:
        self.made[generation].kick()

    def withdraw(self) -> None:
        self.made[-1].clear_flags(ACTIVE)

    def answer(self, limit: float = 3.0) -> tuple[int, int] | None:
        """(err, value) once the request is no longer active, None if that does not happen."""
        return self.made[-1].answer() if self.made[-1].answered(limit) else None

    def ask(self, command: str | int, *fields: int, limit: float = 3.0, **rest: int) -> tuple[int, int] | None:
        return self.made[-1].ask(command, *fields, limit=limit, **rest)

    def play(self, text: str) -> str:
        """The answers to a program, one request behind the other. It ends at the first that gets none."""
        made, given = self.made[-1], []
        for offset, size, value in operations(text):
            # A read's value is the backend's to write: what is put there must not come back.
            stale = STALE if value is None else value
            got = made.ask("read" if value is None else "write", 0, offset, size, stale)
            given.append(None if got is None else Answer(*got))
            if got is None:
                break
        return pack(given)

    def interrupt(self, command: str, devfn: int, entries: Sequence[int] = (), count: int | None = None) -> object:
        """One request about interrupts: err, value and the list's vectors."""
        return interrupt(self.made[-1], command, devfn, entries, count)

    def storm(self, devfn: int | None, limit: float) -> object:
        """Messages on and off without pause while a function comes or goes; as `tests.rig.frontend.messages` says."""
        nodes = f"{self._own}/state", f"{self._backend}/state"
        return storm(self.made[-1], nodes, devfn, limit)

    def pairs(self) -> list[list[int]]:
        """Which page is served when which port rings: [page's generation, port's generation], each that works."""
        found = []
        for port, rung in enumerate(self.made):
            for made in self.made:
                made.post("read")
            rung.kick()
            # One ring with requests on all pages, not one per pair: a ring that finds nothing makes Linux slower.
            end = time.monotonic() + 0.7
            while time.monotonic() < end and all(made.active() for made in self.made):
                time.sleep(0.01)
            found += [[page, port] for page, made in enumerate(self.made) if not made.active()]
            for made in self.made:
                made.clear_flags(ACTIVE)
        return found

    def chain(self, count: int) -> dict[str, int]:
        """`count` reads, each posted as soon as the last one is answered; the port rings only if nothing happens.

        It sleeps between, so that it can wake inside the backend's notification and be there before the backend looks.
        Reads alternate between the identity and the class register, so an answer to the wrong one shows.
        """
        made, rung, run, longest, wrong = self.made[-1], 0, 0, 0, 0
        wanted = [made.ask("read", 0, offset) for offset in (0, 8)]
        for number in range(count):
            made.post("read", 0, 8 * (number % 2))
            run += 1
            if not number or not made.answered(0.1):
                made.kick()
                rung, run = rung + 1, 1
                if not made.answered(3.0):
                    return {"answered": number, "rung": rung, "longest": longest, "wrong": wrong}
            longest = max(longest, run)
            wrong += made.answer() != wanted[number % 2]
        return {"answered": count, "rung": rung, "longest": longest, "wrong": wrong}

    def overtake(self, power: int, attempts: int) -> dict[str, int]:
        """Withdraw a slow write while it is carried out, and put a read in its place.

        The slow write is the one that leaves D3 (`power`: offset of PMCSR). How many of the reads were answered with
        anything else than the identity register, and how many not at all.
        """
        made = self.made[-1]
        wanted = made.ask("read")
        mixed = lost = 0
        for attempt in range(attempts):
            made.ask("write", 0, power, 2, 3)
            made.post("write", 0, power, 2, 0xCAFE0000)
            made.kick()
            _spin(made, (1 + attempt % 8) / 1000)
            made.clear_flags(ACTIVE)
            made.post("read")
            made.kick()
            if not made.answered(3.0):
                made.clear_flags(ACTIVE)
                lost += 1
            else:
                mixed += made.answer() != wanted
            time.sleep(0.02)
        return {"attempts": attempts, "mixed": mixed, "lost": lost}

    def measure(self, count: int) -> list[int]:
        """Nanoseconds of `count` whole reads of 4 bytes, asleep while waiting."""
        times = []
        for _ in range(count):
            started = time.perf_counter_ns()
            self.made[-1].ask("read")
            times.append(time.perf_counter_ns() - started)
        return times


def _spin(made: Connection, limit: float) -> bool:
    end = time.monotonic() + limit
    while made.active():
        if time.monotonic() > end:
            return False
    return True


class Agent:
    def __init__(self) -> None:
        self._store = Store()
        self._frontends: dict[int, Frontend] = {}

    def step(self, verb: str, devid: int, *arguments: Any) -> Any:
        if verb == "hostile":
            # A process of its own: this one must stay able to answer.
            command = [sys.executable, "-S", "-m", "tests.rig.frontend.hostile", str(devid), *map(str, arguments)]
            return subprocess.Popen(command).pid
        if devid not in self._frontends:
            self._frontends[devid] = Frontend(self._store, devid)
        keywords = arguments[-1] if arguments and isinstance(arguments[-1], dict) else {}
        plain = arguments[: len(arguments) - bool(keywords)]
        return getattr(self._frontends[devid], verb)(*plain, **keywords)

    def run(self) -> None:
        last = None
        self._store.watch("data/frontend-ask")
        while True:
            self._store.changed()
            asked = json.loads(self._store.read("data/frontend-ask") or '{"id": null}')
            if asked["id"] == last:
                continue
            last = asked["id"]
            try:
                said = {"id": last, "results": [self.step(*step) for step in asked["steps"]]}
            except Exception:
                said = {"id": last, "failed": traceback.format_exc(limit=-3)[-1500:]}
            text = json.dumps(said, separators=(",", ":"))
            if len(text) > TEXT_LIMIT:
                text = json.dumps({"id": last, "failed": f"an answer of {len(text)} bytes does not fit a node"})
            self._store.write("data/frontend-say", text)


if __name__ == "__main__":
    Agent().run()
