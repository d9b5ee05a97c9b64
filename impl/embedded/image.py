# SPDX-License-Identifier: Apache-2.0
"""Images of configuration spaces: what a function's registers hold, and which of their bits hardware lets one change.

An image is a JSON file; docs/reference/device-image.md says what each key means and shows one. Whatever a file holds,
the outcome is an :class:`Image` that keeps every promise made there, or one line that says what is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

import msgspec

from pvpci.impl.host import Bdf, HostError, Resource

FOLDER: Final = Path(__file__).parent / "images"
FORMAT: Final = "pvpci-config-image-2"
SIZES: Final = (256, 4096)

_ROM: Final = 6
_LAST_RESOURCE: Final = 16  #: Linux's last one of a bridge
_BIST_CODES: Final = 15
_VPD_LIMIT: Final = 1 << 15

_BDF: Final = re.compile(r"([0-9a-fA-F]{1,4}):([0-9a-fA-F]{1,2}):([0-9a-fA-F]{1,2})\.([0-7])")
_PLACE: Final = re.compile(r"([0-9a-f]{1,4})(?:-([0-9a-f]{1,4}))?")
_HEX: Final = re.compile(r"(?:[0-9a-f]{2})+")


class _Resource(msgspec.Struct, forbid_unknown_fields=True):
    index: int
    start: str
    size: int
    flags: str


class _Head(msgspec.Struct):
    format: str


class _File(msgspec.Struct, forbid_unknown_fields=True):
    format: str
    name: str
    origin: str
    bdf: str
    size: int
    irq: int
    virtual: bool
    reset: list[str]
    resources: list[_Resource]
    registers: dict[str, str]
    writable: dict[str, str]
    write_one_to_clear: dict[str, str]
    vendor: str | None = None
    device: str | None = None
    enable_count: int = 0
    power_on: dict[str, str] = {}
    keeps_d3hot: bool = False
    vpd: str | None = None
    bist: int | None = None


@dataclass(frozen=True, slots=True)
class Image:
    """A checked image. The five byte strings that are named after registers or bits are `size` long."""

    source: Path
    name: str
    origin: str
    bdf: Bdf
    vendor: int  #: as the host knows it: a virtual function's own register reads ffff
    device: int
    irq: int
    is_virtual: bool
    resets: tuple[str, ...]  #: the host's ways to reset it, by their names in sysfs
    enable_count: int  #: how often the host had enabled it
    resources: tuple[Resource, ...]  #: BAR0 to BAR5, then the expansion ROM
    windows: Mapping[int, Resource]  #: what else the host placed for it, by Linux's index: 13 to 16, a bridge's windows
    registers: bytes
    writable: bytes
    write_one_to_clear: bytes
    power_on: bytes  #: what a reset puts where `resettable` is ff
    resettable: bytes  #: ff or 00 per byte
    keeps_d3hot: bool  #: loses nothing on the way from D3hot to D0, whatever its NO_SOFT_RESET says
    vpd: bytes | None  #: what vital-product-data reads deliver; None: they never end
    bist: int | None  #: the code that a self test ends with; None: it never ends

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
        content = path.read_bytes()
        head = msgspec.json.decode(content, type=_Head)
        if head.format != FORMAT:
            raise ImageError(f"{path}: format: {head.format[:40]!a}: expected {FORMAT}")
        file = msgspec.json.decode(content, type=_File)
    except FileNotFoundError as error:
        if "/" in name:
            raise ImageError(f"{path}: no image: {error.strerror}") from error
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
    if file.size not in SIZES:
        raise ImageError(f"{path}: size: {file.size}: expected 256 or 4096")
    for part, number in (("irq", file.irq), ("enable_count", file.enable_count)):
        if not 0 <= number < 1 << 32:
            raise ImageError(f"{path}: {part}: {number} is no 32-bit number")
    if file.bist is not None and not 0 <= file.bist <= _BIST_CODES:
        raise ImageError(f"{path}: bist: {file.bist}: expected a completion code, 0 to {_BIST_CODES}")
    if file.virtual and (file.vendor is None or file.device is None):
        raise ImageError(f"{path}: virtual: registers of a virtual function read ffff: give vendor and device too")
    resources, windows = _resources(path, file.resources)
    registers, _ = _bytes(path, "registers", file.registers, file.size)
    power_on, resettable = _bytes(path, "power_on", file.power_on, file.size)
    return Image(
        source=path,
        name=file.name,
        origin=file.origin,
        bdf=bdf,
        vendor=_identifier(path, "vendor", file.vendor, registers[0:2]),
        device=_identifier(path, "device", file.device, registers[2:4]),
        irq=file.irq,
        is_virtual=file.virtual,
        resets=tuple(file.reset),
        enable_count=file.enable_count,
        resources=resources,
        windows=windows,
        registers=registers,
        writable=_bytes(path, "writable", file.writable, file.size)[0],
        write_one_to_clear=_bytes(path, "write_one_to_clear", file.write_one_to_clear, file.size)[0],
        power_on=power_on,
        resettable=resettable,
        keeps_d3hot=file.keeps_d3hot,
        vpd=_product_data(path, file.vpd),
        bist=file.bist,
    )


def _identifier(path: Path, part: str, text: str | None, register: bytes) -> int:
    if text is None:
        return int.from_bytes(register, "little")
    if not re.fullmatch(r"[0-9a-f]{4}", text):
        raise ImageError(f"{path}: {part}: {text[:20]!a}: expected four lower-case hexadecimal digits")
    return int(text, 16)


def _product_data(path: Path, text: str | None) -> bytes | None:
    if text is None:
        return None
    if not _HEX.fullmatch(text) or len(text) > 2 * _VPD_LIMIT:
        raise ImageError(f"{path}: vpd: expected pairs of lower-case hex digits, at most {_VPD_LIMIT} of them")
    return bytes.fromhex(text)


def _number(path: Path, part: str, text: str) -> int:
    if not re.fullmatch(r"[0-9a-f]{1,16}", text):
        raise ImageError(f"{path}: {part}: {text[:20]!a} is no lower-case hexadecimal number of up to 16 digits")
    return int(text, 16)


def _resources(path: Path, listed: list[_Resource]) -> tuple[tuple[Resource, ...], Mapping[int, Resource]]:
    """BARs with the ROM, and what else there is by index."""
    found: dict[int, Resource] = {}
    for each in listed:
        part = f"resources: index {each.index}"
        if not 0 <= each.index <= _LAST_RESOURCE or each.index in found:
            raise ImageError(f"{path}: {part}: expected each of 0 to {_LAST_RESOURCE} at most once")
        start, flags = _number(path, part, each.start), _number(path, part, each.flags)
        is_bar = each.index <= _ROM
        if each.size <= 0 or not flags or (is_bar and (each.size & (each.size - 1) or start % each.size)):
            raise ImageError(f"{path}: {part}: expected a power of two as size, an aligned start, and flags")
        found[each.index] = Resource(start, start + each.size - 1, flags)
    bars = tuple(found.pop(index, Resource(0, 0, 0)) for index in range(_ROM + 1))
    return bars, MappingProxyType(found)


def _bytes(path: Path, part: str, rows: dict[str, str], size: int) -> tuple[bytes, bytes]:
    """The content, 0 where nothing is said of it, and ff for every byte of which something is said."""
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
        filled[first:end] = b"\xff" * (end - first)
    return bytes(content), bytes(filled)
