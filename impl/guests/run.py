# SPDX-License-Identifier: Apache-2.0
"""A guest's whole life as a process of its own: connect, scan, size, work, shut down; one line of JSON for each event.

    python -m pvpci.impl.guests.run SOCKET DOMID [--seconds N] [--die-at STEP]

The domain lives exactly as long as the process. With ``--die-at`` the process kills itself, without any last word, when its
machines are about to take their next step after so many: a crash can be put at every moment of a life.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

from pvpci.impl.embedded.guest_side import GuestHost
from pvpci.impl.guests.frontend import Found, GuestError, GuestFrontend
from pvpci.impl.host import DomId, HostError
from pvpci.model.kernel.visible import Visible

_COMMAND: Final = 0x04
_MASTERING: Final = 0x0007  #: I/O, memory, bus master


class _Countdown:
    """Kills the process at a step."""

    def __init__(self, steps: int | None) -> None:
        self.taken, self._last = 0, steps

    def step(self, visible: Visible, values: tuple[int, ...]) -> None:
        self.taken += 1
        if self._last is not None and self.taken >= self._last:
            os.kill(os.getpid(), signal.SIGKILL)


def say(event: str, **fields: object) -> None:
    print(json.dumps({"event": event, "t": round(time.monotonic(), 6), **fields}), flush=True)


def work(front: GuestFrontend, devices: Sequence[Found], seconds: float) -> dict[str, object]:
    """Read configuration space as fast as answers come; how often, and how long a read took (microseconds)."""
    times: list[int] = []
    wrong = 0
    end = time.monotonic() + seconds
    while devices and time.monotonic() < end:
        for each in devices:
            began = time.perf_counter_ns()
            word = front.read(each.devfn, 0, 4)
            times.append(time.perf_counter_ns() - began)
            wrong += word != each.device << 16 | each.vendor
    times.sort()
    at = [times[min(len(times) - 1, len(times) * part // 100)] / 1000 if times else 0.0 for part in (50, 99, 100)]
    return {"requests": len(times), "wrong": wrong, "median_us": at[0], "p99_us": at[1], "worst_us": at[2]}


def live(host: GuestHost, seconds: float, patience: float, steps: int | None, report: float) -> int:
    """The whole life. Exit code 0: everything was as it should be; 1: it was not, and the last line says why."""
    countdown = _Countdown(steps)
    front = GuestFrontend(host, watcher=countdown)
    try:
        front.connect(patience)
        say("connected", ref=front.store.life[0], port=front.store.life[1])
        say("scanned", functions=[{"at": str(each), **asdict(each)} for each in front.found])
        for each in front.found:
            say("sized", at=str(each), regions=[asdict(region) for region in front.regions(each.devfn)])
            front.write(each.devfn, _COMMAND, 2, _MASTERING)
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            say("worked", **work(front, front.found, min(left, report)))
            if not front.found:
                break
        for each in front.found:
            front.write(each.devfn, _COMMAND, 2, 0)
        closed = front.shutdown(patience)
        say("closed" if closed else "not closed", steps=countdown.taken, backend=front.backend_state().name)
        front.close()
    except (GuestError, HostError) as error:
        say("failed", why=str(error), steps=countdown.taken)
        return 1
    return 0 if closed else 1


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m pvpci.impl.guests.run", description="An honest guest.")
    parser.add_argument("socket", help="the box")
    parser.add_argument("domain", type=int, help="the number of a domain that exists")
    parser.add_argument("--seconds", type=float, default=1.0, help="how long to work")
    parser.add_argument("--report", type=float, default=1e9, help="seconds of work between two reports")
    parser.add_argument("--patience", type=float, default=10.0, help="seconds to wait for a state")
    parser.add_argument("--die-at", type=int, metavar="STEP", help="kill this process at that step")
    options = parser.parse_args(arguments)
    try:
        host = GuestHost(options.socket, DomId(options.domain))
    except HostError as error:
        say("failed", why=error.what)
        return 1
    try:
        return live(host, options.seconds, options.patience, options.die_at, options.report)
    finally:
        host.close()


if __name__ == "__main__":
    sys.exit(main())
