# SPDX-License-Identifier: Apache-2.0
"""What a host must remember of the functions that it lends, and the small ways in which it forgets.

Each of these is a few lines anywhere, and each was wrong somewhere. A function has one holder, and an attempt to attach it
that fails leaves nothing behind (`attach`); whoever looks a function up gives back the reference that it took (`look_up`);
what is remembered of one card is not dropped with its twin (`leave`); what was allocated when a function was seized is
freed when it is let go (`let_go`); roots are told without a lock (`TELLING`); and a round of hot-plug does not fail over a
removal that nobody tidied up (`due`).

`due` runs as it stands here. The others say what the running code must do: there it is the order of its statements, which
its tests break at every point.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from pvpci.model.kernel.algorithms import Algorithm, Around, Known, Law, Step
from pvpci.model.kernel.terms import FLAG, Sort
from pvpci.model.kernel.values import V, every, no, pick, same, some, wide
from pvpci.model.topology import first

# Holding a function: one arbitrary function, two arbitrary guests


class Held(NamedTuple):
    """`owner`: 0 for nobody, else the guest's number plus 1. `listed`, `published`: by guest."""

    owner: V
    listed: tuple[V, V]
    published: tuple[V, V]


class Attempt(NamedTuple):
    """What the world has to say about it: any of the three may be refused."""

    guest: V
    opens: V
    is_placed: V
    is_written: V


def _mine(guest: V) -> tuple[V, V]:
    return guest == 0, guest == 1


def attach(
    held: Held, attempt: Attempt, free: Callable[[V], V] = lambda owner: owner == 0,
    kept: Callable[[Held, Held], Held] = lambda before, reached: before,
) -> tuple[Held, V]:  # fmt: skip
    """Open, place, publish; `kept` is what remains of an attempt that fails."""
    mine = _mine(attempt.guest)
    opened = every(free(held.owner), attempt.opens)
    placed = every(opened, attempt.is_placed)
    ok = every(placed, attempt.is_written)
    reached = Held(
        pick(opened, wide(attempt.guest, 2) + 1, held.owner),
        tuple(some(was, every(placed, me)) for was, me in zip(held.listed, mine, strict=True)),
        tuple(some(was, every(ok, me)) for was, me in zip(held.published, mine, strict=True)),
    )
    return pick(ok, reached, kept(held, reached)), ok


def detach(held: Held, guest: V) -> tuple[Held, V]:
    has = some(*(every(was, me) for was, me in zip(held.listed, _mine(guest), strict=True)))
    return pick(has, Held(0, (False, False), (False, False)), held), has


def holding(**rules: Callable[..., Any]) -> Algorithm:
    def adds_up(_: object, held: Held) -> V:
        return every(
            *((held.owner == number + 1) == listed for number, listed in enumerate(held.listed)),
            *(some(no(said), listed) for said, listed in zip(held.published, held.listed, strict=True)),
            held.owner < 3,
        )  # fmt: skip

    guest = Sort(1)
    two = (FLAG, FLAG)
    return Algorithm(
        "holding", Held(Sort(2), two, two), Held(0, (False, False), (False, False)),
        (
            Step("attach", Attempt(guest, FLAG, FLAG, FLAG), lambda held, one: attach(held, one, **rules)),
            Step("detach", guest, detach),
        ),
        (
            Law("an_attempt_that_fails_leaves_no_trace", "C-61", (), lambda _, around: same(around.before, around.after),
                lambda _, around: no(around.answer), steps=("attach",)),
            Law("a_function_has_one_holder", "C-63", (), lambda _, held: no(every(*held.listed))),
            Law("what_is_held_is_not_given_away", "C-63", (),
                lambda _, around: every(no(around.answer), around.after.owner == around.before.owner),
                lambda _, around: no(around.before.owner == 0), steps=("attach",)),
        ),
        {"owner and lists agree": Known(adds_up)},
        says="one arbitrary function, two arbitrary guests; opening, placing and publishing may each be refused",
    )  # fmt: skip


# References: one arbitrary function


def look_up(
    references: V, is_known: V, gives_back: Callable[[V], V] = lambda taken: taken, fails: Callable[[V], V] = no
) -> tuple[V, V]:
    """An attribute is written: the function is looked up, something is done with it. The answer is whether that failed."""
    taken = pick(is_known, references + 1, references)
    return pick(gives_back(is_known), taken - 1, taken), fails(is_known)


def references(**rules: Callable[..., Any]) -> Algorithm:
    return Algorithm(
        "references", Sort(4), 1, (Step("write", FLAG, lambda count, known: look_up(count, known, **rules)),),
        (
            Law("a_look_up_gives_back_what_it_took", "D-11", (), lambda _, around: around.after == around.before,
                steps=("write",)),
            Law("what_is_not_known_is_an_error", "D-11", (), lambda _, around: around.answer,
                lambda _, around: no(around.taken), steps=("write",)),
        ),
        says="one arbitrary function", called="references",
    )  # fmt: skip


# A registry: what is remembered of each function

TRACKED: Final = 3


class Card(NamedTuple):
    """A function by its address (one number here), and the ids by which drivers know its kind."""

    used: V
    address: V
    kind: V


CARD: Final = Card(FLAG, Sort(32), Sort(32))
Registry = tuple[Card, ...]


def enter(registry: Registry, card: Card) -> tuple[Registry, V]:
    known = some(*(every(one.used, one.address == card.address) for one in registry))
    gaps = first([no(one.used) for one in registry])
    ok = every(no(known), some(*gaps))
    new = card._replace(used=True)
    return tuple(pick(every(ok, gap), new, one) for gap, one in zip(gaps, registry, strict=True)), ok


def leave(
    registry: Registry, card: Card, is_it: Callable[[Card, Card], V] = lambda one, card: one.address == card.address
) -> tuple[Registry, V]:
    hits = first([every(one.used, is_it(one, card)) for one in registry])
    return tuple(pick(hit, Card(False, 0, 0), one) for hit, one in zip(hits, registry, strict=True)), some(*hits)


def registry(**rules: Callable[..., Any]) -> Algorithm:
    def is_in(state: Registry, card: Card) -> V:
        return some(*(every(one.used, one.address == card.address) for one in state))

    def once(card: Card, state: Registry) -> V:
        hits = [every(one.used, one.address == card.address) for one in state]
        return every(*(some(no(hit), is_first) for hit, is_first in zip(hits, first(hits), strict=True)))

    def only_it(other: Card, around: Around) -> V:
        is_gone = no(is_in(around.after, around.taken))
        stays = is_in(around.before, other) == is_in(around.after, other)
        return every(is_gone, some(around.taken.address == other.address, stays))

    def knows_it(_: object, around: Around) -> V:
        return some(*(every(one.used, same(one[1:], around.taken[1:])) for one in around.before))

    return Algorithm(
        "registry", (CARD,) * TRACKED, (Card(False, 0, 0),) * TRACKED,
        (Step("enter", CARD, enter), Step("leave", CARD, lambda state, card: leave(state, card, **rules))),
        (Law("the_twin_of_a_card_stays", "D-12", CARD, only_it, knows_it, steps=("leave",)),),
        {"an address is there once": Known(once, CARD)},
        says=f"{TRACKED} arbitrary cards", called="cards",
    )  # fmt: skip


# What was allocated when a function was seized


class Seized(NamedTuple):
    is_reachable: V  #: the driver's data point to it
    is_allocated: V


def let_go(seized: Seized, reached: Callable[[Seized], V] = lambda seized: seized.is_reachable) -> tuple[Seized, V]:
    """Free what can still be reached, then forget where it is."""
    found = reached(seized)
    return Seized(False, every(seized.is_allocated, no(found))), found


def seizing(**rules: Callable[..., Any]) -> Algorithm:
    return Algorithm(
        "seizing", Seized(FLAG, FLAG), Seized(False, False),
        (
            Step("seize", (), lambda seized, _: (Seized(True, True), True)),
            Step("let go", (), lambda seized, _: let_go(seized, **rules)),
        ),
        (Law("what_was_allocated_is_freed", "D-13", (), lambda _, around: no(around.after.is_allocated),
             steps=("let go",)),),
        {"what is allocated can be reached": Known(
            lambda _, seized: some(no(seized.is_allocated), seized.is_reachable))},
        says="one arbitrary function",
    )  # fmt: skip


# Telling the roots

#: In this order: the list is copied under the lock, and told without it, because telling may sleep.
TELLING: Final = ("lock", "copy", "unlock", "tell")


class Telling(NamedTuple):
    at: V
    is_locked: V


def telling(order: Sequence[str] = TELLING) -> Algorithm:
    def go(state: Telling, _: object) -> tuple[Telling, V]:
        here = [state.at == number for number in range(len(order))]
        locks = some(*(at for at, what in zip(here, order, strict=True) if what == "lock"))
        unlocks = some(*(at for at, what in zip(here, order, strict=True) if what == "unlock"))
        tells = some(*(at for at, what in zip(here, order, strict=True) if what == "tell"))
        return Telling(pick(here[-1], 0, state.at + 1), some(locks, every(state.is_locked, no(unlocks)))), tells

    held = {number for number in range(len(order)) if "lock" in order[:number] and "unlock" not in order[:number]}
    return Algorithm(
        "telling", Telling(Sort(3), FLAG), Telling(0, False), (Step("go", (), go),),
        (Law("nothing_that_may_sleep_is_done_under_the_lock", "D-14", (), lambda _, around: no(around.before.is_locked),
             lambda _, around: around.answer, steps=("go",)),),
        {"the lock is held from one to the other": Known(lambda _, state: every(
            state.at < len(order), state.is_locked == some(*(state.at == number for number in held))))},
        says="one pass after the other",
    )  # fmt: skip


# A round of hot-plug: one arbitrary index

INITIALISING, ATTACHED, CLOSING = 1, 3, 5


class Due(NamedTuple):
    """What a round has to do about an index."""

    attach: V
    publish: V
    drop: V
    fails: V


def due(wish: V, is_attached: V) -> Due:
    """`wish` is what `state-N` says. A removal that was done before, and not tidied up, is nothing to do."""
    return Due(
        every(wish == INITIALISING, no(is_attached)), wish == INITIALISING, every(wish == CLOSING, is_attached), False
    )


class Index(NamedTuple):
    wish: V
    is_attached: V


def rounds(rule: Callable[[V, V], Due] = due) -> Algorithm:
    def plays(index: Index, can_be_had: V) -> tuple[Index, V]:
        what = rule(*index)
        gets = every(what.attach, can_be_had)
        now = every(some(index.is_attached, gets), no(what.drop))
        done = every(what.publish, now, no(what.fails))
        return Index(pick(done, ATTACHED, index.wish), now), what.fails

    return Algorithm(
        "rounds", Index(Sort(3), FLAG), Index(0, False),
        (
            Step("list", Sort(3), lambda index, wish: (index._replace(wish=wish), True), "toolstack"),
            Step("round", FLAG, plays),
        ),
        (
            Law("a_removal_that_was_not_tidied_up_stops_no_round", "D-15", (), lambda _, around: no(around.answer),
                lambda _, around: around.before.wish == CLOSING, steps=("round",)),
            Law("a_removal_removes", "D-15", (), lambda _, around: no(around.after.is_attached),
                lambda _, around: around.before.wish == CLOSING, steps=("round",)),
            Law("a_function_that_can_be_had_is_attached", "D-15", (),
                lambda _, around: every(around.after.is_attached, around.after.wish == ATTACHED),
                lambda _, around: every(around.before.wish == INITIALISING, around.taken), steps=("round",)),
        ),
        says="one arbitrary index",
    )  # fmt: skip


ALGORITHMS: Final = (holding(), references(), registry(), seizing(), telling(), rounds())
