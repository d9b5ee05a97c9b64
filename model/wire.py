# SPDX-License-Identifier: Apache-2.0
"""The shared page byte by byte (``xen/include/public/io/pciif.h``), and numbers that both sides agree on.

```c
struct xen_pci_sharedinfo {          /* sizeof == 572, at the start of the granted page */
    uint32_t flags;                  /*   0: enum Flag */
    struct xen_pci_op op;            /*   4: sizeof == 548, of which the header is 36 */
    struct xen_pcie_aer_op aer_op;   /* 552: sizeof == 20 */
};
```

Only fixed-width members, no padding: the layout is the same for 32-bit and 64-bit guests. The frontend fills in all
of `op` but `err`; the backend writes `err`, `value` and, for a successful ``enable_msix``, one 16-bit `vector` for
each entry.

Parsers here are total: any bytes of the right length are a request, for a guest may write anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import Final

PAGE_SIZE: Final = 4096
MAGIC: Final = "7"  #: XEN_PCI_MAGIC, the text of the frontend's `magic` node; never bumped since 2006
MAX_VECTORS: Final = 128  #: SH_INFO_MAX_VEC


class Cmd(IntEnum):
    """``XEN_PCI_OP_*``, the code in ``op.cmd`` (0 to 5 and 10) or in ``aer_op.cmd`` (6 to 9)."""

    CONF_READ = 0
    CONF_WRITE = 1
    ENABLE_MSI = 2
    DISABLE_MSI = 3
    ENABLE_MSIX = 4
    DISABLE_MSIX = 5
    AER_DETECTED = 6
    AER_RESUME = 7
    AER_MMIO = 8
    AER_SLOTRESET = 9
    ENABLE_MULTI_MSI = 10


class Err(IntEnum):
    """``XEN_PCI_ERR_*``: what is answered in ``op.err``."""

    SUCCESS = 0
    DEV_NOT_FOUND = -1
    INVALID_OFFSET = -2
    ACCESS_DENIED = -3
    NOT_IMPLEMENTED = -4
    OP_FAILED = -5


EINVAL: Final = 22  #: ``enable_msix`` answers Linux's own number, negative, for more entries than fit


class PageFlag(IntEnum):
    """Bits of `flags`, each with one writer for each direction of change; changed by locked instructions only."""

    PCIF_ACTIVE = (
        1  #: a request is posted: set by the frontend, cleared by the backend (or by a frontend that gives up)
    )
    PCIB_AERHANDLER = 2  #: this guest can handle AER: set once by the frontend
    PCIB_ACTIVE = 4  #: an AER request is posted: set by the backend, cleared by the frontend


FLAGS: Final = 0
OP: Final = 4
# struct xen_pci_op, without msix_entries; sizeof == 36
#   cmd err domain bus devfn offset size value info
OP_HEADER: Final = Struct("<I i I I I i i I I")
OP_WORDS: Final = Struct("<9I")  #: the same nine words, all unsigned, as the machines hold them
OP_ERR: Final = OP + 4
OP_VALUE: Final = OP + 28
# struct xen_msix_entry { uint16_t vector, entry; }, 128 of them; sizeof == 4
MSIX_ENTRY: Final = Struct("<H H")
MSIX_ENTRIES: Final = OP + OP_HEADER.size
OP_SIZE: Final = OP_HEADER.size + MAX_VECTORS * MSIX_ENTRY.size
# struct xen_pcie_aer_op; sizeof == 20
#   cmd err domain bus devfn
AER_OP: Final = Struct("<I i I I I")
AER: Final = OP + OP_SIZE
SHARED_SIZE: Final = AER + AER_OP.size


@dataclass(frozen=True, slots=True)
class PciOp:
    """A request as it stood in the page; `offset` and `size` are signed on the wire."""

    cmd: int
    err: int
    domain: int
    bus: int
    devfn: int
    offset: int
    size: int
    value: int
    info: int

    def pack(self) -> bytes:
        """36 bytes."""
        fields = (self.cmd, self.err, self.domain, self.bus, self.devfn, self.offset, self.size, self.value, self.info)
        return OP_HEADER.pack(*fields)


def parse_op(data: bytes | bytearray | memoryview) -> PciOp:
    """The header of a request from at least 36 bytes. Never fails on their contents; ValueError if they are too few."""
    if len(data) < OP_HEADER.size:
        raise ValueError(f"a request is {OP_HEADER.size} bytes, not {len(data)}")
    return PciOp(*OP_HEADER.unpack_from(data))


def parse_entries(data: bytes | bytearray | memoryview, count: int) -> tuple[tuple[int, int], ...]:
    """The first `count` (vector, entry) pairs, at most 128 and no more than the bytes hold."""
    fit = max(0, min(count, MAX_VECTORS, len(data) // MSIX_ENTRY.size))
    return tuple(MSIX_ENTRY.unpack_from(data, MSIX_ENTRY.size * index) for index in range(fit))


def signed(value: int) -> int:
    """A 32-bit word as the signed number that `err`, `offset` and `size` are."""
    return value - (1 << 32) if value & 1 << 31 else value
