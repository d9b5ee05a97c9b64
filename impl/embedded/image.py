# SPDX-License-Identifier: Apache-2.0
"""Images of configuration spaces: what a function's registers hold, and which of their bits hardware lets one change.

An image is a JSON file::

    {"format": "pvpci-config-image-1",
     "name": "edu",
     "origin": "where and when it was recorded",
     "bdf": "0000:00:07.0",
     "size": 256,                      256 or 4096 bytes
     "irq": 23,                        the routed line interrupt, 0 for none
     "virtual": false,                 true for an SR-IOV virtual function
     "reset": ["flr"],                 reset methods of the host; [] for none
     "flr": "088",                     optional: offset of the PCIe device control word whose bit 15 resets
     "resources": [{"index": 0, "start": "fe200000", "size": 1048576, "flags": "40200"}],
     "registers": {"000": "3412e811…"},
     "writable": {"050-0ff": "ff"},    bits that a write changes
     "write_one_to_clear": {"007": "f9"}}

A resource's index is 0 to 5 for a BAR and 6 for the expansion ROM. The last three are maps from a place to bytes, in
memory order and hexadecimal: a place is an offset, or ``first-last`` (inclusive), which the bytes fill by repetition.
What is not mentioned is zero. Places must not overlap and must lie inside the space.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import msgspec

from pvpci.impl.host import Bdf, HostError, Resource

FOLDER: Final = Path(__file__).parent / "images"

_BDF: Final = re.compile(r"([0-9a-fA-F]{1,4}):([0-9a-fA-F]{1,2}):([0-9a-fA-F]{1,2})\.([0-7])")
_PLACE: Final = re.compile(r"([0-9a-f]{1,4})(?:-([0-9a-f]{1,4}))?")
_HEX: Final = re.compile(r"(?:[0-9a-f]{2})+")


class _Resource(msgspec.Struct, forbid_unknown_fields=True):
    index: int
    start: str
    size: int
    flags: str


class _File(msgspec.Struct, forbid_unknown_fields=True):
    format: Literal["pvpci-config-image-1"]
    name: str
    origin: str
    bdf: str
    size: Literal[256, 4096]
    irq: int
    virtual: bool
    reset: list[str]
    resources: list[_Resource]
    registers: dict[str, str]
    writable: dict[str, str]
    write_one_to_clear: dict[str, str]
    flr: str | None = None


@dataclass(frozen=True, slots=True)
class Image:
    """A checked image. The three byte strings are `size` long; `flr` is the offset of a word, or None."""

    source: Path
    name: str
    bdf: Bdf
    irq: int
    is_virtual: bool
    resets: tuple[str, ...]
    resources: tuple[Resource, ...]
    registers: bytes
    writable: bytes
    write_one_to_clear: bytes
    flr: int | None

    @property
    def size(self) -> int:
        return len(self.registers)


class ImageError(HostError):
    """The file cannot be used; the text names the file, the part, and what would be right."""


def parse_bdf(text: str) -> Bdf:
    """``DDDD:BB:SS.F`` in hexadecimal. HostError for anything else."""
    match = _BDF.fullmatch(text)
    if match is None or int(match[3], 16) > 0x1F:
        raise HostError(f"{text[:40]!a} is no PCI address: expected DDDD:BB:SS.F, for example 0000:00:05.0")
    return Bdf(*(int(each, 16) for each in match.groups()))


def names() -> tuple[str, ...]:
    """Images that come with the program."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.json")))


def load(name: str) -> Image:
    """An image by its name, or by the path of a file of one's own (anything with a slash). ImageError if it is bad."""
    path = Path(name) if "/" in name else FOLDER / f"{name}.json"
    try:
        file = msgspec.json.decode(path.read_bytes(), type=_File)
    except FileNotFoundError:
        raise ImageError(f"no image {name[:80]!a}: have {', '.join(names())}, or give a path with a slash") from None
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ImageError(f"{path}: {error}") from error
    return _checked(path, file)


def _checked(path: Path, file: _File) -> Image:
    try:
        bdf = parse_bdf(file.bdf)
    except HostError as error:
        raise ImageError(f"{path}: bdf: {error.what}") from error
    if not 0 <= file.irq < 1 << 32:
        raise ImageError(f"{path}: irq: {file.irq} is no 32-bit number")
    flr = None
    if file.flr is not None:
        flr = _number(path, "flr", file.flr)
        if flr % 2 or flr + 2 > file.size:
            raise ImageError(f"{path}: flr: {file.flr} is no even offset inside {file.size} bytes")
    return Image(
        source=path,
        name=file.name,
        bdf=bdf,
        irq=file.irq,
        is_virtual=file.virtual,
        resets=tuple(file.reset),
        resources=_resources(path, file.resources),
        registers=_bytes(path, "registers", file.registers, file.size),
        writable=_bytes(path, "writable", file.writable, file.size),
        write_one_to_clear=_bytes(path, "write_one_to_clear", file.write_one_to_clear, file.size),
        flr=flr,
    )


def _number(path: Path, part: str, text: str) -> int:
    if not re.fullmatch(r"[0-9a-f]{1,16}", text):
        raise ImageError(f"{path}: {part}: {text[:20]!a} is no lower-case hexadecimal number of up to 16 digits")
    return int(text, 16)


def _resources(path: Path, listed: list[_Resource]) -> tuple[Resource, ...]:
    found = [Resource(0, 0, 0)] * 7
    for each in listed:
        part = f"resources: index {each.index}"
        if not 0 <= each.index <= 6 or found[each.index].flags:
            raise ImageError(f"{path}: {part}: expected each of 0 to 6 at most once")
        start, flags = _number(path, part, each.start), _number(path, part, each.flags)
        if each.size <= 0 or each.size & (each.size - 1) or start % each.size or not flags:
            raise ImageError(f"{path}: {part}: expected a power of two as size, an aligned start, and flags")
        found[each.index] = Resource(start, start + each.size - 1, flags)
    return tuple(found)


def _bytes(path: Path, part: str, rows: dict[str, str], size: int) -> bytes:
    content, filled = bytearray(size), bytearray(size)
    for place, digits in rows.items():
        match = _PLACE.fullmatch(place)
        if match is None or not _HEX.fullmatch(digits):
            raise ImageError(f"{path}: {part}: {place[:20]!a}: expected OFFSET or FIRST-LAST, and pairs of hex digits")
        piece = bytes.fromhex(digits)
        first = int(match[1], 16)
        end = first + len(piece) if match[2] is None else int(match[2], 16) + 1
        if not first < end <= size or (end - first) % len(piece):
            raise ImageError(f"{path}: {part}: {place}: {len(piece)} bytes do not fill a place inside {size} bytes")
        if any(filled[first:end]):
            raise ImageError(f"{path}: {part}: {place}: overlaps another place")
        content[first:end] = piece * ((end - first) // len(piece))
        filled[first:end] = b"\1" * (end - first)
    return bytes(content)
