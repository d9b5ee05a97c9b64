# SPDX-License-Identifier: Apache-2.0
"""A named pipe stands for the device: what is written into it is what can be read next."""

from __future__ import annotations

import errno
import gc
import os
import select
import struct
from pathlib import Path

import pytest

from pvpci.impl.host import DomId, HostError, Port
from pvpci.impl.xen import evtchn

LOCAL = 33
RING = struct.pack("<I", LOCAL)


class Driver:
    def __init__(self) -> None:
        self.asked: list[tuple[int, bytes]] = []
        self.fails: dict[int, int] = {}

    def ioctl(self, descriptor: int, number: int, argument: bytes | bytearray) -> int:
        os.fstat(descriptor)
        self.asked.append((number, bytes(argument)))
        if number in self.fails:
            raise OSError(self.fails[number], os.strerror(self.fails[number]))
        return LOCAL if isinstance(argument, bytearray) else 0


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    driver = Driver()
    monkeypatch.setattr("pvpci.impl.xen.evtchn.fcntl.ioctl", driver.ioctl)
    return driver


@pytest.fixture
def node(tmp_path: Path) -> str:
    os.mkfifo(tmp_path / "evtchn")
    return str(tmp_path / "evtchn")


def descriptors() -> int:
    # Objects of earlier tests, kept alive by a traceback, may hold some still.
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def test_sizes_and_numbers() -> None:
    assert evtchn.BIND_INTERDOMAIN.size == 8
    assert evtchn.PORT.size == 4
    assert evtchn.IOCTL_EVTCHN_BIND_INTERDOMAIN == 0x084501
    assert evtchn.IOCTL_EVTCHN_UNBIND == 0x044503
    assert evtchn.IOCTL_EVTCHN_NOTIFY == 0x044504


def test_bind_keeps_the_local_port(node: str, driver: Driver) -> None:
    channel = evtchn.bind_channel(node, DomId(7), Port(5))

    assert driver.asked == [(0x084501, struct.pack("<II", 7, 5))]
    assert channel.port == LOCAL
    assert not os.get_blocking(channel.fileno())
    channel.unbind()


def test_take_consumes_one_ring_without_waiting(node: str, driver: Driver) -> None:
    channel = evtchn.bind_channel(node, DomId(7), Port(5))
    os.write(channel.fileno(), RING)
    poll = select.poll()
    poll.register(channel.fileno(), select.POLLIN)

    assert poll.poll(0)
    assert channel.take() is True
    assert channel.take() is False
    assert not poll.poll(0)
    channel.unbind()


def test_unmask_writes_the_port_and_notify_names_it(node: str, driver: Driver) -> None:
    channel = evtchn.bind_channel(node, DomId(7), Port(5))
    channel.unmask()
    channel.notify()

    assert os.read(channel.fileno(), 100) == RING
    assert driver.asked[1:] == [(0x044504, RING)]
    channel.unbind()


def test_unbind_once_and_for_all(node: str, driver: Driver) -> None:
    before = descriptors()
    channel = evtchn.bind_channel(node, DomId(7), Port(5))
    channel.unbind()
    channel.unbind()

    assert driver.asked[1:] == [(0x044503, RING)]
    assert descriptors() == before
    assert channel.fileno() == -1


def test_an_unbound_channel_answers_with_an_error(node: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("pvpci.impl.xen.evtchn.fcntl.ioctl", Driver().ioctl)
        channel = evtchn.bind_channel(node, DomId(7), Port(5))
        channel.unbind()
    # From here on with the real ioctl, which has its own opinion of a negative descriptor.
    for use in (channel.take, channel.unmask, channel.notify):
        with pytest.raises(HostError, match="event channel 5 of domain 7") as caught:
            use()
        assert caught.value.errno == errno.EBADF


@pytest.mark.parametrize("read", [struct.pack("<I", 34), b"\x21\x00"])
def test_a_foreign_port_is_an_error(node: str, driver: Driver, read: bytes) -> None:
    channel = evtchn.bind_channel(node, DomId(7), Port(5))
    os.write(channel.fileno(), read)
    with pytest.raises(HostError, match="where port 33 was due") as caught:
        channel.take()

    assert caught.value.errno == errno.EIO
    channel.unbind()


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ESRCH])
def test_a_refused_bind_leaves_nothing_open(node: str, driver: Driver, number: int) -> None:
    driver.fails = {evtchn.IOCTL_EVTCHN_BIND_INTERDOMAIN: number}
    before = descriptors()
    with pytest.raises(HostError, match="event channel 5 of domain 7: bind") as caught:
        evtchn.bind_channel(node, DomId(7), Port(5))

    assert caught.value.errno == number
    assert descriptors() == before


def test_a_failing_unbind_is_told_and_closes_all_the_same(node: str, driver: Driver) -> None:
    before = descriptors()
    channel = evtchn.bind_channel(node, DomId(7), Port(5))
    driver.fails = {evtchn.IOCTL_EVTCHN_UNBIND: errno.ENOTCONN, evtchn.IOCTL_EVTCHN_NOTIFY: errno.ENOTCONN}
    with pytest.raises(HostError, match="notify"):
        channel.notify()
    with pytest.raises(HostError, match="unbind") as caught:
        channel.unbind()

    assert caught.value.errno == errno.ENOTCONN
    assert descriptors() == before


@pytest.mark.parametrize(("domain", "port"), [(-1, 1), (1, -1), (1 << 32, 1), (1, 1 << 32)])
def test_numbers_that_do_not_fit_are_refused(node: str, domain: int, port: int) -> None:
    with pytest.raises(HostError, match="not a number of 32 bits"):
        evtchn.bind_channel(node, DomId(domain), Port(port))
