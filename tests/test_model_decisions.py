# SPDX-License-Identifier: Apache-2.0
"""What tables, dialects and pages cite is explained, and what is explained is cited or says where else it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pvpci.impl.manual import MACHINES
from pvpci.model.catalogue import PROPERTIES, Needs
from pvpci.model.decisions import DECISIONS, SOURCES
from pvpci.model.dialects import ALL, DIALECTS

ROOT = Path(__file__).parents[1]
CITED = {row.cite for machine in MACHINES for row in machine.table} | {each.cite for each in ALL}
#: Cites that say of themselves what they are: a file, with a function or a structure in it; a commit of Linux.
FILE = re.compile(r"[\w-]+\.[ch]\b.*|linux [0-9a-f]{12}\b.*")


def in_files(pattern: str) -> set[str]:
    """All that matches in the tables, the tests and the hand-written and made pages, but for the page itself."""
    files = [
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("model/**/*.py"),
        *ROOT.glob("impl/**/*.py"),
        *ROOT.glob("tests/**/*.py"),
    ]
    own = {ROOT / "docs/reference/decisions.md", ROOT / "model/decisions.py", Path(__file__)}
    return {found for path in files if path not in own for found in re.findall(pattern, path.read_text())}


def test_every_decision_that_is_cited_has_an_entry() -> None:
    assert set() == in_files(r"\bRB-[0-9]+\b") - set(DECISIONS)


def test_every_decision_stands_in_a_table_or_says_where() -> None:
    assert [] == [name for name, one in DECISIONS.items() if name not in CITED and not one.elsewhere]


def test_every_other_source_that_is_cited_is_explained() -> None:
    unexplained = {
        cite for cite in CITED
        if not FILE.fullmatch(cite)
        and not set(re.split(r" (?=[IL]-)", cite)) <= {*DECISIONS, *SOURCES, *PROPERTIES}
    }  # fmt: skip

    assert set() == unexplained
    assert set() == in_files(r"\b(?:XSA-[0-9]+|D-[0-9]{2})\b") - set(SOURCES)


def test_no_source_is_explained_in_vain() -> None:
    named = {name for each in ALL for name in each.breaks}

    assert set() == set(SOURCES) - CITED - named


@pytest.mark.parametrize("name", DECISIONS)
def test_a_decision_is_proved_or_says_what_it_waits_for(name: str) -> None:
    one = DECISIONS[name]
    claimed = [each for each in one.properties if each in PROPERTIES and PROPERTIES[each][1] is Needs.NOTHING]
    broken = [each for each in DIALECTS if each.cite == name]

    # When a part comes in, its decisions are to say so.
    assert claimed == [] or one.needs == ""
    assert broken == [] or one.needs == ""


def test_decisions_are_numbered_in_order() -> None:
    assert [f"RB-{number}" for number in range(1, len(DECISIONS) + 1)] == list(DECISIONS)


def test_dialects_that_pages_name_are_in_the_catalogue() -> None:
    named = {
        found for path in ROOT.glob("docs/**/*.md") for found in re.findall(r"\b[MRX][0-9]{2}\b", path.read_text())
        if path.name != "cases.md"
    }  # fmt: skip

    assert set() == named - {each.id for each in ALL}
