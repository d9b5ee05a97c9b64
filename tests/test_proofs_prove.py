# SPDX-License-Identifier: Apache-2.0
"""Proving everything, and what a dialect breaks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests import proofs_toys as toys

from pvpci.model.kernel.claims import always, each_step
from pvpci.model.kernel.dialects import Dialect, change
from pvpci.model.kernel.terms import ALWAYS
from pvpci.proofs.prove import SPEAKS, NotKnown, break_dialect, prove, select

SYSTEMS = (toys.mutex(), toys.hostile())


def test_systems_are_selected_by_their_name_or_a_machines() -> None:
    assert [SYSTEMS[0]] == select(SYSTEMS, ["two"])
    assert [SYSTEMS[1]] == select(SYSTEMS, ["hostile"])
    assert list(SYSTEMS) == select(SYSTEMS, [])
    with pytest.raises(NotKnown, match="no system or machine 'nobody'; known are clerk, hostile, mutex, one, two"):
        select(SYSTEMS, ["nobody"])


@pytest.mark.parametrize("processes", [1, 2])
def test_everything_is_judged(processes: int) -> None:
    report = prove(SYSTEMS, among=SYSTEMS, processes=processes)
    bad = {(one.property, one.row.split(" ")[0]) for one in report.failed}

    # Starvation; who waits for a lock has no row for waiting; and nobody reads what the clerk answers.
    assert {("T-4", "two"), ("guards_are_complete", "WANTS"), ("every_variable_is_read", "desk.answer")} == bad
    assert {"T-1", "T-2", "T-3", "T-5", "T-6", "T-7", "no_dead_rows"} <= {one.property for one in report.obligations}


def test_processes_make_no_difference() -> None:
    one, two = (prove(SYSTEMS, processes=count) for count in (1, 2))

    def told(report: object) -> list[tuple[str, ...]]:
        return sorted((o.system, o.property, o.title, o.row, o.verdict, o.detail) for o in report.obligations)  # type: ignore[attr-defined]

    assert told(one) == told(two)


def test_one_property_with_the_lemmas_that_it_rests_on() -> None:
    report = prove(SYSTEMS, property="t-5")

    assert report.good
    assert {"T-5", "clerk: only small words are asked about"} <= {one.property for one in report.obligations}
    assert "T-6" not in {one.property for one in report.obligations}
    with pytest.raises(NotKnown, match="no property 'T-99'; known are T-1, T-2"):
        prove(SYSTEMS, property="T-99")


def test_a_property_of_nobodys_steps_is_unknown() -> None:
    empty = replace(toys.hostile(), claims_of=lambda _: (each_step("empty", "T-0", ALWAYS, by="nobody"),))
    searched = replace(toys.mutex(), claims_of=lambda _: (each_step("empty", "T-0", ALWAYS, by="nobody"),))

    for system in (empty, searched):
        found = [one for one in prove([system], tables=False).failed if one.property == "T-0"]
        assert ["unknown"] == [one.verdict for one in found]


def test_a_claim_about_steps_that_never_happen_is_named() -> None:
    never = each_step("never", "T-0", ALWAYS, by="one", given=toys.INSIDE[0] & toys.INSIDE[1])
    system = replace(toys.mutex(), claims_of=lambda _: (*toys.mutex_claims(_), never))
    found = [one for one in prove([system]).obligations if one.property == SPEAKS]

    assert [("T-2 the_lock_is_taken_when_it_is_free", "proved"), ("T-0 never", "violated")] == [
        (one.row, one.verdict) for one in found
    ]


def test_obligations_are_written_when_asked(tmp_path: Path) -> None:
    prove([toys.hostile()], smt2=tmp_path, tables=False)

    assert any(path.suffix == ".smt2" for path in tmp_path.iterdir())


def dialect(machine: str, *edits: object, breaks: tuple[str, ...], system: str = "") -> Dialect:
    return Dialect("t01", "toy", machine, "toy", edits, breaks, system)  # type: ignore[arg-type]


def test_a_dialect_is_broken_by_search() -> None:
    report = break_dialect(SYSTEMS, dialect("one", change("WANTS->INSIDE", when=ALWAYS), breaks=("T-1", "t-2")))

    assert [("T-1", "violated", "exhaustive"), ("T-2", "violated", "exhaustive")] == [
        (one.property, one.verdict, one.method) for one in report.obligations
    ]
    assert [4, 4] == [len(one.trace) - 1 for one in report.obligations]
    assert not report.good


def test_a_dialect_is_broken_by_the_solver_where_there_are_no_samples() -> None:
    careless = dialect(
        "clerk", change("READ->ASKED", when=toys.desk.copy < 0xF0000000), change("READ->DONE", when=toys.desk.copy >= 0xF0000000),
        breaks=("T-5",), system="hostile",
    )  # fmt: skip
    (found,) = break_dialect(SYSTEMS, careless).obligations

    assert ("violated", "bounded, 2 steps") == (found.verdict, found.method)


def test_a_dialect_breaks_a_promise() -> None:
    report = break_dialect(SYSTEMS, dialect("one", change("INSIDE->IDLE", when=~toys.lock.taken), breaks=("T-3",)))

    assert ["violated"] == [one.verdict for one in report.obligations]
    assert "there it stays" in report.obligations[0].detail


def test_a_dialect_that_breaks_nothing_is_no_success() -> None:
    harmless = dialect("one", change("WANTS->INSIDE", cite="another"), breaks=("T-1",))
    nobody = dialect("one", change("WANTS->INSIDE", cite="another"), breaks=("T-99",))

    for one in (harmless, nobody):
        assert ["unknown"] == [found.verdict for found in break_dialect(SYSTEMS, one).obligations]


def test_a_property_that_is_shown_wrong_ends_up_violated_with_its_shortest_way() -> None:
    wrong = replace(toys.mutex(), claims_of=lambda _: (always("never_inside", "T-0", ~toys.INSIDE[0]),))
    (found,) = (one for one in prove([wrong], tables=False).failed)

    assert ("T-0", "violated", 2) == (found.property, found.verdict, len(found.trace) - 1)
