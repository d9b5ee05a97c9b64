# SPDX-License-Identifier: Apache-2.0
"""Capabilities other than power management: vital product data, MSI and MSI-X, and the chain that leads to them.

*The chain.* A guest sees the capabilities that have rules here, and a few that are harmless to read and that drivers
depend on; the others are unlinked: each header that is shown points to the next one shown. Identifier and pointer are
never written.

*Vital product data.* Reading it is a write (the address, with F clear), so that is let through; F set would write to the
card's memory, and is refused.

*Messages.* Interrupts by message are set up by operations of their own, for only the host can route them. So their
enable bits are not a guest's to write, and a write that would change one is refused. The exception is a device model
that was given ``interrupt_control``: it may enable one kind at a time. Address, data and mask in the function are the
host's; a guest sees what it wrote itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pvpci.model.config import constants as pci
from pvpci.model.config.programs import (
    DROPPED,
    NEW,
    RAW,
    Field,
    Load,
    Place,
    Program,
    Reads,
    Set,
    Step,
    Store,
    Structure,
    Writes,
    but,
    has,
    local,
    raw,
    refuse,
)
from pvpci.model.config.state import known, mine
from pvpci.model.config.steps import MSI_FLAGS, MSIX_FLAGS
from pvpci.model.kernel.terms import Bits, Flag
from pvpci.model.wire import Err

_SOURCE: Final = "conf_space_capability.c:"

#: Structures by capability id, in the order in which their fields are registered.
REGISTERED: Final = {
    pci.CAP_ID_VPD: Structure.VPD,
    pci.CAP_ID_PM: Structure.PM,
    pci.CAP_ID_MSI: Structure.MSI,
    pci.CAP_ID_MSIX: Structure.MSIX,
}
#: Capabilities without rules that stay in the chain, and why.
SHOWN: Final = {
    pci.CAP_ID_EXP: "drivers read the link's state and the payload sizes from it",
    pci.CAP_ID_VNDR: "drivers of virtio functions find their registers by it",
    pci.CAP_ID_SSVID: "it only names the board",
}


def linked(structure: Structure, next: Bits, offset: int = 0) -> Field:
    """The header of a capability whose successor in the guest's chain is at `next` (16 bits; 0: the last)."""
    return Field(
        offset,
        2,
        f"{structure.name}_HEADER",
        Reads("the id; the next capability that is shown", (RAW[2] & 0x00FF) | (next << 8)),
        DROPPED,
        _SOURCE + "xen_pcibk_config_capability_add_fields",
        structure,
    )


def head(first: Bits) -> Field:
    """The start of the guest's chain; `first`: 8 bits."""
    return Field(
        pci.CAPABILITY_LIST,
        1,
        "CAPABILITY_LIST",
        Reads("the first capability that is shown", first),
        DROPPED,
        "no counterpart: Linux shows the register",
    )


@dataclass(frozen=True)
class Messages:
    """One kind of interrupt by message: where its flag word is, which bit enables it, and what a device model may write."""

    structure: Structure
    flags: Place
    present: Flag
    enable: int
    allowed: int


MSI: Final = Messages(Structure.MSI, MSI_FLAGS, known.msi, pci.MSI_FLAGS_ENABLE, pci.MSI_FLAGS_ENABLE)
MSIX: Final = Messages(
    Structure.MSIX,
    MSIX_FLAGS,
    known.msix,
    pci.MSIX_FLAGS_ENABLE,
    pci.MSIX_FLAGS_ENABLE | pci.MSIX_FLAGS_MASKALL,
)


def _flags(one: Messages, other: Messages) -> Program:
    wanted, old, others = NEW[2], local("old", 16), local("other", 16)
    changing = wanted != old
    return (
        Load(old, one.flags),
        refuse(Err.ACCESS_DENIED, changing & ~known.interrupt_control, "not the guest's"),
        refuse(Err.ACCESS_DENIED, changing & has(wanted ^ old, 0xFFFF & ~one.allowed), "fixed bits"),
        Load(others, other.flags, when=changing & other.present & has(wanted, one.enable)),
        refuse(Err.ACCESS_DENIED, changing & has(others, other.enable), "one kind at a time"),
        Store(one.flags, wanted, when=changing, name="flags"),
    )


def silence() -> Program:
    """No message leaves the function, whoever enabled it."""
    steps: list[Step] = []
    for one in (MSI, MSIX):
        now = local("now", 16)
        steps.append(Load(now, one.flags, when=one.present))
        steps.append(Store(one.flags, but(now, one.enable), when=one.present & has(now, one.enable), name="silence"))
    return tuple(steps)


def _own(offset: int, value: Bits, name: str) -> Field:
    width = value.sort.width // 8
    return Field(
        offset,
        width,
        name,
        Reads("what the guest wrote; 0 before", value),
        Writes("kept for this guest; never reaches the function", (Set(value.becomes(NEW[width])),)),
        "no counterpart: Linux shows the register and drops the write",
        Structure.MSI,
    )


_CONTROL: Final = "a change is refused (-3), except for a device model: {} then, one kind of message at a time"
_VPD_ADDR: Final = Writes(
    "F set is refused (-3); else written, which starts a read",
    (
        refuse(Err.ACCESS_DENIED, has(NEW[2], pci.VPD_ADDR_F), "no writing"),
        Store(Place(Structure.VPD, pci.VPD_ADDR, 2), NEW[2], name="address"),
    ),
)
_MSI_FLAGS: Final = Writes(_CONTROL.format("ENABLE"), _flags(MSI, MSIX))
_MSIX_FLAGS: Final = Writes(_CONTROL.format("ENABLE and MASKALL"), _flags(MSIX, MSI))

# fmt: off
VPD_ROWS: Final = (
    Field(pci.VPD_ADDR,   2, "VPD_ADDR",   raw(2), _VPD_ADDR,   _SOURCE + "vpd_address_write",     Structure.VPD),
    Field(pci.VPD_DATA,   4, "VPD_DATA",   raw(4), DROPPED,     _SOURCE + "caplist_vpd",           Structure.VPD),
)
MSI_ROWS: Final = (
    Field(pci.MSI_FLAGS,  2, "MSI_FLAGS",  raw(2), _MSI_FLAGS,  _SOURCE + "msi_msix_flags_write",  Structure.MSI),
)
MSIX_ROWS: Final = (
    Field(pci.MSIX_FLAGS, 2, "MSIX_FLAGS", raw(2), _MSIX_FLAGS, _SOURCE + "msi_msix_flags_write",  Structure.MSIX),
)
# fmt: on


def message_rows(flags: int) -> tuple[Field, ...]:
    """The registers of an MSI capability that belong to the host; which there are is said by its flag word."""
    wide = bool(flags & pci.MSI_FLAGS_64BIT)
    rows = [_own(pci.MSI_ADDRESS_LO, mine.message_address, "MSI_ADDRESS_LO")]
    if wide:
        rows.append(_own(pci.MSI_ADDRESS_HI, mine.message_upper, "MSI_ADDRESS_HI"))
    rows.append(_own(pci.MSI_DATA_64 if wide else pci.MSI_DATA_32, mine.message_data, "MSI_DATA"))
    if flags & pci.MSI_FLAGS_MASKBIT:
        rows.append(_own(pci.MSI_MASK_64 if wide else pci.MSI_MASK_32, mine.message_mask, "MSI_MASK"))
    return tuple(rows)
