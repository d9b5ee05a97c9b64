# SPDX-License-Identifier: Apache-2.0
"""Small systems whose answers are known, for the tests of the engines."""

from __future__ import annotations

from enum import Enum, auto

from pvpci.model.kernel.claims import Claim, always, each_step, leads_to
from pvpci.model.kernel.records import GO, Effect, Event, Record
from pvpci.model.kernel.systems import Move, System
from pvpci.model.kernel.tables import Machine, Otherwise, Row, table
from pvpci.model.kernel.terms import ALWAYS, Bits, Choice, Flag, after, choose, number

CITE = "toy"


class Spot(Enum):
    IDLE = auto()
    WANTS = auto()
    INSIDE = auto()


class Lock(Record):
    taken = Flag()
    count = Bits(2)  #: how many are inside


class Worker(Record):
    at = Choice(Spot)


lock = Lock("lock")
one, two = Worker("one"), Worker("two")


def worker(me: Worker, name: str, *, looks: bool = True, leaves: bool = True) -> Machine:
    """Waits for the lock, goes in, comes out. Broken ones do not look, or never leave."""
    rows = [
        Row(Spot.IDLE, GO, ALWAYS, (), (), Spot.WANTS, CITE),
        Row(
            Spot.WANTS, GO, ~lock.taken if looks else ALWAYS,
            (lock.taken.becomes(True), lock.count.becomes(lock.count + 1)), (), Spot.INSIDE, CITE,
        ),
    ]  # fmt: skip
    if leaves:
        rows.append(
            Row(
                Spot.INSIDE,
                GO,
                ALWAYS,
                (lock.taken.becomes(False), lock.count.becomes(lock.count - 1)),
                (),
                Spot.IDLE,
                CITE,
            )
        )
    return Machine(name, name, me.at, tuple(rows), records=(me, lock), resting=frozenset({Spot.INSIDE}))


INSIDE = ((one.at == Spot.INSIDE), (two.at == Spot.INSIDE))
LEMMAS = {
    "taken means somebody is inside": lock.taken == (INSIDE[0] | INSIDE[1]),
    "not both": ~(INSIDE[0] & INSIDE[1]),
    "counted": lock.count == choose(lock.taken, number(2, 1), 0),
}


def mutex_claims(_: object) -> tuple[Claim, ...]:
    return (
        always("only_one_is_inside", "T-1", ~(INSIDE[0] & INSIDE[1])),
        each_step(
            "the_lock_is_taken_when_it_is_free", "T-2", ~lock.taken, by="one", given=~INSIDE[0] & after(INSIDE[0])
        ),
        leads_to("who_is_inside_leaves", "T-3", INSIDE[0], ~INSIDE[0], fair=("one",)),
        leads_to("who_wants_gets", "T-4", one.at == Spot.WANTS, INSIDE[0], fair=("one", "two")),
    )


def mutex(*, looks: bool = True, leaves: bool = True, lemmas: bool = True) -> System:
    first = worker(one, "one", looks=looks, leaves=leaves)
    return System("mutex", (first, worker(two, "two")), (), mutex_claims, known=LEMMAS if lemmas else {})


class Stage(Enum):
    REST = auto()
    READ = auto()
    ASKED = auto()
    DONE = auto()


class Shared(Record):
    word = Bits(32)


class Desk(Record):
    at = Choice(Stage)
    copy = Bits(32)
    answer = Bits(32)


class Said(Event):
    value = Bits(32)
    ok = Flag()


shared, desk = Shared("shared", cell="page"), Desk("desk")
ASK = Effect("ask", {"what": Bits(32)}, Said)

RANK: dict[Enum, int] = {Stage.REST: 4, Stage.READ: 3, Stage.ASKED: 2, Stage.DONE: 1}


def clerk(*, checks: bool = True) -> Machine:
    """Reads a word that somebody else may rewrite at any time, and asks about it only if it is small."""
    rows = table(
        Row(Stage.REST, GO, ALWAYS, (desk.copy.becomes(shared.word),), (), Stage.READ, CITE),
        Row(
            Stage.READ,
            GO,
            desk.copy < 1000 if checks else desk.copy != 123456789,
            (),
            (ASK(desk.copy),),
            Stage.ASKED,
            CITE,
        ),
        Otherwise(Stage.READ, GO, (desk.answer.becomes(0),), (), Stage.DONE, CITE),
        Row(Stage.ASKED, Said, Said.ok, (desk.answer.becomes(Said.value),), (), Stage.DONE, CITE, name="answered"),
        Row(Stage.ASKED, Said, ~Said.ok, (desk.answer.becomes(0),), (), Stage.DONE, CITE, name="refused"),
        Row(Stage.DONE, GO, ALWAYS, (), (), Stage.REST, CITE),
    )
    known = {"only small words are asked about": (desk.at == Stage.ASKED).implies(desk.copy < 1000)}
    return Machine("clerk", "clerk", desk.at, rows, records=(desk, shared), known=known)


def clerk_claims(_: object) -> tuple[Claim, ...]:
    return (
        always("asks_only_about_small_words", "T-5", (desk.at == Stage.ASKED).implies(desk.copy < 1000)),
        each_step(
            "copies_what_it_reads", "T-6", after(desk.copy) == shared.word, by="clerk",
            given=(desk.at == Stage.REST) & (after(desk.at) != Stage.REST),
        ),
        leads_to("comes_to_rest", "T-7", desk.at == Stage.READ, desk.at == Stage.REST, fair=("clerk",), rank=RANK),
    )  # fmt: skip


def hostile(*, checks: bool = True) -> System:
    """The clerk against somebody who owns the page: decided by induction at full width."""
    return System("hostile", (clerk(checks=checks),), (), clerk_claims, hostile=frozenset({"page"}))


class Tick(Event):
    by = Bits(2)


class Clock(Record):
    now = Bits(4)
    spare = Bits(4)


clock = Clock("clock")


def ticking() -> System:
    """No machine at all: a clock of four bits, with a variable that nobody looks at."""
    move = Move(
        "tick",
        "time",
        clock.now < 12,
        (clock.now.becomes(clock.now + Tick.by.resize(4)), clock.spare.becomes(clock.now)),
        CITE,
        Tick,
    )
    return System("ticking", (), (move,), lambda _: (always("stays_below", "T-8", clock.now < 14),))
