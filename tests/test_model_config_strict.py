# SPDX-License-Identifier: Apache-2.0
"""Differences to Linux are explained bit by bit, or not at all."""

from __future__ import annotations

import pytest

from pvpci.model.config.strict import RULES, explain


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
        (0x100, 0x00, 0x01, []),
    ],
)
def test_explain(offset: int, ours: int, theirs: int, expected: list[str]) -> None:
    assert expected == [rule.name for rule in explain(offset, ours, theirs)]


@pytest.mark.parametrize(
    ("offset", "ours", "theirs", "expected"),
    [
        (0x34, 0x40, 0xC8, ["capabilities-unlinked"]),
        (0xC9, 0x00, 0xD0, ["capabilities-unlinked"]),
        (0xCC, 0x03, 0x00, ["enabling-does-not-wake"]),
        (0xCC, 0x0B, 0x00, []),  # bit 3 is no power state
        (0xCD, 0x00, 0x80, ["pme-status-cleared"]),
        (0x84, 0x12, 0x00, ["messages-kept"]),
        (0x82, 0x00, 0x01, []),
    ],
)
def test_explain_where_the_capabilities_are(offset: int, ours: int, theirs: int, expected: list[str]) -> None:
    places = {0x01: 0xC8, 0x05: 0x80}

    assert expected == [rule.name for rule in explain(offset, ours, theirs, places=places)]
    # A function without them has nothing to explain there.
    assert offset == 0x34 or not explain(offset, ours, theirs)


def test_rules_have_names_of_their_own() -> None:
    assert len(RULES) == len({rule.name for rule in RULES})
