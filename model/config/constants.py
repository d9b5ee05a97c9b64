# SPDX-License-Identifier: Apache-2.0
"""Names of the PCI Local Bus and PCI Express specifications: offsets, bits, and the host's resource flags.

Only what the headers, the capabilities with rules of their own and the host's bookkeeping of BARs need. Offsets are in
bytes from the start of configuration space, or of the capability that they are named for; bits are of the register.
"""

from __future__ import annotations

from typing import Final

HEADER_SIZE: Final = 64
CONVENTIONAL_SIZE: Final = 256
EXTENDED_SIZE: Final = 4096

VENDOR_ID: Final = 0x00
DEVICE_ID: Final = 0x02
COMMAND: Final = 0x04
STATUS: Final = 0x06
CLASS_REVISION: Final = 0x08
CACHE_LINE_SIZE: Final = 0x0C
LATENCY_TIMER: Final = 0x0D
HEADER_TYPE: Final = 0x0E
BIST: Final = 0x0F
BASE_ADDRESS_0: Final = 0x10
ROM_ADDRESS: Final = 0x30
ROM_ADDRESS1: Final = 0x38  #: in a bridge's header
CAPABILITY_LIST: Final = 0x34
INTERRUPT_LINE: Final = 0x3C
INTERRUPT_PIN: Final = 0x3D

COMMAND_IO: Final = 0x0001
COMMAND_MEMORY: Final = 0x0002
COMMAND_MASTER: Final = 0x0004
COMMAND_SPECIAL: Final = 0x0008
COMMAND_INVALIDATE: Final = 0x0010
COMMAND_VGA_PALETTE: Final = 0x0020
COMMAND_PARITY: Final = 0x0040
COMMAND_WAIT: Final = 0x0080
COMMAND_SERR: Final = 0x0100
COMMAND_FAST_BACK: Final = 0x0200
COMMAND_INTX_DISABLE: Final = 0x0400
COMMAND_RESERVED: Final = 0xF800
COMMAND_DECODE: Final = COMMAND_IO | COMMAND_MEMORY

STATUS_CAP_LIST: Final = 0x0010

HEADER_TYPE_MASK: Final = 0x7F  #: bit 7 says that the slot has more functions
HEADER_TYPE_NORMAL: Final = 0
HEADER_TYPE_BRIDGE: Final = 1
HEADER_TYPE_CARDBUS: Final = 2
BASE_CLASS_BRIDGE: Final = 0x06

BIST_START: Final = 0x40

CAP_ID_PM: Final = 0x01
CAP_ID_VPD: Final = 0x03
CAP_ID_MSI: Final = 0x05
CAP_ID_PCIX: Final = 0x07
CAP_ID_VNDR: Final = 0x09
CAP_ID_SSVID: Final = 0x0D
CAP_ID_EXP: Final = 0x10
CAP_ID_MSIX: Final = 0x11
CAP_ID_NONE: Final = 0xFF  #: ends a list, as an absent register reads

PM_PMC: Final = 2
PM_CAP_PME_MASK: Final = 0xF800
PM_CAP_D1: Final = 0x0200
PM_CAP_D2: Final = 0x0400
PM_CTRL: Final = 4
PM_CTRL_STATE: Final = 0x0003
PM_CTRL_NO_SOFT_RESET: Final = 0x0008
PM_CTRL_PME_ENABLE: Final = 0x0100
PM_CTRL_DATA_SEL: Final = 0x1E00
PM_CTRL_PME_STATUS: Final = 0x8000
PM_PPB_EXTENSIONS: Final = 6
PM_DATA: Final = 7
VPD_ADDR: Final = 2
VPD_ADDR_F: Final = 0x8000
VPD_DATA: Final = 4
MSI_FLAGS: Final = 2
MSI_FLAGS_ENABLE: Final = 0x0001
MSI_FLAGS_QMASK: Final = 0x000E
MSI_FLAGS_QSIZE: Final = 0x0070
MSI_FLAGS_64BIT: Final = 0x0080
MSI_FLAGS_MASKBIT: Final = 0x0100
MSI_ADDRESS_LO: Final = 4
MSI_ADDRESS_HI: Final = 8
MSI_DATA_32: Final = 8
MSI_DATA_64: Final = 12
MSI_MASK_32: Final = 12
MSI_MASK_64: Final = 16
MSIX_FLAGS: Final = 2
MSIX_FLAGS_QSIZE: Final = 0x07FF  #: entries of the table, less one
MSIX_FLAGS_ENABLE: Final = 0x8000
MSIX_FLAGS_MASKALL: Final = 0x4000

# include/linux/ioport.h
RESOURCE_BITS: Final = 0x0000000F  #: the low bits of the BAR itself; for a ROM bit 0 is its enable bit
RESOURCE_ROM_ENABLE: Final = 0x00000001
RESOURCE_IO: Final = 0x00000100
RESOURCE_MEM: Final = 0x00000200
RESOURCE_PCI_FIXED: Final = 0x00000010  #: a BAR whose address cannot be changed
RESOURCE_MEM_64: Final = 0x00100000
RESOURCE_DISABLED: Final = 0x10000000
RESOURCE_UNSET: Final = 0x20000000
RESOURCE_BUSY: Final = 0x80000000
