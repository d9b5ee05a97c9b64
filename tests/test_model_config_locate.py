# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvpci.impl.embedded.image import load
from pvpci.model.config.locate import Located, locate
from pvpci.model.config.registers import Remedy

E1000E = load("e1000e").registers
BRIDGE = bytes(0x0E) + b"\x01" + bytes(0xF1)


def titles(found: Located) -> list[str]:
    return [place.title for place in found.places]


@pytest.mark.parametrize(
    ("offset", "size", "expected"),
    [
        (0x06, 2, ["STATUS, header"]),
        (0x38, 4, ["RESERVED, header"]),
        (0xC8, 2, ["ID AND NEXT, Power Management capability at 0xc8"]),
        (0xD4, 4, ["MSI ADDRESS, MSI capability at 0xd0"]),
        (0xDC, 2, ["MSI DATA, MSI capability at 0xd0"]),
        (0xE8, 2, ["DEVCTL, PCI Express capability at 0xe0"]),
        (0xE8, 4, ["DEVCTL, PCI Express capability at 0xe0", "DEVSTA, PCI Express capability at 0xe0"]),
        (0xA4, 4, ["MSI-X TABLE, MSI-X capability at 0xa0"]),
        (0x40, 4, ["a register of the device's own, outside any capability"]),
        (0x10C, 4, ["UNCORRECTABLE SEVERITY, Advanced Error Reporting capability at 0x100"]),
        (0x144, 4, ["offset +0x4 in the Device Serial Number capability at 0x140"]),
        (0x800, 4, ["a register of the device's own, outside any capability"]),
    ],
)
def test_a_register_of_a_known_function(offset: int, size: int, expected: list[str]) -> None:
    found = locate(offset, size, E1000E)

    assert (expected, "", ()) == (titles(found), found.needs, found.faults)


def test_a_capability_does_not_reach_into_the_next() -> None:
    # PCI Express of version 2 at e0 would be 3c long; here MSI-X stands at f0.
    moved = bytearray(E1000E)
    moved[0xE1:0xE3], moved[0xF0:0xF2] = b"\xf0\x02", b"\x11\x00"

    assert ["ID AND NEXT, MSI-X capability at 0xf0"] == titles(locate(0xF0, 2, bytes(moved)))
    assert ["DEVCTL, PCI Express capability at 0xe0"] == titles(locate(0xE8, 2, bytes(moved)))


@pytest.mark.parametrize(
    ("flags", "size"),
    [(0x0002, 0x3C), (0x0001, 0x14), (0x0041, 0x24), (0x0091, 0x0C)],
    ids=["version 2", "endpoint", "root port", "in the root complex"],
)
def test_how_long_pci_express_is_depends_on_its_kind(flags: int, size: int) -> None:
    made = bytearray(256)
    made[0x06], made[0x34], made[0x40:0x44] = 0x10, 0x40, b"\x10\0" + flags.to_bytes(2, "little")
    inside = [at for at in range(0x40, 0x100, 4) if "PCI Express" in locate(at, 4, bytes(made)).places[0].where]

    assert list(range(0x40, 0x40 + size, 4)) == inside


def test_a_bridge_has_registers_of_its_own() -> None:
    found = locate(0x3E, 2, BRIDGE)

    assert ["BRIDGE_CONTROL, header of a bridge"] == titles(found)
    assert [Remedy.NOTHING] == [place.remedy for place in found.places]


def test_without_a_space_only_what_all_headers_share_is_decided() -> None:
    assert ["STATUS, header"] == titles(locate(0x06, 2))
    for offset in (0x28, 0xE8, 0x10C):
        found = locate(offset, 2)
        assert () == found.places
        assert "configuration space" in found.needs


def test_a_short_space_says_how_to_get_the_rest() -> None:
    assert "`lspci -xxx -s BDF` as root in dom0" in locate(0xE8, 2, E1000E[:64]).needs
    assert "more than the 256 bytes of this dump: `lspci -xxxx" in locate(0x10C, 2, E1000E[:256]).needs


def test_a_broken_list_is_named_and_the_rest_still_answered() -> None:
    looping = bytearray(E1000E)
    looping[0xE1] = 0xC8
    found = locate(0xE8, 2, bytes(looping))

    assert ["DEVCTL, PCI Express capability at 0xe0"] == titles(found)
    assert ("the capability list comes back to 0xc8",) == found.faults


@pytest.mark.parametrize(("offset", "size"), [(-4, 4), (0x1000, 1), (0xFFE, 4), (0, 0), (4, -1)])
def test_an_access_outside_is_called_that(offset: int, size: int) -> None:
    found = locate(offset, size, E1000E)

    assert () == found.places
    assert "an access inside configuration space" in found.needs


@st.composite
def spaces(draw: st.DrawFn) -> bytes:
    """Spaces of all usual sizes that say they have a list, with any bytes at some of the places where lists lead."""
    made = bytearray(draw(st.sampled_from((64, 256, 4096))))
    made[0x06], made[0x0E], made[0x34] = (
        draw(st.sampled_from((0, 0x10))),
        draw(st.sampled_from((0, 1, 2))),
        draw(st.integers(0, 255)),
    )
    for place, word in draw(st.lists(st.tuples(st.integers(0, 1023), st.binary(min_size=4, max_size=4)), max_size=12)):
        if place * 4 < len(made):
            made[place * 4 : place * 4 + 4] = word
    return bytes(made)


@given(
    st.integers(-8, 0x1008) | st.integers(),
    st.integers(-1, 9) | st.integers(),
    st.binary(max_size=300) | spaces(),
)
def test_any_request_on_any_bytes_has_an_answer(offset: int, size: int, space: bytes) -> None:
    found = locate(offset, size, space)
    touched = [byte for place in found.places for byte in range(place.first, place.last + 1)]

    assert found.needs or list(range(offset, offset + size)) == touched
