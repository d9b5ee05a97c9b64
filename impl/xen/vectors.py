# SPDX-License-Identifier: Apache-2.0
"""Message interrupts of a function, mapped for a domain one by one, and who shares its line.

The hypervisor believes dom0 in most of what it is asked here, and pays for it: it follows the address of the table that
it is told, reads the table while it sets an entry up, and some releases crash a guest whose function's table it had not
been shown before the guest got it. Its answers are not to be believed either: it may answer success and have mapped
nothing. So what a call needs is looked for right before it, in the function itself, and what comes back is looked at.

The numbers are those that Linux's core or Xen itself would have answered, so that the guest learns the same.
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Mapping
from typing import Final, Protocol

from pvpci.impl.host import DomId, Function, HostError, Resource
from pvpci.impl.reclaim import reclaim as search
from pvpci.impl.xen.capability import MsixCapability
from pvpci.impl.xen.devices import failed
from pvpci.impl.xen.xenctrl import Calls
from pvpci.model.config import constants as pci

#: Of the MSI-X table register: which BAR the table is in; the rest is its offset there.
TABLE_BAR: Final = 0x7
ENTRY_BYTES: Final = 16
BARS: Final = 6
#: What fits into the vector's field of the shared page.
LARGEST_PIRQ: Final = 0xFFFF
#: Where a number that was lost is looked for: more than a domain has without options of Xen's for it; below are ISA's lines.
MOST_PIRQS: Final = 1023
FIRST_PIRQ: Final = 16
#: How pciback's own handler, which claims what is meant for guests, is called.
PCIBACK_HANDLER: Final = "xen-pciback["


class Mappable(Function, Protocol):
    """A function, and what is looked for in it once."""

    @property
    def places(self) -> Mapping[int, int]:
        """Where its capabilities are, by identifier."""
        ...

    @property
    def msix(self) -> MsixCapability | None:
        """The evidence that it has MSI-X."""
        ...


def map_vector(domain: DomId, function: Mappable, entry: int | None, prepared: bool, calls: Calls) -> int:
    """As `impl.host.Host.map_vector`. `prepared`: the hypervisor was shown the MSI-X table before the domain got it."""
    capability: MsixCapability | None = None
    table_base = 0
    if entry is None:
        what = f"{function.bdf}: map the message for domain {domain}"
        _must_have_msi(what, function)
    else:
        what = f"{function.bdf}: map entry {entry} for domain {domain}"
        capability = function.msix
        if capability is None:
            raise HostError(f"{what}: it has no MSI-X capability", errno.EINVAL)
        table_base = _table(what, function, capability, entry).start
        if not function.decodes_memory():
            raise HostError(f"{what}: it does not decode memory", errno.ENXIO)
        if not prepared:
            raise HostError(f"{what}: its MSI-X was not prepared before it was given", errno.ENODATA)
    _must_be_awake(what, function)
    if capability is None or entry is None:
        pirq = calls.map_msi(domain, function.bdf)
    else:
        pirq = calls.map_msix(domain, capability, entry, table_base)
    return _checked(what, domain, function, pirq, calls)


def map_block(domain: DomId, function: Mappable, messages: int, calls: Calls) -> int:
    """As `impl.host.Host.map_block`."""
    what = f"{function.bdf}: map {messages} messages for domain {domain}"
    _must_have_msi(what, function)
    _must_be_awake(what, function)
    return _checked(what, domain, function, calls.map_multi_msi(domain, function.bdf, messages), calls, messages)


def unmap_vector(domain: DomId, function: Function, pirq: int, calls: Calls) -> None:
    """As `impl.host.Host.unmap_vector`."""
    if not 0 < pirq <= LARGEST_PIRQ or pirq == function.irq:
        # The line's number is the toolstack's to give and to take.
        raise HostError(f"{function.bdf}: interrupt {pirq} of domain {domain} is no message's", errno.EINVAL)
    calls.unmap_pirq(domain, pirq)


def reclaim(domain: DomId, function: Function, known: Collection[int], calls: Calls) -> int | None:
    """As `impl.host.Host.reclaim`. `known` has the lines too.

    Xen hands out the highest number that is free, and nobody but us maps messages for a domain: the first number from the top
    that is mapped and not known is the one. The further numbers of a block cannot be unmapped alone, whether its first one is
    known or the one that was lost: that is found below them.
    """
    numbers = range(MOST_PIRQS, FIRST_PIRQ - 1, -1)
    return search(numbers, known, lambda pirq: unmap_vector(domain, function, pirq, calls))


def _table(what: str, function: Function, capability: MsixCapability, entry: int) -> Resource:
    """The BAR that holds the table, once it is sure that the entry is there."""
    entries = (function.read(capability.offset + pci.MSIX_FLAGS, 2) & pci.MSIX_FLAGS_QSIZE) + 1
    if not 0 <= entry < entries:
        raise HostError(f"{what}: the table has {entries} entries", errno.EINVAL)
    place = function.read(capability.offset + pci.MSIX_FLAGS + 2, 4)
    bar, offset = place & TABLE_BAR, place & ~TABLE_BAR
    resource = function.resources[bar] if bar < BARS else Resource(0, 0, 0)
    if not resource.flags & pci.RESOURCE_MEM or offset + ENTRY_BYTES * entries > resource.size:
        raise HostError(f"{what}: its table is not inside a memory BAR (register {place:#010x})", errno.EINVAL)
    return resource


def _must_have_msi(what: str, function: Mappable) -> None:
    if pci.CAP_ID_MSI not in function.places:
        raise HostError(f"{what}: it has no MSI capability", errno.EINVAL)


def _must_be_awake(what: str, function: Mappable) -> None:
    pm = function.places.get(pci.CAP_ID_PM)
    # Below D0 a function's memory does not answer, whatever its command register says.
    if pm is not None and function.read(pm + pci.PM_CTRL, 2) & pci.PM_CTRL_STATE:
        raise HostError(f"{what}: it is not in power state D0", errno.EINVAL)


def _checked(what: str, domain: DomId, function: Function, pirq: int, calls: Calls, messages: int = 1) -> int:
    """The number that came back, if it and those that follow can be messages' and can be told to the guest."""
    if pirq <= 0 or pirq == function.irq:
        # Success, with nothing mapped or with what was mapped before: there is nothing of ours to undo.
        raise HostError(f"{what}: the hypervisor answered success and interrupt {pirq}, which is not new", errno.EEXIST)
    if pirq + messages - 1 > LARGEST_PIRQ:
        text = f"{what}: the hypervisor mapped interrupt {pirq + messages - 1}, which the guest cannot be told"
        try:
            calls.unmap_pirq(domain, pirq)
        except HostError as error:
            text += f"; {error.what} failed as well"
        raise HostError(text, errno.ENOSPC)
    return pirq


def line_shared(interrupts: str, function: Function) -> str | None:
    """As `impl.host.Host.line_shared`; `interrupts` is the kernel's folder of interrupts, ``/sys/kernel/irq``."""
    if not function.irq:
        return None
    path = f"{interrupts}/{function.irq}/actions"
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            names = file.read().strip().split(",")
    except FileNotFoundError:
        # The kernel keeps no record of a line that nobody has ever asked for.
        return None
    except OSError as error:
        raise failed(path, error) from error
    return ", ".join(name for name in names if name and not name.startswith(PCIBACK_HANDLER)) or None
