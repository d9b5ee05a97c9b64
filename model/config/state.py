# SPDX-License-Identifier: Apache-2.0
"""What configuration space is decided on: what is known of the function, what is remembered of its guest.

`known` is fixed from the survey of the function to the end of its attachment. `mine` is everything that a guest's
requests can change on our side; it is small on purpose, for what the hardware itself remembers is asked of the hardware
each time. `host` is what Linux's PCI core remembers beside the hardware. Our own backend has no such memory, and no
trouble when the two disagree; the profiles of Linux need it to go wrong in the same way.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from pvpci.model.kernel.records import Record
from pvpci.model.kernel.terms import Bits, Flag

BARS: Final = 6
ROM: Final = 6  #: the expansion ROM's place in a list of resources


class Kind(Enum):
    """What people are told of, once for each attachment."""

    WRITE_DROPPED = auto()  #: a write met no field
    MWI_REFUSED = auto()  #: the function keeps no usable cache line size, so memory write and invalidate stays off
    WRITE_PERMITTED = auto()  #: a write met no field, and reached the function because permissive mode lets it

    @property
    def text(self) -> str:
        return {
            Kind.WRITE_DROPPED: "a write to a register that guests cannot change was dropped; no more are reported",
            Kind.MWI_REFUSED: "the function does not keep a cache line size; memory write and invalidate stays off",
            Kind.WRITE_PERMITTED: "permissive mode: a write to a register without rules of its own reached the function; "
            "no more are reported",
        }[self]


@dataclass(frozen=True, slots=True)
class Notice:
    """The request that gave rise to it: `offset` and `size` in bytes, `value` as the guest sent it."""

    kind: Kind
    offset: int
    size: int
    value: int

    def __str__(self) -> str:
        return f"{self.kind.text} (offset {self.offset:#05x}, {self.size} bytes, value {self.value:#x})"


class Resource(Record):
    """One BAR as the host's kernel placed it. A range without flags is none."""

    start = Bits(64)  #: the first address
    end = Bits(64)  #: the last
    flags = Bits(32)  #: include/linux/ioport.h


class Known(Record):
    """The function. Fixed while it is attached."""

    vendor = Bits(16)
    device = Bits(16)
    line = Bits(8)  #: low byte of the routed interrupt
    line_shared = Flag()  #: a driver of the host is on that line, so the guest does not get it
    command_taken = Bits(16)  #: COMMAND when the function was taken for its first guest
    latency_taken = Bits(16)  #: cache line size and latency timer at that time
    decode = Bits(16)  #: the decode bits of COMMAND that the resources call for
    placed = Flag()  #: every resource that would be decoded has an address
    conventional = Flag()  #: not PCI Express, so that the latency timer means something
    bridge = Flag()  #: a type-1 header
    virtual = Flag()  #: an SR-IOV virtual function
    cache_line = Bits(8)  #: the host's cache line in dwords
    vpd = Flag()  #: it has the capability; so also the next three
    pm = Flag()
    msi = Flag()
    msix = Flag()
    d1 = Flag()  #: its power management has D1; so also D2
    d2 = Flag()
    no_d1d2 = Flag()  #: the host does not want it in D1 or D2
    no_d3 = Flag()  #: nor in D3
    permissive = Flag()  #: writes to registers without rules reach the function
    interrupt_control = Flag()  #: the guest may enable messages by itself (for a device model)
    added = Flag()  #: it may use the fields that an administrator added


class Mine(Record):
    """One attachment. The start values are what every guest begins with, whoever had the function before."""

    command = Bits(16)  #: the virtual bits of COMMAND as the guest last wrote them
    cache_line = Bits(8)  #: what the guest wrote, if `cache_line_kept`; so also the next two
    cache_line_kept = Flag()
    latency = Bits(8)
    latency_kept = Flag()
    line = Bits(8)
    line_kept = Flag()
    message_address = Bits(32)  #: MSI address, its upper half, data and mask: what the guest wrote, for its own eyes
    message_upper = Bits(32)
    message_data = Bits(16)
    message_mask = Bits(32)


class Host(Record):
    """Linux's own idea of the function (``struct pci_dev``)."""

    enabled = Bits(8)  #: how often it was enabled (``enable_cnt``)
    master = Flag()  #: ``is_busmaster``
    power = Bits(2)  #: ``current_state``
    messages = Flag()  #: the host itself has enabled MSI or MSI-X


class Bar(Record):
    """One base address register as guests see it; all values in the register's own position."""

    address = Bits(32)  #: read normally: the host's address and the low bits
    length = Bits(32)  #: read after all ones were written: the size mask and the low bits
    ignored = Bits(32)  #: low bits that need not be ones to ask for the size
    movable = Flag()  #: the host writes it again after a reset that loses it
    wide = Flag()  #: the lower half of a 64-bit BAR
    sizing = Flag()  #: the guest wrote all ones last. The one thing here that is remembered, not known


known, mine, host = Known("known"), Mine("mine"), Host("host")
#: BAR0 to BAR5 and the ROM.
bars: Final = tuple(Bar(f"bar{place}" if place != ROM else "rom") for place in range(BARS + 1))
#: The host's resources of BAR0 to BAR5 and the ROM.
resources: Final = tuple(Resource(f"resource{place}") for place in range(BARS + 1))
RECORDS: Final[tuple[Record, ...]] = (known, mine, host, *bars, *resources)
#: What a guest's requests can change on our side.
GUEST: Final = (*mine.variables, *(bar.sizing.variable for bar in bars))
#: What would be lost with the process that serves the guest.
REMEMBERED: Final = (*GUEST, *host.variables)
