# SPDX-License-Identifier: Apache-2.0
"""What must be known of a function before a guest may have it, and which functions no guest may have.

The host's kernel has placed the BARs and routed the interrupt, and only it knows the identity of an SR-IOV virtual
function, whose own registers read as all ones. The rest is read from the function once, before the guest's first
request: a later change of the header by the device does not change our mind. A capability list is whatever the device
says, so the walk is bounded, and a list that bites its own tail ends it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Protocol

from pvpci.model.config import constants as pci
from pvpci.model.config.state import Bar, Facts

#: Hops after which a capability list is no longer believed (drivers/pci/pci.c:PCI_FIND_CAP_TTL).
MAX_HOPS: Final = 48
#: The cache line of x86 processors, in dwords: what memory write and invalidate must be told.
CACHE_LINE_DWORDS: Final = 16
#: Resources in these states have no address that a guest could use (conf_space_header.c:bar_init).
_NOT_PLACED: Final = pci.RESOURCE_DISABLED | pci.RESOURCE_UNSET | pci.RESOURCE_BUSY
_LOW: Final = 0xFFFFFFFF


class Refusal(Enum):
    """Why a function is not given to guests."""

    ABSENT = "does not answer: its header reads as all ones"
    BRIDGE = "is a bridge: whoever has it decides for everything behind it"
    CARDBUS = "is a CardBus bridge: its header is not virtualised"
    UNKNOWN_HEADER = "has a header of an unknown type"
    NO_IDENTITY = "is a virtual function whose vendor and device the host did not tell"
    BAD_SIZE = "has a configuration space that is neither 256 nor 4096 bytes"


class Refused(ValueError):
    """A function that no guest may have. `refusal` is the reason, `found` the register or number that gave it."""

    def __init__(self, refusal: Refusal, found: int) -> None:
        super().__init__(f"the function {refusal.value} ({found:#x})")
        self.refusal, self.found = refusal, found


class Resource(Protocol):
    """One BAR as the host placed it; see `impl.host.Resource`."""

    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...
    @property
    def flags(self) -> int: ...


class HardwareAccess(Protocol):
    """The real function. 1, 2 or 4 aligned bytes; what it raises passes through us."""

    def read(self, offset: int, size: int) -> int: ...
    def write(self, offset: int, size: int, value: int) -> None: ...


class Surveyed(HardwareAccess, Protocol):
    """A function as the host holds it; `impl.host.Function` is one."""

    @property
    def config_size(self) -> int: ...
    @property
    def resources(self) -> Sequence[Resource]: ...
    @property
    def vendor(self) -> int: ...
    @property
    def device(self) -> int: ...
    @property
    def irq(self) -> int: ...
    @property
    def is_virtual(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Identity:
    """One function. `resources`: BAR0 to BAR5, then the ROM. `capabilities`: id to offset of the first of its kind."""

    vendor: int
    device: int
    irq: int
    config_size: int
    is_virtual: bool
    resources: Sequence[Resource]
    header_type: int = pci.HEADER_TYPE_NORMAL
    pin: int = 0
    class_code: int = 0  #: 24 bits: base class, sub-class, interface
    capabilities: Mapping[int, int] = field(default_factory=dict)
    cache_line: int = CACHE_LINE_DWORDS

    def refusal(self) -> Refused | None:
        """The reason not to give this function to any guest, if there is one."""
        kind = self.header_type & pci.HEADER_TYPE_MASK
        if self.vendor == self.device == 0xFFFF:
            return Refused(Refusal.NO_IDENTITY if self.is_virtual else Refusal.ABSENT, self.vendor)
        if kind == pci.HEADER_TYPE_CARDBUS:
            return Refused(Refusal.CARDBUS, self.header_type)
        if kind == pci.HEADER_TYPE_BRIDGE:
            return Refused(Refusal.BRIDGE, self.header_type)
        if kind != pci.HEADER_TYPE_NORMAL:
            return Refused(Refusal.UNKNOWN_HEADER, self.header_type)
        if self.class_code >> 16 == pci.BASE_CLASS_BRIDGE:
            return Refused(Refusal.BRIDGE, self.class_code)
        if self.config_size not in (pci.CONVENTIONAL_SIZE, pci.EXTENDED_SIZE):
            return Refused(Refusal.BAD_SIZE, self.config_size)
        return None

    def facts(self) -> Facts:
        """What the table may know. Raises `Refused`."""
        if refused := self.refusal():
            raise refused
        padded = [(r.start, r.end, r.flags) for r in self.resources] + [(0, 0, 0)] * (pci.BARS + 1)
        resources = padded[: pci.BARS + 1]
        decoded = [
            flags
            for place, (_, _, flags) in enumerate(resources)
            if flags & (pci.RESOURCE_IO | pci.RESOURCE_MEM) and (place != pci.ROM or flags & pci.RESOURCE_ROM_ENABLE)
        ]
        decode = 0
        for flags in decoded:
            decode |= pci.COMMAND_IO if flags & pci.RESOURCE_IO else pci.COMMAND_MEMORY
        return Facts(
            vendor=self.vendor,
            device=self.device,
            line=self.irq & 0xFF,
            pin=self.pin,
            bars=bars(resources),
            # A virtual function has no decode bits of its own: its physical function decodes for it.
            decode=0 if self.is_virtual else decode,
            placed=not any(flags & pci.RESOURCE_UNSET for flags in decoded),
            conventional=pci.CAP_ID_EXP not in self.capabilities,
            cache_line=self.cache_line,
            msi=self.capabilities.get(pci.CAP_ID_MSI, 0),
            msix=self.capabilities.get(pci.CAP_ID_MSIX, 0),
            pm=self.capabilities.get(pci.CAP_ID_PM, 0),
        )


def bars(resources: Sequence[tuple[int, int, int]]) -> tuple[Bar, ...]:
    """The seven BARs (the last is the ROM) of seven resources `(first address, last address, flags)`.

    A BAR that the host could not place reads and sizes as 0, both halves of it.
    """
    found: list[Bar] = []
    for place, (start, end, flags) in enumerate(resources):
        below = resources[place - 1] if 0 < place < pci.ROM else (0, 0, 0)
        upper = bool(below[2] & pci.RESOURCE_MEM_64)
        if upper:
            ignored = 0x0
        elif flags & pci.RESOURCE_IO:
            ignored = 0x3
        else:
            ignored = 0x7FF if place == pci.ROM else 0xF
        if (below[2] if upper else flags) & _NOT_PLACED or not (upper or flags):
            found.append(Bar(0, 0, ignored))
        elif upper:
            found.append(Bar(below[0] >> 32 & _LOW, -(below[1] - below[0] + 1) >> 32 & _LOW, 0x0))
        else:
            low = flags & pci.RESOURCE_BITS
            found.append(Bar(start & _LOW | low, -(end - start + 1) & _LOW | low, ignored))
    return tuple(found)


def capabilities(hardware: HardwareAccess) -> dict[int, int]:
    """Id to offset of every capability in the list below 256, the first of each kind."""
    found: dict[int, int] = {}
    if not hardware.read(pci.STATUS, 2) & pci.STATUS_CAP_LIST:
        return found
    pointer = hardware.read(pci.CAPABILITY_LIST, 1)
    for _ in range(MAX_HOPS):
        if pointer < 0x40:
            break
        place = pointer & ~3
        entry = hardware.read(place, 2)
        if entry & 0xFF == 0xFF:
            break
        found.setdefault(entry & 0xFF, place)
        pointer = entry >> 8
    return found


def survey(function: Surveyed) -> Identity:
    """Look at a function before it is given to a guest. Only reads; raises `Refused`, and what the hardware raises."""
    # The host still knows the name of a function that no longer answers, and a virtual one never answers by its own.
    gone = not function.is_virtual and function.read(pci.VENDOR_ID, 4) == _LOW
    header = function.read(pci.HEADER_TYPE, 1)
    identity = Identity(
        vendor=0xFFFF if gone else function.vendor,
        device=0xFFFF if gone else function.device,
        irq=function.irq,
        config_size=function.config_size,
        is_virtual=function.is_virtual,
        resources=tuple(function.resources),
        header_type=header,
        pin=function.read(pci.INTERRUPT_PIN, 1),
        class_code=function.read(pci.CLASS_REVISION, 4) >> 8,
        capabilities=capabilities(function),
    )
    if refused := identity.refusal():
        raise refused
    return identity
