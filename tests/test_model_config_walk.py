# SPDX-License-Identifier: Apache-2.0
"""A capability list is whatever the device says, and the way through it ends all the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.config_registers import Registers, golden

from pvpci.model.config.walk import MAX_HOPS, Capability, Walk, capabilities, chain


@pytest.mark.parametrize(
    ("entries", "start", "expected"),
    [
        ({0x40: 0x4005}, 0x40, {0x05: 0x40}),  # bites its own tail
        ({0x40: 0x5005, 0x50: 0x4001}, 0x40, {0x05: 0x40, 0x01: 0x50}),  # a loop of two
        ({0x40: 0x3005}, 0x40, {0x05: 0x40}),  # leads into the header
        ({0x40: 0x6305, 0x60: 0x0001}, 0x42, {0x05: 0x40, 0x01: 0x60}),  # low bits are not looked at
        ({0x40: 0x50FF, 0x50: 0x0001}, 0x40, {}),  # nobody answers
        ({0x40: 0x5001, 0x50: 0x0001}, 0x40, {0x01: 0x40}),  # the first of a kind counts
        ({}, 0x00, {}),
    ],
)
def test_capability_lists(entries: dict[int, int], start: int, expected: dict[int, int]) -> None:
    registers = golden()
    registers.poke(0x34, 1, start)
    for place, entry in entries.items():
        registers.poke(place, 2, entry)

    assert expected == capabilities(registers)


def test_a_list_without_end_is_left_after_so_many_hops() -> None:
    registers = golden()
    registers.poke(0x34, 1, 0x40)
    registers.poke(0x40, 2, 0x4005)
    capabilities(registers)

    assert 48 == registers.reads.count((0x40, 2))


def test_a_function_that_says_it_has_no_list_has_none() -> None:
    registers = golden()
    registers.poke(0x06, 2, 0)

    assert {} == capabilities(registers)


@given(st.binary(min_size=256, max_size=256))
def test_any_list_ends_and_stays_outside_the_header(image: bytes) -> None:
    registers = Registers(bytearray(image), bytearray(256))
    found = capabilities(registers)

    assert len(registers.reads) <= MAX_HOPS + 2
    assert all(0x40 <= place <= 0xFC and place % 4 == 0 for place in found.values())


def test_a_list_that_bites_its_own_tail_names_each_place_once() -> None:
    registers = golden()
    registers.poke(0x34, 1, 0x40)
    registers.poke(0x40, 2, 0x5005)
    registers.poke(0x50, 2, 0x4001)

    assert (Capability(0x05, 0x40, 0x50), Capability(0x01, 0x50, 0x40)) == chain(registers)
    assert 48 == len(chain(registers, Walk(once=False)))
