# SPDX-License-Identifier: Apache-2.0
"""Giving a function to a domain, and taking it back: the toolstack's calls in their order.

Each call is a :class:`Step` that knows its own undoing, so there is one list, read forwards to give and backwards to
take back. A failure half-way undoes what was done and nothing else; taking back goes through to the end whatever fails
on the way, because a call that was left out is a hole, and reports the first failure afterwards.

What was taken back is with Xen's quarantine domain, as after `xl`: it can be given to the next guest, but does no DMA
for dom0 until `xl pci-assignable-remove`.

The guest may die at any moment, and the hypervisor then does much of the undoing by itself. So each step names the
answers that mean "already undone".

What depends on who holds the function in dom0:

* pciback: it enabled the function and prepared its MSI-X when it seized it; neither is repeated here.
* no driver: both are done here. Enabling comes first because it registers the interrupt line with Xen: before that the
  number in sysfs is only what the firmware left, and mapping it would give the guest a line that never rings.
* pci-stub, vfio-pci: refused. With them the kernel neither enables the function nor lets anybody else enable it.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from pvpci.impl.host import DomId, Function, HostError, Resource
from pvpci.impl.xen.capability import MsixCapability, find
from pvpci.impl.xen.sysfs import PCIBACK
from pvpci.impl.xen.xenctrl import Calls

#: Linux's IORESOURCE_IO.
IORESOURCE_IO: Final = 0x100
PAGE_SHIFT: Final = 12

#: What the hypervisor's refusal of an assignment usually means.
_REASONS: Final = {
    errno.EBUSY: "a domain has it already",
    errno.ENODEV: "Xen does not know this function",
    errno.ESRCH: "there is no such domain",
    errno.EOPNOTSUPP: "no IOMMU, or the domain was created without pci=[...] and without passthrough",
}


class Assignable(Function, Protocol):
    """A function that dom0's kernel can be asked to enable."""

    def driver(self) -> str | None: ...
    def set_enabled(self, on: bool) -> None:
        """As the kernel does for a driver; afterwards `irq` is the routed line. EBUSY if there is a driver."""
        ...


@dataclass(frozen=True, slots=True)
class Step:
    """One call and its undoing; `undone` are the errors by which the undoing says that there is nothing to undo."""

    do: Callable[[], None]
    undo: Callable[[], None]
    undone: frozenset[int]


def steps(domain: DomId, function: Assignable, calls: Calls) -> Iterator[Step]:
    """The steps of giving, in order. To be done one by one as they come: the interrupt is known only after the first.

    HostError(EBUSY): the driver that holds the function does not allow it.
    """
    driver, bdf = function.driver(), function.bdf
    if driver is not None and driver not in PCIBACK:
        raise HostError(f"{bdf}: busy: driver {driver} has it; unbind it, or bind pciback instead", errno.EBUSY)
    if driver is None:
        yield Step(
            lambda: function.set_enabled(True),
            lambda: function.set_enabled(False),
            # EIO: not enabled. EBUSY: a driver has come meanwhile, and the function is its business now.
            frozenset({errno.EIO, errno.EBUSY, errno.ENODEV, errno.ENOENT}),
        )
        yield Step(
            lambda: _prepare(function, calls), lambda: _release(function, calls), frozenset({errno.EBUSY, errno.ENODEV})
        )
    yield Step(
        lambda: _assign(domain, function, calls),
        lambda: calls.deassign(domain, bdf),
        frozenset({errno.ESRCH, errno.ENODEV}),
    )
    for resource in function.resources:
        if resource.flags:
            yield _permission(domain, resource, calls)
    if function.irq:
        yield from _interrupt(domain, function.irq, calls)


def _prepare(function: Function, calls: Calls) -> None:
    # Looked for at the last moment, so that the evidence is of the function that is there now.
    capability: MsixCapability | None = find(function)
    if capability is None:
        return
    try:
        calls.prepare_msix(capability)
    except HostError as error:
        # Left prepared by one who died. If it is somebody else's who lives, the assignment will be refused.
        if error.errno != errno.EBUSY:
            raise


def _release(function: Function, calls: Calls) -> None:
    capability = find(function)
    if capability is not None:
        calls.release_msix(capability)


def _assign(domain: DomId, function: Function, calls: Calls) -> None:
    try:
        calls.assign(domain, function.bdf)
    except HostError as error:
        reason = _REASONS.get(error.errno)
        raise HostError(f"{error.what}: {reason}", error.errno) if reason else error from error


def _permission(domain: DomId, resource: Resource, calls: Calls) -> Step:
    gone = frozenset({errno.ESRCH})
    if resource.flags & IORESOURCE_IO:
        first, count = resource.start, resource.size
        return Step(
            lambda: calls.ioport_permission(domain, first, count, True),
            lambda: calls.ioport_permission(domain, first, count, False),
            gone,
        )
    first = resource.start >> PAGE_SHIFT
    count = (resource.end >> PAGE_SHIFT) - first + 1
    return Step(
        lambda: calls.iomem_permission(domain, first, count, True),
        lambda: calls.iomem_permission(domain, first, count, False),
        gone,
    )


def _interrupt(domain: DomId, gsi: int, calls: Calls) -> Iterator[Step]:
    # EINVAL: the hypervisor unmapped it when the domain died.
    gone = frozenset({errno.ESRCH, errno.EINVAL})
    yield Step(lambda: _map(domain, gsi, calls), lambda: calls.unmap_pirq(domain, gsi), gone)
    yield Step(lambda: calls.irq_permission(domain, gsi, True), lambda: calls.irq_permission(domain, gsi, False), gone)


def _map(domain: DomId, gsi: int, calls: Calls) -> None:
    # The guest binds the number that it reads in the function's interrupt line register, so no other one will do. The
    # hypervisor may also answer success without having mapped what was asked for.
    pirq = calls.map_pirq(domain, gsi)
    if pirq != gsi:
        what = f"domain {domain}: map interrupt {gsi}: the hypervisor mapped {pirq} instead"
        try:
            calls.unmap_pirq(domain, pirq)
        except HostError as error:
            what += f"; {error.what} failed as well"
        raise HostError(what, errno.EEXIST)


def give(domain: DomId, function: Assignable, calls: Calls) -> list[Step]:
    """Do all steps; returns them for :func:`take_back`. HostError: nothing of it remains, or `what` says what does."""
    done: list[Step] = []
    try:
        for step in steps(domain, function, calls):
            step.do()
            done.append(step)
    except HostError as error:
        left = undo(done)
        if left is None:
            raise
        raise HostError(f"{error.what}; and while undoing: {left.what}", error.errno) from error
    return done


def undo(done: Sequence[Step]) -> HostError | None:
    """Undo the steps, last first and every one; the first failure that does not mean "already undone"."""
    first: HostError | None = None
    for step in reversed(done):
        try:
            step.undo()
        except HostError as error:
            if error.errno not in step.undone and first is None:
                first = error
    return first


def take_back(done: Sequence[Step]) -> None:
    """Undo a :func:`give`. Raises HostError after the last step if one failed."""
    failure = undo(done)
    if failure is not None:
        raise failure
