# SPDX-License-Identifier: Apache-2.0
"""Tables that cannot be run as they are written are refused when they are built; so are dialects that fit no row."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum, auto
from typing import Any

import pytest
from tests import proofs_toys as toys

from pvpci.model.kernel.dialects import Dialect, add, by_id, change, drop, forget
from pvpci.model.kernel.records import GO, Record
from pvpci.model.kernel.tables import Access, Machine, Otherwise, Row, TableError, access_of, cells_of, table
from pvpci.model.kernel.terms import ALWAYS, Bits, Choice, Flag, after
from pvpci.model.kernel.words import show


class Spot(Enum):
    HERE = auto()
    THERE = auto()


class Mine(Record):
    at = Choice(Spot)
    n = Bits(8)


class Cell(Record):
    word = Bits(8)
    flag = Flag()


mine, page, store, ghost = (
    Mine("mine"),
    Cell("page", cell="page"),
    Cell("store", cell="store"),
    Cell("ghost", ghost=True),
)


def machine(*rows: Row | Otherwise, **more: Any) -> Machine:
    return Machine("toy", "toy", mine.at, table(*rows), records=(mine, page, store, ghost), **more)


def row(when: Flag = ALWAYS, then: tuple[Any, ...] = (), **more: Any) -> Row:
    return Row(Spot.HERE, GO, when, then, (), Spot.THERE, more.pop("cite", "toy"), **more)


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ((row(cite=""),), "cites nothing"),
        ((row(when=Spot.HERE == Spot.THERE),), "the guard is False"),  # type: ignore[comparison-overlap, arg-type]
        ((row(page.flag & store.flag),), "touches several cells"),
        ((row(page.flag), row(store.flag, name="b")), r"touch several cells: \['page', 'store'\]"),
        ((row(ghost.flag),), "for the proofs only: ghost.flag"),
        ((row(then=(ghost.flag.becomes(True),)),), "for the proofs only: ghost.flag"),
        ((row(page.flag, (page.flag.becomes(False),)),), "neither LOCKED nor a TRANSACTION"),
        ((row(page.word == 1, (mine.n.becomes(page.word),), access=Access.COPY),), "decides on what it copies"),
        ((row(then=(mine.n.becomes(1), mine.n.becomes(1))),), "gives mine.n two values"),
        ((row(after(mine.n) == 1),), "looks at a value after the step: mine.n'"),
        ((row(toys.lock.taken),), "lock.taken belongs neither to the machine's records nor to GO"),
        ((row(), row()), "need a name to be told apart: HERE->THERE"),
        ((replace(row(), next=toys.Spot.IDLE),), "is not between places"),
    ],
)
def test_tables_that_cannot_be_run_are_refused(bad: tuple[Row, ...], why: str) -> None:
    with pytest.raises(TableError, match=why):
        machine(*bad)


def test_locked_rows_may_read_and_write_their_cell() -> None:
    made = machine(row(page.flag, (page.flag.becomes(False),), access=Access.LOCKED))

    assert "page" == made.cell(Spot.HERE, GO)
    assert {"page"} == cells_of(made.table[0])


def test_access_follows_from_what_a_row_touches() -> None:
    assert Access.NONE is access_of(row(mine.n == 1))
    assert Access.READ is access_of(row(page.flag))
    assert Access.WRITE is access_of(row(then=(page.flag.becomes(True),)))
    assert Access.COPY is access_of(row(then=(mine.n.becomes(page.word),), access=Access.COPY))


def test_otherwise_is_the_complement_of_its_neighbours() -> None:
    rest = Otherwise(Spot.HERE, GO, (), (), Spot.THERE, "toy", name="rest")
    made = machine(row(mine.n == 1, name="one"), row(mine.n == 2, name="two"), rest)

    assert "~((mine.n == 1) | (mine.n == 2))" == show(made.row("HERE->THERE (rest)").when)


def test_a_row_is_found_by_its_key_only() -> None:
    made = machine(row())

    assert made.table[0] is made.row("HERE->THERE")
    with pytest.raises(TableError, match="toy has no row HERE->HERE; it has HERE->THERE"):
        made.row("HERE->HERE")


def dialect(*edits: Any, machine: str = "clerk", **more: Any) -> Dialect:
    return Dialect("t01", "toy", machine, "toy", edits, ("T-5",), **more)


def test_a_dialect_changes_drops_and_adds_rows() -> None:
    reference = toys.clerk()
    more = Row(toys.Stage.DONE, GO, ALWAYS, (), (), toys.Stage.DONE, "toy")
    changed = dialect(
        change("READ->ASKED", when=ALWAYS), drop("READ->DONE"), add(more), forget("only small words are asked about")
    ).machine_of(reference)

    assert ALWAYS is changed.row("READ->ASKED").when
    assert [row.key for row in reference.table if row.key != "READ->DONE"] + ["DONE->DONE"] == [
        r.key for r in changed.table
    ]
    assert {} == changed.known
    assert reference.row("READ->ASKED").when is not ALWAYS


@pytest.mark.parametrize(
    "edit", [change("READ->REST", when=ALWAYS), drop("ASKED->DONE"), forget("nothing of the kind")]
)
def test_a_change_that_fits_no_row_is_an_error(edit: Any) -> None:
    with pytest.raises(TableError):
        dialect(edit).machine_of(toys.clerk())


def test_a_dialect_of_a_machine_that_is_not_there_is_an_error() -> None:
    with pytest.raises(TableError, match="dialect t01 changes op, which hostile does not contain"):
        dialect(machine="op").system_of(toys.hostile())


def test_dialects_are_found_whatever_the_case() -> None:
    known = (dialect(),)

    assert known[0] is by_id(known, "T01")
    with pytest.raises(KeyError):
        by_id(known, "t02")
