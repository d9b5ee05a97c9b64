# SPDX-License-Identifier: Apache-2.0
"""One xenstore client for every place that speaks xenstore's wire protocol.

The kernel's ``/dev/xen/xenbus``, the daemon's own socket and the embedded store carry the same messages, so the client
only needs a descriptor. It keeps one request in flight. Watch events may arrive at any moment, also between a request
and its answer; they wait in a set of (path, token) pairs, since an event carries no more than "look again", and the
descriptor that callers poll stays readable as long as any waits. What a guest stores is only ever text to us: bytes
outside ASCII come out as backslash escapes, so nothing that it writes can fail to print or pass for a digit.

Nothing here waits without a limit. A store that does not answer in time is a HostError(ETIMEDOUT).
"""

from __future__ import annotations

import errno
import os
import select
import socket
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from pvpci.impl.host import HostError
from pvpci.impl.xenstore_wire import (
    ABSOLUTE_PATH_MAX,
    RELATIVE_PATH_MAX,
    TOKEN_MAX,
    Kind,
    Message,
    Parser,
    split,
    text_of,
)

_READ_SIZE: Final = 65536
#: Distinct events kept before they are folded into one event per watch.
_EVENTS_MAX: Final = 4096


def _bytes_of(text: str, what: str) -> bytes:
    try:
        return text.encode("ascii")
    except UnicodeEncodeError:
        raise HostError(f"xenstore {what} {text!a}: only ASCII text can be stored", errno.EINVAL) from None


def _path(path: str) -> bytes:
    raw = _bytes_of(path, "path")
    limit = ABSOLUTE_PATH_MAX if path.startswith("/") else RELATIVE_PATH_MAX
    if not raw or b"\0" in raw:
        raise HostError(f"xenstore path {path!a}: empty or with a zero byte", errno.EINVAL)
    if len(raw) > limit:
        raise HostError(f"xenstore path of {len(raw)} bytes ({path[:40]}…): at most {limit}", errno.ENAMETOOLONG)
    return raw


def _number_of(reply: bytes) -> int:
    name = text_of(reply.rstrip(b"\0"))
    return next((number for number, known in errno.errorcode.items() if known == name), errno.EIO)


class XenStore:
    """`host.Store` over a connected descriptor, which belongs to this object from now on.

    timeout: seconds that one request may take. `fileno()` is a descriptor of our own, readable when events wait (or
    when the connection has ended, which `events` then reports as HostError(EPIPE)).
    """

    def __init__(self, descriptor: int, *, timeout: float = 5.0) -> None:
        self._fd, self._timeout = descriptor, timeout
        os.set_blocking(descriptor, False)
        self._parser = Parser()
        self._request = 0
        self._watches: dict[tuple[str, str], None] = {}
        self._pending: dict[tuple[str, str], None] = {}
        self._replies: list[Message] = []
        self._broken: HostError | None = None
        # Events that were read on the way to an answer have left the connection, so a flag of our own keeps
        # `fileno` readable for them.
        self._flag = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._flagged = False
        self._both = select.epoll()
        self._both.register(descriptor, select.EPOLLIN)
        self._both.register(self._flag, select.EPOLLIN)

    @classmethod
    def open(cls, path: str = "/dev/xen/xenbus", *, timeout: float = 5.0) -> XenStore:
        """Connect to the kernel's device or to a daemon's socket. HostError with the system's number if that fails."""
        try:
            if stat.S_ISSOCK(os.stat(path).st_mode):
                with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                    connection.settimeout(timeout)
                    connection.connect(path)
                    return cls(connection.detach(), timeout=timeout)
            return cls(os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK), timeout=timeout)
        except OSError as error:
            raise HostError(f"xenstore at {path}: {error.strerror or error}", error.errno or 0) from error

    def fileno(self) -> int:
        return self._both.fileno()

    def close(self) -> None:
        """Give the descriptor back; open transactions and watches end with it. Idempotent."""
        if not self._both.closed:
            self._both.close()
            os.close(self._flag)
            os.close(self._fd)
            self._broken = HostError("xenstore connection is closed", errno.EBADF)

    def read(self, path: str) -> str | None:
        return self._read(path, 0)

    def write(self, path: str, text: str) -> None:
        self._write(path, text, 0)

    def remove(self, path: str) -> None:
        self._remove(path, 0)

    def directory(self, path: str) -> Sequence[str]:
        return self._directory(path, 0)

    def set_permissions(self, path: str, permissions: Sequence[str]) -> None:
        self._set_permissions(path, permissions, 0)

    def permissions(self, path: str) -> Sequence[str]:
        """As `set_permissions` takes them. HostError(ENOENT) if there is no such node."""
        return [text_of(each) for each in split(self.request(Kind.GET_PERMS, _path(path) + b"\0"))]

    def watch(self, path: str, token: str) -> None:
        # Known before the store answers, for the first event may come in one read with the answer.
        known = (path, token) in self._watches
        self._watches[path, token] = None
        try:
            self.request(Kind.WATCH, self._watch_payload(path, token))
        except HostError:
            if not known:
                self._forget(path, token)
            raise

    def unwatch(self, path: str, token: str) -> None:
        self.request(Kind.UNWATCH, self._watch_payload(path, token))
        self._forget(path, token)

    def events(self) -> Iterator[tuple[str, str]]:
        self._receive()
        waiting, self._pending = self._pending, {}
        self._set_flag()
        return iter(tuple(waiting))

    def begin(self) -> XenStoreTransaction:
        reply = self.request(Kind.TRANSACTION_START, b"\0").rstrip(b"\0")
        # The number is 32 bits wide and 0 means "no transaction".
        if not reply.isdigit() or len(reply) > 10 or not 0 < int(reply) < 1 << 32:
            raise HostError(f"xenstore begin: {text_of(reply)!a} is no transaction number", errno.EPROTO)
        return XenStoreTransaction(self, int(reply))

    def request(self, kind: Kind, payload: bytes, transaction: int = 0) -> bytes:
        """Send one request and return the payload of its answer.

        HostError: the number that the store answered; ETIMEDOUT, EPIPE or EPROTO if there was no proper answer.
        """
        self._request = self._request + 1 & 0xFFFFFFFF
        message = Message(kind, self._request, transaction, payload).pack()
        deadline = time.monotonic() + self._timeout
        self._replies.clear()
        self._send(message, deadline)
        try:
            while not self._replies:
                self._wait(select.POLLIN, deadline, kind)
                self._receive()
        finally:
            self._set_flag()
        reply = self._replies[0]
        if reply.kind == Kind.ERROR:
            number = _number_of(reply.payload)
            subject = text_of(payload.partition(b"\0")[0])
            name = text_of(reply.payload.rstrip(b"\0"))
            raise HostError(f"xenstore {kind.name.lower().replace('_', ' ')} {subject}: {name}", number)
        if reply.kind != kind:
            raise HostError(f"xenstore answered {kind.name} with a message of type {reply.kind}", errno.EPROTO)
        return reply.payload

    def _read(self, path: str, transaction: int) -> str | None:
        reply = self._unless_absent(lambda: self.request(Kind.READ, _path(path) + b"\0", transaction))
        return None if reply is None else text_of(reply)

    def _write(self, path: str, text: str, transaction: int) -> None:
        self.request(Kind.WRITE, _path(path) + b"\0" + _bytes_of(text, f"value for {path}:"), transaction)

    def _remove(self, path: str, transaction: int) -> None:
        try:
            self.request(Kind.RM, _path(path) + b"\0", transaction)
        except HostError as error:
            if error.errno != errno.ENOENT:
                raise

    def _directory(self, path: str, transaction: int) -> Sequence[str]:
        reply = self._unless_absent(lambda: self.request(Kind.DIRECTORY, _path(path) + b"\0", transaction))
        return [text_of(name) for name in split(reply or b"")]

    def _set_permissions(self, path: str, permissions: Sequence[str], transaction: int) -> None:
        listed = b"".join(_bytes_of(each, "permission") + b"\0" for each in permissions)
        self.request(Kind.SET_PERMS, _path(path) + b"\0" + listed, transaction)

    @staticmethod
    def _unless_absent(ask: Callable[[], bytes]) -> bytes | None:
        try:
            return ask()
        except HostError as error:
            if error.errno in (errno.ENOENT, errno.EACCES):
                return None
            raise

    @staticmethod
    def _watch_payload(path: str, token: str) -> bytes:
        raw = _bytes_of(token, "token")
        if b"\0" in raw or len(raw) > TOKEN_MAX:
            raise HostError(f"xenstore token {token[:40]!a}: no zero byte and at most {TOKEN_MAX} bytes", errno.EINVAL)
        return _path(path) + b"\0" + raw + b"\0"

    def _forget(self, path: str, token: str) -> None:
        self._watches.pop((path, token), None)
        if not self._watched(token):
            self._pending = {event: None for event in self._pending if event[1] != token}
            self._set_flag()

    def _watched(self, token: str) -> bool:
        return any(token == known for _, known in self._watches)

    def _send(self, message: bytes, deadline: float) -> None:
        if self._broken is not None:
            raise self._broken
        # The kernel's device wants a message in one write; a socket may take it in parts.
        while message:
            try:
                message = message[os.write(self._fd, message) :]
            except BlockingIOError:
                self._wait(select.POLLOUT, deadline, None)
            except OSError as error:
                raise self._break(f"xenstore: {error.strerror}", error.errno or errno.EIO) from error

    def _wait(self, interest: int, deadline: float, kind: Kind | None) -> None:
        left = deadline - time.monotonic()
        poll = select.poll()
        poll.register(self._fd, interest)
        if left <= 0 or not poll.poll(left * 1000):
            if kind is None:
                # Half a message may be out: nothing sent after it would be understood.
                raise self._break(f"xenstore takes no request for {self._timeout:g} s", errno.ETIMEDOUT)
            raise HostError(f"xenstore {kind.name.lower()}: no answer for {self._timeout:g} s", errno.ETIMEDOUT)

    def _receive(self) -> None:
        """Take what the connection holds now, at most one buffer of it."""
        if self._broken is not None:
            raise self._broken
        try:
            data = os.read(self._fd, _READ_SIZE)
        except BlockingIOError:
            return
        except OSError as error:
            raise self._break(f"xenstore: {error.strerror}", error.errno or errno.EIO) from error
        if not data:
            raise self._break("xenstore closed the connection", errno.EPIPE)
        try:
            messages = self._parser.feed(data)
        except HostError as error:
            raise self._break(error.what, error.errno) from error
        for message in messages:
            if message.kind == Kind.WATCH_EVENT:
                self._event(message.payload)
            elif message.request == self._request:
                self._replies.append(message)
            # Anything else answers a request that was given up; its answer comes too late.

    def _event(self, payload: bytes) -> None:
        parts = split(payload)
        if len(parts) < 2:
            return
        path, token = text_of(parts[0]), text_of(parts[1])
        if not self._watched(token):
            return
        if (path, token) not in self._pending and len(self._pending) >= _EVENTS_MAX:
            # A guest may invent names faster than we look: "something changed below" is still true of each watch.
            self._pending = dict.fromkeys(self._watches)
        else:
            self._pending[path, token] = None

    def _set_flag(self) -> None:
        if bool(self._pending) != self._flagged:
            self._flagged = not self._flagged
            if self._flagged:
                os.eventfd_write(self._flag, 1)
            else:
                os.eventfd_read(self._flag)

    def _break(self, what: str, number: int) -> HostError:
        self._broken = HostError(what, number)
        return self._broken


class XenStoreTransaction:
    """`host.Transaction`. Ends with `commit` or `abort`; HostError(EBADF) for any use after that."""

    def __init__(self, store: XenStore, number: int) -> None:
        self._store, self._number = store, number

    def read(self, path: str) -> str | None:
        return self._store._read(path, self._live())

    def write(self, path: str, text: str) -> None:
        self._store._write(path, text, self._live())

    def remove(self, path: str) -> None:
        self._store._remove(path, self._live())

    def directory(self, path: str) -> Sequence[str]:
        return self._store._directory(path, self._live())

    def set_permissions(self, path: str, permissions: Sequence[str]) -> None:
        self._store._set_permissions(path, permissions, self._live())

    def commit(self) -> bool:
        try:
            self._end(b"T\0")
        except HostError as error:
            if error.errno != errno.EAGAIN:
                raise
            return False
        return True

    def abort(self) -> None:
        self._end(b"F\0")

    def _end(self, verdict: bytes) -> None:
        number, self._number = self._live(), 0
        self._store.request(Kind.TRANSACTION_END, verdict, number)

    def _live(self) -> int:
        if not self._number:
            raise HostError("xenstore transaction has already ended", errno.EBADF)
        return self._number
