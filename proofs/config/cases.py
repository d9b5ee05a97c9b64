# SPDX-License-Identifier: Apache-2.0
"""Where a request can go: one case for each dword that has rows, and one for all that have none.

A function's capabilities may lie anywhere, so which rows share a dword is a question of its own. It has one answer: a
capability starts at a multiple of four and every dword of it that has rows has one that starts there; so two capabilities
that share such a dword have rows with the same start, and such a function is refused (`apart` proves it for every pair of
places). So a capability's dword is a case with an unknown place, and the cases together are all layouts.

An added field is a case too: anywhere in a dword without rows, and beside the rows that leave room for one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Final

import z3

from pvpci.model.config import constants as pci
from pvpci.model.config.capabilities import REGISTERED, head, linked, message_rows
from pvpci.model.config.grants import Quirk
from pvpci.model.config.lanes import WORD
from pvpci.model.config.profiles import Profile
from pvpci.model.config.programs import Field, Place, Structure, local
from pvpci.model.config.table import as_laid_out, header_row, masked, plain
from pvpci.model.kernel.terms import Bits
from pvpci.proofs.translate import Formula

HEADER_END: Final = 0x40
#: The start of the guest's chain, and the successor of a capability: any.
FIRST: Final = local("chain.first", 8)
NEXT: Final = local("chain.next", 16)


def place_of(structure: Structure) -> Formula:
    """Where the structure is in the function: any."""
    return z3.BitVec(f"at.{structure.name}", 32)


@dataclass(frozen=True)
class Case:
    """One dword: its rows in order, and where it is (`offset` in its structure)."""

    name: str
    structure: Structure
    offset: int
    rows: tuple[Field, ...]
    bridge: bool = False

    @property
    def window(self) -> Place:
        return Place(self.structure, self.offset, 4)

    @property
    def covered(self) -> int:
        found = 0
        for row in self.rows:
            found |= row.lanes
        return found

    def base(self) -> Formula:
        """Where the dword is in the function, as a formula of 32 bits."""
        if self.structure is Structure.HEADER:
            return z3.BitVecVal(self.offset, 32)
        return place_of(self.structure) + self.offset

    def somewhere(self) -> Formula:
        """What is known of the place."""
        if self.structure is Structure.HEADER:
            return z3.BoolVal(True)
        at = place_of(self.structure)
        last = pci.EXTENDED_SIZE if self.structure is Structure.SPACE else pci.CONVENTIONAL_SIZE
        return z3.And(at & 3 == 0, z3.UGE(at, HEADER_END), z3.ULT(at, last))


def alike(one: Case, two: Case) -> bool:
    """The same rows, so that nobody can tell the two apart."""
    return len(one.rows) == len(two.rows) and all(x.alike(y) for x, y in zip(one.rows, two.rows, strict=True))


# Rows of which a case leaves something open are made once, so that profiles can share them.
_messages: Final = cache(message_rows)
_masked: Final = cache(masked)


@cache
def _head() -> Field:
    return head(FIRST)


@cache
def _linked(structure: Structure) -> Field:
    return linked(structure, NEXT)


def rows_of(structure: Structure, profile: Profile, flags: int = 0) -> tuple[Field, ...]:
    """All rows of a capability, its header included. `flags`: the flag word of MSI, which says what else it has."""
    first = as_laid_out(_linked(structure) if profile.layout.chain else header_row(structure), profile.layout)
    found = (first, *profile.structures.get(structure, ()))
    if structure is Structure.MSI and profile.layout.own_messages:
        return (*found, *_messages(flags))
    return found


def cases(profile: Profile) -> Iterator[Case]:
    """Every case of a function with a normal header, then of a bridge where the profile gives one to guests."""
    chained = (_head(),) if profile.layout.chain else ()
    yield from _header((*profile.normal, *chained), "")
    if profile.layout.bridges:
        for case in _header((*profile.bridge, *chained), "bridge "):
            yield replace(case, bridge=True)
    for structure in REGISTERED.values():
        yield from _capability(structure, rows_of(structure, profile), "")
    if profile.layout.own_messages:
        for flags, name in MSI_FORMS.items():
            rows = rows_of(Structure.MSI, profile, flags)
            yield from (case for case in _capability(Structure.MSI, rows, name) if case.offset)
    if profile.layout.chain:
        yield from _capability(Structure.SHOWN, (as_laid_out(_linked(Structure.SHOWN), profile.layout),), "")
    yield Case("no rows", Structure.SPACE, 0, ())
    yield from _added(profile)


#: The flag words that decide what else an MSI capability has.
MSI_FORMS: Final = {
    0: " (32 bits)",
    pci.MSI_FLAGS_64BIT: " (64 bits)",
    pci.MSI_FLAGS_MASKBIT: " (32 bits, masks)",
    pci.MSI_FLAGS_64BIT | pci.MSI_FLAGS_MASKBIT: " (64 bits, masks)",
}


def _header(rows: tuple[Field, ...], name: str) -> Iterator[Case]:
    for at in range(0, HEADER_END, 4):
        yield Case(f"{name}header {at:02x}", Structure.HEADER, at, tuple(r for r in rows if r.offset & ~3 == at))


def _capability(structure: Structure, rows: tuple[Field, ...], name: str) -> Iterator[Case]:
    for at in sorted({row.offset & ~3 for row in rows}):
        found = tuple(row for row in rows if row.offset & ~3 == at)
        yield Case(f"{structure.name}+{at:x}{name}", structure, at, found)


@cache
def added_mask(width: int) -> Bits:
    """The mask of an added field: any."""
    return local(f"added.mask{width}", 8 * width)


def _added(profile: Profile) -> Iterator[Case]:
    """One added field in a dword of its own, of every width and place in it; then beside rows."""
    normal = {at: tuple(r for r in profile.normal if r.offset & ~3 == at) for at in range(0, HEADER_END, 4)}
    for at, width in ((0, 1), (1, 1), (2, 1), (3, 1), (0, 2), (2, 2), (0, 4)):
        yield Case(f"added {at}/{width}", Structure.SPACE, 0, (_field(profile, Structure.SPACE, at, width),))
    beside = ((0x06, 2), (0x0E, 1), (0x34, 1), (0x3E, 2)) if profile.layout.quirks_checked else _OVERLAPPING
    for at, width in beside:
        rows = normal[at & ~3]
        if any(row.offset == at for row in rows):
            continue
        found = (*rows, _field(profile, Structure.HEADER, at, width))
        yield Case(f"header {at & ~3:02x} with {at:02x}/{width} added", Structure.HEADER, at & ~3, found)


#: In Linux an added field may overlap others that start elsewhere.
_OVERLAPPING: Final = ((0x05, 1), (0x06, 2), (0x0E, 2), (0x11, 1), (0x3E, 2))


def _field(profile: Profile, structure: Structure, offset: int, width: int) -> Field:
    quirk = Quirk(offset, width, WORD >> (32 - 8 * width))
    if profile.layout.quirks_checked:
        return _masked(quirk, added_mask(width), structure)
    return plain(offset, width, structure)
