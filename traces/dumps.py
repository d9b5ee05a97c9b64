# SPDX-License-Identifier: Apache-2.0
"""Copies of configuration spaces as people have them: the output of ``lspci -x…``, or the bytes of sysfs's `config`.

`lspci` shows 64 bytes to who is not root, 256 with ``-xxx`` and all with ``-xxxx``; its text may hold every function of a
machine and, with ``-vv``, much that is no dump. A file of sysfs is 64, 256 or 4096 bytes, as much as the reader might see.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

#: More than any machine's `lspci -vvxxxx`.
LARGEST: Final = 32 << 20
SIZES: Final = (64, 256, 4096)

_TITLE: Final = re.compile(r"((?:[0-9a-fA-F]{4,8}:)?[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7])\s")
_ROW: Final = re.compile(r"([0-9a-f]{2,3}):((?: [0-9a-f]{2}){1,16})\s*")
_RIGHT: Final = "give the output of `lspci -xxxx` as root, or a copy of /sys/bus/pci/devices/BDF/config"


@dataclass(frozen=True, slots=True)
class Dump:
    """The first bytes of one function's space. `device` is its address in full, or empty where the copy has none."""

    device: str
    space: bytes


class DumpError(ValueError):
    """The file is no copy of a configuration space. `where` names it, with the line if one is to blame."""

    def __init__(self, where: str, what: str) -> None:
        super().__init__(f"{where}: {what}")
        self.where, self.what, self.right = where, what, _RIGHT


def full(device: str) -> str:
    """The address with its segment, in small letters: ``00:05.0`` is ``0000:00:05.0``."""
    address = device.lower()
    return f"0000:{address}" if address.count(":") == 1 else address


def read(data: bytes, name: str) -> tuple[Dump, ...]:
    """All functions of the file `name`, of which `data` is the content. Raises DumpError, and nothing else."""
    if not data:
        raise DumpError(name, "is empty")
    if len(data) > LARGEST:
        raise DumpError(name, f"is larger than {LARGEST >> 20} MiB")
    if b"\0" in data or not data.isascii():
        # Text has no zero bytes, and hardly any configuration space is without.
        if len(data) in SIZES:
            return (Dump("", data),)
        if b"\0" in data:
            raise DumpError(name, f"is binary and of {len(data)} bytes, not of {', '.join(map(str, SIZES))}")
    found = _text(data.decode("ascii", "replace"), name)
    if not found:
        if len(data) in SIZES:
            return (Dump("", data),)
        raise DumpError(name, "has no line of a dump (`00: 86 80 …`)")
    return found


def _text(text: str, name: str) -> tuple[Dump, ...]:
    found: list[Dump] = []
    device, space = "", bytearray()

    def close() -> None:
        if space:
            found.append(Dump(device and full(device), bytes(space)))

    for number, line in enumerate(text.splitlines(), 1):
        if title := _TITLE.match(line):
            close()
            device, space = title[1], bytearray()
        elif row := _ROW.fullmatch(line):
            offset = int(row[1], 16)
            if offset == 0 and space:
                close()
                device, space = "", bytearray()
            if offset != len(space):
                raise DumpError(f"{name}:{number}", f"the row of {offset:#04x} follows {len(space):#04x} bytes")
            space += bytes.fromhex(row[2])
    close()
    return tuple(found)
