# SPDX-License-Identifier: Apache-2.0
"""A function made of bytes and write masks, and the functions that the tests of model/config use."""

from __future__ import annotations

from dataclasses import dataclass, field

from pvpci.model.config.identity import Identity, survey

IO, MEM, MEM_64, UNSET = 0x100, 0x200, 0x100000, 0x20000000


@dataclass(frozen=True, slots=True)
class Range:
    """One resource."""

    start: int
    end: int
    flags: int


NONE = Range(0, 0, 0)


def placed(start: int, size: int, flags: int) -> Range:
    return Range(start, start + size - 1, flags)


@dataclass
class Registers:
    """Configuration space that remembers every access. `mask`: the bits that a write can change."""

    image: bytearray
    mask: bytearray
    resources: tuple[Range, ...] = (NONE,) * 7
    vendor: int = 0x8086  #: what the host says, whatever the register reads
    device: int = 0x10D3
    irq: int = 19
    is_virtual: bool = False
    exacting: bool = True  #: off for broken views, whose accesses are to be judged by a property and not by us
    reads: list[tuple[int, int]] = field(default_factory=list)
    writes: list[tuple[int, int, int]] = field(default_factory=list)

    @property
    def config_size(self) -> int:
        return len(self.image)

    def read(self, offset: int, size: int) -> int:
        self._check(offset, size)
        self.reads.append((offset, size))
        return self.peek(offset, size)

    def write(self, offset: int, size: int, value: int) -> None:
        self._check(offset, size)
        assert 0 <= value < 1 << 8 * size
        self.writes.append((offset, size, value))
        for place, byte in enumerate(value.to_bytes(size, "little"), offset):
            self.image[place] = self.image[place] & ~self.mask[place] | byte & self.mask[place]

    def _check(self, offset: int, size: int) -> None:
        fits = size in (1, 2, 4) and offset % size == 0 and 0 <= offset <= len(self.image) - size
        assert fits or not self.exacting, f"access of {size} bytes at {offset:#x}"

    def peek(self, offset: int, size: int) -> int:
        return int.from_bytes(self.image[offset : offset + size], "little")

    def poke(self, offset: int, size: int, value: int) -> None:
        self.image[offset : offset + size] = value.to_bytes(size, "little")

    def forget(self) -> None:
        self.reads.clear()
        self.writes.clear()


def golden() -> Registers:
    """The conventional function that the recorded vectors were made with, all its resources placed."""
    found = Registers(
        bytearray(256),
        bytearray(256),
        (
            placed(0xF7D00000, 0x20000, MEM),
            placed(0xF7D20000, 0x80000, MEM),
            placed(0xE000, 32, IO | 1),
            placed(0x2F0000000, 0x10000000, MEM | MEM_64 | 0xC),
            NONE,
            NONE,
            placed(0xF7DC0000, 0x40000, MEM),
        ),
    )
    for offset, size, value in (
        (0x00, 4, 0x10D38086),
        (0x04, 4, 0x00100103),
        (0x08, 4, 0x02000000),
        (0x0C, 4, 0x80000000),
        (0x10, 4, 0xF7D00000),
        (0x14, 4, 0xF7D20000),
        (0x18, 4, 0x0000E001),
        (0x1C, 4, 0xF000000C),
        (0x20, 4, 0x00000002),
        (0x30, 4, 0xF7DC0000),
        (0x34, 1, 0xC8),
        (0x3C, 4, 0x0000010B),
        (0xC8, 4, 0xFE22D001),
        (0xD0, 4, 0x0080E005),
        (0xE0, 4, 0x0000A003),
        (0xA0, 4, 0x00040011),
        (0xA4, 4, 0x00000003),
        (0xA8, 4, 0x00002003),
        (0x40, 4, 0x44332211),
        (0x4C, 4, 0xA5A6A7A8),
    ):
        found.poke(offset, size, value)
    for offset, size, value in ((0x04, 2, 0x07FF), (0x0C, 2, 0xFFFF), (0x0F, 1, 0x40)):
        found.mask[offset : offset + size] = value.to_bytes(size, "little")
    for offset in (*range(0x10, 0x28), *range(0x30, 0x34), 0x3C, *range(0x40, 0x100)):
        found.mask[offset] = 0xFF
    return found


def express() -> Registers:
    """A PCI Express function with extended space and without an interrupt pin; decodes memory only."""
    found = golden()
    found.image += bytes(range(256)) * 15
    found.mask += b"\xff" * (4096 - 256)
    found.resources = (placed(0x38_0000_0000, 1 << 33, MEM | MEM_64 | 4), NONE, NONE, NONE, NONE, NONE, NONE)
    found.poke(0x3D, 1, 0)
    found.poke(0xE0, 2, 0xA010)
    return found


def virtual() -> Registers:
    """A virtual function: identity and BARs read as nothing, decoding is its physical function's."""
    found = express()
    found.poke(0, 4, 0xFFFFFFFF)
    found.poke(4, 2, 0)
    for offset in (*range(0x10, 0x28), *range(0x30, 0x34)):
        found.image[offset] = found.mask[offset] = 0
    found.mask[4], found.mask[5] = 0x04, 0
    found.is_virtual, found.irq = True, 0
    return found


def identity(registers: Registers) -> Identity:
    return survey(registers)
