# SPDX-License-Identifier: Apache-2.0
"""How long a guest waits for one configuration read of 4 bytes, and for messages, whoever serves it.

For a read the guest runs the real xen-pcifront; what is timed is one read of the function's `config` file in /sys: one
request. Messages are turned on and off by the scripted frontend (`tests.rig.messages`).

    python -m tests.rig.measure [COUNT]     one boot, Linux's backend, then ours; prints JSON
"""

from __future__ import annotations

import json
import statistics
import sys
from dataclasses import asdict, dataclass

from tests.rig.backends import Backend, KernelBackend, OurBackend
from tests.rig.machine import AHCI, E1000E, NVME, Guest, Machine

WARM_UP = 200
READER = """
import os, time
config = os.open("/sys/bus/pci/devices/0000:00:00.0/config", os.O_RDONLY)
times = []
for number in range({count}):
    started = time.perf_counter_ns()
    os.pread(config, 4, 4 * (number % 16))
    times.append(time.perf_counter_ns() - started)
print(*times[{warm_up}:])
"""


@dataclass(frozen=True)
class RoundTrip:
    """Microseconds as the guest sees them; `reads` is how many were timed; `resident` KiB of the daemon (0: Linux)."""

    median: float
    p99: float
    best: float
    reads: int
    resident: int = 0


def round_trip(backend: Backend, count: int = 3000) -> RoundTrip:
    machine = backend.machine
    with backend:
        machine.create(Guest("timed", pci=(E1000E,), image="python"))
        try:
            machine.guest("timed", "modprobe xen-pcifront; sleep 2")
            program = READER.format(count=count + WARM_UP, warm_up=WARM_UP)
            result = machine.guest("timed", f"python3 -S -c '{program}'", 120)
            resident = backend.memory()["VmRSS"] if isinstance(backend, OurBackend) else 0
        finally:
            machine.destroy("timed")
    times = sorted(int(word) / 1000 for word in result.out.split())
    if len(times) != count:
        raise AssertionError(f"the guest timed {len(times)} reads instead of {count}: {result.out[-300:]}")
    p99 = statistics.quantiles(times, n=100)[98]
    return RoundTrip(round(statistics.median(times), 1), round(p99, 1), round(times[0], 1), count, resident)


def messages(backend: Backend, count: int = 40) -> dict[str, float]:
    """Microseconds of one enable and disable, by kind."""
    machine = backend.machine
    with backend:
        domid = machine.create(Guest("messages", pci=(AHCI, NVME), image="python"))
        try:
            found: dict[str, float] = json.loads(machine.do(f"python3 -S -m tests.rig.messages {domid} {count}", 300))
        finally:
            machine.destroy("messages")
    return found


def compare_messages(machine: Machine, count: int = 40) -> dict[str, dict[str, float]]:
    """Both, in one boot."""
    linux = messages(KernelBackend(machine), count)
    return {"linux": linux, "pvpci": messages(OurBackend(machine, "messages", trace=False), count)}


def compare(machine: Machine, count: int = 3000) -> dict[str, object]:
    """Both, in one boot, and the ratio of ours to Linux's. The monitor and the trace file are off."""
    linux = round_trip(KernelBackend(machine), count)
    ours = round_trip(OurBackend(machine, "round-trip", trace=False), count)
    ratio = {"median": round(ours.median / linux.median, 2), "p99": round(ours.p99 / linux.p99, 2)}
    return {"linux": asdict(linux), "pvpci": asdict(ours), "ratio": ratio}


if __name__ == "__main__":
    with Machine() as booted:
        booted.seize()
        found = compare(booted, *map(int, sys.argv[1:]))
        print(json.dumps(found | {"messages": compare_messages(booted)}, indent=2))
