# SPDX-License-Identifier: Apache-2.0
"""A backend that was killed: what the next one finds, and what it does with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from pathlib import Path

import pytest
from tests.fake_host import EDU, RTL, FakeFunction
from tests.fake_store import FakeStore
from tests.test_impl_daemon import Made

from pvpci.impl.host import Bdf
from pvpci.model import wire

AHCI = Bdf(0, 0, 9, 0)
MSI_FLAGS = 0x82


class Mortal(Made):
    """A daemon that can be killed, and another one started over what the machine has left then."""

    def __init__(self, **options: object) -> None:
        super().__init__(**options)
        disk = FakeFunction(self.host, "ahci")
        disk.bdf = AHCI
        self.host.devices[AHCI] = disk

    def kill(self) -> None:
        """As the system does behind a process that ended: nothing is held, and nothing was said."""
        for page in self.host.pages.values():
            page.mapped = 0
        for channel in self.host.channels.values():
            channel.bound = False
        self.host.opened.clear()
        self.host.store.hang_up()

    def restart(self, **options: object) -> None:
        self.kill()
        self.daemon = self.another(**options)
        self.turn()


@pytest.fixture
def made() -> Iterator[Mortal]:
    made = Mortal(monitor=True)
    yield made
    made.daemon.close()
    assert ((0, 0, 0), 0, 0) == (made.host.held, made.host.store.watches, made.host.store.open_transactions)
    assert {} == made.host.vectors


def test_a_node_of_somebody_else_is_left_alone(made: Mortal) -> None:
    back, _ = made.connect(7, EDU)
    made.host.store.remove(f"{back}/pvpci")
    made.restart()

    assert ("4", [], (0, 0, 0)) == (made.state(7), list(made.daemon.guests()), made.host.held)


def test_a_process_that_lives_is_left_alone(made: Mortal) -> None:
    back, _ = made.connect(7, EDU)
    before = made.host.store.read(f"{back}/pvpci")
    first, host = made.daemon, made.host
    made.host = copy(host)
    made.host.store = FakeStore(host.service)
    made.daemon = made.another()
    made.turn()
    second, kept = list(made.daemon.guests()), host.store.read(f"{back}/pvpci")
    made.daemon.close()
    made.daemon, made.host = first, host

    assert ("4", [], before, (1, 1, 1)) == (made.state(7), second, kept, host.held)
    assert "somebody serves this guest" in made.text.getvalue()


def test_what_was_given_back_in_order_is_not_taken_over(made: Mortal) -> None:
    back, _ = made.connect(7, EDU)
    made.daemon.close()
    left = made.host.store.read(f"{back}/pvpci"), made.state(7)
    made.daemon = made.another()
    made.turn()

    assert (None, "6", "6", []) == (*left, made.state(7), list(made.daemon.guests()))


def ask(made: Mortal, domain: int, **request: int) -> tuple[int, int]:
    """Error and value of the answer; AssertionError if there is none."""
    post(made, domain, **request)
    made.turn()
    return answer(made, domain)


def post(made: Mortal, domain: int, cmd: int = 0, offset: int = 0, size: int = 4, value: int = 0) -> None:
    page = made.host.grant(domain, 8)
    page.data[wire.OP : wire.OP + 36] = wire.OP_WORDS.pack(cmd, 0, 0, 0, 0, offset, size, value, 0)
    page.data[0] |= 1
    made.host.port(domain, 3).ring()


def answer(made: Mortal, domain: int) -> tuple[int, int]:
    page = made.host.grant(domain, 8)
    assert not page.data[0] & 1
    found = wire.parse_op(bytes(page.data[wire.OP : wire.OP + 36]))
    return found.err, found.value


def test_a_guest_is_served_on(made: Mortal) -> None:
    made.connect(7, EDU)
    ask(made, 7, cmd=1, offset=4, size=2, value=0x107)
    before = ask(made, 7, offset=4), bytes(made.host.devices[EDU].registers)
    made.restart()
    heard = made.host.port(7, 3).heard
    after = ask(made, 7, offset=4), bytes(made.host.devices[EDU].registers)

    assert ("4", ["7/0"], before) == (made.state(7), list(made.daemon.guests()), after)
    assert 0x107 == before[0][1] & 0xFFFF
    assert 3 == heard  # two answers, and once by itself: the last one may not have been heard of


def test_a_bar_that_is_being_sized_is_still_sized(made: Mortal) -> None:
    made.connect(7, EDU)
    ask(made, 7, cmd=1, offset=0x10, size=4, value=0xFFFFFFFF)
    before = ask(made, 7, offset=0x10)
    made.restart()

    assert before == ask(made, 7, offset=0x10)


def test_what_was_taken_is_put_back_at_the_end(made: Mortal) -> None:
    """COMMAND as it was before the first guest, not as the process that died left it."""
    registers = made.host.devices[EDU].registers
    before = registers[4]
    made.connect(7, EDU)
    ask(made, 7, cmd=1, offset=4, size=2, value=0x107)
    between = registers[4]
    made.restart()
    made.daemon.close()
    after = registers[4]
    made.daemon = made.another()

    assert (before & ~4, True) == (after, between != after)


@pytest.mark.parametrize("restarts", [1, 3])
def test_vectors_are_taken_over_and_given_back(made: Mortal, restarts: int) -> None:
    made.connect(7, AHCI)
    enabled = ask(made, 7, cmd=2)
    for _ in range(restarts):
        made.restart()
    flags = made.host.devices[AHCI].registers[MSI_FLAGS]
    kept = dict(made.host.vectors)
    disabled = ask(made, 7, cmd=3)

    assert ((0, 55), 1, {55: (7, AHCI, None)}) == (enabled, flags & 1, kept)
    assert (0, {}, 0) == (disabled[0], made.host.vectors, made.host.devices[AHCI].registers[MSI_FLAGS] & 1)


def test_vectors_of_a_guest_that_died_too_are_given_back(made: Mortal) -> None:
    back, front = made.connect(7, AHCI)
    ask(made, 7, cmd=2)
    made.kill()
    made.host.store.remove(front)
    made.daemon = made.another()
    made.turn()

    assert ({}, []) == (made.host.vectors, list(made.daemon.guests()))
    assert None is made.host.store.read(f"{back}/pvpci")


@pytest.mark.parametrize(
    ("request_", "answered"),
    [
        ({"offset": 0}, (0, 0x11E81234)),
        ({"cmd": 1, "offset": 4, "size": 2, "value": 2}, (-5, 2)),
        ({"cmd": 1, "offset": 5, "size": 2, "value": 2}, (-2, 2)),
        ({"cmd": 2, "value": 9}, (-5, 9)),
        ({"cmd": 3}, (0, 0)),
        ({"cmd": 4, "value": 2}, (-5, 2)),
        ({"cmd": 4, "value": 129}, (-22, 129)),
        ({"cmd": 5}, (0, 0)),
        ({"cmd": 9, "value": 1}, (-4, 1)),
    ],
)
def test_a_request_under_way(made: Mortal, request_: dict[str, int], answered: tuple[int, int]) -> None:
    """Done again if that makes no difference, failed if it may; and the one after it as ever."""
    made.connect(7, EDU)
    made.host.devices[EDU].irq = 0
    made.kill()
    post(made, 7, **request_)
    before = bytes(made.host.devices[EDU].registers)
    made.daemon = made.another()
    made.turn()
    first, same = answer(made, 7), before == bytes(made.host.devices[EDU].registers)

    assert (answered, True) == (first, same)
    assert (0, 6) == ask(made, 7, cmd=1, offset=4, size=2, value=6)


def test_an_enable_under_way_leaves_nothing_on(made: Mortal) -> None:
    """Nobody can know whether the guest was told its vector: it is told that it has none."""
    made.connect(7, AHCI)
    ask(made, 7, cmd=2)
    made.kill()
    post(made, 7, cmd=2)
    made.daemon = made.another()
    made.turn()

    assert ((-5, 0), {}) == (answer(made, 7), made.host.vectors)
    assert (0, 55) == ask(made, 7, cmd=2)


def test_the_error_report_of_the_dead_is_withdrawn(made: Mortal) -> None:
    made.connect(7, EDU)
    made.kill()
    made.host.grant(7, 8).data[0] = 6
    made.daemon = made.another()
    made.turn()

    assert 2 == made.host.grant(7, 8).data[0]


def test_each_function_is_where_it_was(made: Mortal) -> None:
    """Also where the first free slot would be another."""
    back, front = made.connect(7, EDU)
    for step in range(2):
        index, wish, count = (1, "1", "2") if step == 0 else (0, "5", "2")
        for key, text in ((f"dev-{index}", str((EDU, RTL)[index])), (f"state-{index}", wish), ("num_devs", count)):
            made.host.store.write(f"{back}/{key}", text)
        made.host.store.write(f"{back}/state", "7")
        made.host.store.write(f"{front}/state", "7")
        made.turn()
        made.host.store.write(f"{front}/state", "4")
        made.turn()
    before = [one.vdev for one in made.daemon.guests()["7/0"].topology.attached]
    made.restart()
    after = [one.vdev for one in made.daemon.guests()["7/0"].topology.attached]

    assert (["0000:00:01.00"], before, "4") == (before, after, made.state(7))


def test_a_round_of_hot_plug_goes_on(made: Mortal) -> None:
    back, front = made.connect(7, EDU)
    made.kill()
    for key, text in (("dev-1", str(RTL)), ("state-1", "1"), ("num_devs", "2"), ("state", "7")):
        made.host.store.write(f"{back}/{key}", text)
    made.host.store.write(f"{front}/state", "7")
    made.daemon = made.another()
    made.turn()
    middle = made.state(7)
    made.host.store.write(f"{front}/state", "4")
    made.turn()

    assert ("8", "4", (1, 1, 2)) == (middle, made.state(7), made.host.held)


@pytest.mark.parametrize("state", ["2", "3"])
def test_a_guest_that_was_not_attached_yet(made: Mortal, state: str) -> None:
    back, front = made.connect(7, EDU)
    made.kill()
    made.host.store.write(f"{back}/state", state)
    made.host.store.write(f"{front}/state", "3")
    made.daemon = made.another()
    made.turn()

    assert ("4", (1, 1, 1)) == (made.state(7), made.host.held)


def spoil_keys(made: Mortal, back: str, front: str) -> None:
    made.host.store.write(f"{front}/pci-op-ref", "9")


def noted(made: Mortal) -> Path:
    return made.host.notes / "pci/7/0/0000-00-09-0"


def spoil_note(made: Mortal, back: str, front: str) -> None:
    noted(made).write_text("{}")


def spoil_state(made: Mortal, back: str, front: str) -> None:
    noted(made).write_text(noted(made).read_text().replace('"state":{}', '"state":{"mine.nothing":1}'))


def spoil_slot(made: Mortal, back: str, front: str) -> None:
    made.host.store.write(f"{back}/vdev-0", "0000:01:00.00")


def spoil_function(made: Mortal, back: str, front: str) -> None:
    made.host.devices[AHCI].broken = True


def spoil_page(made: Mortal, back: str, front: str) -> None:
    del made.host.pages[7, 8]


@pytest.mark.parametrize("spoil", [spoil_keys, spoil_note, spoil_state, spoil_slot, spoil_function, spoil_page])
def test_what_cannot_be_had_again_is_told(made: Mortal, spoil: Callable[[Mortal, str, str], None]) -> None:
    back, front = made.connect(7, AHCI)
    ask(made, 7, cmd=2)
    made.kill()
    spoil(made, back, front)
    made.daemon = made.another()
    made.turn()
    told = made.state(7)
    made.host.devices[AHCI].broken = False
    made.host.store.write(f"{front}/state", "6")
    made.turn()
    closed = made.state(7)
    made.host.store.remove(front)
    made.turn()

    assert ("5", "6", (0, 0, 0)) == (told, closed, made.host.held)
    assert "gave up on the device" in made.text.getvalue()
    # Without a note nobody knows the number; then only the guest's end gives it back.
    assert (spoil in (spoil_note, spoil_function)) == bool(made.host.vectors)
    made.host.vectors.clear()


def test_another_profile_does_not_serve_on(made: Mortal) -> None:
    made.connect(7, EDU)
    made.restart(profile="linux-6.1.63")

    assert "5" == made.state(7)
    assert "it was served by the rules of 'strict'" in made.text.getvalue()
