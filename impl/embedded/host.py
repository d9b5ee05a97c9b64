# SPDX-License-Identifier: Apache-2.0
"""The embedded machine as the backend sees it, and what only a toolstack may do to it."""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from pvpci.impl.embedded import wire
from pvpci.impl.embedded.function import EmbeddedFunction
from pvpci.impl.embedded.image import load, parse_bdf
from pvpci.impl.embedded.interrupts import FIRST_MESSAGE_PIRQ, LAST_PIRQ, Outcome
from pvpci.impl.embedded.link import EmbeddedChannel, EmbeddedPage, Link
from pvpci.impl.embedded.wire import Accounting
from pvpci.impl.host import Bdf, DomId, Function, GrantRef, HostError, Port, Store
from pvpci.impl.reclaim import reclaim
from pvpci.impl.xenstore import XenStore


class EmbeddedHost:
    """`host.Host` for a process of domain 0, over the box at `path`. `label` is how others are told who holds what.

    HostError(ENOENT), HostError(ECONNREFUSED): there is no box at `path`.
    """

    def __init__(self, path: str, *, label: str = "backend", timeout: float = 5.0) -> None:
        self._link = Link(path, 0, label, timeout=timeout)
        try:
            self._store: XenStore = self._link.store()
        except HostError:
            self._link.close()
            raise
        self.store: Store = self._store
        self.notes = Path(wire.notes_of(path))

    def map_page(self, domain: DomId, ref: GrantRef) -> EmbeddedPage:
        reply, descriptor = self._link.call_for_descriptor(wire.Map(domain, ref))
        return EmbeddedPage(self._link, descriptor, reply.number)

    def bind_channel(self, domain: DomId, remote: Port) -> EmbeddedChannel:
        reply, descriptor = self._link.call_for_descriptor(wire.Bind(domain, remote))
        return EmbeddedChannel(self._link, descriptor, reply.number)

    def open_function(self, bdf: Bdf) -> EmbeddedFunction:
        name = str(bdf)
        reply, descriptor = self._link.call_for_descriptor(wire.OpenFunction(name))
        try:
            # The box may have the image at another address than the one where it was recorded.
            image = replace(load(reply.names[0]), bdf=bdf)
        except HostError:
            os.close(descriptor)
            self._link.call(wire.CloseFunction(name))
            raise
        return EmbeddedFunction(self._link, image, name, descriptor)

    def functions(self) -> Sequence[Bdf]:
        return [parse_bdf(name) for name in self._link.call(wire.Functions()).names]

    def give(self, domain: DomId, function: Function) -> None:
        self._link.call(wire.Give(domain, str(function.bdf)))

    def take_back(self, domain: DomId, function: Function) -> None:
        self._link.call(wire.TakeBack(domain, str(function.bdf)))

    def prepared(self, function: Function) -> bool:
        return bool(self._link.call(wire.Prepared(str(function.bdf))).number)

    def map_vector(self, domain: DomId, function: Function, entry: int | None) -> int:
        return self._link.call(wire.MapVector(domain, str(function.bdf), entry)).number

    def map_block(self, domain: DomId, function: Function, messages: int) -> int:
        return self._link.call(wire.MapBlock(domain, str(function.bdf), messages)).number

    def unmap_vector(self, domain: DomId, function: Function, pirq: int) -> None:
        self._link.call(wire.UnmapVector(domain, str(function.bdf), pirq))

    def reclaim(self, domain: DomId, function: Function, known: Collection[int]) -> int | None:
        numbers = range(LAST_PIRQ, FIRST_MESSAGE_PIRQ - 1, -1)
        return reclaim(numbers, known, lambda pirq: self.unmap_vector(domain, function, pirq))

    def line_shared(self, function: Function) -> str | None:
        return self._link.call(wire.LineShared(str(function.bdf))).what or None

    def create_domain(self, domain: DomId) -> None:
        """Let a guest of this number exist, with its home in the store. HostError(EEXIST) if there is one."""
        self._link.call(wire.CreateDomain(domain))

    def destroy_domain(self, domain: DomId) -> None:
        """End the guest: its grants, ports, connections and home go; what others have mapped stays until they let go.

        HostError(ESRCH) if there is no such guest.
        """
        self._link.call(wire.DestroyDomain(domain))

    # What happens to a machine: hardware that raises, a dom0 that has drivers, a hypervisor that refuses

    def interrupt(self, bdf: Bdf, entry: int = 0) -> Outcome:
        """The function raises an interrupt, as its registers have it: see `interrupts`. HostError(EINVAL) if it cannot.

        "pending": it is sent when what holds it back is gone; until then further ones add nothing. "lost": it cannot pend.
        """
        what: Outcome = msgspec.convert(self._link.call(wire.Interrupt(str(bdf), entry)).what, Outcome)
        return what

    def mask_vector(self, bdf: Bdf, entry: int, masked: bool) -> None:
        """Set or clear the mask bit of an entry of the function's table. HostError(EINVAL): no such entry."""
        self._link.call(wire.MaskVector(str(bdf), entry, masked))

    def share_line(self, bdf: Bdf, name: str) -> None:
        """Let a driver of dom0 use the function's line too; "": none does."""
        self._link.call(wire.ShareLine(str(bdf), name))

    def refuse(self, call: wire.Refusable, number: int, *, skip: int = 0, times: int = 1) -> None:
        """Let the box fail `times` calls with that number, after it has let `skip` of them pass. The last word counts."""
        self._link.call(wire.Refuse(call, number, skip, times))

    def account(self) -> Accounting:
        """What is granted, mapped, bound, held and assigned in the whole box now."""
        accounting = self._link.call(wire.Account()).accounting
        if accounting is None:
            raise HostError("box: Account: the answer has no accounting", errno.EPROTO)
        return accounting

    def close(self) -> None:
        """End the connection; the box releases what this process still held. Idempotent."""
        self._store.close()
        self._link.close()
