# SPDX-License-Identifier: Apache-2.0
"""The header as a guest sees it.

A guest scans the bus, sizes the BARs and switches its function on (`command`). So most of the header is a picture:

* BARs and the ROM hold the host's address. After a write of all ones the next read is the size mask; any other write
  ends that, and none reaches the hardware.
* Cache line size, latency timer and interrupt line are plain bytes: the real one (for the line: the routed interrupt)
  until the guest writes its own.

Rows stand in the order in which Linux registers its fields. Where fields overlap, which only an administrator's can,
that order decides.
"""

from __future__ import annotations

from typing import Final

from pvpci.model.config import command
from pvpci.model.config import constants as pci
from pvpci.model.config.lanes import WORD
from pvpci.model.config.programs import DROPPED, NEW, RAW, Field, Reads, Set, Writes, raw
from pvpci.model.config.state import ROM, bars, known, mine
from pvpci.model.config.steps import bar_place
from pvpci.model.kernel.terms import ALWAYS, Bits, Flag, choose, number

_SOURCE: Final = "conf_space_header.c:"


def bar_row(place: int, *, bridge: bool = False) -> Field:
    """The two-state machine of one BAR: address, or size mask after all ones were written."""
    bar = bars[place]
    asks = (NEW[4] | bar.ignored) == WORD
    return Field(
        bar_place(place, bridge).offset,
        4,
        "ROM_ADDRESS" if place == ROM else f"BAR{place}",
        Reads(
            "the host's address; the size mask after all ones were written",
            choose(bar.sizing, bar.length, bar.address),
        ),
        Writes(
            "all ones ask for the size mask, all else ends that; never reaches the function",
            (Set(bar.sizing.becomes(asks), name="sizing"),),
        ),
        _SOURCE + ("rom_write" if place == ROM else "bar_write"),
    )


def kept(value: Bits, written: Flag, otherwise: Bits, says: str) -> tuple[Reads, Writes]:
    """A plain byte: something real until the guest writes its own."""
    return (
        Reads(f"{says} until written", choose(written, value, otherwise)),
        Writes(
            "kept for this guest; never reaches the function",
            (Set(value.becomes(NEW[1])), Set(written.becomes(ALWAYS))),
        ),
    )


_CACHE_LINE: Final = kept(mine.cache_line, mine.cache_line_kept, RAW[1], "the register")
_LATENCY: Final = kept(mine.latency, mine.latency_kept, RAW[1], "the register")
_LINE: Final = kept(mine.line, mine.line_kept, known.line, "the routed interrupt's low byte")
_PIN: Final = Reads(
    "0 if a driver of the host is on the line; else the register", choose(known.line_shared, number(8, 0), RAW[1])
)
_VENDOR: Final = Reads("the host's vendor id", known.vendor)
_DEVICE: Final = Reads("the host's device id", known.device)

# fmt: off
COMMON: Final[tuple[Field, ...]] = (
    #     offset                 width  name                reads and writes               cite
    Field(pci.VENDOR_ID,         2,     "VENDOR_ID",        _VENDOR, DROPPED,              _SOURCE + "xen_pcibk_read_vendor"),
    Field(pci.DEVICE_ID,         2,     "DEVICE_ID",        _DEVICE, DROPPED,              _SOURCE + "xen_pcibk_read_device"),
    Field(pci.COMMAND,           2,     "COMMAND",          command.READS, command.WRITES, _SOURCE + "command_write"),
    Field(pci.INTERRUPT_LINE,    1,     "INTERRUPT_LINE",   *_LINE,                        _SOURCE + "interrupt_read"),
    Field(pci.INTERRUPT_PIN,     1,     "INTERRUPT_PIN",    _PIN, DROPPED,                 _SOURCE + "header_common"),
    Field(pci.CACHE_LINE_SIZE,   1,     "CACHE_LINE_SIZE",  *_CACHE_LINE,                  _SOURCE + "header_common"),
    Field(pci.LATENCY_TIMER,     1,     "LATENCY_TIMER",    *_LATENCY,                     _SOURCE + "header_common"),
    Field(pci.BIST,              1,     "BIST",             raw(1), DROPPED,               _SOURCE + "bist_write"),
)
# fmt: on
NORMAL: Final = (*COMMON, *map(bar_row, range(ROM + 1)))
BRIDGE: Final = (*COMMON, bar_row(0), bar_row(1), bar_row(ROM, bridge=True))
