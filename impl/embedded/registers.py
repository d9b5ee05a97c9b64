# SPDX-License-Identifier: Apache-2.0
"""Registers that react as hardware does, over any memory: a bytearray in a test, shared memory in the box.

Almost everything that configuration hardware does to a write is a mask: bits that do not change, bits that a one
clears. Sizing a BAR needs no more, because its low bits cannot be written, and a virtual function's dead registers are
registers without a writable bit. What is left are a few reactions, each behind its capability:

- a function-level reset (PCI Express or Advanced Features) and leaving D3hot put the power-on values back;
- a power state that the function does not have is not entered;
- enabling MSI with more vectors than there are leaves as many as there are;
- a vital-product-data read delivers the data and raises its flag;
- a built-in self test ends with its completion code.

Time does not exist here: whatever takes hardware milliseconds is over when the write returns.

Between the hardware and Linux stands the hypervisor, which drops some of dom0's writes: :class:`BehindXen`.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from mmap import mmap
from typing import Final

from pvpci.impl.embedded.image import Image
from pvpci.impl.host import HostError
from pvpci.model.config import constants as pci
from pvpci.model.config.compiled import HardwareAccess
from pvpci.model.config.messages import capable, enabled, with_enabled
from pvpci.model.config.walk import capabilities

_CAP_ID_AF: Final = 0x13

_BIST_CAPABLE: Final = 0x80

_PM_D3HOT: Final = 3
#: What the capability word must have for a state that is optional.
_PM_SUPPORT: Final = {1: pci.PM_CAP_D1, 2: pci.PM_CAP_D2}

_VPD_ADDRESS_MASK: Final = 0x7FFC
_VPD_FLAG: Final = 0x80  #: of the address word's upper byte


_EXP_CAPABLE: Final = 4
_EXP_CAPABLE_FLR: Final = 1 << 28
_EXP_CONTROL: Final = 8
_EXP_CONTROL_FLR: Final = 1 << 15
_AF_CAPABLE: Final = 3
_AF_CAPABLE_FLR: Final = 0x02
_AF_CONTROL: Final = 4
_AF_CONTROL_FLR: Final = 0x01

_MSIX_STRUCTURE: Final = 12  #: bytes: header, control word, table register, PBA register


@dataclass(frozen=True, slots=True)
class _Register:
    """`react(at, before, asked)` after each write that touches it; what the write did not cover is 0 in `asked`."""

    at: int
    width: int
    react: Callable[[int, int, int], None]


class Dump:
    """Registers that are only looked at: what lies outside reads as ones, and a write has no hardware to reach."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def read(self, offset: int, size: int) -> int:
        found = self._content[offset : offset + size] if offset >= 0 else b""
        return int.from_bytes(found.ljust(size, b"\xff"), "little")

    def write(self, offset: int, size: int, value: int) -> None:
        """Swallowed."""


class Registers:
    """`model.config.identity.HardwareAccess` over `memory`, which is as long as the image and holds what it holds.

    What lies outside of it reads as ones and swallows writes, as on the bus. `capabilities`: id to offset, the first of
    each kind.
    """

    def __init__(self, image: Image, memory: bytearray | mmap) -> None:
        self.image, self._memory, self._size = image, memory, image.size
        # Hardware does not move its capabilities, whatever has been written since the image was taken.
        fixed = Dump(image.registers)
        self.capabilities: Final = capabilities(fixed)
        self._reacting = self._reactions(fixed)

    def read(self, offset: int, size: int) -> int:
        if not 0 <= offset <= self._size - size:
            return (1 << 8 * size) - 1
        return int.from_bytes(self._memory[offset : offset + size], "little")

    def write(self, offset: int, size: int, value: int) -> None:
        """The low `size` bytes of `value`."""
        if not 0 <= offset <= self._size - size:
            return
        end, image = offset + size, self.image
        touched = [
            (it, self.read(it.at, it.width)) for it in self._reacting if it.at < end and offset < it.at + it.width
        ]
        writable = int.from_bytes(image.writable[offset:end], "little")
        cleared = int.from_bytes(image.write_one_to_clear[offset:end], "little")
        self._put(offset, size, (self.read(offset, size) & ~writable | value & writable) & ~(value & cleared))
        for it, before in touched:
            ahead = 8 * (offset - it.at)
            asked = value << ahead if ahead >= 0 else (value & (1 << 8 * size) - 1) >> -ahead
            it.react(it.at, before, asked & (1 << 8 * it.width) - 1)

    def reset(self) -> None:
        """As after a function-level reset: power-on values where the image has some, and D0."""
        image = self.image
        now, fresh, lost = (
            int.from_bytes(each, "little") for each in (self._memory[:], image.power_on, image.resettable)
        )
        self._memory[:] = (now & ~lost | fresh & lost).to_bytes(len(self._memory), "little")
        pm = self.capabilities.get(pci.CAP_ID_PM, image.size)
        if pm + pci.PM_CTRL + 2 <= image.size:
            self._put(pm + pci.PM_CTRL, 2, self.read(pm + pci.PM_CTRL, 2) & ~pci.PM_CTRL_STATE)

    def _put(self, offset: int, size: int, value: int) -> None:
        self._memory[offset : offset + size] = value.to_bytes(size, "little")

    def _reactions(self, fixed: Dump) -> tuple[_Register, ...]:
        """Those of this function. A capability too close to the end of the space to have its registers has none."""
        at = self.capabilities
        found = []
        if self.image.bist is not None:
            found.append(_Register(pci.BIST, 1, self._test))
        if pm := at.get(pci.CAP_ID_PM):
            found.append(_Register(pm + pci.PM_CTRL, 2, self._change_power))
        vpd = at.get(pci.CAP_ID_VPD)
        if vpd and vpd + pci.VPD_DATA + 4 <= self.image.size and self.image.vpd is not None:
            found.append(_Register(vpd + pci.VPD_ADDR + 1, 1, self._transfer))
        if msi := at.get(pci.CAP_ID_MSI):
            found.append(_Register(msi + pci.MSI_FLAGS, 2, self._clamp))
        express = at.get(pci.CAP_ID_EXP)
        if express and fixed.read(express + _EXP_CAPABLE, 4) & _EXP_CAPABLE_FLR:
            found.append(_Register(express + _EXP_CONTROL, 2, self._reset_by_express))
        features = at.get(_CAP_ID_AF)
        if features and fixed.read(features + _AF_CAPABLE, 1) & _AF_CAPABLE_FLR:
            found.append(_Register(features + _AF_CONTROL, 1, self._reset_by_features))
        return tuple(it for it in found if it.at + it.width <= self.image.size)

    def _test(self, at: int, before: int, asked: int) -> None:
        if before & _BIST_CAPABLE and asked & pci.BIST_START and self.image.bist is not None:
            self._put(at, 1, _BIST_CAPABLE | self.image.bist)

    def _change_power(self, at: int, before: int, asked: int) -> None:
        now, left = self.read(at, 2), before & pci.PM_CTRL_STATE
        entered = now & pci.PM_CTRL_STATE
        if self.read(at - pci.PM_CTRL + pci.PM_PMC, 2) & _PM_SUPPORT.get(entered, 0) != _PM_SUPPORT.get(entered, 0):
            self._put(at, 2, now & ~pci.PM_CTRL_STATE | left)
        elif left == _PM_D3HOT and entered == 0 and not (now & pci.PM_CTRL_NO_SOFT_RESET or self.image.keeps_d3hot):
            self.reset()

    def _transfer(self, at: int, before: int, asked: int) -> None:
        if asked & _VPD_FLAG:
            # A write of product data; ours is read-only, so it is over at once and has changed nothing.
            self._put(at, 1, self.read(at, 1) & ~_VPD_FLAG)
            return
        content = self.image.vpd or b""
        place = self.read(at - 1, 2) & _VPD_ADDRESS_MASK
        self._memory[at + 1 : at + 5] = content[place : place + 4].ljust(4, b"\0")
        self._put(at, 1, self.read(at, 1) | _VPD_FLAG)

    def _clamp(self, at: int, before: int, asked: int) -> None:
        now = self.read(at, 2)
        if now & pci.MSI_FLAGS_ENABLE and enabled(now) > capable(now):
            self._put(at, 2, with_enabled(now, capable(now)))

    def _reset_by_express(self, at: int, before: int, asked: int) -> None:
        if asked & _EXP_CONTROL_FLR:
            self.reset()
            self._put(at, 2, self.read(at, 2) & ~_EXP_CONTROL_FLR)

    def _reset_by_features(self, at: int, before: int, asked: int) -> None:
        if asked & _AF_CONTROL_FLR:
            self.reset()
            self._put(at, 1, self.read(at, 1) & ~_AF_CONTROL_FLR)


class BehindXen:
    """What dom0's kernel sees of a function: the hypervisor drops writes to the MSI-X capability, and says nothing.

    Only the control word may be written there, and only as a word (seen with Xen 4.17). `size` is the function's. The
    space ends at 4096 for every function: what a conventional one lacks reads as ones, and past the end there is no
    access at all: HostError(EINVAL).
    """

    def __init__(self, hardware: HardwareAccess, msix: int | None, size: int) -> None:
        self._hardware, self._msix, self._size = hardware, msix, size

    def read(self, offset: int, size: int) -> int:
        self._check(offset, size)
        return self._hardware.read(offset, size) if offset < self._size else (1 << 8 * size) - 1

    def write(self, offset: int, size: int, value: int) -> None:
        self._check(offset, size)
        if offset < self._size and not self._drops(offset, size):
            self._hardware.write(offset, size, value)

    def _drops(self, offset: int, size: int) -> bool:
        msix = self._msix
        if not msix or not msix <= offset < msix + _MSIX_STRUCTURE:
            return False
        return (offset, size) != (msix + pci.MSIX_FLAGS, 2)

    def _check(self, offset: int, size: int) -> None:
        if not 0 <= offset <= pci.EXTENDED_SIZE - size:
            raise HostError(f"access of {size} bytes at {offset:#x}: past the end of configuration space", errno.EINVAL)
