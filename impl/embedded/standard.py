# SPDX-License-Identifier: Apache-2.0
"""Which bits of a function can be written, by what the PCI specifications say of the registers that it has.

Looking at registers does not show which of their bits are wired, and writing to them to find out would disturb whoever
uses the function. What is known without: the header, the sizes of the BARs (from the host), power management, vital
product data, MSI, MSI-X, PCI Express, Advanced Features. Everything else counts as read-only. Where a specification
leaves a bit to the designer, the commoner choice is taken; a recorded image says that its masks come from here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from pvpci.impl.embedded.registers import Dump
from pvpci.impl.host import Resource
from pvpci.model.config import constants as pci
from pvpci.model.config.messages import MOST_MESSAGES, capable
from pvpci.model.config.state import BARS, ROM
from pvpci.model.config.walk import capabilities

_STATUS_ERRORS: Final = 0xF900
_COMMAND_ALWAYS: Final = pci.COMMAND_MASTER | pci.COMMAND_PARITY | pci.COMMAND_SERR | pci.COMMAND_INTX_DISABLE
_BIST_CAPABLE: Final = 0x80

# The type-1 header.
_BUS_NUMBERS: Final = 0x18
_SECONDARY_LATENCY: Final = 0x1B
_SECONDARY_STATUS: Final = 0x1E
_IO_WINDOW, _IO_WINDOW_UPPER = 0x1C, 0x30
_MEMORY_WINDOW: Final = 0x20
_PREFETCH_WINDOW, _PREFETCH_WINDOW_UPPER = 0x24, 0x28
_BRIDGE_CONTROL: Final = 0x3E
#: How many BARs a header of a type has, and where its ROM is (0: nowhere).
_BARS_AND_ROM: Final = {
    pci.HEADER_TYPE_NORMAL: (BARS, pci.ROM_ADDRESS),
    pci.HEADER_TYPE_BRIDGE: (2, pci.ROM_ADDRESS1),
    pci.HEADER_TYPE_CARDBUS: (1, 0),
}
#: Linux's indices of the windows.
_IO_RESOURCE, _PREFETCH_RESOURCE = 13, 15

# Offsets inside capabilities, and bits.
_PMC_D3COLD: Final = 0x8000
_EXP_DEVCTL, _EXP_DEVCTL_BITS, _EXP_DEVCTL_FRESH = 8, 0x78FF, 0x2810
_EXP_DEVSTA, _EXP_DEVSTA_BITS = 10, 0x000F
_EXP_LNKCTL, _EXP_LNKCTL_BITS = 16, 0x00C3


class _Row(NamedTuple):
    """One register: what can be written, what a one clears, and what a reset puts there beside its wired bits."""

    at: int
    width: int
    writable: int
    clears: int = 0
    fresh: int = 0
    resets: bool = True


@dataclass(frozen=True, slots=True)
class Standard:
    """As the attributes of `image.Image` of these names."""

    writable: bytes
    write_one_to_clear: bytes
    power_on: bytes
    resettable: bytes


def standard(registers: bytes, resources: Mapping[int, Resource], is_virtual: bool) -> Standard:
    """`resources` by Linux's index: 0 to 5 the BARs, 6 the ROM, 13 to 15 a bridge's windows."""
    content = Dump(registers)
    masks = [bytearray(len(registers)) for _ in range(4)]
    for row in (*_header(content, resources, is_virtual), *_capabilities(content, is_virtual)):
        if row.at + row.width > len(registers):
            continue
        wired = content.read(row.at, row.width) & ~(row.writable | row.clears)
        touched = row.writable | row.clears if row.resets else 0
        values = (row.writable, row.clears, (wired | row.fresh & row.writable) if row.resets else 0, touched)
        for mask, value in zip(masks, values, strict=True):
            for place, byte in enumerate(value.to_bytes(row.width, "little"), row.at):
                mask[place] |= byte
    writable, clears, fresh, touched_bits = masks
    resettable = bytes(0xFF if bits else 0 for bits in touched_bits)
    power_on = bytes(value & kept for value, kept in zip(fresh, resettable, strict=True))
    return Standard(bytes(writable), bytes(clears), power_on, resettable)


def _header(content: Dump, resources: Mapping[int, Resource], is_virtual: bool) -> Iterator[_Row]:
    if is_virtual:
        # Single Root I/O Virtualization 1.1, section 3.4.1: the rest is the physical function's.
        yield _Row(pci.COMMAND, 2, pci.COMMAND_MASTER)
        yield _Row(pci.STATUS, 2, 0, _STATUS_ERRORS)
        return
    conventional = pci.CAP_ID_EXP not in capabilities(content)
    decode = 0
    for resource in resources.values():
        decode |= pci.COMMAND_IO if resource.flags & pci.RESOURCE_IO else 0
        decode |= pci.COMMAND_MEMORY if resource.flags & pci.RESOURCE_MEM else 0
    # COMMAND starts as 0, so whatever is set has been written; firmware sets bits that the function has no use for.
    written = content.read(pci.COMMAND, 2) & ~pci.COMMAND_RESERVED
    optional = pci.COMMAND_INVALIDATE if conventional else 0
    yield _Row(pci.COMMAND, 2, _COMMAND_ALWAYS | decode | written | optional)
    yield _Row(pci.STATUS, 2, 0, _STATUS_ERRORS)
    yield _Row(pci.CACHE_LINE_SIZE, 1, 0xFF)
    yield _Row(pci.LATENCY_TIMER, 1, 0xFF if conventional else 0)
    yield _Row(pci.BIST, 1, pci.BIST_START if content.read(pci.BIST, 1) & _BIST_CAPABLE else 0)
    yield _Row(pci.INTERRUPT_LINE, 1, 0xFF)
    kind = content.read(pci.HEADER_TYPE, 1) & pci.HEADER_TYPE_MASK
    yield from _bars(resources, *_BARS_AND_ROM.get(kind, (0, 0)))
    if kind == pci.HEADER_TYPE_BRIDGE:
        yield from _bridge(content, resources, conventional)


def _bars(resources: Mapping[int, Resource], bars: int, rom: int) -> Iterator[_Row]:
    for index in range(bars):
        if resource := resources.get(index):
            at, size = pci.BASE_ADDRESS_0 + 4 * index, -resource.size
            if resource.flags & pci.RESOURCE_MEM_64 and index + 1 < bars:
                yield _Row(at, 8, size & 0xFFFFFFFF_FFFFFFF0)
            else:
                yield _Row(at, 4, size & (0xFFFFFFFC if resource.flags & pci.RESOURCE_IO else 0xFFFFFFF0))
    if rom and (resource := resources.get(ROM)):
        yield _Row(rom, 4, -resource.size & 0xFFFFF800 | pci.RESOURCE_ROM_ENABLE)


def _bridge(content: Dump, resources: Mapping[int, Resource], conventional: bool) -> Iterator[_Row]:
    yield _Row(_BUS_NUMBERS, 3, 0xFFFFFF)
    yield _Row(_SECONDARY_LATENCY, 1, 0xFF if conventional else 0)
    yield _Row(_SECONDARY_STATUS, 2, 0, _STATUS_ERRORS)
    yield _Row(_MEMORY_WINDOW, 4, 0xFFF0FFF0)
    io, prefetch = content.read(_IO_WINDOW, 2), content.read(_PREFETCH_WINDOW, 4)
    if io or _IO_RESOURCE in resources:
        yield _Row(_IO_WINDOW, 2, 0xF0F0)
        yield _Row(_IO_WINDOW_UPPER, 4, 0xFFFFFFFF if io & 1 else 0)
    if prefetch or _PREFETCH_RESOURCE in resources:
        yield _Row(_PREFETCH_WINDOW, 4, 0xFFF0FFF0)
        yield _Row(_PREFETCH_WINDOW_UPPER, 8, 0xFFFFFFFF_FFFFFFFF if prefetch & 1 else 0)
    yield _Row(_BRIDGE_CONTROL, 2, 0x0F7F if conventional else 0x007F)


def _capabilities(content: Dump, is_virtual: bool) -> Iterator[_Row]:
    at = capabilities(content)
    if pm := at.get(pci.CAP_ID_PM):
        pme = content.read(pm + pci.PM_PMC, 2) & pci.PM_CAP_PME_MASK
        yield _Row(pm + pci.PM_CTRL, 1, pci.PM_CTRL_STATE)
        # Who may wake the machine from D3cold must remember it there: no reset touches that.
        yield _Row(pm + pci.PM_CTRL + 1, 1, 0x01 if pme else 0, 0x80 if pme else 0, resets=not pme & _PMC_D3COLD)
    if vpd := at.get(pci.CAP_ID_VPD):
        yield _Row(vpd + pci.VPD_ADDR, 2, 0xFFFF)
    if msi := at.get(pci.CAP_ID_MSI):
        yield from _msi(msi, content.read(msi + pci.MSI_FLAGS, 2))
    if msix := at.get(pci.CAP_ID_MSIX):
        yield _Row(msix + pci.MSIX_FLAGS, 2, pci.MSIX_FLAGS_ENABLE | pci.MSIX_FLAGS_MASKALL)
    express = at.get(pci.CAP_ID_EXP)
    if express and not is_virtual:
        yield _Row(express + _EXP_DEVCTL, 2, _EXP_DEVCTL_BITS, fresh=_EXP_DEVCTL_FRESH)
        yield _Row(express + _EXP_LNKCTL, 2, _EXP_LNKCTL_BITS)
    if express:
        yield _Row(express + _EXP_DEVSTA, 2, 0, _EXP_DEVSTA_BITS)


def _msi(msi: int, flags: int) -> Iterator[_Row]:
    wide = flags & pci.MSI_FLAGS_64BIT
    yield _Row(
        msi + pci.MSI_FLAGS, 2, pci.MSI_FLAGS_ENABLE | (pci.MSI_FLAGS_QSIZE if flags & pci.MSI_FLAGS_QMASK else 0)
    )
    yield _Row(msi + pci.MSI_ADDRESS_LO, 4, 0xFFFFFFFC)
    if wide:
        yield _Row(msi + pci.MSI_ADDRESS_HI, 4, 0xFFFFFFFF)
    yield _Row(msi + (pci.MSI_DATA_64 if wide else pci.MSI_DATA_32), 2, 0xFFFF)
    if flags & pci.MSI_FLAGS_MASKBIT:
        vectors = min(capable(flags), MOST_MESSAGES)
        yield _Row(msi + (pci.MSI_MASK_64 if wide else pci.MSI_MASK_32), 4, (1 << vectors) - 1)
