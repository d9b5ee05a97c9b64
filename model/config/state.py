# SPDX-License-Identifier: Apache-2.0
"""What is remembered of one function while one guest has it, and what is known of it before.

:class:`Device` is everything that a guest's requests can change on our side. It is small on purpose: what the
hardware itself remembers (bus mastering, decoding, memory write and invalidate) is asked of the hardware each time,
so that a function that was reset behind our back is not believed to be as we left it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto


class Kind(Enum):
    """What people are told of, once for each attachment."""

    WRITE_DROPPED = auto()  #: a write met no field
    MWI_REFUSED = auto()  #: the function keeps no usable cache line size, so memory write and invalidate stays off

    @property
    def text(self) -> str:
        return {
            Kind.WRITE_DROPPED: "a write to a register that guests cannot change was dropped; no more are reported",
            Kind.MWI_REFUSED: "the function does not keep a cache line size; memory write and invalidate stays off",
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


@dataclass(frozen=True, slots=True)
class Device:
    """One attachment. The start values are what every guest begins with, whoever had the function before."""

    command: int = 0  #: the virtual bits of COMMAND as the guest last wrote them
    sizing: int = 0  #: bit n: BAR n (6: the ROM) answers with its size mask
    cache_line: int | None = None  #: None until the guest writes one; so also the next two
    latency: int | None = None
    line: int | None = None
    noticed: frozenset[Kind] = frozenset()


@dataclass(frozen=True, slots=True)
class Bar:
    """A base address register as guests see it; all values in the BAR's own position."""

    address: int  #: read normally: the host's address and the low bits
    length: int  #: read after all ones were written: the size mask and the low bits
    ignored: int  #: low bits that need not be ones to ask for the size


@dataclass(frozen=True, slots=True)
class Facts:
    """What the table may know of the function: fixed from its survey to the end of the attachment."""

    vendor: int
    device: int
    line: int  #: low byte of the routed interrupt
    pin: int
    bars: tuple[Bar, ...]  #: BAR0 to BAR5 and the ROM
    decode: int  #: the decode bits of COMMAND that the resources call for
    placed: bool  #: every resource that would be decoded has an address
    conventional: bool  #: not PCI Express, so that the latency timer means something
    cache_line: int  #: the host's cache line in dwords
    msi: int  #: offset of the capability, 0 if there is none; so also the next two
    msix: int
    pm: int
