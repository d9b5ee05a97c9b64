# SPDX-License-Identifier: Apache-2.0
"""Evidence that a function has an MSI-X capability.

Xen 4.17 reserves a record for a function's MSI-X when it discovers the function, only if it then found the capability.
Its "prepare MSI-X" call does not look whether the record is there: made for any other function it brings the whole
machine down. So the wrappers of that call take no address, they take a :class:`MsixCapability`, and the only way to
come by one is to walk the capability list just as Xen walks it.
"""

from __future__ import annotations

from typing import Final

from pvpci.impl.host import Bdf, Function, HostError

STATUS: Final = 0x06
STATUS_CAPABILITY_LIST: Final = 0x10
CAPABILITY_POINTER: Final = 0x34
FIRST_CAPABILITY: Final = 0x40
CAPABILITY_MSIX: Final = 0x11
#: xen/drivers/pci/pci.c gives up after as many steps; so a list that is a ring ends here as well.
LONGEST_WALK: Final = 48

_seal: Final = object()


class MsixCapability:
    """The function at `bdf` has an MSI-X capability at `offset`. Made by :func:`find` alone."""

    __slots__ = ("bdf", "offset")
    bdf: Bdf
    offset: int

    def __init__(self, bdf: Bdf, offset: int, seal: object) -> None:
        if seal is not _seal:
            raise HostError(f"{bdf}: an MSI-X capability must have been found, it cannot be claimed")
        object.__setattr__(self, "bdf", bdf)
        object.__setattr__(self, "offset", offset)

    def __setattr__(self, name: str, value: object) -> None:
        raise HostError(f"{self.bdf}: an MSI-X capability that was found cannot be changed")


def find(function: Function) -> MsixCapability | None:
    """Walk the capability list in the function's configuration space. Raises HostError as reads do."""
    if not function.read(STATUS, 2) & STATUS_CAPABILITY_LIST:
        return None
    at = CAPABILITY_POINTER
    for _ in range(LONGEST_WALK):
        at = function.read(at, 1) & 0xFC
        if at < FIRST_CAPABILITY:
            return None
        identifier = function.read(at, 1)
        if identifier == 0xFF:
            return None
        if identifier == CAPABILITY_MSIX:
            return MsixCapability(function.bdf, at, _seal)
        at += 1
    return None
