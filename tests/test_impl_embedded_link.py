# SPDX-License-Identifier: Apache-2.0
"""Pages and doorbells between processes: pending and mask bits, hostile partners, and the round trip."""

from __future__ import annotations

import errno
import os
import select
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from pvpci.impl.embedded.box import Box
from pvpci.impl.embedded.guest_side import GuestHost
from pvpci.impl.embedded.host import EmbeddedHost
from pvpci.impl.embedded.link import EmbeddedChannel, EmbeddedPage, Link
from pvpci.impl.host import Channel, DomId, HostError, Page, Port

GUEST = DomId(7)


@dataclass
class Pair:
    box: Box
    host: EmbeddedHost
    guest: GuestHost
    ours: EmbeddedChannel
    theirs: EmbeddedChannel
    port: Port


@pytest.fixture
def pair() -> Iterator[Pair]:
    with Box({}) as box:
        host = EmbeddedHost(box.path)
        host.create_domain(GUEST)
        guest = GuestHost(box.path, GUEST)
        port, theirs = guest.alloc_channel()
        yield Pair(box, host, guest, host.bind_channel(GUEST, port), theirs, port)
        guest.close()
        host.close()


def ready(channel: Channel, milliseconds: int = 0) -> bool:
    poll = select.poll()
    poll.register(channel.fileno(), select.POLLIN)
    return bool(poll.poll(milliseconds))


def number_of(call: Callable[[], object]) -> int:
    with pytest.raises(HostError) as caught:
        call()
    return caught.value.errno


def test_a_freshly_bound_port_is_pending_once(pair: Pair) -> None:
    seen = [ready(pair.ours), pair.ours.take(), ready(pair.ours), pair.ours.take()]
    pair.ours.unmask()

    assert [True, True, False, False] == seen
    assert (False, False) == (ready(pair.ours), pair.ours.take())
    assert not ready(pair.theirs)


def test_masked_from_take_to_unmask_and_pending_meanwhile(pair: Pair) -> None:
    pair.ours.take()
    for _ in range(3):
        pair.theirs.notify()
    masked = (ready(pair.ours), pair.ours.take())
    pair.ours.unmask()
    shown = (ready(pair.ours), pair.ours.take())
    pair.ours.unmask()

    assert ((False, False), (True, True)) == (masked, shown)
    assert not ready(pair.ours)


def test_both_ways(pair: Pair) -> None:
    pair.ours.notify()
    got = [ready(pair.theirs), pair.theirs.take(), pair.theirs.take()]
    pair.theirs.unmask()

    assert [True, True, False] == got
    assert not ready(pair.theirs)


def test_ringing_never_blocks_however_often(pair: Pair) -> None:
    for _ in range(5000):
        pair.ours.notify()
    taken = pair.theirs.take()
    pair.theirs.unmask()

    assert taken
    assert not ready(pair.theirs)


def test_unbound_is_as_if_never_bound(pair: Pair) -> None:
    pair.ours.unbind()
    pair.ours.unbind()
    pair.theirs.notify()
    gone = [number_of(call) for call in (pair.ours.take, pair.ours.notify, pair.ours.unmask)]
    again = pair.host.bind_channel(GUEST, pair.port)
    first = again.take()
    again.unmask()

    assert [errno.EBADF] * 3 == gone
    assert (True, False) == (first, ready(again))
    assert not ready(pair.theirs)
    assert errno.EINVAL == number_of(lambda: pair.host.bind_channel(GUEST, pair.port))


def test_a_partner_that_closes_or_dies_wakes_nobody(pair: Pair) -> None:
    pair.ours.take()
    pair.ours.unmask()
    pair.theirs.unbind()
    quiet = ready(pair.ours)
    pair.guest.close()

    assert not quiet
    assert not ready(pair.ours, 20)
    pair.ours.notify()
    pair.ours.unbind()
    assert () == pair.host.account().leaks


def test_a_partner_that_shuts_its_socket_wakes_us_once_at_most(pair: Pair) -> None:
    pair.ours.take()
    pair.ours.unmask()
    pair.theirs._bell.shutdown(socket.SHUT_RDWR)
    took = pair.ours.take()
    pair.ours.unmask()
    pair.ours.notify()

    assert not took
    assert (False, False) == (ready(pair.ours), pair.ours.take())


def test_a_partner_that_makes_its_end_blocking_cannot_make_ours_block(pair: Pair) -> None:
    pair.theirs._bell.setblocking(True)
    for _ in range(5000):
        pair.ours.notify()

    assert pair.theirs.take()
    pair.ours.take()
    assert not pair.ours.take()


def test_a_page_is_the_same_memory_on_both_sides(pair: Pair) -> None:
    ref, theirs = pair.guest.grant_page()
    ours: Page = pair.host.map_page(GUEST, ref)
    theirs.store32(8, 0x11223344)
    ours.store16(4094, 0xABCD)
    ours.fetch_or(0, 4)

    assert (0x11223344, 4, 0xABCD0000) == (ours.load32(8), theirs.load32(0), theirs.load32(4092))
    assert bytes.fromhex("44332211") == ours.copy(8, 4)
    ours.unmap()
    ours.unmap()
    assert errno.EBADF == number_of(lambda: ours.load32(0))
    assert 4 == theirs.load32(0)


def _serve(page: EmbeddedPage, channel: EmbeddedChannel, rounds: int) -> None:
    poll = select.poll()
    poll.register(channel.fileno(), select.POLLIN)
    served = 0
    while served < rounds:
        if not poll.poll(5000):
            os._exit(1)
        if channel.take() and page.load32(0) & 1:
            request = page.copy(4, 36)
            page.store32(32, int.from_bytes(request[20:24], "little") ^ 0xFFFFFFFF)
            page.fetch_and(0, ~1)
            channel.notify()
            served += 1
        channel.unmask()
    os._exit(0)


def test_a_thousand_round_trips_between_two_processes(pair: Pair) -> None:
    ref, page = pair.guest.grant_page()
    mapped = pair.host.map_page(GUEST, ref)
    rounds = 1000
    child = os.fork()
    if child == 0:
        _serve(mapped, pair.ours, rounds)
    poll = select.poll()
    poll.register(pair.theirs.fileno(), select.POLLIN)
    wrong = 0
    for index in range(rounds):
        page.store32(24, index)
        page.fetch_or(0, 1)
        pair.theirs.notify()
        while page.load32(0) & 1:
            if not poll.poll(5000):
                break
            pair.theirs.take()
            pair.theirs.unmask()
        wrong += page.load32(32) != index ^ 0xFFFFFFFF
    _, status = os.waitpid(child, 0)

    assert (0, 0) == (wrong, status)


def test_no_box_there(tmp_path: os.PathLike[str]) -> None:
    assert errno.ENOENT == number_of(lambda: Link(f"{os.fspath(tmp_path)}/none", 0, "x"))
    assert number_of(lambda: Link("/" + "x" * 200, 0, "x")) >= 0


def test_after_the_box_has_ended_calls_fail_and_local_things_close(pair: Pair) -> None:
    ref, _ = pair.guest.grant_page()
    page = pair.host.map_page(GUEST, ref)
    pair.box.stop()

    assert errno.EPIPE == number_of(pair.host.functions)
    assert errno.EPIPE == number_of(page.unmap)
    assert errno.EBADF == number_of(lambda: page.load32(0))


def test_a_box_that_does_not_answer_is_given_up(tmp_path: os.PathLike[str]) -> None:
    path = f"{os.fspath(tmp_path)}/box"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(path)
        listener.listen(1)

        assert errno.ETIMEDOUT == number_of(lambda: Link(path, 0, "x", timeout=0.02))


@pytest.mark.parametrize("answer", [b"", b"{", b'{"errno":"x"}', b"\xff"])
def test_a_box_that_answers_nonsense_is_an_error(tmp_path: os.PathLike[str], answer: bytes) -> None:
    path = f"{os.fspath(tmp_path)}/box"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(path)
        listener.listen(1)
        child = os.fork()
        if child == 0:
            connection, _ = listener.accept()
            connection.recv(4096)
            if answer:
                connection.send(answer)
            connection.close()
            os._exit(0)
        number = number_of(lambda: Link(path, 0, "x"))
        os.waitpid(child, 0)

    assert number == (errno.EPROTO if answer else errno.EPIPE)
