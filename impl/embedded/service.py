# SPDX-License-Identifier: Apache-2.0
"""The embedded store as its clients see it: sessions, watches, and the answer to every request.

Sans-I/O: a session takes a message and returns the answer; events gather in it until the broker can send them. An event
says only "look again", so an event that is already waiting is not queued twice, and what one client can make another
hold is bounded by the number of nodes and watches. A domain learns of changes only where it may read.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Sequence
from typing import Final

from pvpci.impl.embedded import tree
from pvpci.impl.embedded.tree import Change, Node, StoreError, Transaction, Tree, View
from pvpci.impl.xenstore_wire import PAYLOAD_MAX, TOKEN_MAX, Kind, Message, split

WATCHES_MAX: Final = 128  #: watches of one unprivileged session
TRANSACTIONS_MAX: Final = 10  #: open transactions of one unprivileged session
EVENTS_MAX: Final = 4096  #: distinct events that wait for one session

_SPECIAL: Final = ("@introduceDomain", "@releaseDomain")
_OK: Final = b"OK\0"


class Session:
    """One connection to the store, acting for `domain`."""

    def __init__(self, service: Service, domain: int) -> None:
        self._service, self.domain = service, domain
        self._transactions: dict[int, Transaction] = {}
        self._last_transaction = 0
        #: (absolute path, token) to the prefix that a relative watch leaves out of its events.
        self._watches: dict[tuple[str, str], str] = {}
        self._events: dict[tuple[str, str], None] = {}

    @property
    def transactions(self) -> int:
        return len(self._transactions)

    @property
    def watches(self) -> int:
        return len(self._watches)

    def answer(self, message: Message) -> Message:
        """Do what `message` asks. Every message has an answer; a refused one is an error with the errno's name."""
        try:
            kind, payload = message.kind, self._do(message)
            if len(payload) > PAYLOAD_MAX:
                raise StoreError(errno.E2BIG)
        except StoreError as error:
            kind, payload = Kind.ERROR, errno.errorcode[error.number].encode() + b"\0"
        return Message(kind, message.request, message.transaction, payload)

    def take_event(self) -> Message | None:
        """The next event to send, if any waits."""
        for path, token in self._events:
            del self._events[path, token]
            return Message(Kind.WATCH_EVENT, 0, 0, f"{path}\0{token}\0".encode())
        return None

    def close(self) -> None:
        self._service.sessions.discard(self)

    def hear(self, change: Change) -> None:
        """Queue an event for each watch that the change concerns, if this domain may know of it."""
        if not self._watches or not change.node.readable(self.domain):
            return
        for (path, token), prefix in self._watches.items():
            below = not change.exact and change.path.startswith("/" if path == "/" else f"{path}/")
            if change.path == path or below:
                self._queue(change.path, token, prefix)

    def hear_special(self, name: str) -> None:
        for path, token in self._watches:
            if path == name:
                self._queue(name, token, "")

    def _queue(self, path: str, token: str, prefix: str) -> None:
        event = (path.removeprefix(prefix), token)
        if event not in self._events and len(self._events) >= EVENTS_MAX:
            # Names can be invented faster than they are read; "something changed below" stays true of every watch.
            self._events = {(at.removeprefix(left), each): None for (at, each), left in self._watches.items()}
        else:
            self._events[event] = None

    def _do(self, message: Message) -> bytes:
        arguments = split(message.payload)
        match message.kind:
            case Kind.TRANSACTION_START:
                return self._begin(message.transaction)
            case Kind.TRANSACTION_END:
                return self._end(message.transaction, arguments)
            case Kind.WATCH | Kind.UNWATCH:
                return self._watch(message.kind, arguments)
            case Kind.GET_DOMAIN_PATH:
                return tree.home(_domain(arguments)).encode() + b"\0"
            case Kind.IS_DOMAIN_INTRODUCED:
                return b"T\0" if _domain(arguments) in self._service.domains else b"F\0"
        if not arguments:
            raise StoreError(errno.EINVAL)
        path = tree.absolute(arguments[0], self.domain)
        view = self._view(message.transaction)
        changes: Sequence[Change]
        match message.kind:
            case Kind.READ:
                return tree.read(view, path, self.domain)
            case Kind.DIRECTORY:
                return b"".join(f"{name}\0".encode() for name in tree.directory(view, path, self.domain))
            case Kind.GET_PERMS:
                return b"".join(f"{each}\0".encode() for each in tree.permissions(view, path, self.domain))
            case Kind.WRITE:
                # The value is the rest, zero bytes and all; only its separator from the path is required.
                _, separator, value = message.payload.partition(b"\0")
                if not separator:
                    raise StoreError(errno.EINVAL)
                changes = tree.write(view, path, self.domain, value)
            case Kind.MKDIR:
                changes = tree.make_directory(view, path, self.domain)
            case Kind.RM:
                changes = tree.remove(view, path, self.domain)
            case Kind.SET_PERMS:
                changes = tree.set_permissions(view, path, self.domain, tree.parse_permissions(arguments[1:]))
            case _:
                raise StoreError(errno.ENOSYS)
        if isinstance(view, Transaction):
            view.note(changes)
        else:
            self._service.fire(changes)
        return _OK

    def _view(self, number: int) -> View:
        if number == 0:
            return self._service.tree
        try:
            return self._transactions[number]
        except KeyError:
            raise StoreError(errno.ENOENT) from None

    def _begin(self, inside: int) -> bytes:
        if inside:
            raise StoreError(errno.EBUSY)
        if self.domain and len(self._transactions) >= TRANSACTIONS_MAX:
            raise StoreError(errno.ENOSPC)
        self._last_transaction = self._last_transaction % 0x7FFFFFFF + 1
        while self._last_transaction in self._transactions:
            self._last_transaction += 1
        self._transactions[self._last_transaction] = Transaction(self._service.tree, self.domain)
        return f"{self._last_transaction}\0".encode()

    def _end(self, number: int, arguments: Sequence[bytes]) -> bytes:
        if arguments not in ([b"T"], [b"F"]):
            raise StoreError(errno.EINVAL)
        transaction = self._transactions.pop(number, None)
        if transaction is None:
            raise StoreError(errno.ENOENT)
        if arguments == [b"T"]:
            self._service.fire(transaction.commit())
        return _OK

    def _watch(self, kind: int, arguments: Sequence[bytes]) -> bytes:
        if len(arguments) != 2 or len(arguments[1]) > TOKEN_MAX or not arguments[1].isascii():
            raise StoreError(errno.EINVAL)
        raw, token = arguments[0], arguments[1].decode("ascii")
        special = raw.decode("ascii", "replace") in _SPECIAL
        path = raw.decode("ascii") if special else tree.absolute(raw, self.domain)
        key = (path, token)
        if kind == Kind.UNWATCH:
            if self._watches.pop(key, None) is None:
                raise StoreError(errno.ENOENT)
            return _OK
        if key in self._watches:
            raise StoreError(errno.EEXIST)
        if self.domain and len(self._watches) >= WATCHES_MAX:
            raise StoreError(errno.E2BIG)
        relative = not special and not raw.startswith(b"/")
        self._watches[key] = tree.home(self.domain) + "/" if relative else ""
        # Whatever the node is like now may be news to the watcher, so a new watch fires at once.
        self._queue(path, token, self._watches[key])
        return _OK


def _domain(arguments: Sequence[bytes]) -> int:
    if len(arguments) != 1 or not arguments[0].isdigit() or len(arguments[0]) > 5:
        raise StoreError(errno.EINVAL)
    return int(arguments[0])


class Service:
    """The store: its tree, its sessions, and the domains that it has been told of."""

    def __init__(self) -> None:
        self.tree = Tree()
        self.sessions: set[Session] = set()
        self.domains: set[int] = {0}
        self._grow(tree.home(0), "n0")

    def connect(self, domain: int) -> Session:
        session = Session(self, domain)
        self.sessions.add(session)
        return session

    def fire(self, changes: Iterable[Change]) -> None:
        for change in changes:
            for session in self.sessions:
                session.hear(change)

    def introduce(self, domain: int) -> None:
        """Make a domain's home as a toolstack does: readable to it, with a few directories that it may fill."""
        path = tree.home(domain)
        self._grow(path, "n0", f"r{domain}")
        self._grow(f"{path}/domid", "n0", f"r{domain}", value=str(domain))
        for name in ("control", "device"):
            self._grow(f"{path}/{name}", "n0", f"r{domain}")
        for name in ("data", "drivers", "error"):
            self._grow(f"{path}/{name}", f"n{domain}")
        self.domains.add(domain)
        self._fire_special("@introduceDomain")

    def release(self, domain: int) -> None:
        """Remove the domain's home, as a toolstack does when the domain is gone."""
        self.domains.discard(domain)
        if self.tree.get(tree.home(domain)) is not None:
            self.fire(tree.remove(self.tree, tree.home(domain), 0))
        self._fire_special("@releaseDomain")

    def _fire_special(self, name: str) -> None:
        for session in self.sessions:
            session.hear_special(name)

    def _grow(self, path: str, *permissions: str, value: str = "") -> Node:
        parsed = tree.parse_permissions([each.encode() for each in permissions])
        tree.write(self.tree, path, 0, value.encode())
        changes = tree.set_permissions(self.tree, path, 0, parsed)
        self.fire(changes)
        return changes[0].node
