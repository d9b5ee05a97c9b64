# SPDX-License-Identifier: Apache-2.0
"""The manual's page says what the table says."""

from __future__ import annotations

from pvpci.model.config.describe import render_table, rows
from pvpci.model.config.profiles import STRICT
from pvpci.model.config.strict import RULES


def test_the_page_has_a_line_for_each_field_and_rule() -> None:
    lines = render_table().splitlines()

    assert all(any(f"| {row.name} |" in line for line in lines) for row in rows(STRICT))
    assert all(sum(line.startswith(f"| `{rule.name}` |") for line in lines) == 1 for rule in RULES)
