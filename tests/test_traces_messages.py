# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvpci.traces.messages import LONGEST, MESSAGES, NOTICE, continues, match

#: A line as a kernel or a toolstack prints it, and the row that it is.
GOLDEN = [
    ("[   12.3] xen_pciback: backend is passthrough", "engine"),
    ("pciback 0000:01:00.0: seizing device", "seizing"),
    ("Nov 20 10:00:00 host kernel: pciback 0000:01:00.0: xen_pciback: seizing device", "seizing"),
    ("xen_pciback: vpci: 0000:01:00.0: assign to virtual slot 0 func 1", "slot"),
    ("pciback 0000:01:00.0: xen_pciback: vpci: assign to virtual slot 3", "slot"),
    ("pciback 0000:01:00.0: registering for 7", "registering"),
    ("pciback 0000:01:00.0: unregistering for 7", "unregistering"),
    ("pciback 0000:01:00.0: xen_pciback: enabling permissive mode configuration space accesses!", "permissive"),
    ('xen_pciback: Error parsing pci_devs_to_hide at "(0000:82.0.0)"', "hide"),
    ("pciback 0000:03:00.0: xen_pciback: error enabling MSI-X for guest 5: err -6!", "msix"),
    ("xen-pciback: 0000:03:00.0: error enabling MSI for guest 5: err -16", "msi"),
    ("xhci_hcd 0000:00:14.0: xen map irq failed -19 for 32752 domain", "map self"),
    ("pciback 0000:00:14.0: xen map irq failed -22 for 4 domain", "map"),
    ("pciback 0000:01:00.0: not ready 1023ms after FLR; waiting", "flr wait"),
    ("pciback 0000:01:00.0: not ready 65535ms after FLR; giving up", "flr dead"),
    ("pciback 0000:01:00.0: timed out waiting for pending transaction; performing function level reset anyway", "transaction"),
    ("****** removing device 0000:01:00.0 while still in-use by domain 3! ******", "yanked"),
    ("pciback 0000:01:00.0: guest with no AER driver should have been killed", "aer kill"),
    ("pciback 0000:01:00.0: pcifront aer process not responding!", "aer lost"),
    ("xen-pciback pci-0-1: 22 Couldn't locate PCI device (0000:00:05.0)! perhaps already in-use?", "in use"),
    ("xen-pciback pci-3-0: 12 No more space on root virtual PCI bus", "no slot"),
    ("xen-pciback pci-3-0: 14 something of its own", "xenbus"),
    ("pcifront pci-0: Installing PCI frontend", "install"),
    ("pcifront pci-0: Rescanning PCI Frontend Bus 0000:00", "scan"),
    ("pcifront pci-0: Could not claim resource 0000:00:00.0/0! Device offline. Try using e820_host=1", "claim"),
    ("pcifront pci-0: pciback not responding!!!", "mute"),
    ("pcifront pci-0: backend going away!", "going away"),
    ("pcifront pci-0: 12 Error setting up PCI Frontend", "setup"),
    ("nvme 0000:84:00.0: enable msix get err ffffff8e", "guest msix"),
    ("nvme 0000:84:00.0: Xen PCI frontend error: -114!", "guest error"),
    ('level=warning event="the hypervisor refuses a vector" guest=3/0 function=0000:00:05.0 why="no vector"', "vector refused"),
    ('level=warning event="the hypervisor does not take a vector back" guest=3/0 why="busy"', "vector kept"),
    ("level=warning event=\"cannot set the function's enable bits\" guest=3/0 why=gone", "bits kept"),
    ("alx 0000:00:00.0: pci frontend enable msi failed for dev 0:0", "guest msi"),
    ("libxl: error: libxl_device.c:1269:f: Domain 3:Backend /local/domain/0/backend/pci/3/0 does not exist", "no backend"),
    ("libxl: error: libxl_device.c:1269:f: Domain 3:Backend /local/domain/0/backend/pci/3/0 not ready", "not ready"),
    ("libxl: error: libxl_pci.c:1:f: xc_physdev_unmap_pirq irq=16: Invalid argument", "unmap"),
    ("libxl: error: libxl_pci.c:1:f: The kernel doesn't support reset from sysfs for PCI device 0000:01:00.0", "sysfs reset"),
    ("internal error: Unable to reset PCI device 0000:01:00.0: no FLR, PM reset or bus reset available", "no reset"),
    ("Active 0000:01:00.1 devices on bus with 0000:01:00.0, not doing bus reset", "bus reset"),
    ("libxl: error: libxl_create.c:1:f: cannot add device, rc=-9", "rc"),
    ("pciback 0000:01:00.0: Failed to get gsi info! -22", "gsi"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), GOLDEN)
def test_a_line_that_people_met(text: str, expected: str) -> None:
    found = match(text)

    assert found is not None
    assert expected == found.message.id


PREFIXES = (
    "pciback 0000:0b:00.0: xen-pciback: ", "pciback 0000:0b:00.0: ", "xen-pciback: 0000:0b:00.0: ", "pciback: 0000:0b:00.0: ",
    "<4>[  123.456789] pciback 0000:0b:00.0: xen-pciback: ",
    "Nov 20 10:01:02 dom0 kernel: [  123.456789] pciback 0000:0b:00.0: xen-pciback: ",
    "2026-11-20T10:01:02.345678+00:00 dom0 kernel: pciback 0000:0b:00.0: ",
    "[Fri Nov 20 10:01:02 2026] pciback 0000:0b:00.0: xen_pciback: ",
)  # fmt: skip


@pytest.mark.parametrize("prefix", PREFIXES)
def test_the_notice_behind_any_prefix(prefix: str) -> None:
    text = "Driver tried to write to a read-only configuration space field at offset 0xe0, size 2. This may be harmless, but if"
    found = match(prefix + text)

    assert found is not None
    assert (NOTICE, "0000:0b:00.0") == (found.message.id, found.device)
    assert {"offset": "e0", "size": "2"} == found.groups


@pytest.mark.parametrize(
    "text",
    [
        "iwlwifi 0000:00:05.0: enabling device (0000 -> 0002)", "usb 1-1: giving up", "systemd: unit does not exist",
        "e1000e 0000:00:05.0: Interrupt Throttling Rate", "pci 0000:00:05.0: seizing the day", "Backend eth0 not ready", "",
    ],
)  # fmt: skip
def test_a_line_of_somebody_else_is_not_known(text: str) -> None:
    assert match(text) is None


def test_lines_that_go_on_with_a_record() -> None:
    assert continues("               1) see permissive attribute in sysfs")
    assert continues("****** shutdown driver domain before binding device")
    assert not continues("something else")


def test_what_is_looked_for_is_in_the_golden_lines_of_each_row() -> None:
    ids = {message.id for message in MESSAGES}

    assert {expected for _, expected in GOLDEN} <= ids
    assert [] == [message.id for message in MESSAGES for name in re.findall(r"\{(\w+)\}", message.means + message.next)
                  if name not in message.pattern.groupindex]  # fmt: skip


def test_groups_are_put_in_as_they_are() -> None:
    found = match('Error parsing pci_devs_to_hide at "{rest}{domain}"')

    assert found is not None
    assert 'from "{rest}{domain}" on' in found.says(found.message.means)


@given(
    st.text()
    | st.sampled_from([message.has for message in MESSAGES]).flatmap(lambda has: st.text().map(lambda more: has + more))
)
def test_any_line_is_known_or_not(text: str) -> None:
    found = match(text)

    assert found is None or found.message.has in text


def test_a_line_without_end_is_cut() -> None:
    assert match("x" * LONGEST + "pcifront pci-0: backend going away!") is None
