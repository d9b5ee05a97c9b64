# SPDX-License-Identifier: Apache-2.0
"""What must be known of a function before a guest may have it, and which functions no guest may have.

The host's kernel has placed the BARs and routed the interrupt, and only it knows the identity of an SR-IOV virtual
function, whose own registers read as all ones. The rest is read from the function once, before the guest's first
request: a later change of the header by the device does not change our mind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Protocol

from pvpci.model.config import constants as pci
from pvpci.model.config.capabilities import REGISTERED
from pvpci.model.config.compiled import HardwareAccess
from pvpci.model.config.state import BARS
from pvpci.model.config.walk import WALK, Capability, Walk, chain

#: The cache line of x86 processors, in dwords: what memory write and invalidate must be told.
CACHE_LINE_DWORDS: Final = 16
_LOW: Final = 0xFFFFFFFF
_ADDRESS: Final = 0xFFFFFFFFFFFFFFFF


class Refusal(Enum):
    """Why a function is not given to guests."""

    ABSENT = "does not answer: its header reads as all ones"
    BRIDGE = "is a bridge: whoever has it decides for everything behind it"
    CARDBUS = "is a CardBus bridge: its header is not virtualised"
    UNKNOWN_HEADER = "has a header of an unknown type"
    NO_IDENTITY = "is a virtual function whose vendor and device the host did not tell"
    BAD_SIZE = "has a configuration space that is neither 256 nor 4096 bytes"
    OVERLAP = "has capabilities that overlap, or do not fit below 256"


def is_bridge(header_type: Any, class_code: Any) -> Any:
    """By its header or its base class; `class_code` has 24 bits. Over numbers or terms, as in `config.fields`."""
    return ((header_type & pci.HEADER_TYPE_MASK) == pci.HEADER_TYPE_BRIDGE) | (
        (class_code >> 16) == pci.BASE_CLASS_BRIDGE
    )


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
    """One function. `resources`: BAR0 to BAR5, then the ROM. `chain`: its capabilities in the order of the list."""

    vendor: int
    device: int
    irq: int
    config_size: int
    is_virtual: bool
    resources: Sequence[Resource]
    header_type: int = pci.HEADER_TYPE_NORMAL
    pin: int = 0
    class_code: int = 0  #: 24 bits: base class, sub-class, interface
    chain: Sequence[Capability] = ()
    cache_line: int = CACHE_LINE_DWORDS
    command: int = 0  #: when it was taken; so also the next
    cache_and_latency: int = 0
    pmc: int = 0  #: the capabilities register of power management
    msi_flags: int = 0
    line_shared: bool = False  #: a driver of the host is on its line; the survey cannot see that
    no_d1d2: bool = False  #: the host's quirks
    no_d3: bool = False

    @property
    def capabilities(self) -> Mapping[int, int]:
        """Id to offset, of the first of each kind."""
        found: dict[int, int] = {}
        for one in self.chain:
            found.setdefault(one.id, one.offset)
        return found

    @property
    def is_bridge(self) -> bool:
        return self.header_type & pci.HEADER_TYPE_MASK == pci.HEADER_TYPE_BRIDGE

    def refusal(self, *, bridges: bool = False) -> Refused | None:
        """The reason not to give this function to any guest, if there is one. `bridges`: they are given too."""
        kind = self.header_type & pci.HEADER_TYPE_MASK
        if self.vendor == self.device == 0xFFFF:
            return Refused(Refusal.NO_IDENTITY if self.is_virtual else Refusal.ABSENT, self.vendor)
        if kind == pci.HEADER_TYPE_CARDBUS:
            return Refused(Refusal.CARDBUS, self.header_type)
        if kind not in (pci.HEADER_TYPE_NORMAL, pci.HEADER_TYPE_BRIDGE):
            return Refused(Refusal.UNKNOWN_HEADER, self.header_type)
        if is_bridge(self.header_type, self.class_code) and not bridges:
            return Refused(Refusal.BRIDGE, self.header_type if kind else self.class_code)
        if self.config_size not in (pci.CONVENTIONAL_SIZE, pci.EXTENDED_SIZE):
            return Refused(Refusal.BAD_SIZE, self.config_size)
        return None

    def facts(self) -> dict[str, int]:
        """What the programs may know: a value for each variable of `known` and of the resources, by name. What follows
        from the resources is `placing`'s to say."""
        found = {
            "known.vendor": self.vendor,
            "known.device": self.device,
            "known.line": self.irq & 0xFF,
            "known.command_taken": self.command,
            "known.latency_taken": self.cache_and_latency,
            "known.conventional": pci.CAP_ID_EXP not in self.capabilities,
            "known.bridge": self.is_bridge,
            "known.virtual": self.is_virtual,
            "known.cache_line": self.cache_line,
            "known.d1": bool(self.pmc & pci.PM_CAP_D1),
            "known.d2": bool(self.pmc & pci.PM_CAP_D2),
            "known.line_shared": self.line_shared,
            "known.no_d1d2": self.no_d1d2,
            "known.no_d3": self.no_d3,
        }
        for id, structure in REGISTERED.items():
            found[f"known.{structure.name.lower()}"] = id in self.capabilities
        padded = [*((r.start, r.end, r.flags) for r in self.resources), *[(0, 0, 0)] * (BARS + 1)]
        for place, (start, end, flags) in enumerate(padded[: BARS + 1]):
            found |= {
                f"resource{place}.start": start & _ADDRESS,
                f"resource{place}.end": end & _ADDRESS,
                f"resource{place}.flags": flags & _LOW,
            }
        return {name: int(value) for name, value in found.items()}


def survey(function: Surveyed, *, bridges: bool = False, walk: Walk = WALK) -> Identity:
    """Look at a function before it is given to a guest. Only reads; raises `Refused`, and what the hardware raises.

    `bridges`: they are given too. `walk`: how its capability list is followed.
    """
    # The host still knows the name of a function that no longer answers, and a virtual one never answers by its own.
    gone = not function.is_virtual and function.read(pci.VENDOR_ID, 4) == _LOW
    entries = chain(function, walk)
    places = {one.id: one.offset for one in reversed(entries)}
    pm, msi = places.get(pci.CAP_ID_PM), places.get(pci.CAP_ID_MSI)
    identity = Identity(
        vendor=0xFFFF if gone else function.vendor,
        device=0xFFFF if gone else function.device,
        irq=function.irq,
        config_size=function.config_size,
        is_virtual=function.is_virtual,
        resources=tuple(function.resources),
        header_type=function.read(pci.HEADER_TYPE, 1),
        pin=function.read(pci.INTERRUPT_PIN, 1),
        class_code=function.read(pci.CLASS_REVISION, 4) >> 8,
        chain=entries,
        command=function.read(pci.COMMAND, 2),
        cache_and_latency=function.read(pci.CACHE_LINE_SIZE, 2),
        pmc=0 if pm is None else function.read(pm + pci.PM_PMC, 2),
        msi_flags=0 if msi is None else function.read(msi + pci.MSI_FLAGS, 2),
    )
    if refused := identity.refusal(bridges=bridges):
        raise refused
    return identity
