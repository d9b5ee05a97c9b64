# SPDX-License-Identifier: Apache-2.0
"""The client against a store that a test scripts byte by byte, and against the embedded store."""

from __future__ import annotations

import errno
import os
import select
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pvpci.impl.embedded.service import Service, Session
from pvpci.impl.host import HostError, Store
from pvpci.impl.xenstore import XenStore
from pvpci.impl.xenstore_wire import HEADER, Kind, Message, Parser


class Peer:
    """The other end of a client's socket."""

    def __init__(self, timeout: float = 5.0) -> None:
        mine, theirs = socket.socketpair()
        self.socket, self.client = mine, XenStore(theirs.detach(), timeout=timeout)

    def close(self) -> None:
        self.client.close()
        self.socket.close()

    def answering(self, *answers: bytes) -> None:
        """Put bytes where the client will read them with its next request."""
        self.socket.sendall(b"".join(answers))


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.close()


def message(kind: Kind, payload: bytes, request: int = 1, transaction: int = 0) -> bytes:
    return Message(kind, request, transaction, payload).pack()


def readable(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


def number_of(call: Callable[[], object]) -> int:
    with pytest.raises(HostError) as caught:
        call()
    return caught.value.errno


@pytest.mark.parametrize(
    ("call", "sent", "answer", "result"),
    [
        (lambda it: it.read("/a"), (2, b"/a\0"), message(Kind.READ, b"x\0y"), "x\0y"),
        (lambda it: it.read("/a"), (2, b"/a\0"), message(Kind.READ, b"\xff7"), "\\xff7"),
        (lambda it: it.read("/a"), (2, b"/a\0"), message(Kind.ERROR, b"ENOENT\0"), None),
        (lambda it: it.read("/a"), (2, b"/a\0"), message(Kind.ERROR, b"EACCES\0"), None),
        (lambda it: it.write("/a", "b"), (11, b"/a\0b"), message(Kind.WRITE, b"OK\0"), None),
        (lambda it: it.remove("/a"), (13, b"/a\0"), message(Kind.ERROR, b"ENOENT\0"), None),
        (lambda it: it.directory("/a"), (1, b"/a\0"), message(Kind.DIRECTORY, b"x\0yy\0"), ["x", "yy"]),
        (lambda it: it.directory("/a"), (1, b"/a\0"), message(Kind.DIRECTORY, b""), []),
        (lambda it: it.directory("/a"), (1, b"/a\0"), message(Kind.ERROR, b"ENOENT\0"), []),
        (lambda it: it.permissions("/a"), (3, b"/a\0"), message(Kind.GET_PERMS, b"n0\0r7\0"), ["n0", "r7"]),
        (
            lambda it: it.set_permissions("a", ["n7", "r0"]),
            (14, b"a\0n7\0r0\0"),
            message(Kind.SET_PERMS, b"OK\0"),
            None,
        ),
        (lambda it: it.watch("/a", "t"), (4, b"/a\0t\0"), message(Kind.WATCH, b"OK\0"), None),
        (lambda it: it.unwatch("/a", "t"), (5, b"/a\0t\0"), message(Kind.UNWATCH, b"OK\0"), None),
    ],
)
def test_requests_and_answers(
    peer: Peer, call: Callable[[XenStore], object], sent: tuple[int, bytes], answer: bytes, result: object
) -> None:
    peer.answering(answer)
    got = call(peer.client)
    (request,) = Parser().feed(peer.socket.recv(65536))

    assert result == got
    assert (*sent, 0) == (request.kind, request.payload, request.transaction)


def test_the_client_is_a_store(peer: Peer) -> None:
    store: Store = peer.client

    assert store.fileno() >= 0


@pytest.mark.parametrize(
    ("answer", "number"),
    [
        (message(Kind.ERROR, b"EINVAL\0"), errno.EINVAL),
        (message(Kind.ERROR, b"EWHATEVER\0"), errno.EIO),
        (message(Kind.ERROR, b"\xff\xfe"), errno.EIO),
        (message(Kind.ERROR, b""), errno.EIO),
        (message(Kind.WRITE, b"OK\0"), errno.EPROTO),
        (HEADER.pack(2, 1, 0, 4097), errno.EPROTO),
    ],
)
def test_other_answers_are_errors(peer: Peer, answer: bytes, number: int) -> None:
    peer.answering(answer)

    assert number == number_of(lambda: peer.client.read("/a"))


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=80))
def test_any_bytes_from_the_store_end_in_a_value_or_a_host_error(data: bytes) -> None:
    peer = Peer()
    peer.socket.sendall(data)
    peer.socket.shutdown(socket.SHUT_WR)
    outcome: object
    try:
        outcome = peer.client.read("/a")
    except HostError as error:
        outcome = error.errno
    peer.close()

    assert outcome is None or isinstance(outcome, int | str)


def test_an_answer_in_single_bytes_is_put_together(peer: Peer) -> None:
    def trickle() -> None:
        for byte in message(Kind.WATCH_EVENT, b"/w\0t\0", 0) + message(Kind.READ, b"value"):
            peer.socket.sendall(bytes([byte]))

    thread = threading.Thread(target=trickle)
    thread.start()
    value = peer.client.read("/a")
    thread.join()

    assert value == "value"


def test_a_store_that_does_not_answer_is_given_up_and_its_late_answer_ignored() -> None:
    peer = Peer(timeout=0.02)
    number = number_of(lambda: peer.client.read("/a"))
    peer.answering(message(Kind.READ, b"late", 1), message(Kind.READ, b"now", 2))
    value = peer.client.read("/b")
    peer.close()

    assert (errno.ETIMEDOUT, "now") == (number, value)


def test_a_store_that_takes_no_bytes_is_given_up() -> None:
    peer = Peer(timeout=0.02)
    peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    numbers = {number_of(lambda: peer.client.write("/a", "x" * 4000)) for _ in range(100)}
    peer.close()

    assert {errno.ETIMEDOUT} == numbers


def test_a_closed_connection_is_reported_to_each_use(peer: Peer) -> None:
    peer.socket.close()

    assert readable(peer.client.fileno())
    assert errno.EPIPE == number_of(peer.client.events)
    assert errno.EPIPE == number_of(lambda: peer.client.read("/a"))


def test_after_close_each_use_is_refused(peer: Peer) -> None:
    peer.client.close()
    peer.client.close()

    assert errno.EBADF == number_of(lambda: peer.client.read("/a"))
    assert errno.EBADF == number_of(peer.client.events)


@pytest.mark.parametrize(
    ("path", "value", "number"),
    [
        ("", "", errno.EINVAL),
        ("/a\0b", "", errno.EINVAL),
        ("/ä", "", errno.EINVAL),
        ("/a", "ä", errno.EINVAL),
        ("/" + "a" * 3072, "", errno.ENAMETOOLONG),
        ("a" * 2049, "", errno.ENAMETOOLONG),
        ("/a", "x" * 4094, errno.E2BIG),
    ],
)
def test_what_cannot_be_sent_is_not_sent(peer: Peer, path: str, value: str, number: int) -> None:
    got = number_of(lambda: peer.client.write(path, value))
    peer.socket.setblocking(False)

    assert number == got
    with pytest.raises(BlockingIOError):
        peer.socket.recv(1)


def test_events_that_came_with_an_answer_keep_the_descriptor_readable(peer: Peer) -> None:
    peer.answering(message(Kind.WATCH, b"OK\0"), message(Kind.WATCH_EVENT, b"/w\0t\0", 0))
    peer.client.watch("/w", "t")
    before = readable(peer.client.fileno())
    events = list(peer.client.events())

    assert (True, [("/w", "t")]) == (before, events)
    assert not readable(peer.client.fileno())
    assert [] == list(peer.client.events())


def test_equal_events_are_told_once_in_order_of_arrival(peer: Peer) -> None:
    one, two = (message(Kind.WATCH_EVENT, path + b"\0t\0", 0) for path in (b"/w/1", b"/w/2"))
    peer.answering(message(Kind.WATCH, b"OK\0"), two, one, two)
    peer.client.watch("/w", "t")

    assert [("/w/2", "t"), ("/w/1", "t")] == list(peer.client.events())


def test_events_of_no_watch_and_broken_events_are_dropped(peer: Peer) -> None:
    peer.answering(message(Kind.WATCH_EVENT, b"/w\0other\0", 0), message(Kind.WATCH_EVENT, b"/w", 0))

    assert [] == list(peer.client.events())


def test_an_unwatched_token_is_not_heard_again(peer: Peer) -> None:
    peer.answering(message(Kind.WATCH, b"OK\0"), message(Kind.WATCH_EVENT, b"/w\0t\0", 0))
    peer.client.watch("/w", "t")
    peer.answering(message(Kind.UNWATCH, b"OK\0", 2), message(Kind.WATCH_EVENT, b"/w\0t\0", 0))
    peer.client.unwatch("/w", "t")

    assert [] == list(peer.client.events())
    assert not readable(peer.client.fileno())


def test_a_refused_watch_is_no_watch(peer: Peer) -> None:
    peer.answering(message(Kind.ERROR, b"EINVAL\0"), message(Kind.WATCH_EVENT, b"/w\0t\0", 0))
    number = number_of(lambda: peer.client.watch("/w", "t"))

    assert (errno.EINVAL, []) == (number, list(peer.client.events()))


def test_a_flood_of_names_is_folded_into_one_event_a_watch(peer: Peer) -> None:
    peer.answering(message(Kind.WATCH, b"OK\0"))
    peer.client.watch("/w", "t")
    flood = b"".join(message(Kind.WATCH_EVENT, b"/w/%d\0t\0" % index, 0) for index in range(5000))
    thread = threading.Thread(target=peer.answering, args=(flood + message(Kind.READ, b"", 2),))
    thread.start()
    peer.client.read("/a")
    thread.join()
    events = list(peer.client.events())

    assert ("/w", "t") in events
    assert len(events) <= 1 + 5000 - 4096


@pytest.mark.parametrize("answer", [b"0\0", b"-1\0", b"x\0", b"", b"4294967296\0", b"1" * 5000 + b"\0"])
def test_a_transaction_needs_a_proper_number(peer: Peer, answer: bytes) -> None:
    peer.answering(message(Kind.TRANSACTION_START, answer[:4096]))

    assert errno.EPROTO == number_of(peer.client.begin)


def test_a_transaction_carries_its_number_and_ends_once(peer: Peer) -> None:
    peer.answering(message(Kind.TRANSACTION_START, b"9\0"))
    transaction = peer.client.begin()
    peer.answering(message(Kind.READ, b"v", 2, 9))
    value = transaction.read("/a")
    peer.answering(message(Kind.TRANSACTION_END, b"OK\0", 3, 9))
    committed = transaction.commit()
    sent = [(each.kind, each.transaction, each.payload) for each in Parser().feed(peer.socket.recv(65536))]

    assert ("v", True) == (value, committed)
    assert [(6, 0, b"\0"), (2, 9, b"/a\0"), (7, 9, b"T\0")] == sent
    assert errno.EBADF == number_of(lambda: transaction.write("/a", ""))
    assert errno.EBADF == number_of(transaction.abort)


@pytest.mark.parametrize("path", ["/nowhere/at/all", "/dev/null/x"])
def test_no_store_at_a_path(path: str) -> None:
    assert number_of(lambda: XenStore.open(path)) in (errno.ENOENT, errno.ENOTDIR)


def test_open_connects_to_a_socket(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(tmp_path / "s"))
        listener.listen(1)
        client = XenStore.open(os.fspath(tmp_path / "s"))
        connection, _ = listener.accept()
        connection.sendall(message(Kind.READ, b"here"))
        value = client.read("/a")
        client.close()
        connection.close()

    assert value == "here"


def _serve(connection: socket.socket, session: Session) -> None:
    parser = Parser()
    while data := connection.recv(65536):
        for each in parser.feed(data):
            connection.sendall(session.answer(each).pack())
            while (event := session.take_event()) is not None:
                connection.sendall(event.pack())
    connection.close()


@pytest.fixture
def store() -> Iterator[XenStore]:
    mine, theirs = socket.socketpair()
    thread = threading.Thread(target=_serve, args=(theirs, Service().connect(0)))
    thread.start()
    store = XenStore(mine.detach())
    yield store
    store.close()
    thread.join()


def test_a_life_against_a_real_store(store: XenStore) -> None:
    store.watch("/a", "t")
    events = select.poll()
    events.register(store.fileno(), select.POLLIN)
    events.poll(5000)  # the event may come behind the reply
    first = list(store.events())
    store.write("/a/b", "1")
    store.set_permissions("/a/b", ["n0", "r7"])
    transaction = store.begin()
    transaction.write("/a/c", "2")
    transaction.remove("/a/b")
    inside = (transaction.read("/a/b"), list(transaction.directory("/a")))
    outside = (store.read("/a/b"), store.read("/a/c"), store.permissions("/a/b"))
    committed = transaction.commit()
    lost = store.begin()
    lost.read("/a/c")
    store.write("/a/c", "3")
    lost.write("/a/c", "4")
    again = lost.commit()
    given_up = store.begin()
    given_up.set_permissions("/a/c", ["r0"])
    given_up.write("/a/c", "5")
    given_up.abort()

    assert [("/a", "t")] == first
    assert (None, ["c"]) == inside
    assert ("1", None, ["n0", "r7"]) == outside
    assert (True, False, "3") == (committed, again, store.read("/a/c"))
    assert {("/a/b", "t"), ("/a/c", "t")} == set(store.events())
