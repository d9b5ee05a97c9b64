# SPDX-License-Identifier: Apache-2.0
"""Interrupts that arrive: real drivers over INTx, MSI and MSI-X, unloaded and loaded, detached and destroyed at work.

The same under Linux's backend and under ours, in one boot. What Linux's does is kept beside ours in the manual and only
where it is the reference looked at here.
"""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from tests.rig import interrupts, remains
from tests.rig.backends import Backend, KernelBackend, OurBackend, write_report
from tests.rig.interrupts import CYCLES, FUNCTIONS, KINDS, books, cycles, enabled, new, one, parse, summary
from tests.rig.machine import NVME, Guest, Machine

NAME = "driven"
ALL_THERE = "until [ $(ls /sys/bus/pci/devices | wc -l) = 3 ]; do usleep 100000; done; sleep 1"
#: Writes until the disk goes, by a node of its own: where the kernel's has just gone, dd would make a file.
IN_FLIGHT = """
modprobe nvme; until [ -b /dev/nvme0n1 ]; do usleep 50000; done
rm -f /tmp/disk; mknod /tmp/disk b $(tr : ' ' </sys/block/nvme0n1/dev)
(while dd if=/dev/zero of=/tmp/disk bs=64k count=64; do :; done) >/dev/null 2>&1 &
sleep 1; set -- $(cat /sys/block/nvme0n1/stat); echo $7
"""
#: MSI-X on, and pings that go on until the guest is no more.
LIVE = """
modprobe e1000e IntMode=2; modprobe nvme; ip link set eth0 up; ip addr add 10.0.2.15/24 dev eth0
until [ $(cat /sys/class/net/eth0/carrier) = 1 ]; do usleep 50000; done
ping -i 0.2 10.0.2.2 >/dev/null 2>&1 &
sleep 1; grep -c eth0 /proc/interrupts
"""


def play(backend: Backend) -> dict[str, Any]:
    machine = backend.machine
    with backend:
        empty = books(machine)
        domid = machine.create(Guest(NAME, pci=FUNCTIONS))
        machine.guest(NAME, "modprobe xen-pcifront")
        machine.guest(NAME, ALL_THERE, 60)
        before = books(machine, NAME)
        driven = machine.guest(NAME, cycles(), 400)
        result: dict[str, Any] = {"kinds": summary(parse(driven.lines)), "output": driven.lines}
        result["left_by_drivers"] = new(before, books(machine, NAME))
        result["sectors_written"] = int(machine.guest(NAME, IN_FLIGHT, 30).lines[-1])
        # By our toolstack's part, for both: see the manual's page.
        said = machine.dom0(f"pvpci detach --timeout 60 {domid} {NVME}", 120)
        gone = machine.guest(NAME, "ls /sys/bus/pci/devices; rmmod nvme", 30)
        result["detached"] = (said.rc, gone.out.split()) == (0, ["0000:00:00.0", "0000:00:02.0"])
        result["output"] += [*said.lines, *gone.lines]
        result["left_by_detach"] = new(before, books(machine, NAME))
        said = machine.dom0(f"pvpci attach --timeout 60 {domid} {NVME}", 120)
        machine.guest(NAME, ALL_THERE, 30)
        worked = machine.guest(NAME, one("rm /tmp/made; nvme"), 60)
        result["output"] += [*said.lines, *worked.lines]
        again = parse(worked.lines)
        result["reattached"] = [(each.worked, each.as_asked) for each in again] == [(True, True)]
        machine.guest(NAME, LIVE, 30)
        machine.destroy(NAME)
        result["left_by_destroy"] = [*new(empty, books(machine)), *remains.of_domain(machine, domid)]
        result["left_in_function"] = enabled(machine)
    return result


@pytest.fixture(scope="module")
def played(machine: Machine) -> dict[str, dict[str, Any]]:
    results = {}
    for backend in (KernelBackend(machine), OurBackend(machine, "interrupts", ["--monitor"])):
        try:
            results[backend.name] = play(backend)
        finally:
            machine.destroy(NAME)
    write_report(machine, "interrupts", results)
    if os.environ.get("PVPCI_RIG_RECORD"):
        xen, linux = machine.do("xl info xen_version; uname -r").split()
        kept = {name: {key: each for key, each in it.items() if key != "output"} for name, it in results.items()}
        interrupts.OBSERVED.write_text(interrupts.observed({"Xen": xen, "Linux": linux}, kept))
    return results


@pytest.mark.parametrize("kind", KINDS)
def test_ours_serves_each_kind_again_and_again(played: dict[str, dict[str, Any]], kind: str) -> None:
    ours = played["pvpci"]

    assert ours["kinds"][kind] == {"cycles": CYCLES, "worked": CYCLES, "as_asked": CYCLES}, ours["output"]


@pytest.mark.parametrize("kind", ["nic0", "ahci"])
def test_linux_serves_these_too(played: dict[str, dict[str, Any]], kind: str) -> None:
    """Otherwise it would be the rig that does not deliver."""
    assert played["linux"]["kinds"][kind]["worked"] == CYCLES, played["linux"]["output"]


@pytest.mark.parametrize("left", ["left_by_drivers", "left_by_detach", "left_by_destroy", "left_in_function"])
def test_ours_leaves_nothing(played: dict[str, dict[str, Any]], left: str) -> None:
    assert played["pvpci"][left] == []


def test_nvme_is_at_work_when_it_goes(played: dict[str, dict[str, Any]]) -> None:
    assert played["pvpci"]["sectors_written"] > 0


@pytest.mark.parametrize("what", ["detached", "reattached"])
def test_nvme_goes_while_it_works_and_comes_back(played: dict[str, dict[str, Any]], what: str) -> None:
    assert played["pvpci"][what] is True, played["pvpci"]["output"][-12:]


def test_what_linux_did_is_what_the_manual_says(played: dict[str, dict[str, Any]]) -> None:
    known = json.loads(interrupts.OBSERVED.read_text())["results"]["linux"]["kinds"]

    assert {name: known[name]["as_asked"] for name in KINDS} == {
        name: seen["as_asked"] for name, seen in played["linux"]["kinds"].items()
    }
