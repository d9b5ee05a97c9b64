# SPDX-License-Identifier: Apache-2.0
"""Which functions a guest may have, and what is known of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.config_registers import IO, MEM, MEM_64, NONE, UNSET, Range, Registers, express, golden, placed, virtual

from pvpci.model.config.chain import MAX_HOPS
from pvpci.model.config.identity import Identity, Refusal, Refused, bars, capabilities, survey


def test_survey_reads_and_never_writes() -> None:
    registers = golden()
    found = survey(registers)

    assert [] == registers.writes
    assert (0x8086, 0x10D3, 19, 256, 1, 0x020000) == (
        found.vendor,
        found.device,
        found.irq,
        found.config_size,
        found.pin,
        found.class_code,
    )
    assert {0x01: 0xC8, 0x05: 0xD0, 0x03: 0xE0, 0x11: 0xA0} == found.capabilities
    assert 1 == found.facts()["known.conventional"]
    assert 0 == survey(express()).facts()["known.conventional"]


def bridge(registers: Registers) -> None:
    registers.poke(0x0E, 1, 0x81)


def cardbus(registers: Registers) -> None:
    registers.poke(0x0E, 1, 0x02)


def unknown(registers: Registers) -> None:
    registers.poke(0x0E, 1, 0x05)


def isa_bridge(registers: Registers) -> None:
    registers.poke(0x08, 4, 0x06010000)


def absent(registers: Registers) -> None:
    registers.image[:] = b"\xff" * 256


def half_a_space(registers: Registers) -> None:
    registers.image, registers.mask = registers.image[:128], registers.mask[:128]
    registers.poke(0x06, 2, 0)


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        (bridge, Refusal.BRIDGE),
        (isa_bridge, Refusal.BRIDGE),
        (cardbus, Refusal.CARDBUS),
        (unknown, Refusal.UNKNOWN_HEADER),
        (absent, Refusal.ABSENT),
        (half_a_space, Refusal.BAD_SIZE),
    ],
)
def test_functions_that_no_guest_may_have(change: Callable[[Registers], None], refusal: Refusal) -> None:
    registers = golden()
    change(registers)

    with pytest.raises(Refused, match=refusal.value) as caught:
        survey(registers)
    assert refusal is caught.value.refusal
    assert [] == registers.writes


def test_a_virtual_function_needs_its_identity_from_the_host() -> None:
    nameless = virtual()
    nameless.vendor = nameless.device = 0xFFFF
    with pytest.raises(Refused) as caught:
        survey(nameless)

    assert Refusal.NO_IDENTITY is caught.value.refusal
    assert (0x8086, 0x10D3) == (survey(virtual()).vendor, survey(virtual()).device)


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


def test_a_list_that_bites_its_own_tail_ends_there() -> None:
    registers = golden()
    registers.poke(0x34, 1, 0x40)
    registers.poke(0x40, 2, 0x4005)
    capabilities(registers)

    assert 1 == registers.reads.count((0x40, 2))


@pytest.mark.parametrize(("rom", "expected"), [(MEM, 0x1), (MEM | 1, 0x3), (0, 0x1)])
def test_a_rom_is_decoded_only_if_it_was_enabled(rom: int, expected: int) -> None:
    resources = [placed(0xD000, 256, IO | 1), *[NONE] * 5, placed(0xFE340000, 0x40000, rom)]

    assert expected == Identity(0x10EC, 0x8139, 300, 256, False, resources).facts()["known.decode"]
    assert 300 & 0xFF == Identity(0x10EC, 0x8139, 300, 256, False, resources).facts()["known.line"]


def test_the_rom_is_nobodys_upper_half() -> None:
    rom = (0xFE340000, 0xFE37FFFF, MEM)
    found = bars([(0, 0, 0)] * 5 + [(0x2F0000000, 0x2FFFFFFFF, MEM | MEM_64 | 4), rom])

    assert (0xFE340000, 0xFFFC0000) == (found[6].address, found[6].length)


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


@pytest.mark.parametrize(
    ("resource", "low", "high"),
    [
        (placed(0xFE200000, 0x100000, MEM), (0xFE200000, 0xFFF00000), (0, 0)),
        (placed(0xD000, 256, IO | 1), (0xD001, 0xFFFFFF01), (0, 0)),
        (placed(0x2F0000000, 1 << 28, MEM | MEM_64 | 0xC), (0xF000000C, 0xF000000C), (2, 0xFFFFFFFF)),
        (placed(0x4000000000, 1 << 34, MEM | MEM_64 | 4), (4, 4), (0x40, 0xFFFFFFFC)),
        (placed(0, 1 << 28, MEM | MEM_64 | UNSET | 4), (0, 0), (0, 0)),
        (placed(0, 1 << 20, MEM | UNSET), (0, 0), (0, 0)),
    ],
)
def test_bars_of_resources(resource: Range, low: tuple[int, int], high: tuple[int, int]) -> None:
    plain = (resource.start, resource.end, resource.flags)
    found = bars([plain] + [(0, 0, 0)] * 6)

    assert low == (found[0].address, found[0].length)
    assert high == (found[1].address, found[1].length)
