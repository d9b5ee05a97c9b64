# SPDX-License-Identifier: Apache-2.0
"""The rows of one function: header, capabilities, what an administrator added; found by dword.

Rows stand in the order of their registration. Two that start at the same byte are refused where that can only be a broken
function (its capabilities overlap); an administrator's field that starts where a row does is not added.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final

from pvpci.model.config import constants as pci
from pvpci.model.config.capabilities import REGISTERED, SHOWN, head, linked, message_rows
from pvpci.model.config.grants import GrantError, Quirk
from pvpci.model.config.identity import Identity, Refusal, Refused
from pvpci.model.config.lanes import aligned, inside
from pvpci.model.config.profiles import Layout, Profile
from pvpci.model.config.programs import (
    DROPPED,
    NEW,
    RAW,
    Field,
    Load,
    Place,
    Reads,
    Store,
    Structure,
    Writes,
    guarded,
    local,
    raw,
    stored,
)
from pvpci.model.config.state import known
from pvpci.model.kernel.terms import Bits, number
from pvpci.model.wire import Err

#: Rows that are remembered of each kind.
_ALIKE: Final = 1024


class Table:
    """`by_dword`: rows in order, by offset of their dword. `bases`: where the structures are."""

    def __init__(self, rows: Sequence[Field], bases: Mapping[Structure, int]) -> None:
        self.rows = tuple(rows)
        self.bases = dict(bases)
        dwords: dict[int, list[Field]] = {}
        for row in rows:
            dwords.setdefault(self.start(row) & ~3, []).append(row)
        self.by_dword: Mapping[int, tuple[Field, ...]] = {at: tuple(found) for at, found in dwords.items()}

    def start(self, row: Field) -> int:
        """Where the row is in the function."""
        return self.bases.get(row.structure, 0) + row.offset


def table(identity: Identity, profile: Profile, quirks: Sequence[Quirk] = ()) -> Table:
    """Raises `Refused` for a function whose capabilities overlap, GrantError for a field that the profile refuses."""
    layout = profile.layout
    rows = list(profile.bridge if identity.is_bridge else profile.normal)
    places = identity.capabilities
    bases = {Structure.HEADER: 0, Structure.SPACE: 0}
    if layout.chain:
        rows.append(_chained(identity, rows, layout))
    for id, structure in REGISTERED.items():
        if id not in places:
            continue
        bases[structure] = places[id]
        if not layout.chain:
            rows.append(as_laid_out(header_row(structure), layout))
        rows += profile.structures[structure]
        if structure is Structure.MSI and layout.own_messages:
            rows += _messages(identity.msi_flags & (pci.MSI_FLAGS_64BIT | pci.MSI_FLAGS_MASKBIT))
    made = Table(rows, bases)
    _check(made)
    return Table((*rows, *(row for quirk in quirks for row in _added(quirk, made, layout, identity))), bases)


# Functions that are alike get the same rows, and so the same compiled programs, however often they come and go.


@lru_cache(_ALIKE)
def _messages(flags: int) -> tuple[Field, ...]:
    return message_rows(flags)


@lru_cache(_ALIKE)
def _linked(structure: Structure, following: int, offset: int) -> Field:
    return linked(structure, number(16, following), offset)


@lru_cache(_ALIKE)
def _head(first: int) -> Field:
    return head(number(8, first))


@lru_cache(_ALIKE)
def header_row(structure: Structure) -> Field:
    """Identifier and pointer as they are."""
    return Field(0, 2, f"{structure.name}_HEADER", raw(2), DROPPED, "xen_pcibk_config_capability_add_fields", structure)


def as_laid_out(header: Field, layout: Layout) -> Field:
    """The row of a capability's header: nobody writes it."""
    return header if layout.headers_stay else replace(header, writes=stored(header.place, "written"))


def shown(identity: Identity) -> list[int]:
    """Where the capabilities are that guests see, in the order of the list. A second one with rules is not covered."""
    first = identity.capabilities
    return [
        one.offset
        for one in identity.chain
        if one.id in SHOWN or (one.id in REGISTERED and first[one.id] == one.offset)
    ]


def _chained(identity: Identity, rows: list[Field], layout: Layout) -> Field:
    """Adds a header row for each capability that is shown; the row with the start of the chain."""
    order = list(dict.fromkeys(shown(identity)))
    structures = {identity.capabilities[id]: s for id, s in REGISTERED.items() if id in identity.capabilities}
    for place, following in zip(order, [*order[1:], 0], strict=False):
        structure = structures.get(place, Structure.SPACE)
        row = _linked(structure, following, place if structure is Structure.SPACE else 0)
        rows.append(as_laid_out(row, layout))
    return _head(order[0] if order else 0)


def _check(made: Table) -> None:
    starts: dict[int, Field] = {}
    for row in made.rows:
        at = made.start(row)
        if at in starts or at + row.width > pci.CONVENTIONAL_SIZE:
            raise Refused(Refusal.OVERLAP, at)
        starts[at] = row


def _added(quirk: Quirk, made: Table, layout: Layout, identity: Identity) -> list[Field]:
    """The rows of an added field: one, none if a row starts there, two where it lies across two dwords (Linux)."""
    where = f"quirk={quirk}"
    if not fits(quirk.offset, quirk.width, identity.config_size, layout):
        raise GrantError(f"{where}: must be aligned, and inside the function's {identity.config_size} bytes")
    for row in made.rows:
        at = made.start(row)
        if kept_out(quirk.offset, quirk.width, at, row.width, layout):
            if not layout.quirks_checked:
                return []
            raise GrantError(f"{where}: meets {row.name} at {at:x}, which has rules of its own")
    if quirk.offset % quirk.width:
        return list(_poisoned(quirk))
    return [_masked(quirk) if layout.quirks_checked else plain(quirk.offset, quirk.width)]


# These two are over numbers or terms, for what runs is what is proved.


def fits(offset: Any, width: Any, size: Any, layout: Layout) -> Any:
    """Whether a field may be added there, as far as the function goes, which has `size` bytes."""
    return aligned(offset, width) & inside(offset, width, size) if layout.quirks_fit else offset >= 0


def kept_out(offset: Any, width: Any, at: Any, breadth: Any, layout: Layout) -> Any:
    """Whether a row of `breadth` bytes `at` keeps a field of `width` bytes at `offset` from being added."""
    if layout.quirks_checked:
        return (at < offset + width) & (offset < at + breadth)
    return at == offset if layout.first_stays else at < 0


@lru_cache(_ALIKE)
def _masked(quirk: Quirk) -> Field:
    return masked(quirk)


def masked(quirk: Quirk, bits: Bits | None = None, structure: Structure = Structure.SPACE) -> Field:
    """Only the bits of the mask are the guest's. `bits`: a mask that is not known yet, instead."""
    row = plain(quirk.offset, quirk.width, structure)
    now = local("now", 8 * quirk.width)
    mask = number(8 * quirk.width, quirk.mask) if bits is None else bits
    value = (now & ~mask) | (NEW[quirk.width] & mask)
    steps = (Load(now, row.place), Store(row.place, value, name="added"))
    return replace(row, writes=Writes(f"bits {quirk.mask:x} are written", guarded(steps, known.added)))


@lru_cache(_ALIKE)
def plain(offset: int, width: int, structure: Structure = Structure.SPACE) -> Field:
    """An added field as Linux has it: its mask is shown, and never applied."""
    step = Store(Place(structure, offset, width), NEW[width], when=known.added, name="added")
    what = Writes("written", (step,))
    return Field(offset, width, f"ADDED_{offset:X}", raw(width), what, "conf_space_quirks.c", structure)


@lru_cache(_ALIKE)
def _poisoned(quirk: Quirk) -> tuple[Field, ...]:
    """A misaligned field cannot be read, so nothing that meets it can be read or written: a byte row for each byte."""
    refused = Reads("refused (-2)", RAW[1], refuses=Err.INVALID_OFFSET)
    places = range(quirk.offset, quirk.offset + quirk.width)
    return tuple(replace(plain(at, 1), reads=refused, writes=DROPPED) for at in places)
