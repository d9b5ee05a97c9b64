# SPDX-License-Identifier: Apache-2.0
"""The type-0 header as a guest sees it.

A guest scans the bus, sizes the BARs and switches its function on. It must be able to do all three, and must not be
able to move a BAR, to switch decoding off while its neighbours' bus is configured for it, or to keep a line of the
host's interrupt controller quiet. So most of the header is a picture of it:

* COMMAND has two bits that are the function's own, bus mastering and memory write and invalidate. The rest is what
  the guest last wrote, and the bits that PCI reserves are 0. Decoding is real only in one direction: the first write
  that asks for any of it turns on all that the function's resources need, and nothing that a guest writes turns it
  off again.
* BARs and the ROM hold the host's address. After a write of all ones the next read is the size mask; any other write
  ends that, and none reaches the hardware.
* Cache line size, latency timer and interrupt line are plain bytes: the real one (for the line: the routed interrupt)
  until the guest writes its own.

COMMAND asks the hardware, not a memory of it, so after a reset that nobody told us of, the next write that wants
decoding or mastering brings it back. At the start of an attachment the virtual bits are 0, as after power-on: a guest
that relies on what firmware left would otherwise have a function that looks enabled and is not.

What a register here costs the hardware is decided in `write_command`; if it comes to touch another register, list
that in `strict` too. Power management, messages and vital product data have no fields yet but one: the capabilities
register of power management hides that the function can wake the host.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from pvpci.model.config import constants as pci
from pvpci.model.config.fields import DROPPED, WORD, Effect, Field, Plan, Reader, Reads, Store, Table, Trial, Writes
from pvpci.model.config.state import Device, Facts, Kind
from pvpci.model.wire import Err

#: Bits of COMMAND that the guest reads from, and writes to, the function itself.
REAL: Final = pci.COMMAND_MASTER | pci.COMMAND_INVALIDATE
#: Bits of COMMAND that are only what the guest wrote.
VIRTUAL: Final = 0xFFFF & ~pci.COMMAND_RESERVED & ~REAL
#: A conventional function that may become master without a share of the bus gets this one (pci.c:pcibios_set_master).
LEAST_LATENCY: Final = 16
DEFAULT_LATENCY: Final = 64


def read_command(device: Device, facts: Facts, raw: int) -> int:
    return (raw & REAL) | (device.command & VIRTUAL)


def messages_on(facts: Facts, read: Reader) -> bool:
    """Whether MSI or MSI-X is enabled in the hardware, whoever did it."""
    if facts.msi and read(facts.msi + pci.MSI_FLAGS, 2) & pci.MSI_FLAGS_ENABLE:
        return True
    return bool(facts.msix and read(facts.msix + pci.MSIX_FLAGS, 2) & pci.MSIX_FLAGS_ENABLE)


def write_command(device: Device, facts: Facts, wanted: int, raw: int, read: Reader) -> Plan:
    """Plan one write of COMMAND. Refused (`Err.OP_FAILED`) if decoding is asked for and a resource has no address."""
    decoding = wanted & pci.COMMAND_DECODE
    if decoding and not facts.placed:
        return Plan(device, error=Err.OP_FAILED)
    target = (raw & ~REAL) | (wanted & REAL)
    if decoding:
        enabling = not device.command & pci.COMMAND_DECODE or facts.decode & ~raw
        target |= facts.decode
        if enabling and facts.pin and raw & pci.COMMAND_INTX_DISABLE and not messages_on(facts, read):
            target &= ~pci.COMMAND_INTX_DISABLE

    after: tuple[Store, ...] = ()
    rising = wanted & ~raw
    if rising & pci.COMMAND_MASTER and facts.conventional and read(pci.LATENCY_TIMER, 1) < LEAST_LATENCY:
        after = (Store(pci.LATENCY_TIMER, 1, DEFAULT_LATENCY),)
    effects: tuple[Effect, ...] = _command(raw, target) + after
    if rising & pci.COMMAND_INVALIDATE:
        line = read(pci.CACHE_LINE_SIZE, 1)
        if line == 0 or line % facts.cache_line:
            without = _command(raw, target & ~pci.COMMAND_INVALIDATE) + after
            first = Store(pci.CACHE_LINE_SIZE, 1, facts.cache_line)
            effects = (Trial(first, held=_command(raw, target) + after, lost=without, notice=Kind.MWI_REFUSED),)
    return Plan(replace(device, command=wanted & VIRTUAL), effects)


def _command(raw: int, target: int) -> tuple[Store, ...]:
    return () if raw == target else (Store(pci.COMMAND, 2, target),)


def bar(place: int) -> tuple[Reads, Writes]:
    """The two-state machine of one BAR (6: the ROM): address, or size mask after all ones were written."""
    here = 1 << place

    def read(device: Device, facts: Facts, raw: int) -> int:
        found = facts.bars[place]
        return found.length if device.sizing & here else found.address

    def write(device: Device, facts: Facts, wanted: int, raw: int, _: Reader) -> Plan:
        asks = wanted | facts.bars[place].ignored == WORD
        return Plan(replace(device, sizing=device.sizing | here if asks else device.sizing & ~here))

    return (
        Reads("the host's address; the size mask after all ones were written", read),
        Writes("all ones ask for the size mask, all else ends that; never reaches the function", write),
    )


def read_cache_line(device: Device, facts: Facts, raw: int) -> int:
    return raw if device.cache_line is None else device.cache_line


def read_latency(device: Device, facts: Facts, raw: int) -> int:
    return raw if device.latency is None else device.latency


def read_line(device: Device, facts: Facts, raw: int) -> int:
    return facts.line if device.line is None else device.line


def write_cache_line(device: Device, facts: Facts, wanted: int, raw: int, _: Reader) -> Plan:
    return Plan(replace(device, cache_line=wanted))


def write_latency(device: Device, facts: Facts, wanted: int, raw: int, _: Reader) -> Plan:
    return Plan(replace(device, latency=wanted))


def write_line(device: Device, facts: Facts, wanted: int, raw: int, _: Reader) -> Plan:
    return Plan(replace(device, line=wanted))


_RAW: Final = Reads("the register", lambda device, facts, raw: raw, real=True)
_VENDOR: Final = Reads("the host's vendor id", lambda device, facts, raw: facts.vendor)
_DEVICE: Final = Reads("the host's device id", lambda device, facts, raw: facts.device)
_PMC: Final = Reads(
    "the register without its PME bits", lambda device, facts, raw: raw & ~pci.PM_CAP_PME_MASK, real=True
)
_COMMAND: Final = (
    Reads("MASTER, INVALIDATE: the register; reserved bits: 0; all others: as last written", read_command, real=True),
    Writes("MASTER and INVALIDATE take effect; decoding is turned on, never off", write_command, real=True),
)
_KEPT: Final = "kept for this guest; never reaches the function"
_CACHE_LINE: Final = (Reads("the register until written", read_cache_line, real=True), Writes(_KEPT, write_cache_line))
_LATENCY: Final = (Reads("the register until written", read_latency, real=True), Writes(_KEPT, write_latency))
_LINE: Final = (Reads("the routed interrupt's low byte until written", read_line), Writes(_KEPT, write_line))

_SOURCE: Final = "conf_space_header.c:"
_BARS: Final = _SOURCE + "bar_read, bar_write"

# fmt: off
HEADER: Final[tuple[Field, ...]] = (
    #     offset                 width  name                reads and writes    cite
    # header_common
    Field(pci.VENDOR_ID,         2,     "VENDOR_ID",        _VENDOR, DROPPED,   _SOURCE + "xen_pcibk_read_vendor"),
    Field(pci.DEVICE_ID,         2,     "DEVICE_ID",        _DEVICE, DROPPED,   _SOURCE + "xen_pcibk_read_device"),
    Field(pci.COMMAND,           2,     "COMMAND",          *_COMMAND,          _SOURCE + "command_write"),
    Field(pci.INTERRUPT_LINE,    1,     "INTERRUPT_LINE",   *_LINE,             _SOURCE + "interrupt_read"),
    Field(pci.INTERRUPT_PIN,     1,     "INTERRUPT_PIN",    _RAW, DROPPED,      _SOURCE + "header_common"),
    Field(pci.CACHE_LINE_SIZE,   1,     "CACHE_LINE_SIZE",  *_CACHE_LINE,       _SOURCE + "header_common"),
    Field(pci.LATENCY_TIMER,     1,     "LATENCY_TIMER",    *_LATENCY,          _SOURCE + "header_common"),
    Field(pci.BIST,              1,     "BIST",             _RAW, DROPPED,      _SOURCE + "bist_write"),
    # header_0
    Field(0x10,                  4,     "BAR0",             *bar(0),            _BARS),
    Field(0x14,                  4,     "BAR1",             *bar(1),            _BARS),
    Field(0x18,                  4,     "BAR2",             *bar(2),            _BARS),
    Field(0x1c,                  4,     "BAR3",             *bar(3),            _BARS),
    Field(0x20,                  4,     "BAR4",             *bar(4),            _BARS),
    Field(0x24,                  4,     "BAR5",             *bar(5),            _BARS),
    Field(pci.ROM_ADDRESS,       4,     "ROM_ADDRESS",      *bar(pci.ROM),      _SOURCE + "bar_read, rom_write"),
)
# fmt: on


def power_capabilities(place: int) -> Field:
    """The one field of power management that a scan looks at; `place` is the capability's offset."""
    return Field(place + pci.PM_PMC, 2, "PMC", _PMC, DROPPED, "conf_space_capability.c:pm_caps_read")


def header_table(facts: Facts) -> Table:
    """The table for one function."""
    return Table(HEADER + ((power_capabilities(facts.pm),) if facts.pm else ()))


#: Profile name to the table it stands for.
PROFILES: Final[dict[str, Callable[[Facts], Table]]] = {"strict": header_table}
