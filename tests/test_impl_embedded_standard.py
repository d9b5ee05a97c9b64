# SPDX-License-Identifier: Apache-2.0
"""What the specifications say of registers, beside what was measured on the same functions."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvpci.impl.embedded.image import Image, load
from pvpci.impl.embedded.registers import Dump
from pvpci.impl.embedded.standard import Standard, standard
from pvpci.impl.host import Resource
from pvpci.model.config.walk import capabilities

MEASURED = Path(__file__).parent / "data" / "devices"
#: Those that nothing was planted in.
ORDINARY = ("ahci", "e1000e", "edu", "nvme", "rtl8139", "xhci")
#: The header's bits in which the emulator differs: it lacks PARITY and MWI of COMMAND, and all of the latency timer.
ODD = {0x04: 0x50, 0x0D: 0xFF}


def word(content: bytes, at: int, size: int = 2) -> int:
    return int.from_bytes(content[at : at + size], "little")


def measured_and_found(name: str) -> tuple[Image, Standard]:
    image = load(str(MEASURED / f"{name}.json"))
    resources = {index: each for index, each in enumerate(image.resources) if each.flags}
    return image, standard(image.registers, resources, image.is_virtual)


@pytest.mark.parametrize("name", ORDINARY)
def test_the_header_is_as_it_was_measured(name: str) -> None:
    image, found = measured_and_found(name)
    for at in range(0x40):
        assert image.writable[at] & ~ODD.get(at, 0) == found.writable[at] & ~ODD.get(at, 0), f"{at:02x}"
        assert image.write_one_to_clear[at] == found.write_one_to_clear[at]


@pytest.mark.parametrize("name", ORDINARY)
def test_what_power_management_msi_and_msix_have_can_be_written(name: str) -> None:
    image, found = measured_and_found(name)
    registers, measured, at = image.registers, image.writable, capabilities(Dump(image.registers))
    if 0x11 in at:
        assert 0xC000 == word(found.writable, at[0x11] + 2) == word(measured, at[0x11] + 2)
    if 0x05 in at:
        wide = registers[at[0x05] + 2] & 0x80
        # One vector: the emulator lets one write more, and takes it back.
        assert 1 == word(found.writable, at[0x05] + 2) & word(measured, at[0x05] + 2) & 0x8F
        assert 0xFFFFFFFC == word(found.writable, at[0x05] + 4, 4) == word(measured, at[0x05] + 4, 4)
        assert 0xFFFF == word(found.writable, at[0x05] + (12 if wide else 8))
    if 0x01 in at:
        assert 3 == found.writable[at[0x01] + 4] == measured[at[0x01] + 4]


def with_bytes(changes: dict[int, str], size: int = 256) -> bytes:
    content = bytearray(size)
    for at, digits in changes.items():
        piece = bytes.fromhex(digits)
        content[at : at + len(piece)] = piece
    return bytes(content)


HEADER = {0x00: "34120100", 0x06: "10", 0x34: "40"}
MEM, IO, MEM_64 = 0x200, 0x100, 0x100000


def test_bars_follow_their_sizes() -> None:
    resources = {
        0: Resource(0x3800000000, 0x39FFFFFFFF, MEM | MEM_64 | 0xC),
        2: Resource(0xE000, 0xE01F, IO | 1),
        3: Resource(0xF0000000, 0xF0000FFF, MEM),
        4: Resource(0xFE000000, 0xFE003FFF, MEM | MEM_64 | 4),
        6: Resource(0xFE100000, 0xFE1007FF, MEM),
    }
    content = with_bytes({0x10: "0c0000003800000001e00000000000f0040000fe00000000", 0x30: "010010fe"})
    found = standard(content, resources, False)
    parts = zip(content, found.writable, strict=True)

    assert "00000000feffffffe0ffffff00f0ffff00c0ffffffffffff" == found.writable[0x10:0x28].hex()
    assert "01f8ffff" == found.writable[0x30:0x34].hex()
    # A reset leaves the kind of each BAR and no address.
    assert "0c0000000000000001000000000000000400000000000000" == bytes(a & ~b for a, b in parts)[0x10:0x28].hex()
    assert not any(found.power_on[at] & found.writable[at] for at in range(0x10, 0x34))


def test_a_function_without_a_bar_cannot_be_told_to_decode() -> None:
    assert 0x0554 == word(standard(with_bytes({}), {}, False).writable, 4)
    assert 0x0557 == word(standard(with_bytes({}), {2: Resource(0, 3, IO), 3: Resource(0, 15, MEM)}, False).writable, 4)
    # Nothing else can have set it.
    assert 0x0555 == word(standard(with_bytes({4: "01f8"}), {}, False).writable, 4)


def test_an_express_function_has_no_latency_timer() -> None:
    found = standard(with_bytes({**HEADER, 0x40: "10000200"}), {}, False)

    assert (0xFF, 0, 0x0544) == (found.writable[0x0C], found.writable[0x0D], word(found.writable, 4))
    assert (0x78FF, 0x000F) == (word(found.writable, 0x48), word(found.write_one_to_clear, 0x4A))
    assert 0x2810 == word(found.power_on, 0x48)


def test_a_virtual_function_has_nothing_but_bus_mastering() -> None:
    content = with_bytes({**HEADER, 0: "ffffffff", 4: "0600", 0x40: "10500200", 0x50: "11000000"})
    found = standard(content, {0: Resource(0xFE000000, 0xFE003FFF, MEM)}, True)

    assert (0x0004, "00" * 0x38) == (word(found.writable, 4), found.writable[8:0x40].hex())
    assert 0xC000 == word(found.writable, 0x52)
    assert 0 == word(found.writable, 0x48)


@pytest.mark.parametrize(
    ("flags", "size", "qsize", "data", "mask"),
    [
        ("0000", 0xA, 0x00, 0x48, None),
        ("8000", 0xE, 0x00, 0x4C, None),
        ("0a00", 0xA, 0x70, 0x48, None),
        ("0401", 0x14, 0x70, 0x48, (0x4C, 0xF)),
        ("8a01", 0x18, 0x70, 0x4C, (0x50, 0xFFFFFFFF)),
        ("8e01", 0x18, 0x70, 0x4C, (0x50, 0xFFFFFFFF)),
        ("8001", 0x18, 0x00, 0x4C, (0x50, 1)),
    ],
)
def test_the_shapes_of_msi(flags: str, size: int, qsize: int, data: int, mask: tuple[int, int] | None) -> None:
    found = standard(with_bytes({**HEADER, 0x40: "0500" + flags}), {}, False)

    assert 1 | qsize == word(found.writable, 0x42)
    assert 0xFFFF == word(found.writable, data)
    assert data == 0x48 or 0xFFFFFFFF == word(found.writable, 0x48, 4)
    if mask is not None:
        assert mask[1] == word(found.writable, mask[0], 4)
    # Pending bits, and whatever follows, are read-only.
    assert not any(found.writable[0x40 + size - (4 if mask else 0) :])


@pytest.mark.parametrize(
    ("pmc", "upper", "clears", "resets"), [("0300", 0, 0, 0), ("0378", 1, 0x80, 0xFF), ("03f8", 1, 0x80, 0)]
)
def test_power_management_events(pmc: str, upper: int, clears: int, resets: int) -> None:
    found = standard(with_bytes({**HEADER, 0x40: "0100" + pmc}), {}, False)

    assert (3, upper, clears) == (found.writable[0x44], found.writable[0x45], found.write_one_to_clear[0x45])
    assert (0xFF, resets) == (found.resettable[0x44], found.resettable[0x45])


def test_a_bridge_has_the_windows_that_it_shows() -> None:
    plain = standard(with_bytes({0x0E: "01"}), {}, False).writable
    wide = standard(
        with_bytes({0x0E: "81", 0x1C: "0101", 0x24: "01000100"}), {6: Resource(0, 0x7FF, MEM)}, False
    ).writable
    narrow = standard(
        with_bytes({0x0E: "01"}), {13: Resource(0, 4095, IO), 15: Resource(0, 1 << 20, MEM)}, False
    ).writable

    assert ("ffffffff0000", "f0fff0ff00000000") == (plain[0x18:0x1E].hex(), plain[0x20:0x28].hex())
    assert ("f0f0", "f0fff0ff" + "ff" * 12, "01f8ffff") == (
        wide[0x1C:0x1E].hex(),
        wide[0x24:0x34].hex(),
        wide[0x38:0x3C].hex(),
    )
    assert ("f0f0", "f0fff0ff" + "00" * 12) == (narrow[0x1C:0x1E].hex(), narrow[0x24:0x34].hex())
    assert 0x0F7F == word(plain, 0x3E)


@given(st.binary(min_size=256, max_size=256), st.booleans())
def test_any_registers_give_masks(content: bytes, is_virtual: bool) -> None:
    found = standard(content, {0: Resource(0, 0xFFFF, MEM)}, is_virtual)

    assert {256} == {len(found.writable), len(found.write_one_to_clear), len(found.power_on), len(found.resettable)}
    # In the header a reset leaves what is wired, and nothing else.
    for at in range(0x40):
        wired = content[at] & ~(found.writable[at] | found.write_one_to_clear[at])
        assert (wired if found.resettable[at] else 0) == found.power_on[at]
