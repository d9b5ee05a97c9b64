# SPDX-License-Identifier: Apache-2.0
"""Who has a function by the hypervisor's own books, which messages of it are mapped, and for whom.

The list of interrupts names the domain of a message only when that has bound a port to it, and the scripted frontend binds
none. So two other dumps are read: "PCI devices" has each function's owner and the interrupts of its messages, and each domain's
range set "Interrupts" has those that it may use. Mapping for a domain puts a message there, and unmapping takes it out. Dom0
may use all of them, so being there says nothing of dom0.
"""

from __future__ import annotations

import ctypes
import re
import time
from collections.abc import Iterator
from typing import Final, NamedTuple

from pvpci.impl.xen.xenctrl import library_name, load_library

#: "PCI devices" and "domain info", and how the last of them ends.
KEYS: Final = b"Qq"
END: Final = "Shared frames"
#: The console's ring has 16 KiB unless Xen is told otherwise.
RING: Final = 1 << 15


class BooksError(Exception):
    """The hypervisor did not print what is looked for."""


class Entry(NamedTuple):
    """One function. Interrupts are Xen's numbers, which no guest knows."""

    owner: str  #: as Xen writes it: d5, or DomIO:… while nobody has it
    mapped: list[int]
    usable: list[int]  #: those of `mapped` that the domain in question may use


class Books:
    """The dumps, through libxenctrl: three programs for each look would take ten times as long."""

    def __init__(self) -> None:
        self._library = load_library(library_name())
        self._library.xc_interface_open.restype = ctypes.c_void_p
        self._handle = ctypes.c_void_p(self._library.xc_interface_open(None, None, 0))

    def of(self, bdf: str, domid: int) -> Entry:
        return entry(self._dump(), bdf, domid)

    def _dump(self, limit: float = 5.0) -> str:
        self._read()
        if self._library.xc_send_debug_keys(self._handle, KEYS):
            raise BooksError("Xen does not take debug keys")
        text, end = "", time.monotonic() + limit
        while END not in text:
            if time.monotonic() > end:
                raise BooksError(f"Xen has not printed all of it in {limit:.0f} s: {text[-300:]}")
            text += self._read()
        return text

    def _read(self) -> str:
        """What is in the ring, which is empty then."""
        buffer, size = ctypes.create_string_buffer(RING), ctypes.c_uint(RING)
        clear, incremental, index = 1, 0, ctypes.c_uint32(0)
        arguments = ctypes.byref(size), clear, incremental, ctypes.byref(index)
        if self._library.xc_readconsolering(self._handle, buffer, *arguments):
            raise BooksError("Xen's console cannot be read")
        return buffer.raw[: size.value].decode(errors="replace")


def entry(text: str, bdf: str, domid: int) -> Entry:
    """What the dumps say of one function and one domain. BooksError if they do not know it."""
    found = re.search(rf"{re.escape(bdf)} - (\S+) - node \S+(?: +- MSIs <([\d ]*)>)?", text)
    if not found:
        raise BooksError(f"Xen does not know {bdf}: {text[-300:]}")
    mapped = [int(number) for number in (found[2] or "").split()]
    ranges = re.search(rf"Rangesets belonging to domain {domid}:\s+(?:\(XEN\))? *Interrupts +\{{([^}}]*)\}}", text)
    if not ranges:
        return Entry(found[1], mapped, [])  # the domain is gone
    may = set(_numbers(ranges[1]))
    return Entry(found[1], mapped, [number for number in mapped if number in may])


def _numbers(text: str) -> Iterator[int]:
    for first, last in re.findall(r"(\d+)(?:-(\d+))?", text):
        yield from range(int(first), int(last or first) + 1)
