# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest

from pvpci.model.config.registers import CAPABILITIES, MSI_32, MSI_64, TYPE_0, TYPE_1, Capability, Register, Remedy
from pvpci.model.config.registers_extended import EXTENDED, VENDOR_SPECIFIC

HEADER = Path("/usr/include/linux/pci_regs.h")
BLOCKS: dict[str, tuple[Register, ...]] = {
    "type 0": TYPE_0,
    "type 1": TYPE_1,
    "MSI, 32 bits": MSI_32,
    "MSI, 64 bits": MSI_64,
    **{kind.name: kind.registers for kind in (*CAPABILITIES.values(), *EXTENDED.values()) if kind.registers},
}


@pytest.mark.parametrize("name", BLOCKS)
def test_registers_do_not_overlap(name: str) -> None:
    rows = sorted(BLOCKS[name], key=lambda row: row.offset)

    assert [] == [(a.name, b.name) for a, b in pairwise(rows) if a.offset + a.width > b.offset]


@pytest.mark.parametrize("kind", [*CAPABILITIES.values(), *EXTENDED.values()], ids=lambda kind: kind.name)
def test_registers_lie_in_their_capability(kind: Capability) -> None:
    size, rows = kind.size, kind.registers

    assert [] == [row.name for row in rows if size is not None and row.offset + row.width > size]


def test_every_row_says_what_is_lost_and_every_name_is_one_line() -> None:
    rows = [row for block in BLOCKS.values() for row in block]

    assert [] == [row.name for row in rows if not row.loses or "\n" in row.loses]
    assert {"nothing"} == {row.loses.split(":")[0].split()[0] for row in rows if row.remedy is Remedy.SERVED}


@pytest.mark.skipif(not HEADER.exists(), reason="the kernel's pci_regs.h is not installed")
def test_offsets_are_those_of_the_kernels_header() -> None:
    defined = {
        name: int(number, 0)
        for name, number in re.findall(r"^#define\s+(PCI_\w+)\s+(0x[0-9a-fA-F]+|\d+)\b", HEADER.read_text(), re.M)
    }
    rows = {row.cite: row.offset for block in BLOCKS.values() for row in block}
    known = {cite: offset for cite, offset in rows.items() if cite in defined}

    assert {cite: defined[cite] for cite in known} == known
    # Two have a name in newer headers only.
    assert set(rows) - set(known) <= {"PCI_TPH_CTRL", "PCI_DOE_READ"}


def test_vendor_specific_capabilities_have_no_rows() -> None:
    assert [()] * len(VENDOR_SPECIFIC) == [EXTENDED[each].registers for each in sorted(VENDOR_SPECIFIC)]
