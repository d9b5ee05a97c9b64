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
from pvpci.model.config import walk

#: Hops after which the extended list is no longer believed: as many of the smallest capabilities as fit
#: (pci_find_next_ext_capability).
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


class _Space:
    def __init__(self, read: Read) -> None:
        self.read = read


def standard(read: Read) -> Chain:
    """The list below offset 0x100. `read` must answer 1 and 2 aligned bytes there."""
    space = _Space(read)
    found = walk.chain(space)
    links = tuple(Link(one.id, one.offset) for one in found)
    if not read(pci.STATUS, 2) & pci.STATUS_CAP_LIST:
        return Chain(())
    onward = found[-1].next if found else walk.place_of(read(pci.CAPABILITY_LIST, 1))
    if any(link.place == onward for link in links):
        return Chain(links, f"the capability list comes back to {onward:#04x}")
    if onward >= walk.FIRST_CAPABILITY:
        if len(links) == walk.MAX_HOPS:
            return Chain(links, f"the capability list has more than {walk.MAX_HOPS} entries")
        return Chain(links, f"the capability list leads to {onward:#04x}, where nothing answers")
    return Chain(links, f"the capability list leads to {onward:#04x}, inside the header" if onward else "")


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
