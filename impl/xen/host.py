# SPDX-License-Identifier: Apache-2.0
"""Real Xen, seen from dom0's user space. Implements :class:`pvpci.impl.host.Host`.

Opening it looks at once whether the device nodes are there and may be used, so that a wrong machine is told in one line
and not in the middle of a handshake. libxenctrl is not looked for before the first `give`.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pvpci.impl.device_nodes import note
from pvpci.impl.host import Bdf, DomId, Function, GrantRef, HostError, Port, Store
from pvpci.impl.xen import assign, evtchn, gntdev, sysfs, vectors
from pvpci.impl.xen.devices import open_device, refused
from pvpci.impl.xen.sysfs import PCIBACK
from pvpci.impl.xen.xenctrl import Calls, open_calls
from pvpci.impl.xenstore import XenStore

#: xen.h DOMID_FIRST_RESERVED
DOMID_FIRST_RESERVED: Final = 0x7FF0


@dataclass(frozen=True, slots=True)
class Paths:
    """Where things are; tests put others in their place."""

    gntdev: str = "/dev/xen/gntdev"
    evtchn: str = "/dev/xen/evtchn"
    xenbus: str = "/dev/xen/xenbus"
    privcmd: str = "/dev/xen/privcmd"
    devices: str = "/sys/bus/pci/devices"
    hypervisor: str = "/sys/hypervisor"
    interrupts: str = "/sys/kernel/irq"
    locks: str = "/proc/locks"
    notes: str = "/run/pvpci"


class XenHost:
    """This dom0. Raises HostError where it is none, or not fit for use."""

    def __init__(self, paths: Paths | None = None, load_calls: Callable[[str, str], Calls] = open_calls) -> None:
        """`load_calls` opens the toolstack's calls when they are needed, given Paths.hypervisor and Paths.privcmd."""
        self._paths, self._load_calls = paths or Paths(), load_calls
        self._calls: Calls | None = None
        self._given: dict[Bdf, tuple[DomId, list[assign.Step]]] = {}
        for node in (self._paths.gntdev, self._paths.evtchn):
            os.close(open_device(node))
        self._xenstore = _open_store(self._paths.xenbus)
        self.store: Store = self._xenstore
        self.notes = Path(self._paths.notes)

    def map_page(self, domain: DomId, ref: GrantRef) -> gntdev.GrantedPage:
        return gntdev.map_page(self._paths.gntdev, domain, ref)

    def bind_channel(self, domain: DomId, remote: Port) -> evtchn.EventChannel:
        return evtchn.bind_channel(self._paths.evtchn, domain, remote)

    def open_function(self, bdf: Bdf) -> sysfs.SysfsFunction:
        return sysfs.open_function(self._paths.devices, bdf, self._paths.locks)

    def functions(self) -> Sequence[Bdf]:
        return sysfs.functions(self._paths.devices)

    def give(self, domain: DomId, function: Function) -> None:
        """As the protocol says. `function.irq` is the routed interrupt line only afterwards."""
        ours = _ours(domain, function)
        if ours.bdf in self._given:
            raise HostError(f"{ours.bdf}: busy: domain {self._given[ours.bdf][0]} has it", errno.EBUSY)
        self._given[ours.bdf] = domain, assign.give(domain, ours, self._toolstack())

    def take_back(self, domain: DomId, function: Function) -> None:
        """As the protocol says. A function that another process gave is taken back as well."""
        ours = _ours(domain, function)
        owner, done = self._given.get(ours.bdf, (domain, None))
        if owner != domain:
            raise HostError(f"{ours.bdf}: take from domain {domain}: domain {owner} has it", errno.EINVAL)
        if done is None:
            done = list(assign.steps(domain, ours, self._toolstack()))
        self._given.pop(ours.bdf, None)
        assign.take_back(done)

    def prepared(self, function: Function) -> bool:
        """As the protocol says. pciback prepares what it seizes, and every `give` without pciback does.

        Where pciback has tried and failed, as it tells its log, the hypervisor refuses each entry with ENODATA.
        """
        ours = _of_this_host(function)
        if ours.msix is None:
            return False
        if (driver := ours.driver()) is not None:
            return driver in PCIBACK
        # Given by this process; or by another one, whose last act is to note it.
        return ours.bdf in self._given or self.store.read(note(ours.bdf)) is not None

    def map_vector(self, domain: DomId, function: Function, entry: int | None) -> int:
        ours = _ours(domain, function)
        prepared = entry is None or self.prepared(ours)
        return vectors.map_vector(domain, ours, entry, prepared, self._toolstack())

    def map_block(self, domain: DomId, function: Function, messages: int) -> int:
        return vectors.map_block(domain, _ours(domain, function), messages, self._toolstack())

    def unmap_vector(self, domain: DomId, function: Function, pirq: int) -> None:
        vectors.unmap_vector(domain, _ours(domain, function), pirq, self._toolstack())

    def reclaim(self, domain: DomId, function: Function, known: Collection[int]) -> int | None:
        ours = _ours(domain, function)
        # The line of any function of this machine may be mapped for the domain, and none of them is a message's.
        lines = sysfs.lines(self._paths.devices)
        return vectors.reclaim(domain, ours, {*known, *lines}, self._toolstack())

    def line_shared(self, function: Function) -> str | None:
        return vectors.line_shared(self._paths.interrupts, _of_this_host(function))

    def _toolstack(self) -> Calls:
        if self._calls is None:
            self._calls = self._load_calls(self._paths.hypervisor, self._paths.privcmd)
        return self._calls

    def close(self) -> None:
        """Take back what is still given, let go of xenstore and the libraries; raise the first HostError afterwards."""
        failures = [failure for _, done in self._given.values() if (failure := assign.undo(done)) is not None]
        self._given.clear()
        if self._calls is not None:
            self._calls.close()
            self._calls = None
        self._xenstore.close()
        if failures:
            raise failures[0]


def _open_store(path: str) -> XenStore:
    try:
        return XenStore.open(path)
    except HostError as error:
        # Worded as for the other nodes: what is wrong with one of them is mostly wrong with all.
        raise refused(path, error.__cause__) if isinstance(error.__cause__, OSError) else error from error


def _ours(domain: DomId, function: Function) -> sysfs.SysfsFunction:
    if not 0 <= domain < DOMID_FIRST_RESERVED:
        raise HostError(f"{function.bdf}: domain {domain} is not a domain", errno.EINVAL)
    return _of_this_host(function)


def _of_this_host(function: Function) -> sysfs.SysfsFunction:
    if not isinstance(function, sysfs.SysfsFunction):
        raise HostError(f"{function.bdf}: not a function of this host", errno.EINVAL)
    return function
