# SPDX-License-Identifier: Apache-2.0
"""The embedded machine as a guest sees it: its own pages, ports and part of the store."""

from __future__ import annotations

from pvpci.impl.embedded import wire
from pvpci.impl.embedded.link import EmbeddedChannel, EmbeddedPage, Link
from pvpci.impl.host import DomId, GrantRef, HostError, Port
from pvpci.impl.xenstore import XenStore

_DOMAIN_0 = DomId(0)


class GuestHost:
    """A process that is the guest `domain`, which a toolstack has created. HostError(ESRCH) if none has.

    With `destroy_on_exit` the domain lives as long as this connection: when the process ends in whatever way, the box
    does what a toolstack does when a domain is gone (see `EmbeddedHost.destroy_domain`). Without, only its ports close.
    """

    def __init__(self, path: str, domain: DomId, *, destroy_on_exit: bool = True, timeout: float = 5.0) -> None:
        self.domain = domain
        self._link = Link(path, domain, f"guest {domain}", owner=destroy_on_exit, timeout=timeout)
        try:
            self.store: XenStore = self._link.store()
        except HostError:
            self._link.close()
            raise

    def grant_page(self, to: DomId = _DOMAIN_0) -> tuple[GrantRef, EmbeddedPage]:
        """A new page of zeros that domain `to` may map. HostError(ENOSPC) if there are too many."""
        reply, descriptor = self._link.call_for_descriptor(wire.Grant(to))
        return GrantRef(reply.number), EmbeddedPage(self._link, descriptor, None)

    def revoke(self, ref: GrantRef) -> bool:
        """End the grant; False if the other side has the page mapped, and then it stays. HostError(EINVAL): no such."""
        return not self._link.call(wire.Revoke(ref)).number

    def alloc_channel(self, to: DomId = _DOMAIN_0) -> tuple[Port, EmbeddedChannel]:
        """A new port that domain `to` may bind, and this end of it. HostError(ENOSPC) if there are too many."""
        reply, descriptor = self._link.call_for_descriptor(wire.Alloc(to))
        return Port(reply.number), EmbeddedChannel(self._link, descriptor, reply.number)

    def bind_pirq(self, pirq: int) -> tuple[Port, EmbeddedChannel]:
        """A port that rings when that interrupt does. HostError: EINVAL, not this domain's; EEXIST, it is bound already."""
        reply, descriptor = self._link.call_for_descriptor(wire.BindPirq(pirq))
        return Port(reply.number), EmbeddedChannel(self._link, descriptor, reply.number)

    def close(self) -> None:
        """End the connection, and the domain with it if it was so asked. Idempotent."""
        self.store.close()
        self._link.close()
