# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from pvpci.model.config.messages import capable, enabled, with_enabled


@pytest.mark.parametrize(
    ("control", "has", "tells"), [(0x0088, 16, 1), (0x00A9, 16, 4), (0x0080, 1, 1), (0x0058, 16, 32)]
)
def test_a_control_word_says_how_many_there_are_and_are_told_apart(control: int, has: int, tells: int) -> None:
    assert (has, tells) == (capable(control), enabled(control))


@pytest.mark.parametrize("messages", [1, 2, 4, 8, 16, 32])
def test_only_how_many_are_told_apart_changes(messages: int) -> None:
    made = with_enabled(0xFFFF, messages)

    assert (messages, 0xFF8F) == (enabled(made), made & 0xFF8F)
