# SPDX-License-Identifier: Apache-2.0
"""Topology, texts and bookkeeping with one rule replaced: what Linux does or once did (CM), and what else may (XC)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from pvpci.model.bookkeeping import CLOSING, Due, due, holding, references, registry, rounds, seizing, telling
from pvpci.model.kernel.algorithms import Variant
from pvpci.model.kernel.values import V, every, no, pick, some
from pvpci.model.slots import Pattern, Place, ends_hide, ends_slot, in_hide, in_slot, is_whole, matches
from pvpci.model.slots_claims import ids, texts
from pvpci.model.topology import EMPTY, PASSTHROUGH, VPCI, Function, Newcomer, Slot, among, first, stays_alone, used
from pvpci.model.topology_claims import guests_functions, passthrough, vpci


def _function_0_if_virtual(new: Newcomer) -> V:
    return pick(new.is_virtual, new.at.function ^ new.at.function, new.at.function)


def _closed_up(table: tuple[Slot, ...]) -> tuple[Slot, ...]:
    """The last slot that is used moves into the first free one before it."""
    last = tuple(reversed(first([used(slot) for slot in reversed(table)])))
    gaps = first([no(used(slot)) for slot in table])
    moved = among(last, table)
    behind = [some(*last[at + 1 :]) for at in range(len(table))]  # the last one comes after this slot
    moves = some(*(every(gap, later) for gap, later in zip(gaps, behind, strict=True)))
    return tuple(
        pick(every(gap, later), moved, pick(every(leaves, moves), EMPTY, slot))
        for gap, later, leaves, slot in zip(gaps, behind, last, table, strict=True)
    )


def _never_company(slot: Slot, new: Newcomer) -> V:
    del slot
    return every(stays_alone(new), no(stays_alone(new)))


def _silent_hide(place: Place, what: str) -> Place | None:
    """What follows an address is not looked at unless it is a parenthesis; then the rest is silently left."""
    if place.part == "rest":
        return place
    following = in_hide(place, what)
    return Place("rest") if following is None and is_whole(place) else following


def _ends_or_silent(ends: Callable[[Place], bool]) -> Callable[[Place], bool]:
    return lambda place: ends(place) or place.part == "rest" or is_whole(place)


def _trailing_slot(place: Place, what: str) -> Place | None:
    following = in_slot(place, what)
    return Place("end") if following is None and ends_slot(place) else following


def _masked(pattern: Pattern, function: Function) -> V:
    """As numbers of 5 and 3 bits."""
    narrow = pattern._replace(slot=pattern.slot & 31, function=pattern.function & 7)
    return matches(narrow, function)


def _fails_when_gone(wish: V, is_attached: V) -> Due:
    return due(wish, is_attached)._replace(fails=every(wish == CLOSING, no(is_attached)))


VARIANTS: Final = (
    Variant("CM07", "a request means the address that it names, all of it", "vpci", "vpci.c:__xen_pcibk_get_pci_dev",
            lambda: vpci(replace(VPCI, meant=lambda devfn: devfn & 0xFF)), ("C-14",)),
    Variant("CM22", "a function is told where it is found", "vpci", "linux 8a5248fe10b1 to 4ba50e7c423c",
            lambda: vpci(replace(VPCI, published=_function_0_if_virtual)), ("C-56",)),
    Variant("CM23", "what is not here is not found", "passthrough", "passthrough.c:__xen_pcibk_get_pcifront_dev",
            lambda: passthrough(replace(PASSTHROUGH, found=lambda is_here: some(is_here, no(is_here)))), ("C-60",)),
    Variant("CM24", "an attempt that fails is undone", "holding", "vpci.c, passthrough.c: add",
            lambda: holding(kept=lambda before, reached: reached), ("C-61",)),
    Variant("CM25", "a bridge is told by its base class", "functions", "vpci.c, since 2011",
            lambda: guests_functions(lambda header, code: ((header & 0x7F) == 1) | ((code >> 24) == 6)), ("C-62",)),
    Variant("CM27", "an element ends with its parenthesis", "texts", "pci_stub.c, 2011",
            lambda: texts(hide=_silent_hide, ends=(_ends_or_silent(ends_hide), ends_slot)), ("C-66",)),
    Variant("CM28", "an address ends the text", "texts", "pci_stub.c:str_to_slot, 2011",
            lambda: texts(slot=_trailing_slot), ("C-66",)),
    Variant("CM29", "an id is there once", "ids", "pci_stub.c:pcistub_device_id_add, 2011",
            lambda: ids(is_new=lambda known: some(known, no(known))), ("C-67",)),
    Variant("CM30", "slot and function are compared apart, and whole", "ids", "pci_stub.c, 2011",
            lambda: ids(_masked), ("C-68",)),
    Variant("CM31", "a reference that was taken is given back", "references", "pci_stub.c, 3.1",
            lambda: references(gives_back=lambda taken: every(taken, no(taken)), fails=lambda known: every(known, no(known))),
            ("D-11",)),
    Variant("CM32", "an entry belongs to a card, not to its kind", "registry", "conf_space_quirks.c",
            lambda: registry(is_it=lambda one, card: one.kind == card.kind), ("D-12",)),
    Variant("CM33", "what was allocated is freed before it is forgotten", "seizing", "pci_stub.c:pcistub_device_release",
            lambda: seizing(reached=lambda seized: every(seized.is_reachable, no(seized.is_reachable))), ("D-13",)),
    Variant("CM34", "roots are told without a lock", "telling", "passthrough.c, 2011",
            lambda: telling(("lock", "copy", "tell", "unlock")), ("D-14",)),
    Variant("CM38", "a removal that was done stops no round", "rounds", "xenbus.c:xen_pcibk_reconfigure",
            lambda: rounds(_fails_when_gone), ("D-15",)),
    Variant("XC55", "a function keeps its number", "vpci", "slot.c, 2011",
            lambda: vpci(replace(VPCI, number=lambda function: function ^ function)), ("C-55",)),
    Variant("XC57", "functions of one slot stay together", "vpci", "C-57",
            lambda: vpci(replace(VPCI, joins=_never_company)), ("C-57",)),
    Variant("XC58", "what stays is not moved", "vpci", "C-58",
            lambda: vpci(replace(VPCI, tidied=_closed_up)), ("C-58",)),
    Variant("XC59", "a root is told once", "passthrough", "xenbus.c:xen_pcibk_publish_pci_root",
            lambda: passthrough(filtered=False), ("C-59",)),
    Variant("XC63", "what is held is not given away", "holding", "pci_stub.c:xen_register_device_domain_owner",
            lambda: holding(free=lambda owner: some(owner == 0, no(owner == 0))), ("C-63",)),
)  # fmt: skip
