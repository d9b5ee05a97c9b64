# SPDX-License-Identifier: Apache-2.0
"""A page granted to dom0 and a port open to it: what a frontend owns, with every access a call of its own.

Flag bits change by locked operations, as the protocol wants them. libatomic does that for an address; there is no
compiler in the guest.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import select
import struct
import time
from collections.abc import Sequence
from typing import Final

ACTIVE, AER_HANDLER = 1, 2
# xen/io/pciif.h: struct xen_pci_op, without msix_entries; sizeof == 36, at 4 in the page
#   cmd err domain bus devfn offset size value info
OP: Final = struct.Struct("<IiIIIiiII")
OP_AT: Final = 4
# struct xen_msix_entry { uint16_t vector, entry; }; sizeof == 4, the list follows the request
ENTRY: Final = struct.Struct("<HH")
ENTRIES_AT: Final = OP_AT + OP.size
COMMANDS: Final = {"read": 0, "write": 1, "enable_msi": 2, "disable_msi": 3, "enable_msix": 4, "disable_msix": 5}
# <xen/gntalloc.h>: struct ioctl_gntalloc_alloc_gref { u16 domid, flags; u32 count; u64 index; u32 gref_ids[1]; }; 24
# Linux takes the size in the number without that array's padding: _IOC(_IOC_NONE, 'G', 5, 24)
ALLOC_GREF: Final = 0x184705
# <xen/evtchn.h>: bind_unbound_port { u32 remote_domain; }, notify { u32 port; }; 4 each
BIND_UNBOUND, NOTIFY = 0x044502, 0x044504

_atomic = ctypes.CDLL("libatomic.so.1")
# By index, because a name with two leading underscores is another one inside a class.
_fetch_or, _fetch_and = _atomic["__atomic_fetch_or_4"], _atomic["__atomic_fetch_and_4"]
for _function in (_fetch_or, _fetch_and):
    _function.argtypes = (ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int)
    _function.restype = ctypes.c_uint32
_SEQUENTIAL: Final = 5


class Connection:
    """One page and one port, both for domain 0. Values that are posted are not checked."""

    def __init__(self) -> None:
        self._grants = os.open("/dev/xen/gntalloc", os.O_RDWR)
        argument = bytearray(struct.pack("<HHIQII", 0, 1, 1, 0, 0, 0))
        fcntl.ioctl(self._grants, ALLOC_GREF, argument)
        index, self.ref = struct.unpack_from("<QI", argument, 8)
        self.page = mmap.mmap(self._grants, mmap.PAGESIZE, mmap.MAP_SHARED, offset=index)
        self.page[:] = bytes(mmap.PAGESIZE)
        self._address = ctypes.addressof(ctypes.c_char.from_buffer(self.page))
        self.set_flags(AER_HANDLER)
        self.ports = os.open("/dev/xen/evtchn", os.O_RDWR)
        # Only for a mutable argument does the call return the port's number.
        self.port: int = fcntl.ioctl(self.ports, BIND_UNBOUND, bytearray(4))

    def set_flags(self, bits: int) -> None:
        _fetch_or(self._address, bits, _SEQUENTIAL)

    def clear_flags(self, bits: int) -> None:
        _fetch_and(self._address, ~bits & 0xFFFFFFFF, _SEQUENTIAL)

    def active(self) -> bool:
        return bool(self.page[0] & ACTIVE)

    def fill(
        self, command: str | int, devfn: int = 0, offset: int = 0, size: int = 4, value: int = 0, **rest: int
    ) -> None:
        """Write a request, without saying so. `rest`: domain, bus, info."""
        number = COMMANDS[command] if isinstance(command, str) else command
        where = (rest.get("domain", 0), rest.get("bus", 0), devfn)
        packed = OP.pack(number, 0, *where, offset, size, value & 0xFFFFFFFF, rest.get("info", 0))
        self.page[OP_AT : OP_AT + OP.size] = packed

    def post(self, command: str | int, *fields: int, **rest: int) -> None:
        self.fill(command, *fields, **rest)
        self.set_flags(ACTIVE)

    def fill_entries(self, entries: Sequence[int]) -> None:
        """The list of an MSI-X request, with no vectors in it."""
        for index, entry in enumerate(entries):
            ENTRY.pack_into(self.page, ENTRIES_AT + ENTRY.size * index, 0, entry)

    def vectors(self, count: int) -> list[int]:
        """What the list says now."""
        return [ENTRY.unpack_from(self.page, ENTRIES_AT + ENTRY.size * index)[0] for index in range(count)]

    def kick(self) -> None:
        fcntl.ioctl(self.ports, NOTIFY, struct.pack("<I", self.port))

    def answer(self) -> tuple[int, int]:
        """(err, value) as they stand in the page."""
        op = OP.unpack_from(self.page, OP_AT)
        return op[1], op[7]

    def answered(self, limit: float) -> bool:
        """Sleep on the port until the request is no longer active; False if it still is after `limit` seconds."""
        end = time.monotonic() + limit
        while self.active():
            left = end - time.monotonic()
            if left <= 0:
                return False
            # Short sleeps: a notification that somebody else took must not cost the whole limit.
            if select.select([self.ports], [], [], min(left, 0.05))[0]:
                os.write(self.ports, os.read(self.ports, 4))
        return True

    def ask(self, command: str | int, *fields: int, limit: float = 3.0, **rest: int) -> tuple[int, int] | None:
        """One whole request: (err, value), None if nothing answered; it is withdrawn then, as pcifront does."""
        self.post(command, *fields, **rest)
        self.kick()
        if self.answered(limit):
            return self.answer()
        self.clear_flags(ACTIVE)
        return None
