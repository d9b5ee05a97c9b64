# SPDX-License-Identifier: Apache-2.0
"""The embedded store without its sockets: what it answers comes at once, and another's commit can be had at will."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence

from pvpci.impl.embedded.service import Service
from pvpci.impl.host import HostError
from pvpci.impl.xenstore_wire import Kind, Message, split, text_of


class FakeStore:
    """`host.Store` of one domain. `overtake`: how many of the next commits fail, whatever happened."""

    def __init__(self, service: Service, domain: int = 0) -> None:
        self._service, self._session = service, service.connect(domain)
        self._readable = os.eventfd(0, os.EFD_NONBLOCK)
        self.overtake = 0
        self.commits = 0

    def fileno(self) -> int:
        self.refresh()
        return self._readable

    def refresh(self) -> None:
        """Let the descriptor say whether events wait; a real store does that by itself."""
        os.eventfd_write(self._readable, 1)

    def ask(self, kind: Kind, payload: bytes, number: int = 0) -> bytes:
        reply = self._session.answer(Message(kind, 1, number, payload))
        if reply.kind == Kind.ERROR:
            name = text_of(reply.payload.rstrip(b"\0"))
            raise HostError(f"{kind.name}: {name}", next(n for n, known in errno.errorcode.items() if known == name))
        return reply.payload

    def read(self, path: str, number: int = 0) -> str | None:
        try:
            return text_of(self.ask(Kind.READ, path.encode() + b"\0", number))
        except HostError as error:
            if error.errno in (errno.ENOENT, errno.EACCES):
                return None
            raise

    def write(self, path: str, text: str, number: int = 0) -> None:
        self.ask(Kind.WRITE, path.encode() + b"\0" + text.encode(), number)

    def remove(self, path: str, number: int = 0) -> None:
        try:
            self.ask(Kind.RM, path.encode() + b"\0", number)
        except HostError as error:
            if error.errno != errno.ENOENT:
                raise

    def directory(self, path: str, number: int = 0) -> Sequence[str]:
        try:
            return [text_of(name) for name in split(self.ask(Kind.DIRECTORY, path.encode() + b"\0", number))]
        except HostError as error:
            if error.errno != errno.ENOENT:
                raise
            return []

    def set_permissions(self, path: str, permissions: Sequence[str], number: int = 0) -> None:
        self.ask(Kind.SET_PERMS, b"".join(each.encode() + b"\0" for each in (path, *permissions)), number)

    def watch(self, path: str, token: str) -> None:
        self.ask(Kind.WATCH, f"{path}\0{token}\0".encode())

    def unwatch(self, path: str, token: str) -> None:
        self.ask(Kind.UNWATCH, f"{path}\0{token}\0".encode())

    def events(self) -> Iterator[tuple[str, str]]:
        while (message := self._session.take_event()) is not None:
            path, token = split(message.payload)
            yield text_of(path), text_of(token)

    def begin(self) -> FakeTransaction:
        return FakeTransaction(self, int(self.ask(Kind.TRANSACTION_START, b"\0").rstrip(b"\0")))

    def hang_up(self) -> None:
        """The process has ended, with its watches and transactions."""
        self._session.close()
        self._session = self._service.connect(self._session.domain)

    open_transactions = property(lambda self: self._session.transactions)
    watches = property(lambda self: self._session.watches)


class FakeTransaction:
    def __init__(self, store: FakeStore, number: int) -> None:
        self._store, self._number = store, number

    def read(self, path: str) -> str | None:
        return self._store.read(path, self._number)

    def write(self, path: str, text: str) -> None:
        self._store.write(path, text, self._number)

    def remove(self, path: str) -> None:
        self._store.remove(path, self._number)

    def directory(self, path: str) -> Sequence[str]:
        return self._store.directory(path, self._number)

    def set_permissions(self, path: str, permissions: Sequence[str]) -> None:
        self._store.set_permissions(path, permissions, self._number)

    def commit(self) -> bool:
        self._store.commits += 1
        if self._store.overtake:
            self._store.overtake -= 1
            self.abort()
            return False
        try:
            self._store.ask(Kind.TRANSACTION_END, b"T\0", self._number)
        except HostError as error:
            if error.errno == errno.EAGAIN:
                return False
            raise
        return True

    def abort(self) -> None:
        self._store.ask(Kind.TRANSACTION_END, b"F\0", self._number)
