# SPDX-License-Identifier: Apache-2.0
"""Steps of configuration space are forgotten one by one, and some property notices."""

from __future__ import annotations

import pytest

from pvpci.model.config.profiles import STRICT
from pvpci.proofs.config import mutate
from pvpci.proofs.config.mutate import judge, mutants

MUTANTS = {f"{one.where} {one.what}": one for one in mutants(STRICT)}


def test_every_step_that_does_something_is_forgotten_once() -> None:
    steps = [
        step
        for rows in (STRICT.normal, *STRICT.structures.values())
        for row in rows
        for step in row.writes.steps
        if type(step).__name__ in ("Store", "Finish", "Tell", "Wait")
    ]
    of_rows = [one for one in mutants(STRICT) if one.where.isupper() and " to set " not in one.what]

    assert len(steps) == len(of_rows)
    assert "detach forgets to write 04/2 (restore)" in MUTANTS


@pytest.mark.parametrize(
    ("name", "property"),
    [
        ("COMMAND forgets to end (no address)", "C-20"),
        ("COMMAND forgets to write 0c/1 (cache line)", "C-23"),
        ("COMMAND forgets to tell MWI_REFUSED", "C-23"),
        ("BAR0 forgets to set bar0.sizing (sizing)", "C-31"),
        ("attach forgets to write 04/2 (calm)", "C-26"),
        ("attach forgets to write MSIX+02/2 (silence)", "C-26"),
        ("detach forgets to write 04/2 (restore)", "C-25"),
    ],
)
def test_a_property_notices(name: str, property: str) -> None:
    found = judge(STRICT, MUTANTS[name])

    assert (True, "for all values") == (found.by.startswith(property + " "), found.means)


def test_what_nothing_notices_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutate, "CLAIMS", ())

    found = judge(STRICT, MUTANTS["detach forgets to wait 200 us"])

    assert ("config", "detach", "step", "", "") == (found.machine, found.row, found.kind, found.means, found.by)
