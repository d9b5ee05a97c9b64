# SPDX-License-Identifier: Apache-2.0
"""The box survives its clients: nonsense, refusal to read, floods, and requests above their station."""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
from collections.abc import Callable, Iterator

import pytest

from pvpci.impl.embedded import wire
from pvpci.impl.embedded.box import Box
from pvpci.impl.embedded.guest_side import GuestHost
from pvpci.impl.embedded.host import EmbeddedHost
from pvpci.impl.embedded.link import Link
from pvpci.impl.embedded.wire import AnyRequest, Reply
from pvpci.impl.host import Bdf, DomId, HostError
from pvpci.impl.xenstore_wire import HEADER, Kind, Message

GUEST = DomId(7)


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    with Box({"0000:00:07.0": "edu"}) as box:
        yield box


@pytest.fixture
def host(box: Box) -> Iterator[EmbeddedHost]:
    host = EmbeddedHost(box.path)
    host.create_domain(GUEST)
    yield host
    if GUEST in host.account().domains:
        host.destroy_domain(GUEST)
    host.close()


def number_of(call: Callable[[], object]) -> int:
    with pytest.raises(HostError) as caught:
        call()
    return caught.value.errno


def raw(box: Box) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.settimeout(5)
    connection.connect(box.path)
    return connection


def exchange(connection: socket.socket, packet: bytes) -> Reply:
    connection.send(packet)
    return wire.reply_decoder.decode(connection.recv(wire.REPLY_MAX))


@pytest.mark.parametrize("packet", [b"x", b"{}", b"\xff\xfe", b'{"type":"Map"}', b"[" * 4000, b"x" * 9000])
def test_nonsense_is_answered_and_the_box_goes_on(box: Box, packet: bytes) -> None:
    with raw(box) as connection:
        first = exchange(connection, packet)
        second = exchange(connection, wire.encode(wire.Account()))
        third = exchange(connection, wire.encode(wire.Hello(0, "late")))
        fourth = exchange(connection, wire.encode(wire.Hello(0, "twice")))

    assert [errno.EPROTO, errno.EPROTO, 0, errno.EPROTO] == [each.errno for each in (first, second, third, fourth)]


@pytest.mark.parametrize(
    "request_",
    [
        wire.CreateDomain(9),
        wire.DestroyDomain(GUEST),
        wire.Functions(),
        wire.OpenFunction("0000:00:07.0"),
        wire.CloseFunction("0000:00:07.0"),
        wire.Give(GUEST, "0000:00:07.0"),
        wire.TakeBack(GUEST, "0000:00:07.0"),
        wire.Account(),
        wire.Prepared("0000:00:07.0"),
        wire.MapVector(GUEST, "0000:00:07.0", None),
        wire.UnmapVector(GUEST, "0000:00:07.0", 279),
        wire.Settle("0000:00:07.0"),
        wire.LineShared("0000:00:07.0"),
        wire.ShareLine("0000:00:07.0", "x"),
        wire.Interrupt("0000:00:07.0", 0),
        wire.MaskVector("0000:00:07.0", 0, True),
        wire.Refuse("map", 1, 0, 1),
    ],
)
def test_a_guest_may_not_act_as_the_toolstack(box: Box, host: EmbeddedHost, request_: AnyRequest) -> None:
    link = Link(box.path, GUEST, "guest")
    number = number_of(lambda: link.call(request_))
    link.close()

    assert number == errno.EPERM


def test_descriptors_sent_to_the_box_are_not_kept(box: Box, host: EmbeddedHost) -> None:
    before = len(os.listdir(f"/proc/{box.pid}/fd"))
    with raw(box) as connection:
        for _ in range(20):
            socket.send_fds(connection, [b"x"], [0, 1, 2])
            connection.recv(wire.REPLY_MAX)
        during = len(os.listdir(f"/proc/{box.pid}/fd"))

    assert before + 1 == during


def test_one_that_does_not_read_its_answers_is_dropped(box: Box, host: EmbeddedHost) -> None:
    with raw(box) as connection:
        connection.send(wire.encode(wire.Hello(0, "deaf")))
        with pytest.raises(OSError):
            for _ in range(100_000):
                connection.send(b"x", socket.MSG_NOSIGNAL)

    assert [Bdf(0, 0, 7, 0)] == list(host.functions())


def store_socket(link: Link) -> socket.socket:
    _, descriptor = link.call_for_descriptor(wire.OpenStore())
    connection = socket.socket(fileno=descriptor)
    connection.settimeout(5)
    return connection


@pytest.mark.parametrize("stream", [b"\xff" * 100, HEADER.pack(2, 1, 0, 4097), HEADER.pack(11, 1, 0, 1 << 31)])
def test_a_broken_store_stream_ends_that_connection_only(box: Box, host: EmbeddedHost, stream: bytes) -> None:
    link = Link(box.path, GUEST, "guest")
    with store_socket(link) as connection:
        connection.sendall(stream)
        end = connection.recv(100)
    link.call(wire.OpenStore())
    link.close()

    assert b"" == end


def test_store_requests_are_served_byte_by_byte(box: Box, host: EmbeddedHost) -> None:
    link = Link(box.path, GUEST, "guest")
    with store_socket(link) as connection:
        for byte in Message(Kind.READ, 3, 0, b"domid\0").pack():
            connection.sendall(bytes([byte]))
        answer = connection.recv(100)
    link.close()

    assert Message(Kind.READ, 3, 0, b"7").pack() == answer


def test_a_store_client_that_does_not_read_is_not_read_from(box: Box, host: EmbeddedHost) -> None:
    link = Link(box.path, GUEST, "guest")
    request = Message(Kind.READ, 3, 0, b"domid\0").pack()
    with store_socket(link) as connection:
        connection.setblocking(False)
        sent = 0
        poll = select.poll()
        poll.register(connection, select.POLLOUT)
        while poll.poll(100):
            sent += connection.send(request * 100)
        alive = host.store.read("/local/domain/7/domid")
        connection.settimeout(5)
        got = 0
        whole = sent // len(request)
        size = len(Message(Kind.READ, 3, 0, b"7").pack())
        while got < whole * size:
            got += len(connection.recv(1 << 20))
    link.close()

    assert ("7", whole * size) == (alive, got)


def test_the_number_of_connections_of_a_guest_is_bounded(box: Box, host: EmbeddedHost) -> None:
    links: list[Link] = []
    number = 0
    try:
        while len(links) < 200:
            links.append(Link(box.path, GUEST, "many"))
    except HostError as error:
        number = error.errno
    for link in links[1:]:
        link.close()
    stores: list[socket.socket] = []
    with pytest.raises(HostError) as caught:
        while len(stores) < 200:
            stores.append(store_socket(links[0]))
    alive = host.functions()
    for store in stores:
        store.close()
    links[0].close()

    assert (64, errno.EUSERS) == (len(links), number)
    assert (64, errno.EUSERS) == (len(stores), caught.value.errno)
    assert [Bdf(0, 0, 7, 0)] == list(alive)


def _flood(path: str) -> None:
    guest = GuestHost(path, GUEST)
    index = 0
    while True:
        index += 1
        try:
            guest.store.write(f"data/{index}", str(index))
            guest.store.write("error", "x" * 1000)
            guest.store.remove(f"data/{index}")
        except HostError:
            os._exit(0)


def _memory(pid: int) -> int:
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_flooding_guest_neither_starves_others_nor_fills_the_box(box: Box, host: EmbeddedHost) -> None:
    # A watcher that never looks is what a flood would fill.
    other = EmbeddedHost(box.path, label="never looks")
    other.store.watch("/local/domain/7", "t")
    child = os.fork()
    if child == 0:
        _flood(box.path)
    for index in range(200):
        host.store.write("/local/domain/0/honest", str(index))
    before = _memory(box.pid)
    for index in range(1000):
        host.store.write("/local/domain/0/honest", str(index))
    after = _memory(box.pid)
    last = host.store.read("/local/domain/0/honest")
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    other.close()

    assert last == "999"
    assert after - before < 4 << 20
