# SPDX-License-Identifier: Apache-2.0
"""The effect loop over a machine made for it: one access before a choice, recording before effects, retries, faults."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import Any

import pytest

from pvpci.impl.engine import ATTEMPTS, Broken, Engine, Overtaken, Result, Unmatched
from pvpci.model.kernel.compiled import group
from pvpci.model.kernel.records import GO, Effect, Event, Record
from pvpci.model.kernel.tables import Access, Machine, Row
from pvpci.model.kernel.terms import ALWAYS, Bits, Choice
from pvpci.model.kernel.visible import Visible


class At(Enum):
    REST = auto()
    LOOK = auto()
    ASKED = auto()
    OVER = auto()
    LOST = auto()


class Mine(Record):
    at = Choice(At)
    kept = Bits(8)


class Shared(Record):
    word = Bits(8)


class Poked(Event):
    by = Bits(8)


class Answered(Event):
    with_ = Bits(8)


mine, shared = Mine("mine"), Shared("shared", cell="word")
ASK = Effect("ask", {"what": Bits(8)}, Answered)
TELL = Effect("tell", {})
TABLE = (
    Row(At.REST, Poked, ALWAYS, (mine.kept.becomes(Poked.by),), (), At.LOOK, "here"),
    Row(At.LOOK, GO, shared.word < 10, (), (ASK(shared.word),), At.ASKED, "here"),
    Row(
        At.LOOK,
        GO,
        (shared.word >= 10) & (shared.word < 200),
        (shared.word.becomes(mine.kept),),
        (TELL(),),
        At.REST,
        "here",
        Access.TRANSACTION,
    ),
    Row(At.ASKED, Answered, ALWAYS, (mine.kept.becomes(Answered.with_),), (), At.OVER, "here"),
    Row(At.OVER, GO, ALWAYS, (), (TELL(),), At.REST, "here"),
)
MACHINE = Machine("made", "us", mine.at, TABLE, (mine, shared))
GROUP = group([MACHINE])


class Word:
    """The cell; `log` is what happened to it."""

    def __init__(self, log: list[str]) -> None:
        self.value, self.refuse, self.log = 0, 0, log

    def load(self, state: Any) -> None:
        self.log.append("load")
        state.shared_word = self.value

    def carry_out(self, state: Any, row: Row) -> bool:
        if self.refuse:
            self.refuse -= 1
            self.log.append("overtaken")
            return False
        self.log.append("write")
        self.value = state.shared_word
        return True

    def leave(self) -> bool:
        self.log.append("leave")
        return True


class Recorded:
    def __init__(self, log: list[str]) -> None:
        self.log, self.steps = log, list[tuple[str, tuple[int, ...]]]()

    def step(self, visible: Visible, values: tuple[int, ...]) -> None:
        self.log.append("record")
        self.steps.append((visible.event, values))

    def append(self, entry: tuple[int, Visible, tuple[int, ...]]) -> None:
        self.step(*entry[1:])


class Made:
    def __init__(self, **settings: Any) -> None:
        self.log: list[str] = []
        self.word, self.recorded = Word(self.log), Recorded(self.log)
        self.answer: Callable[[int], Result | None] = lambda what: (Answered, (what + 1,))
        self.engine = Engine(
            GROUP, {"ask": self._ask, "tell": self._tell}, {"word": self.word}, self.recorded, **settings
        )

    def _ask(self, what: int) -> Result | None:
        self.log.append(f"ask {what}")
        return self.answer(what)

    def _tell(self) -> None:
        self.log.append("tell")

    def poke(self, by: int = 50) -> None:
        self.engine.deliver("made", Poked, by)


def test_a_step_loads_chooses_records_and_then_asks() -> None:
    made = Made()
    made.word.value = 3
    made.poke()

    assert ["record", "load", "leave", "record", "ask 3", "record", "record", "tell"] == made.log
    assert [("Poked", (50,)), ("GO", (3, 3)), ("Answered", (4,)), ("GO", ())] == made.recorded.steps
    assert (At.REST, 4) == (made.engine.at("made"), made.engine.state.mine_kept)


def test_what_is_written_is_carried_out_before_the_effects() -> None:
    made = Made()
    made.word.value = 20
    made.poke(99)

    assert ["record", "load", "write", "record", "tell"] == made.log
    assert 99 == made.word.value


def test_a_transaction_that_is_overtaken_begins_again() -> None:
    made = Made()
    made.word.value, made.word.refuse = 20, ATTEMPTS - 1
    made.poke(99)

    assert ["load", "overtaken"] * (ATTEMPTS - 1) + ["load", "write"] == made.log[1:-2]
    assert (99, At.REST) == (made.word.value, made.engine.at("made"))


def test_one_that_is_always_overtaken_is_a_step_not_taken() -> None:
    made = Made()
    made.word.value, made.word.refuse = 20, ATTEMPTS
    with pytest.raises(Overtaken, match="made at LOOK"):
        made.poke(99)
    place, kept, value = made.engine.at("made"), made.engine.state.mine_kept, made.word.value
    made.engine.go("made")

    assert (At.LOOK, 99, 20) == (place, kept, value)
    assert (99, At.REST) == (made.word.value, made.engine.at("made"))
    assert 1 == made.log.count("tell")


def test_an_effect_may_be_answered_later() -> None:
    made = Made()
    made.answer = lambda what: None
    made.poke()
    waiting = made.engine.at("made")
    made.engine.deliver("made", Answered, 9)

    assert (At.ASKED, At.REST, 9) == (waiting, made.engine.at("made"), made.engine.state.mine_kept)


def test_no_row_for_an_event_is_a_fault() -> None:
    made = Made()
    with pytest.raises(Unmatched, match="made at REST has no row for Answered"):
        made.engine.deliver("made", Answered, 1)


def test_no_row_that_fits_is_a_fault_with_what_was_found() -> None:
    made = Made()
    made.word.value = 200
    with pytest.raises(Unmatched, match=r"made at LOOK: no row for GO\(\) with \(200,\)"):
        made.poke()


def test_the_monitor_stops_before_the_effect() -> None:
    made = Made(monitor=lambda state, machine: "all is lost" if state.mine_at == 2 else None)
    with pytest.raises(Broken, match=r"all is lost after made LOOK->ASKED \[here\]"):
        made.poke()

    assert "ask 0" not in made.log


def test_stops_are_rests_until_one_goes_on() -> None:
    made = Made(stops=(At.LOOK,))
    made.word.value = 20
    made.poke()
    place = made.engine.at("made")
    made.engine.go("made")

    assert (At.LOOK, At.REST) == (place, made.engine.at("made"))
    made.engine.go("made")
    assert 1 == made.log.count("tell")


def test_takes_says_whether_there_is_a_row() -> None:
    engine = Made().engine

    assert (True, False, False) == (
        engine.takes("made", Poked),
        engine.takes("made", Answered),
        engine.takes("made", GO),
    )
