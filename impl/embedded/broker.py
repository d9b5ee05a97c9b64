# SPDX-License-Identifier: Apache-2.0
"""The box itself: one process, one loop, that serves the store and keeps the ledger.

It is the only party that sees all others, and it sees nothing of a request's life: pages are mapped memory and
doorbells are sockets between the two ends. Clients are not trusted. Each is served one packet, or one buffer of store
messages, per turn; one that does not read its answers is not read from either; one that breaks a framing is dropped.

Started by ``embedded.box`` as ``python -m pvpci.impl.embedded.broker`` with its listening socket. It ends when its
standard input does, which its parent holds open, or when its parent does: whatever the parent has forked may hold a
copy of that descriptor.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import selectors
import shutil
import signal
import socket
import struct
import sys
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from pvpci.impl.embedded import wire
from pvpci.impl.embedded.image import load
from pvpci.impl.embedded.ledger import Ledger, Member
from pvpci.impl.embedded.service import Service, Session
from pvpci.impl.embedded.wire import AnyRequest, Reply, notes_of
from pvpci.impl.host import HostError
from pvpci.impl.xenstore_wire import PAYLOAD_MAX, Parser

LINKS_MAX: Final = 64  #: connections of one domain other than 0, and store connections of one of these
#: Answers that wait for one store client before its requests are left unread.
_BACKLOG: Final = 65536
_DOMAIN_MAX: Final = 0x7FF0

Answer = tuple[Reply, tuple[int, ...]]


class StoreLink:
    """The box's end of one store connection."""

    def __init__(self, broker: Broker, connection: socket.socket, session: Session) -> None:
        self._broker, self._connection, self.session = broker, connection, session
        self._parser, self._out, self._interest = Parser(), bytearray(), selectors.EVENT_READ
        connection.setblocking(False)
        broker.selector.register(connection, self._interest, self.ready)

    def ready(self, events: int) -> None:
        try:
            if events & selectors.EVENT_READ:
                data = self._connection.recv(4 * PAYLOAD_MAX)
                if not data:
                    return self.close()
                for message in self._parser.feed(data):
                    self._out += self.session.answer(message).pack()
            self.flush()
        except BlockingIOError:
            return None
        except (OSError, HostError):
            # The client is gone, or its stream can no longer be cut into messages.
            return self.close()

    def flush(self) -> None:
        """Send answers and then events as far as the client takes them."""
        if self._connection.fileno() < 0:
            return
        try:
            while self._fill():
                del self._out[: self._connection.send(self._out, socket.MSG_NOSIGNAL)]
        except BlockingIOError:
            pass
        except OSError:
            return self.close()
        reading = selectors.EVENT_READ if len(self._out) < _BACKLOG else 0
        interest = reading | (selectors.EVENT_WRITE if self._out else 0)
        if interest != self._interest:
            self._interest = interest
            self._broker.selector.modify(self._connection, interest, self.ready)

    def close(self) -> None:
        if self._connection.fileno() >= 0:
            self._broker.selector.unregister(self._connection)
            self._connection.close()
            self._broker.stores.discard(self)
            self.session.close()

    def _fill(self) -> bool:
        while len(self._out) < 2 * PAYLOAD_MAX and (event := self.session.take_event()) is not None:
            self._out += event.pack()
        return bool(self._out)


class Link:
    """One process's connection to the box."""

    def __init__(self, broker: Broker, connection: socket.socket) -> None:
        self._broker, self._connection = broker, connection
        # struct ucred { pid_t pid; uid_t uid; gid_t gid; }
        self._pid: int = struct.unpack("iII", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
        self.member: Member | None = None
        self.stores: list[StoreLink] = []
        connection.setblocking(False)
        broker.selector.register(connection, selectors.EVENT_READ, self.ready)

    def ready(self, _: int) -> None:
        try:
            packet = self._connection.recv(wire.REQUEST_MAX)
            if not packet:
                return self.close()
            reply, descriptors = self._answer(packet)
            socket.send_fds(self._connection, [wire.encode(reply)], descriptors, socket.MSG_NOSIGNAL)
        except OSError:
            # Gone, or does not read its answers.
            self.close()

    def close(self) -> None:
        """The process has ended, or its domain has."""
        if self._connection.fileno() < 0:
            return
        self._broker.selector.unregister(self._connection)
        self._connection.close()
        self._broker.links.discard(self)
        self._release()

    def _release(self) -> None:
        for store in self.stores:
            store.close()
        self.stores.clear()
        me, self.member = self.member, None
        if me is not None:
            self._broker.ledger.leave(me)
            if me.owner and me.domain in self._broker.ledger.domains:
                self._broker.destroy(me.domain)

    def _answer(self, packet: bytes) -> Answer:
        try:
            request = wire.request_decoder.decode(packet)
            if isinstance(request, wire.Hello):
                return self._hello(request)
            if self.member is None:
                raise HostError("say hello first", errno.EPROTO)
            return self._do(self.member, request)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            return Reply(errno.EPROTO, f"not a request: {error}"), ()
        except HostError as error:
            return Reply(error.errno, error.what), ()
        except OSError as error:
            # Out of descriptors or memory: the one who asks is told, the box goes on.
            return Reply(error.errno or errno.EIO, f"the box cannot: {error.strerror}"), ()

    def _hello(self, hello: wire.Hello) -> Answer:
        if self.member is not None:
            raise HostError("said hello before", errno.EPROTO)
        if hello.domain not in self._broker.ledger.domains:
            raise HostError(f"domain {hello.domain} does not exist", errno.ESRCH)
        same = sum(link.member is not None and link.member.domain == hello.domain for link in self._broker.links)
        if hello.domain and same >= LINKS_MAX:
            raise HostError(f"domain {hello.domain} has {LINKS_MAX} connections already", errno.EUSERS)
        owner = hello.owner and hello.domain != 0
        self.member = Member(hello.domain, self._pid, hello.label[:64], owner)
        return Reply(), ()

    def _do(self, me: Member, request: AnyRequest) -> Answer:
        ledger = self._broker.ledger
        match request:
            case wire.Bye():
                self._release()
            case wire.OpenStore():
                return self._open_store(me)
            case wire.Grant(to):
                number, descriptor = ledger.grant(me, to)
                return Reply(number=number), (descriptor,)
            case wire.Revoke(ref):
                return Reply(number=int(ledger.revoke(me, ref))), ()
            case wire.Map(domain, ref):
                number, descriptor = ledger.map(me, domain, ref)
                return Reply(number=number), (descriptor,)
            case wire.Unmap(handle):
                ledger.unmap(me, handle)
            case wire.Alloc(to):
                number, descriptor = ledger.alloc(me, to)
                return Reply(number=number), (descriptor,)
            case wire.Bind(domain, port):
                number, descriptor = ledger.bind(me, domain, port)
                return Reply(number=number), (descriptor,)
            case wire.BindPirq(pirq):
                number, descriptor = ledger.bind_pirq(me, pirq)
                return Reply(number=number), (descriptor,)
            case wire.ClosePort(port):
                ledger.close_port(me, port)
            case _:
                if me.domain:
                    raise HostError(f"domain {me.domain} may not do that", errno.EPERM)
                return self._do_privileged(me, request)
        return Reply(), ()

    def _do_privileged(self, me: Member, request: AnyRequest) -> Answer:
        ledger = self._broker.ledger
        match request:
            case wire.CreateDomain(domain):
                self._broker.create(domain)
            case wire.DestroyDomain(domain):
                self._broker.destroy(domain)
            case wire.Functions():
                return Reply(names=ledger.functions()), ()
            case wire.OpenFunction(bdf):
                image, descriptor = ledger.open_function(me, bdf)
                return Reply(names=(image,)), (descriptor,)
            case wire.CloseFunction(bdf):
                ledger.close_function(me, bdf)
            case wire.Give(domain, bdf):
                ledger.give(me, domain, bdf)
            case wire.TakeBack(domain, bdf):
                ledger.take_back(me, domain, bdf)
            case wire.MapVector(domain, bdf, entry):
                return Reply(number=ledger.map_vector(me, domain, bdf, entry)), ()
            case wire.MapBlock(domain, bdf, messages):
                return Reply(number=ledger.map_block(me, domain, bdf, messages)), ()
            case wire.UnmapVector(domain, bdf, pirq):
                ledger.unmap_vector(me, domain, bdf, pirq)
            case wire.Prepared(bdf):
                return Reply(number=int(ledger.interrupts.prepared(ledger.known(bdf)))), ()
            case wire.LineShared(bdf):
                return Reply(what=ledger.interrupts.line_shared(ledger.known(bdf))), ()
            case wire.Settle(bdf):
                ledger.interrupts.settle(ledger.known(bdf))
            case wire.ShareLine(bdf, name):
                ledger.interrupts.share_line(ledger.known(bdf), name)
            case wire.Interrupt(bdf, entry):
                return Reply(what=ledger.interrupts.interrupt(ledger.known(bdf), entry)), ()
            case wire.MaskVector(bdf, entry, masked):
                ledger.interrupts.mask(ledger.known(bdf), entry, masked)
            case wire.Refuse(call, number, skip, times):
                ledger.refuse(call, number, skip, times)
            case wire.Account():
                return Reply(accounting=self._broker.account()), ()
            case _:
                raise HostError(f"the box does not know {type(request).__name__}", errno.ENOSYS)
        return Reply(), ()

    def _open_store(self, me: Member) -> Answer:
        self.stores = [store for store in self.stores if store in self._broker.stores]
        if me.domain and len(self.stores) >= LINKS_MAX:
            raise HostError(f"this process has {LINKS_MAX} store connections already", errno.EUSERS)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        store = StoreLink(self._broker, ours, self._broker.service.connect(me.domain))
        self._broker.stores.add(store)
        self.stores.append(store)
        # The sent copy lives on; ours is closed once the packet is out.
        self._broker.after_turn.append(theirs.close)
        return Reply(), (theirs.fileno(),)


class Broker:
    """Everything that exists in the box, and the loop."""

    def __init__(self, listener: socket.socket, lifelines: Sequence[int], functions: dict[str, str]) -> None:
        self.selector = selectors.DefaultSelector()
        self.ledger, self.service = Ledger(), Service()
        self.links: set[Link] = set()
        self.stores: set[StoreLink] = set()
        self.after_turn: list[Callable[[], None]] = []
        self._running = True
        for bdf, image in functions.items():
            self.ledger.add_function(bdf, load(image))
        self._listener = listener
        listener.setblocking(False)
        self.selector.register(listener, selectors.EVENT_READ, self._accept)
        for each in lifelines:
            self.selector.register(each, selectors.EVENT_READ, self._end)

    def run(self) -> None:
        """Serve until one of the lifelines becomes readable."""
        while self._running:
            for key, events in self.selector.select():
                # An earlier client of this turn may have closed this one.
                if self.selector.get_map().get(key.fd) is key:
                    key.data(events)
            for action in self.after_turn:
                action()
            self.after_turn.clear()
            for store in tuple(self.stores):
                store.flush()

    def create(self, domain: int) -> None:
        if not 0 < domain < _DOMAIN_MAX:
            raise HostError(f"{domain} is no guest's number: expected 1 to {_DOMAIN_MAX - 1}", errno.EINVAL)
        if domain in self.ledger.domains:
            raise HostError(f"domain {domain} exists", errno.EEXIST)
        self.ledger.domains.add(domain)
        self.service.introduce(domain)

    def destroy(self, domain: int) -> None:
        if domain == 0 or domain not in self.ledger.domains:
            raise HostError(f"domain {domain} does not exist", errno.ESRCH)
        self.ledger.destroy(domain)
        for link in tuple(self.links):
            if link.member is not None and link.member.domain == domain:
                link.close()
        self.service.release(domain)

    def account(self) -> wire.Accounting:
        return msgspec.structs.replace(
            self.ledger.account(),
            watches=sum(store.session.watches for store in self.stores),
            transactions=sum(store.session.transactions for store in self.stores),
        )

    def _accept(self, _: int) -> None:
        with contextlib.suppress(OSError):
            self.links.add(Link(self, self._listener.accept()[0]))

    def _end(self, _: int) -> None:
        self._running = False


def main() -> None:
    # An interrupt typed at the terminal is for the parent, which still needs the box to clean up in.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    descriptor, parent, folder, functions = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], json.loads(sys.argv[4])
    listener = socket.socket(fileno=descriptor)
    lifelines = [0]
    # Without pidfds (before Linux 5.3) the standard input alone has to do.
    with contextlib.suppress(OSError):
        lifelines.append(os.pidfd_open(parent))
    try:
        if os.getppid() == parent:
            Broker(listener, lifelines, functions).run()
    finally:
        path = listener.getsockname()
        with contextlib.suppress(OSError):
            os.unlink(path)
        shutil.rmtree(notes_of(path), ignore_errors=True)
        if folder:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
