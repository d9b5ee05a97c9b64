# SPDX-License-Identifier: Apache-2.0
"""The registers of the extended capabilities, from offset 0x100 on; see `pvpci.model.config.registers`.

A guest sees all of them and changes none: `pciback` has no field there. Most of what a driver would set there is for
the whole path from the function to memory, so it is the host's to set.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from pvpci.model.config.registers import ACKNOWLEDGES, FIXED, Capability, Register, Remedy

_NONE, _HOST, _QUIRK = Remedy.NOTHING, Remedy.HOST, Remedy.QUIRK
_R = Register
_REPORTS = "the choice of which errors are reported, and how badly they count; the host's choice stands"
_VFS = "the creation of virtual functions, which only the host can do: it has to find them"
_IOMMU = "the use of the IOMMU by the device, which is the host's to allow"
_PORT = "the setup of a port and its virtual channels, which is the host's"

# fmt: off
EXTENDED: Final[Mapping[int, Capability]] = MappingProxyType({
    0x01: Capability("Advanced Error Reporting", 0x48, (
        _R(0x04, 4, "UNCORRECTABLE STATUS", ACKNOWLEDGES, _NONE, "PCI_ERR_UNCOR_STATUS"),
        _R(0x08, 4, "UNCORRECTABLE MASK", _REPORTS, _HOST, "PCI_ERR_UNCOR_MASK"),
        _R(0x0C, 4, "UNCORRECTABLE SEVERITY", _REPORTS, _HOST, "PCI_ERR_UNCOR_SEVER"),
        _R(0x10, 4, "CORRECTABLE STATUS", ACKNOWLEDGES, _NONE, "PCI_ERR_COR_STATUS"),
        _R(0x14, 4, "CORRECTABLE MASK", _REPORTS, _HOST, "PCI_ERR_COR_MASK"),
        _R(0x18, 4, "AER CONTROL", "end-to-end checksums (ECRC) and the logging of more than one header", _HOST, "PCI_ERR_CAP"),
        _R(0x1C, 16, "HEADER LOG", FIXED, _NONE, "PCI_ERR_HEADER_LOG"),
        _R(0x2C, 4, "ROOT COMMAND", "interrupts for errors of a root port, which are the host's", _NONE, "PCI_ERR_ROOT_COMMAND"),
        _R(0x30, 4, "ROOT STATUS", ACKNOWLEDGES, _NONE, "PCI_ERR_ROOT_STATUS"),
        _R(0x34, 4, "ERROR SOURCE", FIXED, _NONE, "PCI_ERR_ROOT_ERR_SRC"),
    )),
    0x02: Capability("Virtual Channel", None, (
        _R(0x0C, 2, "VC PORT CONTROL", _PORT, _NONE, "PCI_VC_PORT_CTRL"),
        _R(0x14, 4, "VC0 CONTROL", _PORT, _NONE, "PCI_VC_RES_CTRL"),
    )),
    0x03: Capability("Device Serial Number", 12),
    0x04: Capability("Power Budgeting", 16, (
        _R(0x04, 1, "DATA SELECT", "the reading of the power table beyond the entry that is selected", _NONE, "PCI_PWR_DSR"),
        _R(0x08, 4, "DATA", FIXED, _NONE, "PCI_PWR_DATA"),
    )),
    0x05: Capability("Root Complex Link Declaration", None),
    0x06: Capability("Root Complex Internal Link Control", None),
    0x07: Capability("Root Complex Event Collector", None),
    0x08: Capability("Multi-Function Virtual Channel", None),
    0x09: Capability("Virtual Channel (second kind)", None),
    0x0A: Capability("Root Complex Register Block", None),
    0x0B: Capability("Vendor-Specific, extended", None),
    0x0C: Capability("Configuration Access", None),
    0x0D: Capability("Access Control Services", None, (
        _R(0x04, 2, "ACS CAP", FIXED, _NONE, "PCI_ACS_CAP"),
        _R(0x06, 2, "ACS CONTROL", "the isolation of functions from each other, which must never be a guest's to change", _NONE, "PCI_ACS_CTRL"),
    )),
    0x0E: Capability("Alternative Routing-ID", 8, (
        _R(0x04, 2, "ARI CAP", FIXED, _NONE, "PCI_ARI_CAP"),
        _R(0x06, 2, "ARI CONTROL", "function groups, which no driver of one function needs", _NONE, "PCI_ARI_CTRL"),
    )),
    0x0F: Capability("Address Translation Services", 8, (
        _R(0x04, 2, "ATS CAP", FIXED, _NONE, "PCI_ATS_CAP"),
        _R(0x06, 2, "ATS CONTROL", _IOMMU, _NONE, "PCI_ATS_CTRL"),
    )),
    0x10: Capability("Single Root I/O Virtualization", 0x40, (
        _R(0x04, 4, "SR-IOV CAP", FIXED, _NONE, "PCI_SRIOV_CAP"),
        _R(0x08, 2, "SR-IOV CONTROL", _VFS, _HOST, "PCI_SRIOV_CTRL"),
        _R(0x0A, 2, "SR-IOV STATUS", ACKNOWLEDGES, _NONE, "PCI_SRIOV_STATUS"),
        _R(0x0C, 4, "INITIAL AND TOTAL VFS", FIXED, _NONE, "PCI_SRIOV_INITIAL_VF"),
        _R(0x10, 2, "NUM VFS", _VFS, _HOST, "PCI_SRIOV_NUM_VF"),
        _R(0x12, 2, "FUNCTION LINK", FIXED, _NONE, "PCI_SRIOV_FUNC_LINK"),
        _R(0x14, 4, "VF OFFSET AND STRIDE", FIXED, _NONE, "PCI_SRIOV_VF_OFFSET"),
        _R(0x1A, 2, "VF DEVICE ID", FIXED, _NONE, "PCI_SRIOV_VF_DID"),
        _R(0x1C, 4, "SUPPORTED PAGE SIZES", FIXED, _NONE, "PCI_SRIOV_SUP_PGSIZE"),
        _R(0x20, 4, "SYSTEM PAGE SIZE", _VFS, _HOST, "PCI_SRIOV_SYS_PGSIZE"),
        _R(0x24, 24, "VF BAR0 TO BAR5", _VFS, _HOST, "PCI_SRIOV_BAR"),
        _R(0x3C, 4, "VF MIGRATION STATE", FIXED, _NONE, "PCI_SRIOV_VFM"),
    )),
    0x11: Capability("Multi Root I/O Virtualization", None),
    0x12: Capability("Multicast", 40),
    0x13: Capability("Page Request", 16, (
        _R(0x04, 2, "PRI CONTROL", _IOMMU, _NONE, "PCI_PRI_CTRL"),
        _R(0x06, 2, "PRI STATUS", ACKNOWLEDGES, _NONE, "PCI_PRI_STATUS"),
        _R(0x08, 4, "PRI CAPACITY", FIXED, _NONE, "PCI_PRI_MAX_REQ"),
        _R(0x0C, 4, "PRI ALLOCATION", _IOMMU, _NONE, "PCI_PRI_ALLOC_REQ"),
    )),
    0x15: Capability("Resizable BAR", None, (
        _R(0x04, 4, "RESIZABLE BAR CAP", FIXED, _NONE, "PCI_REBAR_CAP"),
        _R(0x08, 4, "RESIZABLE BAR CONTROL", "the resizing of a BAR: the driver has to live with the size that the host chose", _HOST, "PCI_REBAR_CTRL"),
    )),
    0x16: Capability("Dynamic Power Allocation", None),
    0x17: Capability("TPH Requester", None, (
        _R(0x04, 4, "TPH CAP", FIXED, _NONE, "PCI_TPH_CAP"),
        _R(0x08, 4, "TPH CONTROL", "cache hints of the device's writes: throughput, not function", _QUIRK, "PCI_TPH_CTRL"),
    )),
    0x18: Capability("Latency Tolerance Reporting", 8, (
        _R(0x04, 2, "MAX SNOOP LATENCY", "the latency that the device may claim: power saving, not function", _HOST, "PCI_LTR_MAX_SNOOP_LAT"),
        _R(0x06, 2, "MAX NO-SNOOP LATENCY", "the latency that the device may claim: power saving, not function", _HOST, "PCI_LTR_MAX_NOSNOOP_LAT"),
    )),
    0x19: Capability("Secondary PCI Express", None),
    0x1A: Capability("Protocol Multiplexing", None),
    0x1B: Capability("Process Address Space ID", 8, (
        _R(0x04, 2, "PASID CAP", FIXED, _NONE, "PCI_PASID_CAP"),
        _R(0x06, 2, "PASID CONTROL", _IOMMU, _NONE, "PCI_PASID_CTRL"),
    )),
    0x1D: Capability("Downstream Port Containment", None),
    0x1E: Capability("L1 Power Substates", 16, (
        _R(0x04, 4, "L1SS CAP", FIXED, _NONE, "PCI_L1SS_CAP"),
        _R(0x08, 4, "L1SS CONTROL 1", "the choice of link power substates: the host's choice stands", _HOST, "PCI_L1SS_CTL1"),
        _R(0x0C, 4, "L1SS CONTROL 2", "the choice of link power substates: the host's choice stands", _HOST, "PCI_L1SS_CTL2"),
    )),
    0x1F: Capability("Precision Time Measurement", 12, (
        _R(0x04, 4, "PTM CAP", FIXED, _NONE, "PCI_PTM_CAP"),
        _R(0x08, 4, "PTM CONTROL", "common time with the host: cross timestamps of a network card are less exact", _QUIRK, "PCI_PTM_CTRL"),
    )),
    0x23: Capability("Designated Vendor-Specific", None),
    0x25: Capability("Data Link Feature", 12),
    0x26: Capability("Physical Layer 16 GT/s", None),
    0x27: Capability("Lane Margining", None),
    0x2A: Capability("Physical Layer 32 GT/s", None),
    0x2E: Capability("Data Object Exchange", 0x18, (
        _R(0x08, 4, "DOE CONTROL", "the exchange of data objects (measurement, attestation) with the device", _QUIRK, "PCI_DOE_CTRL"),
        _R(0x10, 4, "DOE WRITE", "the exchange of data objects (measurement, attestation) with the device", _QUIRK, "PCI_DOE_WRITE"),
        _R(0x14, 4, "DOE READ", "the exchange of data objects (measurement, attestation) with the device", _QUIRK, "PCI_DOE_READ"),
    )),
})
#: The capabilities whose registers only their vendor knows; the word at +4 says how long they are.
VENDOR_SPECIFIC: Final = frozenset({0x0B, 0x23})
# fmt: on
