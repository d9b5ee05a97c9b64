# SPDX-License-Identifier: Apache-2.0
"""A backend that was killed: what the next one finds, and what it does with it."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy

import pytest
from tests.fake_host import EDU, FakeFunction, FakeStore
from tests.test_impl_daemon import Made

from pvpci.impl.host import Bdf

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


def disconnect(made: Mortal, domain: int) -> None:
    """As a frontend does that is told."""
    front = f"/local/domain/{domain}/device/pci/0"
    made.host.store.write(f"{front}/state", "6")
    made.turn()


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


def test_a_guest_is_told(made: Mortal) -> None:
    made.connect(7, EDU)
    made.restart()
    told = made.state(7)
    disconnect(made, 7)

    assert ("5", "6") == (told, made.state(7))
