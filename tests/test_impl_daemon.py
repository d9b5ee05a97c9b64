# SPDX-License-Identifier: Apache-2.0
"""The loop: several guests, one thread, and nobody's fault is anybody else's."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fake_host import EDU, RTL, FakeHost, device

from pvpci.impl.daemon import Daemon, Options
from pvpci.impl.engine import Broken
from pvpci.impl.host import Bdf, DomId
from pvpci.impl.log import Level, Log
from pvpci.impl.xenstore_wire import Kind
from pvpci.model import wire


class Made:
    """A daemon over a fake host; `turn` is one turn of its loop."""

    def __init__(self, **options: object) -> None:
        self.host, self.text, self.options = FakeHost(), io.StringIO(), options
        self.daemon = self.another()

    def another(self, **options: object) -> Daemon:
        """One more over the same host; `options` instead of those of the first."""
        log = Log(self.text, level=Level.DEBUG, colour=False)
        daemon = Daemon(self.host.as_host, Options(**{**self.options, **options}), log, "pvpci tests")  # type: ignore[arg-type]
        daemon.start()
        return daemon

    def turn(self, times: int = 3) -> None:
        for _ in range(times):
            self.host.store.refresh()
            self.daemon.step(0)

    def connect(self, domain: int, bdf: Bdf) -> tuple[str, str]:
        back, front = device(self.host, domain, bdf)
        self.host.grant(domain, 8)
        self.host.port(domain, 3)
        self.turn()
        for key, text in (("pci-op-ref", "8"), ("event-channel", "3"), ("magic", "7"), ("state", "3")):
            self.host.store.write(f"{front}/{key}", text)
        self.turn()
        self.host.store.write(f"{front}/state", "4")
        self.turn()
        return back, front

    def post(self, domain: int) -> None:
        page, channel = self.host.grant(domain, 8), self.host.port(domain, 3)
        page.data[wire.OP : wire.OP + 36] = wire.OP_WORDS.pack(0, 0, 0, 0, 0, 0, 4, 0, 0)
        page.data[0] |= 1
        channel.ring()

    def answered(self, domain: int) -> int:
        """The value, once the flag is clear."""
        page = self.host.grant(domain, 8)
        return 0 if page.data[0] & 1 else int.from_bytes(page.data[wire.OP_VALUE : wire.OP_VALUE + 4], "little")

    def state(self, domain: int) -> str | None:
        return self.host.store.read(f"/local/domain/0/backend/pci/{domain}/0/state")


@pytest.fixture
def made() -> Iterator[Made]:
    made = Made(monitor=True)
    yield made
    made.daemon.close()
    assert ((0, 0, 0), 0, 0) == (made.host.held, made.host.store.watches, made.host.store.open_transactions)


def test_what_is_there_already_is_found(made: Made) -> None:
    device(made.host, 7, EDU)
    made.turn()

    assert ("3", ["7/0"]) == (made.state(7), list(made.daemon.guests()))


def test_guests_are_served_side_by_side(made: Made) -> None:
    made.connect(7, EDU)
    made.connect(8, RTL)
    for domain in (7, 8):
        made.post(domain)
    made.turn()

    assert (0x11E81234, 0x813910EC) == (made.answered(7), made.answered(8))


def test_one_request_each_and_then_the_next_guest(made: Made) -> None:
    made.connect(7, EDU)
    made.connect(8, RTL)
    made.turn(5)
    time.sleep(0.02)
    made.turn(5)
    page = made.host.grant(7, 8)
    clear = page.fetch_and

    def again(offset: int, mask: int) -> int:
        before = clear(offset, mask)
        page.data[0] |= 1
        return before

    page.fetch_and = again  # type: ignore[method-assign]
    made.post(7)
    made.post(8)
    served = made.daemon.guests()["7/0"].requests.served
    made.turn(1)
    first = made.answered(8)
    made.turn(10)
    page.fetch_and = clear  # type: ignore[method-assign]

    assert 0x813910EC == first
    assert 11 <= made.daemon.guests()["7/0"].requests.served - served <= 13


def test_a_fault_ends_one_guests_service_and_is_written_down(
    made: Made, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    made.connect(7, EDU)
    made.connect(8, RTL)

    def broken(state: object, machine: str) -> str:
        raise Broken("I-99 everything_is_well")

    made.daemon.guests()["7/0"].engine._monitor = broken
    made.post(7)
    made.post(8)
    made.turn()
    dumps = list(tmp_path.glob("pvpci-7-0-*.jsonl"))

    assert (["8/0"], 0x813910EC, 1) == (list(made.daemon.guests()), made.answered(8), made.daemon.violations)
    assert "I-99 everything_is_well" in made.text.getvalue()
    assert "7/0" not in made.daemon._due
    assert (1, (1, 1, 1)) == (len(dumps), made.host.held)
    assert '"kind":"rang"' in dumps[0].read_text()


def test_after_a_fault_the_number_is_served_again_once_the_node_was_removed(
    made: Made, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    back, front = made.connect(7, EDU)
    made.daemon.guests()["7/0"].engine._monitor = lambda state, machine: "broken"
    made.host.store.write(f"{front}/state", "5")
    made.turn()
    made.host.store.write(f"{back}/online", "1")
    made.turn()
    none = list(made.daemon.guests())
    made.host.store.remove(front)
    made.host.store.remove(back)
    made.turn()
    device(made.host, 7, EDU)
    made.turn()

    assert ([], "3") == (none, made.state(7))


def test_only_the_guest_that_was_asked_for() -> None:
    made = Made(guest=DomId(8))
    device(made.host, 7, EDU)
    device(made.host, 8, RTL)
    made.turn()
    served = made.state(8)
    made.daemon.close()

    assert ("1", "3") == (made.state(7), served)


def test_a_backend_that_stops_says_so() -> None:
    made = Made(guest=DomId(7))
    device(made.host, 7, EDU)
    made.turn()
    made.daemon.close()

    assert "6" == made.state(7)


@pytest.mark.parametrize("name", ["x/0", "7/x", "-1/0", "007/0", "999999/0"])
def test_directories_that_are_no_guests_are_left_alone(made: Made, name: str) -> None:
    made.host.store.write(f"/local/domain/0/backend/pci/{name}/state", "1")
    made.turn()

    assert {} == made.daemon.guests()


@pytest.mark.parametrize(("state", "after"), [("2", "2"), ("4", "4"), ("5", "6"), ("6", "6"), ("7", "6"), ("x", "x")])
def test_nodes_without_an_instance(made: Made, state: str, after: str) -> None:
    made.host.store.write("/local/domain/0/backend/pci/7/0/state", state)
    made.turn()

    assert (after, {}) == (made.state(7), made.daemon.guests())


def test_thousands_of_events_are_one_look(made: Made) -> None:
    _, front = made.connect(7, EDU)
    made.turn()
    for number in range(3000):
        made.host.store.write(f"{front}/state/{number % 900}", "")
    begun = made.host.store.ask
    asked: list[Kind] = []

    def counted(kind: Kind, payload: bytes, number: int = 0) -> bytes:
        asked.append(kind)
        return begun(kind, payload, number)

    made.host.store.ask = counted  # type: ignore[method-assign]
    made.turn(1)

    assert 0 < len(asked) < 40


def test_a_guest_that_comes_and_goes_leaves_no_instance(made: Made) -> None:
    for _ in range(20):
        back, front = made.connect(7, EDU)
        made.host.store.remove(front)
        made.turn()
        made.host.store.remove(back)
        made.turn()

    assert ({}, 1) == (made.daemon.guests(), made.host.store.watches)


def test_stop_ends_a_wait_at_once() -> None:
    made = Made()
    thread = threading.Thread(target=made.daemon.run)
    thread.start()
    began = time.monotonic()
    made.daemon.stop()
    thread.join(5)

    assert time.monotonic() - began < 0.5
    made.daemon.stop()  # a second signal comes too late and does no harm
