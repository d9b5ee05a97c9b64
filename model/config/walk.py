# SPDX-License-Identifier: Apache-2.0
"""The way through a capability list, which is whatever the device says: it may point anywhere, and bite its own tail.

A few decisions, each for one hop and written with operators that numbers and solver's terms share; the loop around them
decides nothing. So what is proved of one hop, from any pointer and with any register, is proved of every list.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol

from pvpci.model.config import constants as pci

#: Hops after which a capability list is no longer believed (drivers/pci/pci.c:PCI_FIND_CAP_TTL).
MAX_HOPS: Final = 48
#: Pointers below it do not lead to a capability.
FIRST_CAPABILITY: Final = 0x40


class Readable(Protocol):
    """1, 2 or 4 aligned bytes."""

    def read(self, offset: int, size: int) -> int: ...


@dataclass(frozen=True, slots=True)
class Capability:
    """One entry of the list: its id, where it is, and where it points (masked, 0 at the end)."""

    id: int
    offset: int
    next: int


@dataclass(frozen=True, slots=True)
class Walk:
    """`bounded`: hops are counted. `outside`: nothing in the header is looked at. `once`: no place is reported again."""

    bounded: bool = True
    outside: bool = True
    once: bool = True

    def goes_on(self, pointer: Any, left: Any) -> Any:
        """Whether there is a place to look at. `pointer`: 8 bits; `left`: hops that are left."""
        where = (pointer >= FIRST_CAPABILITY) if self.outside else (pointer != 0)
        return where & (left != 0) if self.bounded else where

    def is_new(self, place: Any, seen: Any) -> Any:
        """Whether to report the place. `seen`: a set of places, as `marked` makes it; at first 0."""
        return ((seen >> (place >> 2)) & 1) == 0 if self.once else place >= 0


WALK: Final = Walk()


def place_of(pointer: Any) -> Any:
    """Where the pointer leads: its low two bits are reserved."""
    return pointer & 0xFC


def marked(place: Any, seen: Any) -> Any:
    """The set of places, with this one."""
    return seen | (1 << (place >> 2))


def ends(entry: Any) -> Any:
    """Nobody answers there. `entry`: identifier and pointer, 16 bits."""
    return (entry & 0xFF) == pci.CAP_ID_NONE


def following(entry: Any) -> Any:
    """The next pointer."""
    return (entry >> 8) & 0xFF


def chain(hardware: Readable, walk: Walk = WALK) -> tuple[Capability, ...]:
    """The capability list below 256 as Linux walks it, each place once."""
    if not hardware.read(pci.STATUS, 2) & pci.STATUS_CAP_LIST:
        return ()
    return tuple(_hops(hardware, walk))


def _hops(hardware: Readable, walk: Walk) -> Iterator[Capability]:
    pointer, left, seen = hardware.read(pci.CAPABILITY_LIST, 1) & 0xFF, MAX_HOPS, 0
    while walk.goes_on(pointer, left):
        place = place_of(pointer)
        entry = hardware.read(place, 2) & 0xFFFF
        if ends(entry):
            return
        pointer, left = following(entry), left - 1
        if walk.is_new(place, seen):
            yield Capability(entry & 0xFF, place, place_of(pointer))
        seen = marked(place, seen)


def capabilities(hardware: Readable) -> dict[int, int]:
    """Id to offset of every capability, the first of each kind."""
    return {one.id: one.offset for one in reversed(chain(hardware))}
