# SPDX-License-Identifier: Apache-2.0
"""What the request machine asks of the host, one call at a time."""

from __future__ import annotations

import io

import pytest
from tests.fake_guest import Remembering
from tests.fake_host import FakeChannel, FakeFunction, FakeHost, FakePage, interrupts_of

from pvpci.impl.host import HostError
from pvpci.impl.log import Level, Log
from pvpci.impl.requests import LATE_NS, TICK_SECONDS, Requests
from pvpci.impl.topology import Attached, Topology
from pvpci.model import wire
from pvpci.model.config.identity import survey
from pvpci.model.config.view import ConfigView
from pvpci.model.op import Clock, Done, Found
from pvpci.model.wire import Cmd, Err

WORD = 0xFFFFFFFF


class Made:
    def __init__(self) -> None:
        self.function, self.topology, self.text, self.now = (
            FakeFunction(FakeHost(), "edu"),
            Topology(),
            io.StringIO(),
            0,
        )
        other = FakeFunction(FakeHost(), "rtl8139")
        for function in (other, self.function):  # the second is seen at 8
            address = self.topology.place(function.bdf, function.is_virtual)
            self.topology.add(
                Attached(function, ConfigView(survey(function)), function, address, interrupts_of(FakeHost(), function))
            )
        self.topology.remove(self.topology.find(0, 0, 0))  # type: ignore[arg-type]
        log = Log(self.text, level=Level.DEBUG, colour=False)
        self.requests = Requests("7/0", self.topology, log, Remembering(), lambda: self.now)

    def perform(self, cmd: int, offset: int = 0, size: int = 4, value: int = 0) -> object:
        self.requests.seek(0, 0, 8)
        return self.requests.perform(cmd, 0, 0, 8, offset, size, value)


@pytest.fixture
def made() -> Made:
    return Made()


@pytest.mark.parametrize(
    ("address", "known"),
    [((0, 0, 8), 1), ((0, 0, 0), 0), ((0, 0, 0x108), 0), ((0, 1, 8), 0), ((1, 0, 8), 0), ((0, 0, WORD), 0)],
)
def test_an_address_is_compared_as_a_whole(made: Made, address: tuple[int, int, int], known: int) -> None:
    assert (Found, (known, 0)) == made.requests.seek(*address)


def test_reads_writes_and_what_there_is_not(made: Made) -> None:
    assert (Done, (0, 0x11E81234)) == made.perform(Cmd.CONF_READ)
    assert (Done, (0, 6)) == made.perform(Cmd.CONF_WRITE, 4, 2, 6)
    assert (Done, (0, 55)) == made.perform(Cmd.ENABLE_MSI, value=3)
    assert (Done, (Err.INVALID_OFFSET & WORD, 0)) == made.perform(Cmd.CONF_READ, -4 & WORD)


def test_a_broken_function_is_said_in_the_log_once_in_a_while(made: Made) -> None:
    made.function.broken = True
    answers = {made.perform(Cmd.CONF_READ, 0x40) for _ in range(100)}

    assert {(Done, (Err.OP_FAILED & WORD, 0))} == answers
    assert made.text.getvalue().count("function does not answer") <= 11


def test_a_dropped_write_is_said_once(made: Made) -> None:
    for _ in range(100):
        made.perform(Cmd.CONF_WRITE, 0x50, 4, 1)

    assert 1 == made.text.getvalue().count("level=warning")


def test_a_request_grows_old(made: Made) -> None:
    made.requests.seek(0, 0, 8)
    made.now = LATE_NS
    young = made.requests.ask_clock()
    made.now += 1

    assert ((Clock, (0,)), (Clock, (1,))) == (young, made.requests.ask_clock())


def test_a_pause_is_counted_in_ticks(made: Made) -> None:
    made.now = 2_000_000_000
    made.requests.wait(3)

    assert 2 + 3 * TICK_SECONDS == pytest.approx(made.requests.pause_until)


def test_vectors_are_sixteen_bits_each_at_every_fourth_byte(made: Made) -> None:
    page = made.requests.page = FakePage()
    made.requests.vectors = (0x1234, 0x5678)
    made.requests.hand_out(2)

    assert [f"store16 {wire.MSIX_ENTRIES}", f"store16 {wire.MSIX_ENTRIES + 4}"] == page.accesses


def test_a_dying_guests_channel_is_no_trouble(made: Made) -> None:
    class Gone(FakeChannel):
        def notify(self) -> None:
            raise HostError("gone")

        unmask = notify

    made.requests.channel = Gone()
    made.requests.notify()
    made.requests.unmask()

    assert "guest's channel is gone" in made.text.getvalue()
