# SPDX-License-Identifier: Apache-2.0
"""The manual's page says what the table says."""

from __future__ import annotations

from pathlib import Path

from pvpci.model.config.describe import render_table
from pvpci.model.config.header import HEADER
from pvpci.model.config.strict import RULES

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "config-header.md"


def test_the_page_is_up_to_date() -> None:
    assert render_table() == PAGE.read_text()


def test_the_page_has_a_line_for_each_field_and_rule() -> None:
    lines = render_table().splitlines()

    assert all(any(f"| {row.name} |" in line for line in lines) for row in HEADER)
    assert all(sum(line.startswith(f"| `{rule.name}` |") for line in lines) == 1 for rule in RULES)
