# SPDX-License-Identifier: Apache-2.0
"""The generated pages of the manual are those in the tree."""

from __future__ import annotations

from pathlib import Path

import pytest

from pvpci.impl import manual
from pvpci.model.kernel.tables import Machine

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.parametrize("name", manual.pages())
def test_a_generated_page_is_up_to_date(name: str) -> None:
    assert (DOCS / name).read_text() == manual.pages()[name], "run python -m pvpci.impl.manual"


@pytest.mark.parametrize("machine", manual.MACHINES, ids=lambda machine: machine.name)
def test_a_machine_page_has_every_row(machine: Machine) -> None:
    page = manual.pages()[f"reference/machine-{machine.name}.md"]

    rows = page[page.index("## Rows") :].split("\n\n")[1].splitlines()
    assert len(machine.table) == len(rows) - 2


def test_a_stale_page_is_written_again(tmp_path: Path) -> None:
    first = manual.write(tmp_path)
    first[0].write_text("stale")

    assert manual.write(tmp_path) == [first[0]]
    assert manual.write(tmp_path) == []
