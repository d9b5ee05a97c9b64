# SPDX-License-Identifier: Apache-2.0
"""The manual's table of cases is made from what was seen, and what was seen is what the rig's tests demand."""

from __future__ import annotations

import json

import pytest
from tests.rig.cases import CASES, Case
from tests.rig.table import OBSERVED, PAGE, observed, page

RESULTS = json.loads(OBSERVED.read_text())


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == page(RESULTS), "run python -m tests.rig.table"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_is_checked_in_is_what_the_rig_demands(case: Case) -> None:
    assert {"linux": case.linux, "pvpci": case.reference} == RESULTS["cases"][case.name]


def test_only_what_the_rule_speaks_of_is_kept() -> None:
    played = {
        "linux": {case.name: {**case.linux, "times": "3 of 20"} for case in CASES},
        "pvpci": {case.name: {**case.reference, "times": "0 of 20"} for case in CASES},
    }

    assert RESULTS == json.loads(observed(RESULTS["versions"], played))


def test_the_page_says_who_breaks_a_rule() -> None:
    rows = [line for line in page(RESULTS).splitlines() if line.startswith("| ")][1:]

    assert len(CASES) == len(rows)
    for case, row in zip(CASES, rows, strict=True):
        *_, linux, ours = row.strip("| ").split(" | ")
        assert (case.linux != case.reference, False) == ("breaks" in linux, "breaks" in ours)
