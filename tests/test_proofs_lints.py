# SPDX-License-Identifier: Apache-2.0
"""Each lint accepts a good table and rejects the mistake it is for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from tests import proofs_toys as toys
from tests.test_proofs_induction import op_system

from pvpci.model import op
from pvpci.model.kernel.claims import always
from pvpci.model.kernel.records import Event
from pvpci.model.kernel.systems import System
from pvpci.model.kernel.tables import Ignored, Machine, Row
from pvpci.model.kernel.terms import ALWAYS, NEVER
from pvpci.proofs import lints


def complaints(machine: Machine, system: System | None = None) -> set[tuple[str, str]]:
    system = replace(system or toys.hostile(), machines=(machine,))
    return {(one.title, one.row) for one in lints.Linter(system, machine).obligations() if one.verdict != "proved"}


def test_the_request_machine_is_disjoint_complete_and_alive() -> None:
    assert set() == complaints(op.MACHINE, op_system())


def test_a_good_table_has_no_complaints() -> None:
    assert set() == complaints(toys.clerk())


def edited(key: str, change: Callable[[Row], Row | None]) -> Machine:
    return toys.clerk().with_table(lambda row: change(row) if row.key == key else row)


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        (edited("READ->ASKED", lambda r: replace(r, when=ALWAYS)), (lints.DISJOINT, "READ->ASKED, READ->DONE on GO")),
        (edited("READ->DONE", lambda r: None), (lints.COMPLETE, "READ on GO")),
        (edited("READ->ASKED", lambda r: replace(r, when=toys.desk.copy < 5)), (lints.COMPLETE, "READ on GO")),
        (edited("DONE->REST", lambda r: replace(r, when=NEVER)), (lints.LIVE, "DONE->REST")),
        (edited("DONE->REST", lambda r: None), (lints.ANSWERED, "DONE on GO")),
        (edited("READ->DONE", lambda r: replace(r, next=toys.Stage.ASKED, name="x")), (lints.ASKED, "READ->ASKED (x)")),
        (edited("READ->ASKED", lambda r: replace(r, next=toys.Stage.REST)), (lints.ASKED, "READ->REST")),
    ],
)
def test_each_mistake_is_named(machine: Machine, expected: tuple[str, str]) -> None:
    assert expected in complaints(machine)


def test_an_answer_that_nobody_asks_for_any_more_is_judged_by_the_table_that_did() -> None:
    machine = edited("READ->ASKED", lambda r: replace(r, asks=()))
    found = lints.Linter(toys.hostile(), toys.clerk()).answers(machine, machine.row("READ->ASKED"))

    assert ("violated", lints.ASKED) == (found.verdict, found.title)


class Lost(Event):
    """Something that is taken away from the world when it is looked at."""

    offered = toys.lock.taken
    takes = (toys.lock.taken.becomes(False),)


def test_a_pair_that_can_come_must_be_in_the_table_or_ignored() -> None:
    row = Row(toys.Stage.REST, Lost, ALWAYS, (), (), toys.Stage.REST, "toy")
    machine = replace(toys.clerk(), table=(*toys.clerk().table, row))
    others = tuple(Ignored(place, Lost, "nothing to do with us") for place in list(toys.Stage)[1:])

    assert {(lints.ANSWERED, f"{place.name} on Lost") for place in list(toys.Stage)[1:]} == complaints(machine)
    assert set() == complaints(replace(machine, ignored=others))


def test_a_pair_that_cannot_come_given_what_is_known_is_no_gap() -> None:
    row = Row(toys.Stage.REST, Lost, ALWAYS, (), (), toys.Stage.REST, "toy")
    known = {"taken only at rest": (toys.desk.at != toys.Stage.REST).implies(~toys.lock.taken)}
    machine = replace(toys.clerk(), table=(*toys.clerk().table, row), known=known)

    assert set() == complaints(machine)


def test_variables_are_written_and_read_by_somebody() -> None:
    system = toys.hostile()
    quiet = replace(system, claims_of=lambda _: ())
    heard = replace(system, claims_of=lambda _: (always("t", "T", toys.desk.answer == 0),))

    def names(*systems: System) -> set[tuple[str, str]]:
        return {(one.title, one.row) for one in lints.variables(systems) if one.verdict != "proved"}

    assert {(lints.READ, "desk.answer")} == names(quiet)
    assert set() == names(quiet, heard)
    unset = quiet.machines[0].with_table(
        lambda row: replace(row, then=tuple(u for u in row.then if u.var is not toys.desk.answer.variable))
    )

    assert (lints.WRITTEN, "desk.answer") in names(replace(heard, machines=(unset,)))


def test_contradictions_are_seen() -> None:
    assert lints.contradiction(replace(toys.mutex(), known={"never": NEVER}))
    assert not lints.contradiction(toys.mutex())
