# SPDX-License-Identifier: Apache-2.0
"""What is claimed of the two virtual buses, for all functions and all that can have happened before.

The bus `vpci` is proved as it is: 32 slots with anything in them that `KNOWN` allows, and `KNOWN` holds at the start and
after each step. The laws speak of two arbitrary functions and an arbitrary address, so of all of them.

The list of `passthrough` has any length. It is proved for `TRACKED` entries, each arbitrary or a gap: a rule looks at one
entry at a time and a law speaks of two functions and the one that is added or released, so entries beyond those three
are as good as gaps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Final, NamedTuple

from pvpci.model.config.identity import is_bridge
from pvpci.model.kernel.algorithms import Algorithm, Around, Known, Law, Step
from pvpci.model.kernel.terms import Sort
from pvpci.model.kernel.values import V, every, no, pick, same, some
from pvpci.model.topology import (
    ADDRESS,
    EMPTY,
    ENTRY,
    FUNCTION,
    NEWCOMER,
    NOBODY,
    ROOT,
    SLOT,
    SLOTS,
    VPCI,
    Added,
    Address,
    Bus,
    Entry,
    Function,
    Newcomer,
    Passthrough,
    Root,
    Slot,
    Vpci,
    among,
    has,
    numbered,
    of_one,
    publish,
    root_of,
    used,
)  # fmt: skip
from pvpci.model.topology import PASSTHROUGH as PASSTHROUGH_ENGINE

TRACKED: Final = 4


class Pair(NamedTuple):
    one: Function
    two: Function


PAIR: Final = Pair(FUNCTION, FUNCTION)
ADD, RELEASE = "add", "release"


# What both have in common


def _both_found(engine: Bus, state: V, pair: Pair) -> V:
    return every(engine.find(state, pair.one)[0], engine.find(state, pair.two)[0], no(same(pair.one, pair.two)))


def _found_from(engine: Bus, state: V, function: Function) -> V:
    """Found, and its address leads back to it."""
    is_here, address = engine.find(state, function)
    found, back = engine.get(state, address)
    return every(is_here, found, same(back, function))


def _unmoved(engine: Bus, before: V, after: V, other: Function) -> V:
    """It is where it was, or still not there."""
    was, there = engine.find(before, other)
    now, here = engine.find(after, other)
    return every(was == now, some(no(was), same(there, here)))


def _common(engine: Bus, where: str, others: str) -> tuple[Law, ...]:
    def subject(around: Around) -> Function:
        taken = around.taken
        return taken.at if isinstance(taken, Newcomer) else taken

    def is_told(_: object, around: Around) -> V:
        added: Added = around.answer
        _, address = engine.find(around.after, around.taken.at)
        return every(same(address, added.address), _found_from(engine, around.after, around.taken.at))

    def own_address(address: Address, state: V) -> V:
        _, function = engine.get(state, address)
        found, there = engine.find(state, function)
        return every(found, same(there, address))

    return (
        Law("a_function_is_reached_at_its_own_address_only", "C-14", ADDRESS, own_address,
            lambda address, state: engine.get(state, address)[0],
            besides=lambda address, state: engine.get(state, address)[1]),
        Law("what_is_told_is_where_it_is_found", where, (), is_told, lambda _, around: around.answer.ok, steps=(ADD,)),
        Law("an_address_leads_back_to_its_function", where, FUNCTION,
            lambda one, state: _found_from(engine, state, one), lambda one, state: engine.find(state, one)[0]),
        Law("others_stay_where_they_are", others, FUNCTION,
            lambda other, around: _unmoved(engine, around.before, around.after, other),
            lambda other, around: no(same(other, subject(around))), steps=(ADD, RELEASE)),
        Law("what_is_refused_changes_nothing", "C-61", (),
            lambda _, around: same(around.before, around.after), lambda _, around: no(around.answer.ok), steps=(ADD,)),
    )  # fmt: skip


def _steps(engine: Bus) -> tuple[Step, ...]:
    return (Step(ADD, NEWCOMER, engine.add), Step(RELEASE, FUNCTION, engine.release))


# vpci


def _alone(table: tuple[Slot, ...], function: Function) -> V:
    """What is said of the slot in which it is."""
    _, address = VPCI.find(table, function)
    return among([address.devfn >> 3 == at for at in range(SLOTS)], [slot.alone for slot in table])


def _company(other: Function, around: Around) -> V:
    new: Newcomer = around.taken
    _, mine = VPCI.find(around.after, new.at)
    _, theirs = VPCI.find(around.after, other)
    one_slot = every(new.at.segment == other.segment, new.at.bus == other.bus, new.at.slot == other.slot)
    lone = every(new.is_virtual, new.at.function == 0)
    return (mine.devfn >> 3 == theirs.devfn >> 3) == every(one_slot, no(lone), no(_alone(around.before, other)))


def _inside(engine: Vpci) -> Law:
    def holds(function: Function, state: V) -> V:
        _, address = engine.find(state, function)
        low = address.devfn & 7
        return every(
            address.domain == 0, address.bus == 0, address.devfn < 8 * SLOTS,
            some(*(every(low == number, function.function == number) for number in range(8))),
        )  # fmt: skip

    return Law("a_function_keeps_its_number", "C-55", FUNCTION, holds, lambda one, state: engine.find(state, one)[0])


def at_most_one(flags: Sequence[V]) -> V:
    found, before = [], False
    for flag in flags:
        found.append(no(every(flag, before)))
        before = some(before, flag)
    return every(*found)


def _in_one_slot(function: Function, table: tuple[Slot, ...]) -> V:
    mine = numbered(function.function)
    return at_most_one([every(of_one(slot, function), has(slot, mine)) for slot in table])


def _in_one_group(function: Function, table: tuple[Slot, ...]) -> V:
    return at_most_one([every(used(slot), of_one(slot, function), no(slot.alone)) for slot in table])


VPCI_KNOWN: Final = {
    "who stays alone is function 0": Known(
        lambda _, table: every(*(some(no(slot.alone), same(slot.present, numbered(0))) for slot in table))
    ),
    "a function is in one slot at most": Known(_in_one_slot, FUNCTION),
    "one physical slot has one shared slot at most": Known(_in_one_group, FUNCTION),
}


def vpci(engine: Vpci = VPCI) -> Algorithm:
    """The bus with 32 slots."""
    full = Law(
        "room_is_used", "C-57", (),
        lambda _, around: some(around.answer.here, every(*(used(slot) for slot in around.before))),
        lambda _, around: no(around.answer.ok), steps=(ADD,),
    )  # fmt: skip
    return Algorithm(
        "vpci", (SLOT,) * SLOTS, (EMPTY,) * SLOTS, _steps(engine),
        (
            *_common(engine, "C-56", "C-58"),
            Law("no_two_functions_share_an_address", "C-55", PAIR,
                lambda pair, state: no(same(engine.find(state, pair.one)[1], engine.find(state, pair.two)[1])),
                lambda pair, state: _both_found(engine, state, pair)),
            _inside(engine),
            Law("a_slot_is_shared_within_one_physical_slot", "C-57", FUNCTION, _company,
                lambda other, around: every(around.answer.ok, engine.find(around.before, other)[0]), steps=(ADD,)),
            Law("only_a_virtual_function_0_stays_alone", "C-57", (),
                lambda _, around: _alone(around.after, around.taken.at)
                == every(around.taken.is_virtual, around.taken.at.function == 0),
                lambda _, around: around.answer.ok, steps=(ADD,)),
            full,
            Law("what_is_released_is_gone", "C-58", (),
                lambda _, around: no(engine.find(around.after, around.taken)[0]), steps=(RELEASE,)),
        ),
        VPCI_KNOWN,
        says="any contents of the 32 slots; laws about two arbitrary functions", called="slots",
    )  # fmt: skip


# Who may be on either


def guests_functions(bridge: Callable[[V, V], V] = is_bridge) -> Algorithm:
    """Functions as their registers say what they are."""

    def refused(about: tuple[V, V], _: object) -> V:
        class_and_revision, header = about
        layout_1 = [((header >> place) & 1) == int(place == 0) for place in range(7)]
        base_class_6 = [((class_and_revision >> 24 >> place) & 1) == int(place in (1, 2)) for place in range(8)]
        return bridge(header, class_and_revision >> 8) == some(every(*layout_1), every(*base_class_6))

    return Algorithm(
        "functions", (), (), (), (Law("bridges_are_refused", "C-62", (Sort(32), Sort(8)), refused),),
        says="all contents of the registers 08 and 0e",
    )  # fmt: skip


# passthrough


class Listed(NamedTuple):
    """The list, and the roots that the guest was told so far."""

    entries: tuple[Entry, ...]
    roots: tuple[Root, ...]


def _told(roots: tuple[Root, ...], root: Root) -> V:
    return some(*(same(one, root) for one in roots))


def _add(engine: Passthrough, filtered: bool) -> Step:
    def does(state: Listed, new: Newcomer) -> tuple[Listed, Added]:
        entries, added = engine.add(state.entries, new)
        root = root_of(new.at)
        roots, _, full = publish(state.roots, root) if filtered else _again(state.roots, root)
        ok = every(added.ok, no(full))
        return pick(ok, Listed(entries, roots), state), added._replace(ok=ok)

    return Step(ADD, NEWCOMER, does)


def _again(roots: tuple[Root, ...], root: Root) -> tuple[tuple[Root, ...], V, V]:
    """Without asking whether it was published."""
    gaps = [no(one.used) for one in roots]
    free, after = some(*gaps), roots
    for at, gap in reversed(list(enumerate(gaps))):
        after = pick(gap, (*roots[:at], root, *roots[at + 1 :]), after)
    return after, free, no(free)


def _distinct(listed: Sequence[V]) -> V:
    return every(*(some(no(one.used), no(same(one, two))) for one, two in combinations(listed, 2)))


def _only_its_root(root: Root, around: Around) -> V:
    mine = every(around.answer.ok, same(root, root_of(around.taken.at)))
    return _told(around.after.roots, root) == some(_told(around.before.roots, root), mine)


def passthrough(engine: Passthrough = PASSTHROUGH_ENGINE, *, filtered: bool = True) -> Algorithm:
    """The machine's own addresses, and the roots."""

    class Over:
        """The engine over the whole state."""

        name = engine.name
        start = staticmethod(engine.start)
        roots = staticmethod(engine.roots)
        add = staticmethod(_add(engine, filtered).does)

        @staticmethod
        def find(state: Listed, function: Function) -> tuple[V, Address]:
            return engine.find(state.entries, function)

        @staticmethod
        def get(state: Listed, address: Address) -> tuple[V, Function]:
            return engine.get(state.entries, address)

        @staticmethod
        def release(state: Listed, function: Function) -> tuple[Listed, V]:
            entries, was = engine.release(state.entries, function)
            return state._replace(entries=entries), was

    def once(state: Listed) -> V:
        return every(
            _distinct(state.entries), *(some(no(e.used), _told(state.roots, root_of(e.at))) for e in state.entries)
        )

    over = Over()
    return Algorithm(
        "passthrough", Listed((ENTRY,) * TRACKED, (ROOT,) * TRACKED),
        Listed((NOBODY,) * TRACKED, (Root(False, 0, 0),) * TRACKED), _steps(over),
        (
            *_common(over, "C-59", "C-59"),
            Law("a_function_is_where_it_is", "C-59", FUNCTION, _is_physical(over),
                lambda one, state: over.find(state, one)[0]),
            Law("a_root_is_told_once", "C-59", (),
                lambda _, state: _distinct(state.roots)),
            Law("the_bus_of_each_function_is_a_root", "C-59", FUNCTION,
                lambda one, state: _told(state.roots, root_of(one)), lambda one, state: over.find(state, one)[0]),
            Law("no_other_bus_becomes_a_root", "C-59", ROOT, _only_its_root, lambda root, _: root.used, steps=(ADD,)),
            Law("a_function_that_is_gone_is_not_found", "C-60", (),
                lambda _, around: no(over.find(around.after, around.taken)[0]), steps=(RELEASE,)),
            Law("a_function_that_never_came_is_not_found", "C-60", FUNCTION,
                lambda one, state: no(over.find(state, one)[0]),
                lambda one, state: no(some(*(every(e.used, same(e.at, one)) for e in state.entries)))),
        ),
        {
            "each function is listed once, under a root": Known(lambda _, state: once(state)),
            "roots are told once": Known(lambda _, state: _distinct(state.roots)),
        },
        says=f"lists with {TRACKED} arbitrary entries; laws about two arbitrary functions",
    )  # fmt: skip


def _is_physical(engine: Bus) -> Callable[[Function, V], V]:
    def holds(function: Function, state: V) -> V:
        _, address = engine.find(state, function)
        devfn = address.devfn
        return every(
            same(_bits(address.domain, 16), _bits(function.segment, 16)), address.domain < 1 << 16,
            same(_bits(address.bus, 8), _bits(function.bus, 8)), address.bus < 1 << 8,
            same(_bits(devfn >> 3, 5), _bits(function.slot, 5)),
            same(_bits(devfn, 3), _bits(function.function, 3)), devfn < 1 << 8,
        )  # fmt: skip

    return holds


def _bits(value: V, width: int) -> tuple[V, ...]:
    """Bit by bit: what is compared here shares nothing with how the address was put together."""
    return tuple(((value >> place) & 1) == 1 for place in range(width))


ALGORITHMS: Final = (vpci(), passthrough(), guests_functions())
