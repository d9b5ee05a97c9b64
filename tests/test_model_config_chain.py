# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pvpci.model.config.chain import MAX_EXTENDED_HOPS, Chain, Link, extended, standard
from pvpci.model.config.walk import MAX_HOPS


def space(size: int = 4096, **words: int) -> bytes:
    """A space of zeros with dwords at the given places, written ``at_34=0x40``."""
    made = bytearray(size)
    for name, word in words.items():
        place = int(name.removeprefix("at_"), 16)
        made[place : place + 4] = word.to_bytes(4, "little")
    return bytes(made)


def walked(content: bytes, which: str = "standard") -> Chain:
    def read(offset: int, size: int) -> int:
        return int.from_bytes(content[offset : offset + size], "little")

    return standard(read) if which == "standard" else extended(read)


LIST = 0x0010_0000  #: STATUS says that there is a list


def test_the_order_is_the_lists_own() -> None:
    content = space(at_04=LIST, at_34=0xC8, at_c8=0xD001, at_d0=0x4005, at_40=0x0011)

    assert Chain((Link(1, 0xC8), Link(5, 0xD0), Link(0x11, 0x40))) == walked(content)


def test_without_the_status_bit_there_is_no_list() -> None:
    assert Chain(()) == walked(space(at_34=0x40, at_40=0x0001))


def test_a_pointer_is_cut_to_a_dword() -> None:
    assert Chain((Link(1, 0x60),)) == walked(space(at_04=LIST, at_34=0x63, at_60=0x0001))


def test_what_ends_a_list_early_is_said() -> None:
    loop = walked(space(at_04=LIST, at_34=0x40, at_40=0x5001, at_50=0x4005))
    inside = walked(space(at_04=LIST, at_34=0x40, at_40=0x3001))
    silent = walked(space(at_04=LIST, at_34=0x40, at_40=0x00FF))

    assert "the capability list comes back to 0x40" == loop.fault
    assert (Link(1, 0x40), Link(5, 0x50)) == loop.links
    assert "the capability list leads to 0x30, inside the header" == inside.fault
    assert Chain((), "the capability list leads to 0x40, where nothing answers") == silent


def test_the_extended_list() -> None:
    content = space(at_100=0x1401_0001 | 0x1 << 16, at_140=0x0001_0003)

    assert Chain((Link(1, 0x100), Link(3, 0x140))) == walked(content, "extended")
    assert Chain(()) == walked(space(), "extended")
    assert Chain(()) == walked(b"\xff" * 4096, "extended")


def test_what_ends_the_extended_list_early_is_said() -> None:
    loop = walked(space(at_100=0x1401_0001, at_140=0x1001_0003), "extended")
    nowhere = walked(space(at_100=0x2001_0001), "extended")
    below = walked(space(at_100=0x0401_0001), "extended")

    assert "the extended capability list comes back to 0x100" == loop.fault
    assert "the extended capability list leads to 0x200, where there is none" == nowhere.fault
    assert "the extended capability list leads to 0x040, below 0x100" == below.fault


@given(st.binary(min_size=0, max_size=4096))
def test_any_bytes_have_a_list_that_ends(content: bytes) -> None:
    assert len(walked(content).links) <= MAX_HOPS
    assert len(walked(content, "extended").links) <= MAX_EXTENDED_HOPS
