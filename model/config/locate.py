# SPDX-License-Identifier: Apache-2.0
"""Which registers a request touches: by the header's layout, and by the capability lists where the space is known.

Only a copy of the function's space says where its capabilities are, so without one most offsets cannot be decided. The
copy may be short (`lspci` without root shows 64 bytes) or broken; what is then missing is said, and nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pvpci.model.config import chain
from pvpci.model.config import constants as pci
from pvpci.model.config.registers import (
    CAPABILITIES,
    FIXED,
    MSI_32,
    MSI_64,
    TYPE_0,
    TYPE_1,
    Capability,
    Register,
    Remedy,
)
from pvpci.model.config.registers_extended import EXTENDED, VENDOR_SPECIFIC

_MSI_64BIT: Final = 0x0080
_MSI_MASKBIT: Final = 0x0100
#: What every capability begins with, and what the header keeps for later.
_LINK: Final = Register(0, 2, "ID AND NEXT", FIXED, Remedy.NOTHING, "PCI_CAP_LIST_ID")
_EXTENDED_LINK: Final = Register(0, 4, "ID AND NEXT", FIXED, Remedy.NOTHING, "PCI_EXT_CAP_ID")
_RESERVED: Final = Register(0, pci.HEADER_SIZE, "RESERVED", FIXED, Remedy.NOTHING, "PCI_STD_HEADER_SIZEOF")
_EXP_ENDPOINTS: Final = (0, 1)
_EXP_ROOT_COMPLEX: Final = 9


@dataclass(frozen=True, slots=True)
class Place:
    """One register that is touched, or a stretch of bytes of which nothing is known.

    `first` and `last` are the touched bytes' offsets in the space. `where` names the header, the capability with its
    offset, or what surrounds the bytes. `register` is None where the specification has no name.
    """

    first: int
    last: int
    where: str
    register: Register | None

    @property
    def title(self) -> str:
        return self.where if self.register is None else f"{self.register.name}, {self.where}"

    @property
    def loses(self) -> str:
        """What a driver does not get when its write is dropped."""
        return (
            "unknown: only the device's maker defines this register" if self.register is None else self.register.loses
        )

    @property
    def remedy(self) -> Remedy:
        return Remedy.UNKNOWN if self.register is None else self.register.remedy


@dataclass(frozen=True, slots=True)
class Located:
    """`places` in order of their offsets; `faults` of the lists on the way; `needs`: what would decide the rest, or ""."""

    places: tuple[Place, ...]
    faults: tuple[str, ...] = ()
    needs: str = ""


@dataclass(frozen=True, slots=True)
class _Block:
    """A capability in this space: its registers hold from `place` up to `end`, if that is known."""

    place: int
    end: int
    sure: bool  #: `end` is where the capability ends; else only where the next one starts
    where: str
    registers: tuple[Register, ...]


def locate(offset: int, size: int, space: bytes = b"") -> Located:
    """What `size` bytes at `offset` are, in a function whose space begins with the bytes `space` (none: unknown).

    Total: any numbers and any bytes have an answer.
    """
    if size < 1 or offset < 0 or offset + size > pci.EXTENDED_SIZE:
        return Located((), (), "an access inside configuration space: offsets go from 0 to 0xfff")
    places: list[Place] = []
    faults: tuple[str, ...] = ()
    needs = ""
    for first, last, name in _parts(offset, offset + size):
        if name == "header":
            kind = space[pci.HEADER_TYPE] & pci.HEADER_TYPE_MASK if len(space) > pci.HEADER_TYPE else None
            blocks = [_header(kind)]
            outside = "header, a register that depends on the header's type"
            if kind is None and any(_at(byte, blocks, outside)[1] is None for byte in range(first, last)):
                needs = _missing(len(space), False)
                continue
        elif len(space) < last:
            needs = _missing(len(space), name == "extended")
            continue
        else:
            found = chain.standard(_reader(space)) if name == "standard" else chain.extended(_reader(space))
            faults += (found.fault,) if found.fault else ()
            blocks = _blocks(space, found, name == "extended")
            outside = "a register of the device's own, outside any capability"
            if name == "extended" and not found.links:
                outside = "extended space, in which this function has no capability"
        places += _within(first, last, blocks, outside)
    return Located(tuple(places), faults, needs)


def _parts(first: int, end: int) -> Iterator[tuple[int, int, str]]:
    bounds = (0, pci.HEADER_SIZE, pci.CONVENTIONAL_SIZE, pci.EXTENDED_SIZE)
    for low, high, name in zip(bounds, bounds[1:], ("header", "standard", "extended"), strict=False):
        if max(first, low) < min(end, high):
            yield max(first, low), min(end, high), name


def _missing(have: int, extended: bool) -> str:
    how = "`lspci -xxxx -s BDF` as root in dom0" if extended else "`lspci -xxx -s BDF` as root in dom0"
    if not have:
        return f"the function's configuration space: {how}, or an image of `pvpci record-device`"
    return f"more than the {have} bytes of this dump: {how}"


def _reader(space: bytes) -> chain.Read:
    # Beyond a short copy a list leads nowhere: zeros end it.
    return lambda offset, size: int.from_bytes(space[offset : offset + size], "little")


def _header(kind: int | None) -> _Block:
    if kind == pci.HEADER_TYPE_NORMAL:
        return _Block(0, pci.HEADER_SIZE, True, "header", (*TYPE_0, _RESERVED))
    if kind == pci.HEADER_TYPE_BRIDGE:
        return _Block(0, pci.HEADER_SIZE, True, "header of a bridge", (*TYPE_1, _RESERVED))
    common = tuple(row for row in TYPE_0 if row in TYPE_1)
    return _Block(0, pci.HEADER_SIZE, True, "header", common)


def _blocks(space: bytes, found: chain.Chain, extended: bool) -> list[_Block]:
    """In order of their places; none reaches into the next."""
    links = sorted(found.links, key=lambda link: link.place)
    limit = pci.EXTENDED_SIZE if extended else pci.CONVENTIONAL_SIZE
    ends = [*(link.place for link in links), limit][1:]
    blocks = []
    for link, following in zip(links, ends, strict=True):
        table = EXTENDED if extended else CAPABILITIES
        kind = table.get(link.id, Capability(f"capability {link.id:#04x} without a name here", None))
        size, registers = _shape(space, link, kind, extended)
        registers += (_EXTENDED_LINK if extended else _LINK,)
        end = following if size is None else min(following, link.place + size)
        where = f"{kind.name} capability at {link.place:#04x}"
        blocks.append(_Block(link.place, end, size is not None, where, registers))
    return blocks


def _shape(space: bytes, link: chain.Link, kind: Capability, extended: bool) -> tuple[int | None, tuple[Register, ...]]:
    """How long this one is, and its registers; both may depend on what its first words say."""
    word = _reader(space)(link.place + 2, 2)
    if extended:
        if link.id in VENDOR_SPECIFIC:
            return max(12, _reader(space)(link.place + 4, 4) >> 20), ()
        return kind.size, kind.registers
    match link.id:
        case pci.CAP_ID_MSI:
            wide = bool(word & _MSI_64BIT)
            size = (0x18 if wide else 0x14) if word & _MSI_MASKBIT else (0x0E if wide else 0x0A)
            return size, tuple(row for row in (MSI_64 if wide else MSI_32) if row.offset < size)
        case pci.CAP_ID_EXP:
            if word & 0xF > 1:
                return kind.size, kind.registers
            port = word >> 4 & 0xF
            size = 0x14 if port in _EXP_ENDPOINTS else 0x0C if port == _EXP_ROOT_COMPLEX else 0x24
            return size, tuple(row for row in kind.registers if row.offset < size)
        case pci.CAP_ID_PCIX:
            bridge = space[pci.HEADER_TYPE] & pci.HEADER_TYPE_MASK == pci.HEADER_TYPE_BRIDGE
            return 24 if word & 0x3000 else 8, () if bridge else kind.registers
        case pci.CAP_ID_VNDR:
            return max(3, word & 0xFF), ()
    return kind.size, kind.registers


def _within(first: int, end: int, blocks: list[_Block], outside: str) -> Iterator[Place]:
    """The bytes from `first` up to `end`, cut where the register or what surrounds it changes."""
    start, current = first, _at(first, blocks, outside)
    for byte in range(first + 1, end):
        here = _at(byte, blocks, outside)
        if here != current:
            yield Place(start, byte - 1, *current)
            start, current = byte, here
    yield Place(start, end - 1, *current)


def _at(byte: int, blocks: list[_Block], outside: str) -> tuple[str, Register | None]:
    for block in blocks:
        if not block.place <= byte < block.end:
            continue
        for row in block.registers:
            if row.offset <= byte - block.place < row.offset + row.width:
                return block.where, row
        if block.place == 0:
            return outside, None
        unsure = "" if block.sure else " or behind"
        return f"offset +{byte - block.place & ~3:#x} in{unsure} the {block.where}", None
    return outside, None
