# SPDX-License-Identifier: Apache-2.0
"""Our backend is killed with SIGKILL under drivers that work, and started again: they go on, and nothing is lost.

nvme writes and reads back, e1000e pings, both over MSI-X, and all the while the guest reads configuration space, so that
requests are under way when the backend dies. The steps build on each other: one story in one fixture.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pytest
from tests.rig import remains
from tests.rig.backends import OurBackend, write_report
from tests.rig.interrupts import books, enabled, new, one, parse
from tests.rig.machine import E1000E, NVME, Guest, Machine

NAME = "survivor"
KILLS: Final = 3
#: Each loop writes how often it did its work, and how often that went wrong, into a file of its own.
TRAFFIC = """
modprobe e1000e IntMode=2; modprobe nvme; mkdir -p /tmp/loops; cd /tmp/loops
ip link set eth0 up; ip addr add 10.0.2.15/24 dev eth0
until [ -b /dev/nvme0n1 ] && [ $(cat /sys/class/net/eth0/carrier) = 1 ]; do usleep 50000; done
dd if=/dev/urandom of=a bs=64k count=4 2>/dev/null
loop() { n=0; bad=0; while [ ! -e stop ]; do
    if $1; then n=$((n+1)); else bad=$((bad+1)); fi; echo $n $bad > $1.new; mv $1.new $1
done; }
disk() { dd if=a of=/dev/nvme0n1 bs=64k oflag=direct; dd if=/dev/nvme0n1 of=b bs=64k count=4 iflag=direct; cmp a b; }
net() { ping -c 1 -W 5 10.0.2.2 >/dev/null; }
config() { [ "$(setpci -s 0:0.0 0.l)$(setpci -s 0:1.0 0.l)" = 10d3808600101b36 ]; }
for each in disk net config; do (loop $each) >/dev/null 2>&1 & done
sleep 2; cat /proc/interrupts | grep -cE 'eth0|nvme'
"""
COUNT = "cd /tmp/loops; for each in disk net config; do echo $each $(cat $each); done"
CALM = """
touch /tmp/loops/stop; sleep 7; ip link set eth0 down; rmmod e1000e; rmmod nvme; sleep 1
lsmod | grep -cE '^(e1000e|nvme) '
"""


def counts(machine: Machine) -> dict[str, tuple[int, int]]:
    """By loop: how often it worked, and how often it did not."""
    words = [line.split() for line in machine.guest(NAME, COUNT, 30).lines]
    return {name: (int(done), int(bad)) for name, done, bad in words}


def kill(machine: Machine, ours: OurBackend) -> None:
    machine.do(f"kill -KILL {ours.pid}; while [ -e /proc/{ours.pid}/exe ]; do sleep 0.05; done")


def tell(machine: Machine) -> dict[str, Any]:
    found: dict[str, Any] = {"progress": [], "vectors": []}
    machine.seize()
    empty = books(machine)
    ours = OurBackend(machine, "restart-0", ["--monitor"], trace=False)
    ours.start()
    domid = machine.create(Guest(NAME, pci=(E1000E, NVME)))
    machine.guest(
        NAME, "modprobe xen-pcifront; until [ $(ls /sys/bus/pci/devices | wc -l) = 2 ]; do usleep 100000; done", 60
    )
    idle = books(machine, NAME)
    found["started"] = machine.guest(NAME, TRAFFIC, 60).lines[-1:]
    before = books(machine, NAME)
    for number in range(1, KILLS + 1):
        kill(machine, ours)
        ours = OurBackend(machine, f"restart-{number}", ["--monitor"], trace=False)
        ours.start()
        machine.do("sleep 2")
        first = counts(machine)
        machine.do("sleep 4")
        second = counts(machine)
        found["progress"].append({name: (first[name], second[name]) for name in first})
        found["vectors"] += new(before, books(machine, NAME)) + new(books(machine, NAME), before)
    found["calm"] = machine.guest(NAME, CALM, 60).lines
    found["left_by_drivers"] = new(idle, books(machine, NAME))
    worked = machine.guest(NAME, one("nvme; nic 2"), 90)
    found["again"] = [(each.kind, each.worked, each.as_asked) for each in parse(worked.lines)]
    found["log"] = ours.log.read_text()
    machine.guest(NAME, TRAFFIC, 60)
    # The guest goes while nobody serves it.
    kill(machine, ours)
    machine.destroy(NAME)
    last = OurBackend(machine, f"restart-{KILLS + 1}", ["--monitor"], trace=False)
    last.start()
    machine.do("sleep 3")
    found["left_by_destroy"] = [*new(empty, books(machine)), *remains.of_domain(machine, domid)]
    found["open"] = [name for name in last.open_devices() if name.endswith("/gntdev") or "/config" in name]
    # And the next guest begins as ever.
    machine.create(Guest(NAME, pci=(E1000E, NVME)))
    machine.guest(
        NAME, "modprobe xen-pcifront; until [ $(ls /sys/bus/pci/devices | wc -l) = 2 ]; do usleep 100000; done", 60
    )
    worked = machine.guest(NAME, one("nvme; nic 2"), 90)
    found["next"] = [(each.kind, each.worked, each.as_asked) for each in parse(worked.lines)]
    machine.destroy(NAME)
    last.stop()
    found["left_in_function"] = enabled(machine)
    return found


@pytest.fixture(scope="module")
def told(machine: Machine) -> Iterator[dict[str, Any]]:
    try:
        found = tell(machine)
    finally:
        machine.destroy(NAME)
    write_report(machine, "restart", found)
    yield found


def test_the_drivers_go_on(told: dict[str, Any]) -> None:
    assert ["5"] == told["started"]
    for round_ in told["progress"]:
        for name, ((first, _), (second, _)) in round_.items():
            assert second > first, (name, told["progress"])


def test_what_failed_was_under_way_when_the_backend_died(told: dict[str, Any]) -> None:
    """Nothing that does not ask the backend, and of the others at most what fell into the gap."""
    last = {name: bad for name, (_, (_, bad)) in told["progress"][-1].items()}

    assert (0, 0) == (last["disk"], last["net"]), told["progress"]
    assert last["config"] <= 3 * KILLS, told["progress"]


def test_the_vectors_are_the_same(told: dict[str, Any]) -> None:
    assert [] == told["vectors"]


def test_drivers_give_back_to_the_new_process_what_the_old_one_gave(told: dict[str, Any]) -> None:
    assert (["0"], []) == (told["calm"][-1:], told["left_by_drivers"])
    assert [("nvme", True, True), ("nic2", True, True)] == told["again"]


def test_a_guest_that_goes_while_nobody_serves_leaves_nothing(told: dict[str, Any]) -> None:
    assert ([], [], []) == (told["left_by_destroy"], told["open"], told["left_in_function"])
    assert [("nvme", True, True), ("nic2", True, True)] == told["next"]


def test_the_log_says_what_happened(told: dict[str, Any]) -> None:
    assert 2 == told["log"].count("taken over")
    assert "Traceback" not in told["log"]
