# SPDX-License-Identifier: Apache-2.0
"""Every row and place is reached by a path that was run; dead ones are named."""

from __future__ import annotations

from dataclasses import replace

from tests import proofs_toys as toys

from pvpci.model.kernel.terms import NEVER
from pvpci.proofs.reach import PLACE, REACHED, ROW, obligations, reach


def test_every_row_and_place_is_reached() -> None:
    made = obligations([toys.mutex()], reach([toys.mutex()]))

    assert [] == [one for one in made if one.verdict != "proved"]
    assert 2 * (3 + 3) == len(made)
    assert {REACHED} == {one.method for one in made}


def test_the_solver_reaches_what_needs_values_that_nobody_sampled() -> None:
    reached = reach([toys.hostile()])

    assert {"REST->READ": 1, "READ->ASKED": 2, "READ->DONE": 2} == {
        key: steps for (_, key), steps in reached.rows.items() if key in ("REST->READ", "READ->ASKED", "READ->DONE")
    }
    assert [] == [one for one in obligations([toys.hostile()], reached) if one.verdict != "proved"]


def test_a_dead_row_and_a_place_that_is_never_entered_are_named() -> None:
    machine = toys.worker(toys.one, "one").with_table(
        lambda row: replace(row, when=NEVER) if row.key == "WANTS->INSIDE" else row
    )
    system = replace(toys.mutex(), machines=(machine, toys.mutex().machines[1]))
    made = [one for one in obligations([system], reach([system])) if one.verdict != "proved"]

    assert [(ROW, "WANTS->INSIDE"), (ROW, "INSIDE->IDLE"), (PLACE, "INSIDE")] == [(one.title, one.row) for one in made]
    assert {"violated"} == {one.verdict for one in made}
    assert "a dead row" in made[0].detail


def test_a_row_is_alive_if_any_system_reaches_it() -> None:
    stuck = replace(toys.mutex(), name="stuck", start=(toys.lock.taken.becomes(True),))

    assert len(reach([stuck]).rows) < len(reach([stuck, toys.mutex()]).rows)


def test_only_wanted_machines_are_looked_for() -> None:
    stuck = replace(toys.hostile(), start=(toys.desk.at.becomes(toys.Stage.DONE),))

    assert {} == reach([stuck], wanted={"another"}).rows
