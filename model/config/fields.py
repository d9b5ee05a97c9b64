# SPDX-License-Identifier: Apache-2.0
"""How a request meets the fields of a table, whatever the fields are.

A guest asks for 1, 2 or 4 aligned bytes, so a request lies in one aligned dword, and so must every field here.
Everything is therefore computed in the position that it has in that dword: a request and a field are each a mask of
*lanes* (``0x0000ff00`` is byte 1), they meet where the masks do, and merging is one line. Reading lays the fields
over the hardware's bytes in the order in which they were registered, so a later field wins; writing lays the request
over each field.

:func:`valid`, :func:`request_error`, :func:`apart` and :func:`merge` are written with operators that numbers and
terms share, and decide nothing themselves: what runs is what is proved. That is why they are not written with ``if``
and ``not``.

Where registration order matters, a table is a list and is never sorted. Change the order of merging here, and the
two-phase write in ``view`` and the documentation of overlaps change with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pvpci.model.config.state import Device, Facts, Kind
from pvpci.model.wire import Err

NO: Final = False
WORD: Final = 0xFFFFFFFF
#: All bits of a value of so many bytes.
MASK: Final[Mapping[int, int]] = {1: 0xFF, 2: 0xFFFF, 4: WORD}


def valid(offset: Any, size: Any, limit: Any) -> Any:
    """Whether a request may be looked at: 1, 2 or 4 bytes, aligned, inside the `limit` bytes that the function has.

    `offset` and `size` are 32 bits as they came, signed or not; a flag comes back. A negative offset is a large one,
    and an offset so large that its end wraps to 0 is caught by its start.
    """
    o, s = offset & WORD, size & WORD
    aligned = (s == 1) | ((s == 2) & ((o & 1) == 0)) | ((s == 4) & ((o & 3) == 0))
    return aligned & (o < limit) & (o + s <= limit)


def request_error(offset: Any, size: Any, limit: Any) -> Any:
    """The flag that the request is refused with `Err.INVALID_OFFSET`; see `valid`."""
    return valid(offset, size, limit) == NO


def apart(one: Any, two: Any) -> Any:
    """The flag that two sets of lanes have no byte in common."""
    return (one & two) == 0


def merge(under: Any, over: Any, lanes: Any) -> Any:
    """`over` in these lanes, `under` in all others. Both in dword position."""
    return (under & ~lanes) | (over & lanes)


def lanes(offset: int, size: int) -> int:
    """The bytes of its dword that a request or a field covers, as a mask."""
    return MASK[size] << 8 * (offset & 3)


def take(dword: Any, asked: int, shift: int) -> Any:
    """What is answered: the lanes that were asked for, moved down, and nothing else."""
    return (dword & asked) >> shift


@dataclass(frozen=True, slots=True)
class Store:
    """One write to the real function."""

    offset: int
    width: int
    value: int


@dataclass(frozen=True, slots=True)
class Trial:
    """A register that may not take what is written: `first` is written and read back, then one of the two is done.

    `notice` is what people are told when the register did not hold it.
    """

    first: Store
    held: tuple[Store, ...]
    lost: tuple[Store, ...]
    notice: Kind


Effect = Store | Trial


@dataclass(frozen=True, slots=True)
class Plan:
    """What a write to a field would do. Nothing is done yet; if `error` is set, nothing will be, for no field."""

    device: Device
    effects: tuple[Effect, ...] = ()
    error: Err = Err.SUCCESS


#: One read of the real function: offset and size in bytes.
Reader = Callable[[int, int], int]


@dataclass(frozen=True, slots=True)
class Reads:
    """What the guest reads: `value(device, facts, raw)`, `raw` being the register if `real`, else of no meaning."""

    says: str
    value: Callable[[Device, Facts, int], int]
    real: bool = False


@dataclass(frozen=True, slots=True)
class Writes:
    """What a write does: `plan(device, facts, wanted, raw, read)`; without a plan it is taken and dropped.

    `wanted` is the whole field, with the bytes that were not written as the guest reads them. `real`: `raw` is the
    register.
    """

    says: str
    plan: Callable[[Device, Facts, int, int, Reader], Plan] | None = None
    real: bool = False


DROPPED: Final = Writes("nothing; accepted")


class TableError(ValueError):
    """Rows that cannot stand in one table."""


@dataclass(frozen=True)
class Field:
    """One row: `width` bytes at `offset`, what the guest reads there, what its writes do, and who says so."""

    offset: int
    width: int
    name: str
    reads: Reads
    writes: Writes
    cite: str
    lanes: int = field(init=False, repr=False)
    shift: int = field(init=False, repr=False)
    mask: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.width not in MASK or (self.offset & 3) + self.width > 4 or self.offset < 0:
            raise TableError(f"{self.name}: {self.width} bytes at {self.offset:#x} are not inside one dword")
        object.__setattr__(self, "lanes", lanes(self.offset, self.width))
        object.__setattr__(self, "shift", 8 * (self.offset & 3))
        object.__setattr__(self, "mask", MASK[self.width])


class Table:
    """Fields in the order of their registration, found by dword.

    Two fields may overlap, and the later one is read; but two that start at the same byte are a mistake, refused as
    such.
    """

    def __init__(self, rows: Iterable[Field]) -> None:
        self.rows = tuple(rows)
        starts: dict[int, Field] = {}
        dwords: dict[int, list[Field]] = {}
        for row in self.rows:
            if row.offset in starts:
                raise TableError(f"{row.name} and {starts[row.offset].name} both start at {row.offset:#04x}")
            starts[row.offset] = row
            dwords.setdefault(row.offset >> 2, []).append(row)
        self.by_dword: Mapping[int, tuple[Field, ...]] = {dword: tuple(found) for dword, found in dwords.items()}

    def covering(self, offset: int, asked: int) -> tuple[Field, ...]:
        """The fields that meet these lanes of the dword at `offset`, in order."""
        return tuple(row for row in self.by_dword.get(offset >> 2, ()) if not apart(row.lanes, asked))
