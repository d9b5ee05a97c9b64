# SPDX-License-Identifier: Apache-2.0
"""A process's side of the box: its connection, and what comes over it (pages and doorbells).

Pages and doorbells work without the box once they are handed over. A doorbell is one end of a socket pair rather than
a shared counter, because a counter's flags and content belong to both ends: a hostile guest could make the other side's
write block. The mask bit is the armed state of a one-shot epoll entry, which behaves as the hardware does: a ring that
comes while masked stays pending, nobody is woken by it, and unmasking shows it.
"""

from __future__ import annotations

import array
import contextlib
import errno
import mmap
import os
import select
import socket
from typing import Final

import msgspec

from pvpci.impl.atomic import PAGE_SIZE, SharedWords
from pvpci.impl.embedded import wire
from pvpci.impl.embedded.wire import AnyRequest, Reply
from pvpci.impl.host import HostError
from pvpci.impl.xenstore import XenStore

_DRAIN: Final = 4096
_ARMED: Final = select.EPOLLIN | select.EPOLLONESHOT


class Link:
    """A connection to the box at `path`, acting for `domain`. `timeout`: seconds that one call may take."""

    def __init__(self, path: str, domain: int, label: str, *, owner: bool = False, timeout: float = 5.0) -> None:
        self.domain, self._timeout = domain, timeout
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._socket.settimeout(timeout)
            self._socket.connect(path)
            self.call(wire.Hello(domain, label, owner))
        except OSError as error:
            self._socket.close()
            raise HostError(f"box at {path}: {error.strerror or error}", error.errno or 0) from error
        except HostError:
            self._socket.close()
            raise

    def call(self, request: AnyRequest) -> Reply:
        """One request. HostError as the box answers it; ETIMEDOUT or EPIPE if it does not."""
        reply, descriptors = self._exchange(request)
        for each in descriptors:
            os.close(each)
        return reply

    def call_for_descriptor(self, request: AnyRequest) -> tuple[Reply, int]:
        """The same for a request that is answered with a descriptor, which then belongs to the caller."""
        reply, descriptors = self._exchange(request)
        if len(descriptors) != 1:
            for each in descriptors:
                os.close(each)
            raise HostError(f"the box sent {len(descriptors)} descriptors instead of one", errno.EPROTO)
        return reply, descriptors[0]

    def store(self) -> XenStore:
        """A new connection to the store."""
        _, descriptor = self.call_for_descriptor(wire.OpenStore())
        return XenStore(descriptor, timeout=self._timeout)

    def close(self) -> None:
        """End the connection, and with it all that was held through it, before this returns. Idempotent."""
        if self._socket.fileno() >= 0:
            # Hanging up would do the same, but others could still see what was held for a moment.
            with contextlib.suppress(HostError):
                self.call(wire.Bye())
            self._socket.close()

    def _exchange(self, request: AnyRequest) -> tuple[Reply, list[int]]:
        what = type(request).__name__
        try:
            packet = wire.encode(request)
        except (msgspec.MsgspecError, OverflowError, UnicodeEncodeError) as error:
            raise HostError(f"box: {what}: {error}", errno.EINVAL) from error
        try:
            self._socket.send(packet, socket.MSG_NOSIGNAL)
            packet, descriptors = self._receive()
        except TimeoutError:
            # A late answer would be taken for the next one's.
            self._socket.close()
            raise HostError(f"box: no answer to {what} for {self._timeout:g} s", errno.ETIMEDOUT) from None
        except OSError as error:
            raise HostError(f"box: {what}: {error.strerror or error}", error.errno or errno.EPIPE) from error
        try:
            if not packet:
                raise HostError(f"box: {what}: the box has ended, or this domain has", errno.EPIPE)
            reply = wire.reply_decoder.decode(packet)
            if reply.errno:
                raise HostError(reply.what, reply.errno)
        except (HostError, msgspec.MsgspecError) as error:
            for each in descriptors:
                os.close(each)
            if isinstance(error, HostError):
                raise
            raise HostError(f"box: {what}: unreadable answer: {error}", errno.EPROTO) from error
        return reply, descriptors

    def _receive(self) -> tuple[bytes, list[int]]:
        # socket.recv_fds cannot ask for close-on-exec, and a child must not inherit a guest's memory.
        space = socket.CMSG_SPACE(4 * array.array("i").itemsize)
        packet, ancillary, _, _ = self._socket.recvmsg(wire.REPLY_MAX, space, socket.MSG_CMSG_CLOEXEC)
        descriptors = array.array("i")
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
        return packet, list(descriptors)


def map_memory(descriptor: int, size: int, what: str) -> mmap.mmap:
    """Shared memory of `size` bytes; the descriptor is used up."""
    try:
        return mmap.mmap(descriptor, size)
    except (OSError, ValueError) as error:
        raise HostError(f"{what}: {error}", getattr(error, "errno", None) or errno.ENOMEM) from error
    finally:
        os.close(descriptor)


class EmbeddedPage(SharedWords):
    """`host.Page`: a granted page, as its owner or as the one who mapped it. `handle` None: the owner's own."""

    __slots__ = ("_handle", "_link", "_memory")

    def __init__(self, link: Link, descriptor: int, handle: int | None) -> None:
        self._memory = map_memory(descriptor, PAGE_SIZE, "page")
        super().__init__(self._memory)
        self._link, self._handle = link, handle

    def unmap(self) -> None:
        """Let go of the memory, and tell the box. Idempotent."""
        if self._memory.closed:
            return
        self.release()
        self._memory.close()
        if self._handle is not None:
            self._link.call(wire.Unmap(self._handle))


class EmbeddedChannel:
    """`host.Channel`: one end of an event channel, `port` in its own domain."""

    __slots__ = ("_armed", "_bell", "_link", "_shut", "port", "rings")

    def __init__(self, link: Link, descriptor: int, port: int) -> None:
        self.port, self._link = port, link
        self._bell = socket.socket(fileno=descriptor)
        self._armed = select.epoll()
        self._armed.register(descriptor, _ARMED)
        self._shut = False
        self.rings = 0  #: how often it has rung; `take` consumes all that came before it

    def fileno(self) -> int:
        return self._armed.fileno()

    def take(self) -> bool:
        try:
            # One-shot: being told of the ring is what masks the port.
            if not self._armed.poll(0):
                return False
            rings = self._bell.recv(_DRAIN, socket.MSG_DONTWAIT)
        except BlockingIOError:
            # The other end cannot take a ring back, but whoever shares our end could have.
            rings = b"\0"
        except (OSError, ValueError) as error:
            raise self._error("take", error) from error
        # A partner that shuts its side down makes us readable for good; it is not heard again.
        self._shut = not rings
        self.rings += len(rings)
        return bool(rings)

    def unmask(self) -> None:
        try:
            if not self._shut:
                self._armed.modify(self._bell, _ARMED)
        except (OSError, ValueError) as error:
            raise self._error("unmask", error) from error

    def notify(self) -> None:
        try:
            self._bell.send(b"\1", socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except (BlockingIOError, BrokenPipeError, ConnectionError):
            # Full: it is pending already. No partner: as in the hypervisor, the ring is lost.
            return
        except OSError as error:
            raise self._error("notify", error) from error

    def unbind(self) -> None:
        """Close this end, and tell the box. Idempotent."""
        if self._armed.closed:
            return
        self._armed.close()
        self._bell.close()
        self._link.call(wire.ClosePort(self.port))

    def _error(self, what: str, error: OSError | ValueError) -> HostError:
        number = error.errno if isinstance(error, OSError) else None
        return HostError(f"port {self.port}: {what}: {error}", number or errno.EBADF)
