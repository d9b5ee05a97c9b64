# SPDX-License-Identifier: Apache-2.0
"""What a guest and Xen print about interrupts is read right, and the manual's page is made from what was seen."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.rig import interrupts
from tests.rig.interrupts import KINDS, OBSERVED, PAGE, Cycle, books, observed, page, parse, summary
from tests.rig.machine import Machine

RESULTS = json.loads(OBSERVED.read_text())
SEEN = """\
cmp: EOF on /tmp/a
cycle nic2 1
  9:          4  xen-pirq    -pcifront-msi-x  eth0-rx-0
 10:          3  xen-pirq    -pcifront-msi-x  eth0-tx-0
 11:          1  xen-pirq    -pcifront-msi-x  eth0
cycle nic2 0
  8:         14  xen-pirq    -pcifront  eth0
cycle nvme 1
  9:        276  xen-pirq    -pcifront  nvme0q0, nvme0q1
cycle nic0 1
  8:          7  xen-pirq    -pcifront  eth0
cycle nic0 0
"""
DEBUG_KEYS = """\
(XEN) MSI information:
(XEN)  IOMMU   24 vec=30 lowest  edge   assert  log lowest dest=00000001 mask=1/  /?
(XEN)  MSI-X   25 vec=c0 lowest  edge   assert  log lowest dest=00000001 mask=1/  /0
(XEN)  MSI     31 vec=c8 lowest  edge   assert  log lowest dest=00000001 mask=0/  /?
(XEN) IRQ information:
(XEN)    IRQ:   0 vec:f0 IO-APIC-edge    status=000 aff:{0}/{0} arch/x86/time.c#timer_interrupt()
(XEN)    IRQ:  21 vec:31 IO-APIC-level   status=010 aff:{0}/{0} in-flight=0 d0: 21(---),d1: 21(---)
(XEN)    IRQ:  25 vec:c0 PCI-MSI/-X      status=010 aff:{0}/{0} in-flight=0 d0:207(---)
(XEN)    IRQ:  31 vec:c8 PCI-MSI         status=002 aff:{0}/{0} mapped, unbound
"""
DOM0 = """\
           CPU0
  9:          0  xen-pirq    -ioapic-level  acpi
 21:         16  xen-pirq    -ioapic-level  xen-pciback[0000:00:05.0], xen-pciback[0000:00:09.0]
 22:        518  xen-pirq    -ioapic-level
 24:       7106  xen-percpu    -virq      timer0
 33:          0  xen-pirq    -msi-x     virtio0-config
"""


class Printed(Machine):
    """A machine of which only what it prints is there."""

    def __init__(self) -> None:
        """Nothing is booted."""

    def do(self, script: str, limit: float = 60.0) -> str:
        return DOM0 if script == "cat /proc/interrupts" else DEBUG_KEYS


def test_cycles_are_read_with_their_vectors() -> None:
    found = parse(SEEN.splitlines())

    assert [
        Cycle("nic2", True, ("pcifront-msi-x",) * 3),
        Cycle("nic2", False, ("pcifront",)),
        Cycle("nvme", True, ("pcifront",)),
        Cycle("nic0", True, ("pcifront",)),
        Cycle("nic0", False, ()),
    ] == found
    assert [True, False, False, True, False] == [each.as_asked for each in found]
    assert {"cycles": 2, "worked": 1, "as_asked": 1} == summary(found)["nic2"]
    assert {"cycles": 0, "worked": 0, "as_asked": 0} == summary(found)["ahci"]


def test_the_books_have_every_message_and_its_owner() -> None:
    assert [
        "Xen: message: MSI-X   25",
        "Xen: message: MSI     31",
        "Xen: IRQ 25: d0:207",
        "Xen: IRQ 31: unbound",
        "dom0: 9 ioapic-level acpi",
        "dom0: 33 msi-x virtio0-config",
    ] == books(Printed())


def test_the_guests_program_fits_its_console() -> None:
    # Base64 takes a third more.
    assert len(interrupts.cycles()) < 2900


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == page(RESULTS), "run python -m tests.rig.interrupts"


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_checked_in_is_what_the_rig_demands_of_ours(kind: str) -> None:
    ours: dict[str, Any] = RESULTS["results"]["pvpci"]

    assert {"cycles": 10, "worked": 10, "as_asked": 10} == ours["kinds"][kind]
    assert [] == [ours[key] for key in interrupts.LATER if key.startswith("left") and ours[key]]


def test_what_is_kept_can_be_made_again() -> None:
    assert OBSERVED.read_text() == observed(RESULTS["versions"], RESULTS["results"])
