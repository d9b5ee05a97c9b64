# SPDX-License-Identifier: Apache-2.0
"""Where a guest sees its functions: the two virtual buses of pciback.

`vpci`, the default, is one bus of 32 slots, 0000:00. Functions of one physical slot share a virtual one and keep their
function numbers, so that a driver finds the functions of one card together; all others get the lowest free slot. A virtual
function with number 0 stays alone: its header never says that the slot has more functions, so a guest that goes by the
header would miss them.
`passthrough` is the machine's own numbering: each function where it really is, and a root bus for each bus that has one.

Both compare an address as a whole. A request for 0000:00, 0x100 is not one for 0000:00, 0x00, and a function that is not
here is not found; Linux answers otherwise (dialects CM07 and CM23). Bridges are not on either bus:
`model.config.identity` refuses them, so no bus lies behind an exported bridge and every bus has its root.

A bus is a set of small rules and five functions made of them: add, find (function to address), get (address to
function), release, and the roots that the guest is told to scan. They are written over numbers or terms
(`model.kernel.values`), so the bus that runs is the bus that is proved (`model.topology_claims`). The order of a slot's
functions, which Linux keeps in a list, decides nothing: no two of them have one number. If a sixth fact about a function
comes to matter for its place, put it into `Newcomer` and into the laws there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple, Protocol

from pvpci.model.kernel.terms import FLAG, Sort
from pvpci.model.kernel.values import Tree, V, every, no, pick, put, same, some, wide

SLOTS: Final = 32
FUNCTIONS: Final = 8
DEVFN_WIDTH: Final = 8


class Function(NamedTuple):
    """A physical function's address."""

    segment: V  #: 16 bits
    bus: V  #: 8
    slot: V  #: 5
    function: V  #: 3


class Newcomer(NamedTuple):
    """A function that is to be added."""

    at: Function
    is_virtual: V  #: an SR-IOV virtual function


class Address(NamedTuple):
    """What a request names, 32 bits each as they come from the page."""

    domain: V
    bus: V
    devfn: V


class Added(NamedTuple):
    """`ok`: it is on the bus, at `address`. If not: `here`, it was before; else there is no room."""

    ok: V
    here: V
    address: Address


class Root(NamedTuple):
    """A root bus that the guest is told to scan; `used` is false where the list has a gap."""

    used: V
    domain: V
    bus: V


FUNCTION: Final = Function(Sort(16), Sort(8), Sort(5), Sort(3))
NEWCOMER: Final = Newcomer(FUNCTION, FLAG)
ADDRESS: Final = Address(Sort(32), Sort(32), Sort(32))
ROOT: Final = Root(FLAG, Sort(16), Sort(8))


class Bus(Protocol):
    """One virtual bus. States are trees and never changed in place."""

    @property
    def name(self) -> str: ...
    def start(self) -> Tree: ...
    def add(self, state: Tree, new: Newcomer) -> tuple[Tree, Added]: ...
    def find(self, state: Tree, function: Function) -> tuple[V, Address]: ...
    def get(self, state: Tree, address: Address) -> tuple[V, Function]: ...
    def release(self, state: Tree, function: Function) -> tuple[Tree, V]:
        """The state without it, and whether it was there."""
        ...

    def roots(self, functions: Iterable[Function]) -> Sequence[Root]:
        """What a guest with these functions is to scan, with repetitions."""
        ...


def first(flags: Sequence[V]) -> list[V]:
    """Only the first that holds."""
    found, before = [], False
    for flag in flags:
        found.append(every(flag, no(before)))
        before = some(before, flag)
    return found


def among(hits: Sequence[V], values: Sequence[Tree]) -> Tree:
    """The value at the one hit; the last if there is none."""
    chosen = values[-1]
    for hit, value in zip(reversed(hits[:-1]), reversed(values[:-1]), strict=True):
        chosen = pick(hit, value, chosen)
    return chosen


def publish(roots: tuple[Root, ...], root: Root) -> tuple[tuple[Root, ...], V, V]:
    """The roots with this one in the first gap unless it is there, whether it is new, and whether there was no room."""
    known = some(*(same(one, root) for one in roots))
    gaps = first([no(one.used) for one in roots])
    room = some(*(no(one.used) for one in roots))
    is_new = every(no(known), room)
    return (
        tuple(pick(every(is_new, gap), root, one) for gap, one in zip(gaps, roots, strict=True)),
        is_new,
        every(no(known), no(room)),
    )


# vpci


class Slot(NamedTuple):
    """A virtual slot: which functions of which physical slot are in it."""

    present: tuple[V, ...]  #: a flag for each of the 8 functions; none: the slot is free
    segment: V
    bus: V
    slot: V
    alone: V  #: nothing joins what is here


NONE: Final = (False,) * FUNCTIONS
EMPTY: Final = Slot(NONE, 0, 0, 0, False)
SLOT: Final = Slot((FLAG,) * FUNCTIONS, Sort(16), Sort(8), Sort(5), FLAG)


def used(slot: Slot) -> V:
    return some(*slot.present)


def numbered(number: V) -> tuple[V, ...]:
    """Which of the 8 functions it is, as flags."""
    return tuple(number == one for one in range(FUNCTIONS))


def has(slot: Slot, mine: Sequence[V]) -> V:
    """The function of these flags is in it."""
    return some(*map(every, slot.present, mine))


def of_one(slot: Slot, function: Function) -> V:
    """They are of one physical slot."""
    bus = slot.bus == function.bus
    return bus if bus is False else every(slot.segment == function.segment, bus, slot.slot == function.slot)


def _hits(table: Sequence[Slot], function: Function) -> list[V]:
    """By slot: it is there. What is decided by the physical slot alone, with numbers nearly all of them, ends there."""
    mine, found = numbered(function.function), list[V]()
    for slot in table:
        here = of_one(slot, function)
        found.append(here if here is False else every(here, has(slot, mine)))
    return found


def stays_alone(new: Newcomer) -> V:
    return every(new.is_virtual, new.at.function == 0)


def joins(slot: Slot, new: Newcomer) -> V:
    """vpci.c:__xen_pcibk_add_pci_dev: a function joins its neighbours, if neither it nor they must be alone."""
    here = of_one(slot, new.at)
    return here if here is False else every(used(slot), here, no(slot.alone), no(stays_alone(new)))


@dataclass(frozen=True)
class Vpci:
    """One bus of 32 slots."""

    joins: Callable[[Slot, Newcomer], V] = joins
    published: Callable[[Newcomer], V] = lambda new: new.at.function  #: the function number that the guest is told
    number: Callable[[V], V] = lambda function: function  #: where a function is in its slot
    meant: Callable[[V], V] = lambda devfn: devfn  #: what a request's devfn stands for
    tidied: Callable[[tuple[Slot, ...]], tuple[Slot, ...]] = lambda table: table  #: after a release

    name = "vpci"

    def start(self) -> tuple[Slot, ...]:
        return (EMPTY,) * SLOTS

    def add(self, state: tuple[Slot, ...], new: Newcomer) -> tuple[tuple[Slot, ...], Added]:
        here, _ = self.find(state, new.at)
        joined = [self.joins(slot, new) for slot in state]
        free = [no(used(slot)) for slot in state]
        has_company = some(*joined)
        chosen = [pick(has_company, one, two) for one, two in zip(first(joined), first(free), strict=True)]
        ok = every(no(here), some(has_company, *free))
        mine = numbered(new.at.function)

        def joined_by(slot: Slot) -> Slot:
            return Slot(tuple(map(some, slot.present, mine)), *new.at[:3], stays_alone(new))

        after = tuple(
            put(every(ok, one), partial(joined_by, slot), slot) for one, slot in zip(chosen, state, strict=True)
        )
        return after, Added(ok, here, _on_the_bus(chosen, self.number(self.published(new))))

    def find(self, state: tuple[Slot, ...], function: Function) -> tuple[V, Address]:
        hits = _hits(state, function)
        return some(*hits), _on_the_bus(hits, self.number(function.function))

    def get(self, state: tuple[Slot, ...], address: Address) -> tuple[V, Function]:
        devfn = self.meant(address.devfn)
        number = wide(devfn, 3)
        mine, inside = numbered(number), every(address.domain == 0, address.bus == 0, devfn < 1 << DEVFN_WIDTH)
        here = [devfn >> 3 == at for at in range(SLOTS)]
        found = among(here, [has(slot, mine) for slot in state])
        return every(inside, found), among(
            here, [Function(slot.segment, slot.bus, slot.slot, number) for slot in state]
        )

    def release(self, state: tuple[Slot, ...], function: Function) -> tuple[tuple[Slot, ...], V]:
        mine = numbered(function.function)
        hits = _hits(state, function)
        after = tuple(put(hit, partial(_less, slot, mine), slot) for hit, slot in zip(hits, state, strict=True))
        return self.tidied(after), some(*hits)

    def roots(self, functions: Iterable[Function]) -> Sequence[Root]:
        return [Root(True, 0, 0)]


def _less(slot: Slot, mine: Sequence[V]) -> Slot:
    left = tuple(every(one, no(gone)) for one, gone in zip(slot.present, mine, strict=True))
    return pick(some(*left), slot._replace(present=left), EMPTY)  # type: ignore[no-any-return]


def _on_the_bus(chosen: Sequence[V], number: V) -> Address:
    function = wide(number, 32)
    return Address(0, 0, among(chosen, [function + 8 * at for at in range(SLOTS)]))


# passthrough


class Entry(NamedTuple):
    used: V
    at: Function


NOBODY: Final = Entry(False, Function(0, 0, 0, 0))
ENTRY: Final = Entry(FLAG, FUNCTION)


def physical(function: Function) -> Address:
    """The address that it has in the machine."""
    devfn = (wide(function.slot, 32) << 3) + wide(function.function, 32)
    return Address(wide(function.segment, 32), wide(function.bus, 32), devfn)


def root_of(function: Function) -> Root:
    """No bridge is exported, so the bus of each function is a root."""
    return Root(True, function.segment, function.bus)


@dataclass(frozen=True)
class Passthrough:
    """The machine's own addresses. The state is a list with gaps; when it runs, there is always one more gap."""

    found: Callable[[V], V] = lambda is_here: is_here  #: what find says of a function that is here, or is not

    name = "passthrough"

    def start(self) -> tuple[Entry, ...]:
        return ()

    def add(self, state: tuple[Entry, ...], new: Newcomer) -> tuple[tuple[Entry, ...], Added]:
        here = self._has(state, new.at)
        if here is False and all(entry.used is True for entry in state):
            state = state + (NOBODY,)
        gaps = [no(entry.used) for entry in state]
        ok = every(no(here), some(*gaps))
        after = tuple(
            pick(every(ok, gap), Entry(True, new.at), entry) for gap, entry in zip(first(gaps), state, strict=True)
        )
        return after, Added(ok, here, physical(new.at))

    def find(self, state: tuple[Entry, ...], function: Function) -> tuple[V, Address]:
        return self.found(self._has(state, function)), physical(function)

    def get(self, state: tuple[Entry, ...], address: Address) -> tuple[V, Function]:
        hits = [every(entry.used, same(physical(entry.at), address)) for entry in state]
        return some(*hits), among(hits, [entry.at for entry in state]) if state else NOBODY.at

    def release(self, state: tuple[Entry, ...], function: Function) -> tuple[tuple[Entry, ...], V]:
        hits = [every(entry.used, same(entry.at, function)) for entry in state]
        return tuple(pick(hit, NOBODY, entry) for hit, entry in zip(hits, state, strict=True)), some(*hits)

    def roots(self, functions: Iterable[Function]) -> Sequence[Root]:
        return [root_of(function) for function in functions]

    def _has(self, state: tuple[Entry, ...], function: Function) -> V:
        return some(*(every(entry.used, same(entry.at, function)) for entry in state))


VPCI: Final = Vpci()
PASSTHROUGH: Final = Passthrough()
TOPOLOGIES: Final[dict[str, Bus]] = {"vpci": VPCI, "passthrough": PASSTHROUGH}
