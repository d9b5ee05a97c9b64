# SPDX-License-Identifier: Apache-2.0
"""The two lists of capabilities of a function, walked as the kernel walks them.

A list is whatever the device says: it may loop, leave the space, or end in all ones. So the walk is bounded, it ends
where it would come back, and what stopped it early is said.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pvpci.model.config import constants as pci

#: Hops after which a capability list is no longer believed (drivers/pci/pci.c:PCI_FIND_CAP_TTL).
MAX_HOPS: Final = 48
#: The same for the extended list: as many of the smallest capabilities as fit (pci_find_next_ext_capability).
MAX_EXTENDED_HOPS: Final = (pci.EXTENDED_SIZE - pci.CONVENTIONAL_SIZE) // 8

#: ``read(offset, size)`` gives the register's value; what it raises passes through us.
Read = Callable[[int, int], int]


@dataclass(frozen=True, slots=True)
class Link:
    """One capability: its id, and the offset of its first byte."""

    id: int
    place: int


@dataclass(frozen=True, slots=True)
class Chain:
    """The capabilities in the list's own order. `fault`: why the walk ended before the list did; empty if it did not."""

    links: tuple[Link, ...]
    fault: str = ""


def standard(read: Read) -> Chain:
    """The list below offset 0x100. `read` must answer 1 and 2 aligned bytes there."""
    if not read(pci.STATUS, 2) & pci.STATUS_CAP_LIST:
        return Chain(())
    links: dict[int, Link] = {}
    pointer = read(pci.CAPABILITY_LIST, 1)
    while pointer >= pci.HEADER_SIZE:
        place = pointer & ~3
        if place in links:
            return Chain(tuple(links.values()), f"the capability list comes back to {place:#04x}")
        if len(links) == MAX_HOPS:
            return Chain(tuple(links.values()), f"the capability list has more than {MAX_HOPS} entries")
        entry = read(place, 2)
        if entry & 0xFF == 0xFF:
            return Chain(tuple(links.values()), f"the capability list leads to {place:#04x}, where nothing answers")
        links[place] = Link(entry & 0xFF, place)
        pointer = entry >> 8
    fault = f"the capability list leads to {pointer:#04x}, inside the header" if pointer else ""
    return Chain(tuple(links.values()), fault)


def extended(read: Read) -> Chain:
    """The list from offset 0x100 on. `read` must answer 4 aligned bytes there."""
    links: dict[int, Link] = {}
    place = pci.CONVENTIONAL_SIZE
    while place >= pci.CONVENTIONAL_SIZE:
        if place in links:
            return Chain(tuple(links.values()), f"the extended capability list comes back to {place:#05x}")
        entry = read(place, 4)
        if entry in (0, 0xFFFFFFFF):
            # A function without the list says so at its first place; later on it is a broken link.
            fault = f"the extended capability list leads to {place:#05x}, where there is none" if links else ""
            return Chain(tuple(links.values()), fault)
        links[place] = Link(entry & 0xFFFF, place)
        place = entry >> 20 & ~3
    fault = f"the extended capability list leads to {place:#05x}, below 0x100" if place else ""
    return Chain(tuple(links.values()), fault)
