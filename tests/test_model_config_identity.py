# SPDX-License-Identifier: Apache-2.0
"""Which functions a guest may have, and what is known of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.config_registers import Registers, express, golden, virtual

from pvpci.model.config.identity import Identity, Refusal, Refused, survey


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


def test_only_a_byte_of_the_interrupt_is_known() -> None:
    assert 300 & 0xFF == Identity(0x10EC, 0x8139, 300, 256, False, ()).facts()["known.line"]
