# SPDX-License-Identifier: Apache-2.0
"""Operations that were recorded on a running kernel, and the functions that they were recorded on.

``config-vectors.jsonl.xz`` says in its first line what its words mean. The program `targeted` is another thing than the
rest: things happened between its operations that its notes speak of.
"""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

from pvpci.impl.embedded.image import Image, load
from pvpci.impl.embedded.registers import Registers

DATA: Final = Path(__file__).parent / "data"
TARGETED: Final = "targeted"
MD1: Final = "md1"
#: Operations of the programs that start from a known content, 20931 in all.
OPERATIONS: Final = {
    "ahci": 2999, "e1000e": 3509, "edu": 3498, "edu-type1": 264, "edu-vpd": 864, "nvme": 3497, "nvme-vf": 487,
    "rtl8139": 2803, "xhci": 3010,
}  # fmt: skip

Entry = dict[str, Any]


class Function(Registers):
    """An image as the host holds it. `memory`: its registers; `writes`: what has reached it: offset, size, value."""

    def __init__(self, image: Image, memory: bytearray | None = None) -> None:
        self.memory = bytearray(image.registers) if memory is None else memory
        self.writes: list[tuple[int, int, int]] = []
        super().__init__(image, self.memory)
        self.config_size, self.resources, self.irq = image.size, image.resources, image.irq
        self.vendor, self.device, self.is_virtual = image.vendor, image.device, image.is_virtual

    def write(self, offset: int, size: int, value: int) -> None:
        self.writes.append((offset, size, value))
        super().write(offset, size, value)


def device(name: str) -> Image:
    """The function of the golden vectors by its name, `MD1`; any other as it was when the operations were recorded."""
    return load(name if name == MD1 else str(DATA / "devices" / f"{name}.json"))


@cache
def _entries() -> list[Entry]:
    return [json.loads(line) for line in lzma.decompress((DATA / "config-vectors.jsonl.xz").read_bytes()).splitlines()]


def programs(name: str) -> Iterator[tuple[Entry, list[Entry]]]:
    """The recorded programs of a device that start from a known content, with their operations."""
    for program, entries in _all():
        if program["prog"] != TARGETED and program["dev"] == name:
            yield program, entries


def targeted() -> list[Entry]:
    """Operations and notes of that program."""
    return next(entries for program, entries in _all() if program["prog"] == TARGETED)


def _all() -> Iterator[tuple[Entry, list[Entry]]]:
    starts = [index for index, entry in enumerate(_entries()) if "prog" in entry]
    for start, end in zip(starts, [*starts[1:], None], strict=True):
        yield _entries()[start], _entries()[start + 1 : end]


def dword(memory: bytearray, at: int) -> str:
    return memory[at : at + 4][::-1].hex()


def put(memory: bytearray, at: int, value: str) -> None:
    """A recorded dword."""
    memory[at : at + 4] = bytes.fromhex(value)[::-1]
