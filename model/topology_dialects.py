# SPDX-License-Identifier: Apache-2.0
"""The virtual buses with one rule replaced: what Linux does or once did (CM), and what would go wrong besides (XC)."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from pvpci.model.kernel.algorithms import Variant
from pvpci.model.kernel.values import V, every, no, pick, some
from pvpci.model.topology import EMPTY, PASSTHROUGH, VPCI, Newcomer, Slot, among, first, stays_alone, used
from pvpci.model.topology_claims import passthrough, vpci


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


TOPOLOGY_VARIANTS: Final = (
    Variant("CM07", "a request means the address that it names, all of it", "vpci", "vpci.c:__xen_pcibk_get_pci_dev",
            lambda: vpci(replace(VPCI, meant=lambda devfn: devfn & 0xFF)), ("C-14",)),
    Variant("CM22", "a function is told where it is found", "vpci", "linux 8a5248fe10b1 to 4ba50e7c423c",
            lambda: vpci(replace(VPCI, published=_function_0_if_virtual)), ("C-56",)),
    Variant("CM23", "what is not here is not found", "passthrough", "passthrough.c:__xen_pcibk_get_pcifront_dev",
            lambda: passthrough(replace(PASSTHROUGH, found=lambda is_here: some(is_here, no(is_here)))), ("C-60",)),
    Variant("XC55", "a function keeps its number", "vpci", "slot.c, 2011",
            lambda: vpci(replace(VPCI, number=lambda function: function ^ function)), ("C-55",)),
    Variant("XC57", "functions of one slot stay together", "vpci", "C-57",
            lambda: vpci(replace(VPCI, joins=_never_company)), ("C-57",)),
    Variant("XC58", "what stays is not moved", "vpci", "C-58",
            lambda: vpci(replace(VPCI, tidied=_closed_up)), ("C-58",)),
    Variant("XC59", "a root is told once", "passthrough", "xenbus.c:xen_pcibk_publish_pci_root",
            lambda: passthrough(filtered=False), ("C-59",)),
)  # fmt: skip
