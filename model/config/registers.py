# SPDX-License-Identifier: Apache-2.0
"""What each register of configuration space is for, as far as the specification names it, and what a dropped write costs.

`pciback` drops a guest's write that meets none of its fields, says so once, and answers success. What that means for
the guest's driver depends on the register alone, so it is a table: one row a register, offsets from the start of the
header or the capability, widths in bytes. `cite` is the name in Linux's ``include/uapi/linux/pci_regs.h``, or the
Linux file where the header has none; a test compares the offsets where that header is installed.

A register that is not in the table is one that we know nothing of, and it is said so: a guess would send people to
open a register for nothing. Capabilities whose registers are the vendor's own have a name and no rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final


class Remedy(Enum):
    """What is to be done about a dropped write to a register."""

    NOTHING = "nothing"  #: the write would have changed nothing that a guest's driver needs
    HOST = "host"  #: the setting is right or wrong for the whole machine; dom0 makes it
    QUIRK = "quirk"  #: if the driver misbehaves, open this one register for it
    UNKNOWN = "unknown"  #: only the driver's source or the vendor can tell
    SERVED = "served"  #: pciback has a field there, so the notice cannot come from it


@dataclass(frozen=True, slots=True)
class Register:
    """One register. `loses`: what a driver does not get when its write is dropped, as half a sentence."""

    offset: int
    width: int
    name: str
    loses: str
    remedy: Remedy
    cite: str


@dataclass(frozen=True, slots=True)
class Capability:
    """What stands at one capability. `size` in bytes, the most that its kind can have; None if it is not fixed."""

    name: str
    size: int | None
    registers: tuple[Register, ...] = ()


_NONE, _HOST, _QUIRK, _ASK, _OWN = Remedy.NOTHING, Remedy.HOST, Remedy.QUIRK, Remedy.UNKNOWN, Remedy.SERVED
_R = Register
FIXED: Final = "nothing: the register is read-only in hardware"
ACKNOWLEDGES: Final = "the acknowledgement: error bits stay set until the host clears them; the function works on"
_FIELD = "nothing that the notice could be about: pciback has a field of its own here"
_MSI_FIELD = "nothing on Linux 5.6 and later, which has a field of its own here; before, turning interrupts on by hand"
_MESSAGE = "nothing: the hypervisor writes the message itself, and a guest's would be wrong on this machine"
_BRIDGE = "the setup of what is behind the bridge, which is not the guest's to make"

# fmt: off
#: Offsets 00 to 3f of any header.
COMMON: Final = (
    _R(0x00, 2, "VENDOR_ID", _FIELD, _OWN, "PCI_VENDOR_ID"),
    _R(0x02, 2, "DEVICE_ID", _FIELD, _OWN, "PCI_DEVICE_ID"),
    _R(0x04, 2, "COMMAND", _FIELD, _OWN, "PCI_COMMAND"),
    _R(0x06, 2, "STATUS", ACKNOWLEDGES, _NONE, "PCI_STATUS"),
    _R(0x08, 1, "REVISION_ID", FIXED, _NONE, "PCI_REVISION_ID"),
    _R(0x09, 3, "CLASS", FIXED, _NONE, "PCI_CLASS_PROG"),
    _R(0x0C, 1, "CACHE_LINE_SIZE", _FIELD, _OWN, "PCI_CACHE_LINE_SIZE"),
    _R(0x0D, 1, "LATENCY_TIMER", _FIELD, _OWN, "PCI_LATENCY_TIMER"),
    _R(0x0E, 1, "HEADER_TYPE", FIXED, _NONE, "PCI_HEADER_TYPE"),
    _R(0x0F, 1, "BIST", _FIELD, _OWN, "PCI_BIST"),
    _R(0x10, 4, "BAR0", _FIELD, _OWN, "PCI_BASE_ADDRESS_0"),
    _R(0x14, 4, "BAR1", _FIELD, _OWN, "PCI_BASE_ADDRESS_1"),
    _R(0x34, 1, "CAPABILITY_LIST", FIXED, _NONE, "PCI_CAPABILITY_LIST"),
    _R(0x3C, 1, "INTERRUPT_LINE", _FIELD, _OWN, "PCI_INTERRUPT_LINE"),
    _R(0x3D, 1, "INTERRUPT_PIN", _FIELD, _OWN, "PCI_INTERRUPT_PIN"),
)
TYPE_0: Final = (
    *COMMON,
    _R(0x18, 4, "BAR2", _FIELD, _OWN, "PCI_BASE_ADDRESS_2"),
    _R(0x1C, 4, "BAR3", _FIELD, _OWN, "PCI_BASE_ADDRESS_3"),
    _R(0x20, 4, "BAR4", _FIELD, _OWN, "PCI_BASE_ADDRESS_4"),
    _R(0x24, 4, "BAR5", _FIELD, _OWN, "PCI_BASE_ADDRESS_5"),
    _R(0x28, 4, "CARDBUS_CIS", FIXED, _NONE, "PCI_CARDBUS_CIS"),
    _R(0x2C, 2, "SUBSYSTEM_VENDOR_ID", FIXED, _NONE, "PCI_SUBSYSTEM_VENDOR_ID"),
    _R(0x2E, 2, "SUBSYSTEM_ID", FIXED, _NONE, "PCI_SUBSYSTEM_ID"),
    _R(0x30, 4, "ROM_ADDRESS", _FIELD, _OWN, "PCI_ROM_ADDRESS"),
    _R(0x3E, 1, "MIN_GNT", FIXED, _NONE, "PCI_MIN_GNT"),
    _R(0x3F, 1, "MAX_LAT", FIXED, _NONE, "PCI_MAX_LAT"),
)
TYPE_1: Final = (
    *COMMON,
    _R(0x18, 1, "PRIMARY_BUS", _BRIDGE, _NONE, "PCI_PRIMARY_BUS"),
    _R(0x19, 1, "SECONDARY_BUS", _BRIDGE, _NONE, "PCI_SECONDARY_BUS"),
    _R(0x1A, 1, "SUBORDINATE_BUS", _BRIDGE, _NONE, "PCI_SUBORDINATE_BUS"),
    _R(0x1B, 1, "SEC_LATENCY_TIMER", _BRIDGE, _NONE, "PCI_SEC_LATENCY_TIMER"),
    _R(0x1C, 1, "IO_BASE", _BRIDGE, _NONE, "PCI_IO_BASE"),
    _R(0x1D, 1, "IO_LIMIT", _BRIDGE, _NONE, "PCI_IO_LIMIT"),
    _R(0x1E, 2, "SEC_STATUS", ACKNOWLEDGES, _NONE, "PCI_SEC_STATUS"),
    _R(0x20, 2, "MEMORY_BASE", _BRIDGE, _NONE, "PCI_MEMORY_BASE"),
    _R(0x22, 2, "MEMORY_LIMIT", _BRIDGE, _NONE, "PCI_MEMORY_LIMIT"),
    _R(0x24, 2, "PREF_MEMORY_BASE", _BRIDGE, _NONE, "PCI_PREF_MEMORY_BASE"),
    _R(0x26, 2, "PREF_MEMORY_LIMIT", _BRIDGE, _NONE, "PCI_PREF_MEMORY_LIMIT"),
    _R(0x28, 4, "PREF_BASE_UPPER32", _BRIDGE, _NONE, "PCI_PREF_BASE_UPPER32"),
    _R(0x2C, 4, "PREF_LIMIT_UPPER32", _BRIDGE, _NONE, "PCI_PREF_LIMIT_UPPER32"),
    _R(0x30, 2, "IO_BASE_UPPER16", _BRIDGE, _NONE, "PCI_IO_BASE_UPPER16"),
    _R(0x32, 2, "IO_LIMIT_UPPER16", _BRIDGE, _NONE, "PCI_IO_LIMIT_UPPER16"),
    _R(0x38, 4, "ROM_ADDRESS1", _FIELD, _OWN, "PCI_ROM_ADDRESS1"),
    _R(0x3E, 2, "BRIDGE_CONTROL", "bus reset, VGA and error forwarding of the bridge, which are not the guest's", _NONE, "PCI_BRIDGE_CONTROL"),
)

CAPABILITIES: Final[Mapping[int, Capability]] = MappingProxyType({
    0x01: Capability("Power Management", 8, (
        _R(0x2, 2, "PMC", _FIELD, _OWN, "PCI_PM_PMC"),
        _R(0x4, 2, "PMCSR", _FIELD, _OWN, "PCI_PM_CTRL"),
        _R(0x6, 1, "PMCSR_BSE", _FIELD, _OWN, "PCI_PM_PPB_EXTENSIONS"),
        _R(0x7, 1, "DATA", _FIELD, _OWN, "PCI_PM_DATA_REGISTER"),
    )),
    0x02: Capability("AGP", 12, (
        _R(0x4, 4, "AGP STATUS", FIXED, _NONE, "PCI_AGP_STATUS"),
        _R(0x8, 4, "AGP COMMAND", "fast transfers of an AGP card, which then runs as a plain PCI one", _QUIRK, "PCI_AGP_COMMAND"),
    )),
    0x03: Capability("Vital Product Data", 8, (
        _R(0x2, 2, "VPD ADDRESS", _FIELD, _OWN, "PCI_VPD_ADDR"),
        _R(0x4, 4, "VPD DATA", _FIELD, _OWN, "PCI_VPD_DATA"),
    )),
    0x04: Capability("Slot Identification", 4),
    # The message's layout depends on the 64-bit flag; `locate` takes the rows of MSI_32 or MSI_64 instead.
    0x05: Capability("MSI", 0x18),
    0x06: Capability("CompactPCI Hot Swap", 4),
    0x07: Capability("PCI-X", 24, (
        _R(0x2, 2, "PCI-X COMMAND", "largest memory read, outstanding splits and relaxed ordering: throughput, not function", _QUIRK, "PCI_X_CMD"),
        _R(0x4, 4, "PCI-X STATUS", ACKNOWLEDGES, _NONE, "PCI_X_STATUS"),
    )),
    0x08: Capability("HyperTransport", None),
    0x09: Capability("Vendor-Specific", None),
    0x0A: Capability("Debug Port", 4),
    0x0B: Capability("CompactPCI Central Resource Control", 4),
    0x0C: Capability("Standard Hot-Plug Controller", 8),
    0x0D: Capability("Bridge Subsystem Ids", 8),
    0x0E: Capability("AGP Bridge", None),
    0x0F: Capability("Secure Device", None),
    0x10: Capability("PCI Express", 0x3C, (
        _R(0x02, 2, "PCIe FLAGS", FIXED, _NONE, "PCI_EXP_FLAGS"),
        _R(0x04, 4, "DEVCAP", FIXED, _NONE, "PCI_EXP_DEVCAP"),
        _R(0x08, 2, "DEVCTL", "max payload and read request size, relaxed ordering, no-snoop, extended tags: throughput; error"
           " reporting; and a function-level reset, if the driver asked for one", _QUIRK, "PCI_EXP_DEVCTL"),
        _R(0x0A, 2, "DEVSTA", ACKNOWLEDGES, _NONE, "PCI_EXP_DEVSTA"),
        _R(0x0C, 4, "LNKCAP", FIXED, _NONE, "PCI_EXP_LNKCAP"),
        _R(0x10, 2, "LNKCTL", "the choice of link power saving (ASPM, clock power management): a driver that turns it off because"
           " the device stalls with it does not get that", _HOST, "PCI_EXP_LNKCTL"),
        _R(0x12, 2, "LNKSTA", ACKNOWLEDGES, _NONE, "PCI_EXP_LNKSTA"),
        _R(0x14, 4, "SLTCAP", FIXED, _NONE, "PCI_EXP_SLTCAP"),
        _R(0x18, 2, "SLTCTL", "hot-plug and power of a slot, which are the host's", _NONE, "PCI_EXP_SLTCTL"),
        _R(0x1A, 2, "SLTSTA", ACKNOWLEDGES, _NONE, "PCI_EXP_SLTSTA"),
        _R(0x1C, 2, "RTCTL", "reporting of a root port's errors, which is the host's", _NONE, "PCI_EXP_RTCTL"),
        _R(0x1E, 2, "RTCAP", FIXED, _NONE, "PCI_EXP_RTCAP"),
        _R(0x20, 4, "RTSTA", ACKNOWLEDGES, _NONE, "PCI_EXP_RTSTA"),
        _R(0x24, 4, "DEVCAP2", FIXED, _NONE, "PCI_EXP_DEVCAP2"),
        _R(0x28, 2, "DEVCTL2", "completion timeout, atomic operations, latency reporting (LTR), id-based ordering: throughput and"
           " power; a device that answers slowly keeps the shorter timeout", _QUIRK, "PCI_EXP_DEVCTL2"),
        _R(0x2A, 2, "DEVSTA2", ACKNOWLEDGES, _NONE, "PCI_EXP_DEVSTA2"),
        _R(0x2C, 4, "LNKCAP2", FIXED, _NONE, "PCI_EXP_LNKCAP2"),
        _R(0x30, 2, "LNKCTL2", "the target link speed: the link keeps the host's", _HOST, "PCI_EXP_LNKCTL2"),
        _R(0x32, 2, "LNKSTA2", ACKNOWLEDGES, _NONE, "PCI_EXP_LNKSTA2"),
        _R(0x34, 4, "SLTCAP2", FIXED, _NONE, "PCI_EXP_SLTCAP2"),
        _R(0x38, 2, "SLTCTL2", "hot-plug of a slot, which is the host's", _NONE, "PCI_EXP_SLTCTL2"),
        _R(0x3A, 2, "SLTSTA2", ACKNOWLEDGES, _NONE, "PCI_EXP_SLTSTA2"),
    )),
    0x11: Capability("MSI-X", 12, (
        _R(0x2, 2, "MSI-X FLAGS", _MSI_FIELD, _OWN, "PCI_MSIX_FLAGS"),
        _R(0x4, 4, "MSI-X TABLE", FIXED, _NONE, "PCI_MSIX_TABLE"),
        _R(0x8, 4, "MSI-X PBA", FIXED, _NONE, "PCI_MSIX_PBA"),
    )),
    0x12: Capability("SATA", 16, (
        _R(0x4, 4, "SATA REGS", FIXED, _NONE, "PCI_SATA_REGS"),
    )),
    0x13: Capability("Advanced Features", 6, (
        _R(0x3, 1, "AF CAP", FIXED, _NONE, "PCI_AF_CAP"),
        _R(0x4, 1, "AF CTRL", "a function-level reset: the driver's own reset does not happen; the function is reset between guests"
           " without it", _QUIRK, "PCI_AF_CTRL"),
        _R(0x5, 1, "AF STATUS", FIXED, _NONE, "PCI_AF_STATUS"),
    )),
    0x14: Capability("Enhanced Allocation", None),
})
_MSI_FLAGS: Final = _R(0x2, 2, "MSI FLAGS", _MSI_FIELD, _OWN, "PCI_MSI_FLAGS")
_MASKING = "nothing: a PV guest masks its interrupts in its event channels, not in the function"
MSI_32: Final = (
    _MSI_FLAGS,
    _R(0x4, 4, "MSI ADDRESS", _MESSAGE, _NONE, "PCI_MSI_ADDRESS_LO"),
    _R(0x8, 2, "MSI DATA", _MESSAGE, _NONE, "PCI_MSI_DATA_32"),
    _R(0xC, 4, "MSI MASK", _MASKING, _NONE, "PCI_MSI_MASK_32"),
    _R(0x10, 4, "MSI PENDING", FIXED, _NONE, "PCI_MSI_PENDING_32"),
)
MSI_64: Final = (
    _MSI_FLAGS,
    _R(0x4, 4, "MSI ADDRESS", _MESSAGE, _NONE, "PCI_MSI_ADDRESS_LO"),
    _R(0x8, 4, "MSI ADDRESS HIGH", _MESSAGE, _NONE, "PCI_MSI_ADDRESS_HI"),
    _R(0xC, 2, "MSI DATA", _MESSAGE, _NONE, "PCI_MSI_DATA_64"),
    _R(0x10, 4, "MSI MASK", _MASKING, _NONE, "PCI_MSI_MASK_64"),
    _R(0x14, 4, "MSI PENDING", FIXED, _NONE, "PCI_MSI_PENDING_64"),
)
# fmt: on
