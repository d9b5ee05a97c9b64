# SPDX-License-Identifier: Apache-2.0
"""The real box without its process and sockets: every call goes straight into the broker's own dispatch.

What a socket adds is the packing of a request, which `tests/test_impl_embedded_broker.py` is about, and two changes of
process a call, which is most of what a call costs. The ledger, the registers and the rules are the box's.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from types import SimpleNamespace

from pvpci.impl.embedded import wire
from pvpci.impl.embedded.broker import Broker
from pvpci.impl.embedded.broker import Link as BrokersLink
from pvpci.impl.embedded.host import EmbeddedHost
from pvpci.impl.embedded.wire import AnyRequest, Reply


class _Link:
    """`impl.embedded.link.Link`, as far as a host of domain 0 uses it."""

    domain = 0

    def __init__(self, broker: Broker, label: str) -> None:
        ours, self._theirs = socket.socketpair()
        self._link = BrokersLink(broker, ours)
        self._link._hello(wire.Hello(0, label, False))

    def call(self, request: AnyRequest) -> Reply:
        return self._do(request)[0]

    def call_for_descriptor(self, request: AnyRequest) -> tuple[Reply, int]:
        reply, (descriptor,) = self._do(request)
        return reply, os.dup(descriptor)

    def _do(self, request: AnyRequest) -> tuple[Reply, tuple[int, ...]]:
        assert self._link.member is not None
        return self._link._do(self._link.member, request)

    def close(self) -> None:
        self._link.close()
        self._theirs.close()


class BoxInProcess:
    """functions: address to the name of an image."""

    def __init__(self, functions: Mapping[str, str]) -> None:
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._broker = Broker(self._listener, (), dict(functions))

    def host(self, label: str = "backend") -> EmbeddedHost:
        """A host without a store; its `close` is what the end of a backend's process is."""
        host = EmbeddedHost.__new__(EmbeddedHost)
        host._link = _Link(self._broker, label)  # type: ignore[assignment]
        host._store = SimpleNamespace(close=lambda: None)  # type: ignore[assignment]
        return host

    def close(self) -> None:
        self._broker.selector.close()
        self._listener.close()
