# SPDX-License-Identifier: Apache-2.0
"""Differences to Linux are explained bit by bit, or not at all."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.config_registers import express, golden, identity

from pvpci.model.config import constants as pci
from pvpci.model.config.strict import RULES, explain

#: Power management at c8, MSI (64 bits wide, no mask) at d0, VPD at e0, MSI-X at a0; conventional.
GOLDEN = identity(golden())


@pytest.mark.parametrize(
    ("offset", "ours", "theirs", "expected"),
    [
        (0x04, 0x00, 0x03, ["command-starts-clear"]),
        (0x05, 0x01, 0xF9, ["command-reserved-zero"]),
        (0x05, 0x00, 0x11, ["command-starts-clear", "command-reserved-zero"]),
        (0x04, 0x00, 0x04, ["starts-without-mastering"]),
        (0x04, 0x20, 0x00, ["command-starts-clear", "command-virtual"]),
        (0x0C, 0x08, 0x10, ["cache-line-kept"]),
        (0x3C, 0x13, 0x13, []),
        (0x06, 0x10, 0x18, []),
        (0x0F, 0x80, 0xC0, ["bist-read-only"]),
        (0x0F, 0x00, 0xC0, []),  # one of the two bits is in no rule
        (0x10, 0x00, 0x01, []),
        (0x34, 0x40, 0xC8, ["capabilities-unlinked"]),
        (0xC9, 0x00, 0xD0, ["capabilities-unlinked"]),
        (0xC8, 0x00, 0x01, []),
        (0xCC, 0x03, 0x00, ["enabling-does-not-wake", "given-back-awake-and-quiet"]),
        (0xCC, 0x0B, 0x00, []),  # bit 3 is no power state
        (0xCD, 0x00, 0x80, ["pme-status-cleared"]),
        (0xD7, 0x00, 0xFE, ["messages-kept"]),
        (0xDB, 0x01, 0x00, ["messages-kept"]),
        (0xDD, 0x40, 0x00, ["messages-kept"]),
        (0xDE, 0x40, 0x00, []),  # the data is two bytes wide
        (0xD2, 0x80, 0x81, ["given-back-awake-and-quiet"]),
        (0xA3, 0x00, 0x80, ["given-back-awake-and-quiet"]),
        (0xA3, 0x00, 0xC0, []),
        (0xE1, 0x00, 0xA0, ["capabilities-unlinked"]),
        (0x100, 0x00, 0x01, ["extended-on-request"]),
        (0xFFF, 0xFF, 0x00, ["extended-on-request"]),
    ],
)
def test_explain(offset: int, ours: int, theirs: int, expected: list[str]) -> None:
    assert expected == [rule.name for rule in explain(GOLDEN, offset, ours, theirs)]


@pytest.mark.parametrize(
    ("flags", "explained"),
    [
        (0, {*range(4, 10)}),
        (pci.MSI_FLAGS_MASKBIT, {*range(4, 10), *range(12, 16)}),
        (pci.MSI_FLAGS_64BIT, {*range(4, 14)}),
        (pci.MSI_FLAGS_64BIT | pci.MSI_FLAGS_MASKBIT, {*range(4, 14), *range(16, 20)}),
    ],
)
def test_the_guests_own_messages_are_where_its_capability_has_them(flags: int, explained: set[int]) -> None:
    found = replace(GOLDEN, msi_flags=flags, chain=tuple(link for link in GOLDEN.chain if link.id == pci.CAP_ID_MSI))

    assert explained == {at for at in range(4, 24) if explain(found, 0xD0 + at, 0, 0xFF)}


def test_a_function_without_capabilities_has_none_to_explain() -> None:
    bare = replace(GOLDEN, chain=())

    assert [0x34] == [at for at in range(0x10, 0x100) if at not in (0x3C,) and explain(bare, at, 0x00, 0xFF)]


def test_a_capability_that_is_not_shown_reads_the_same() -> None:
    """PCI Express is shown; what follows it in the device's list may not."""
    registers = express()
    registers.poke(0xA0, 2, 0x0013)  # advanced features, which guests are not offered

    assert explain(identity(registers), 0xE1, 0x00, 0xA0)
    assert not explain(identity(registers), 0xA1, 0x00, 0x40)


def test_only_the_rules_that_can_act_explain() -> None:
    acting = [rule for rule in RULES if rule.name != "command-starts-clear"]

    assert not explain(GOLDEN, 0x04, 0x00, 0x03, acting)


def test_rules_have_names_of_their_own() -> None:
    assert len(RULES) == len({rule.name for rule in RULES})
