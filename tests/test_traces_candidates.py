# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools
from typing import Any

import pytest

from pvpci.model import connection, op
from pvpci.model.kernel import compiled
from pvpci.model.kernel.records import Record
from pvpci.model.kernel.terms import FLAG, Bits, Flag, Sort, Term, choose
from pvpci.model.states import Xenbus
from pvpci.traces.candidates import MOST, Candidates, WrongValue, decode, evaluate
from pvpci.traces.format import Asked, Line
from pvpci.traces.subject import reference

SUBJECT = reference()
SLOW = Candidates(SUBJECT)
Op, Conn = op.At, connection.At


class Few(Record):
    a = Bits(2)
    b = Bits(2)
    p = Flag()
    q = Flag()


few = Few("few")
TERMS: list[Term] = [
    few.p & few.q, few.p | few.q, ~few.p, few.a == few.b, few.a < few.b, few.a + few.b, few.a - few.b, few.a & few.b,
    few.a | few.b, few.a ^ few.b, ~few.a, few.a << 1, few.a >> 1, few.a.resize(3) + few.b.resize(3),
    choose(few.p, few.a, few.b), few.p.implies(few.a == 1), (few.a & 0) == 0,
]  # fmt: skip


@pytest.mark.parametrize("term", TERMS, ids=repr)
def test_a_term_over_gaps_is_what_it_is_for_all_ways_to_fill_them(term: Term) -> None:
    variables = few.variables
    for values in itertools.product(*([None, *range(var.sort.size)] for var in variables)):
        fillings = itertools.product(
            *(range(v.sort.size) if x is None else [x] for v, x in zip(variables, values, strict=True))
        )
        results = {compiled.evaluate(term, dict(zip(variables, full, strict=True))) for full in fillings}
        found = evaluate(term, dict(zip(variables, values, strict=True)))

        if None not in values:
            assert results == {found}
        assert found is None or results == {found}


@pytest.mark.parametrize(
    ("sort", "value", "expected"),
    [(FLAG, True, 1), (FLAG, False, 0), (Sort(8), 255, 255), (Sort(4, tuple(Xenbus)), "CLOSING", 5)],
)
def test_values_of_lines_are_values_of_machines(sort: Sort, value: Any, expected: int) -> None:
    assert expected == decode(sort, value)


@pytest.mark.parametrize(
    ("sort", "value"), [(FLAG, 2), (FLAG, "yes"), (Sort(8), 256), (Sort(8), "1"), (Sort(4, tuple(Xenbus)), 5)]
)
def test_values_of_another_sort_are_told(sort: Sort, value: Any) -> None:
    with pytest.raises(WrongValue):
        decode(sort, value)


def state(**values: Any) -> Any:
    made = SUBJECT.initial()
    for name, value in values.items():
        setattr(made, name, list(type(value)).index(value) if isinstance(value, Op | Conn) else value)
    return made


def step(machine: str, event: str = "GO", **parts: Any) -> Line:
    return Line(seq=1, t_ns=0, guest="g", kind="x", machine=machine, event=event, **parts)


def places(states: list[Any], machine: str = "op") -> set[str]:
    part = SUBJECT.parts[machine]
    return {part.places[getattr(one, part.attribute)].name for one in states}


def test_hidden_steps_are_closed_over() -> None:
    closed = SLOW.closed([state(my_at=Op.TOLD, conn_at=Conn.CLOSE, link_bound=1, link_mapped=1)])

    assert {"TOLD", "AGAIN"} == places(closed)
    assert {"CLOSE", "QUIET"} == places(closed, "connection")


def test_closing_may_or_may_not_have_begun_when_the_flags_are_read() -> None:
    flags = {"flags.active": True, "flags.handler": False, "flags.aer": False}
    before = state(my_at=Op.TAKEN, conn_at=Conn.CLOSE, link_bound=1, link_mapped=1)

    assert {"CLAIMED", "LEFT"} == places(SLOW.step([before], step("op", found=flags)).states)


def test_gaps_are_filled_by_what_is_shown() -> None:
    unknown = SUBJECT.unknown()
    after = SLOW.step([unknown], step("op", wrote={"page.err": 7})).states

    assert {"ERR_STORED"} == places(after)
    assert [7] == [one.answer_err for one in after]


def test_the_place_of_a_machine_that_says_nothing_stays_open() -> None:
    after = SLOW.step([SUBJECT.unknown()], step("op", asked=[Asked("notify")])).states

    assert [None] == [one.conn_at for one in after]
    assert {"TOLD"} == places(after)


def test_a_false_guard_excludes_and_says_why() -> None:
    outcome = SLOW.step(
        [state(my_at=Op.ASKED, conn_at=Conn.QUIET)], step("connection", "AtRest", asked=[Asked("unbind")])
    )

    assert [] == outcome.states
    assert ["QUIET->UNBOUND"] == [one.view.row.key for one in outcome.misfits]
    assert all(one.false for one in outcome.misfits)


def test_a_differing_value_excludes_and_is_told() -> None:
    outcome = SLOW.step([state(my_at=Op.MATCHED, answer_err=3)], step("op", wrote={"page.err": 4}))

    assert [] == outcome.states
    assert [(("page.err", 4, 3),)] == [one.differs for one in outcome.misfits]


def test_ignored_events_change_nothing() -> None:
    before = state(conn_at=Conn.LOOK)

    assert [SLOW.key(before)] == [
        SLOW.key(one) for one in SLOW.step([before], step("connection", "FrontChanged")).states
    ]


def test_too_many_candidates_become_one_with_gaps() -> None:
    many = [state(copy_value=number, my_at=Op.FOUND) for number in range(MOST + 1)]
    (merged,) = SLOW.unique(many)

    assert merged.copy_value is None
    assert {"FOUND"} == places([merged])
    assert SLOW.has_gaps(merged)
    assert not SLOW.has_gaps(many[0])
