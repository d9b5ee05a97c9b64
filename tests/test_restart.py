# SPDX-License-Identifier: Apache-2.0
"""A real ``pvpci serve`` that is killed again and again under a driver that works: what the driver was told holds."""

from __future__ import annotations

import random
import signal
import threading
import time
from dataclasses import dataclass, field

import pytest
from tests.backend_rig import GUEST, Rig, Served, box_only, until

from pvpci.impl.guests.frontend import GuestError, GuestFrontend
from pvpci.impl.host import Bdf
from pvpci.model.states import Xenbus
from pvpci.model.wire import Cmd

NVME, EDU = Bdf(0, 0, 6, 0), Bdf(0, 0, 7, 0)
COMMAND, BAR0, ALL = 0x04, 0x10, 0xFFFFFFFF
IDENTITIES = {0x00101B36: NVME, 0x11E81234: EDU}


@dataclass
class Driver:
    """What one function's driver believes. `commands`: what COMMAND may be; more than one after a write that failed."""

    front: GuestFrontend
    devfn: int
    identity: int
    random: random.Random
    commands: set[int] = field(default_factory=lambda: {0})
    vectors: int | None = 0  #: None: not known
    bar: int = 0
    done: int = 0
    failed: int = 0
    told: list[str] = field(default_factory=list)

    def start(self) -> None:
        self.bar = self.front.read(self.devfn, BAR0, 4)
        self.commands = {self.front.read(self.devfn, COMMAND, 2)}

    def work(self) -> None:
        choice = self.random.choice([self.look, self.look, self.command, self.size, self.interrupts])
        try:
            choice()
            self.done += 1
        except GuestError as error:
            self.failed += 1
            self.told.append(str(error))

    def look(self) -> None:
        assert self.identity == self.front.read(self.devfn, 0, 4)
        found = self.front.read(self.devfn, COMMAND, 2)
        assert found in self.commands, (hex(found), self.commands)
        self.commands = {found}

    def command(self) -> None:
        value = self.random.choice([0x0006, 0x0007, 0x0107, 0x0147, 0x0002])
        self.commands.add(value)
        self.front.write(self.devfn, COMMAND, 2, value)
        self.commands = {value}

    def size(self) -> None:
        """As a kernel does; what fails on the way is tried again, for a BAR must not stay half sized."""
        for value in (ALL, self.bar):
            while True:
                try:
                    self.front.write(self.devfn, BAR0, 4, value)
                    break
                except GuestError:
                    self.failed += 1
            if value == ALL:
                assert self.bar != self.front.read(self.devfn, BAR0, 4)
        assert self.bar == self.front.read(self.devfn, BAR0, 4)

    def interrupts(self) -> None:
        if self.identity >> 16 != 0x10:
            return
        if self.vectors == 0:
            self.commands.add(6)
            self.front.write(self.devfn, COMMAND, 2, 6)
            self.commands, self.vectors = {6}, None
            self.vectors = len(self.front.enable_msix(self.devfn, [0, 1, 2]))
        else:
            self.vectors = None
            self.front.disable(self.devfn, Cmd.DISABLE_MSIX)
            self.vectors = 0


class Traffic(threading.Thread):
    """Drivers at work in a thread, until they are told to end."""

    def __init__(self, drivers: list[Driver]) -> None:
        super().__init__(daemon=True)
        self.drivers, self.over, self.error = drivers, threading.Event(), list[BaseException]()

    def run(self) -> None:
        try:
            while not self.over.is_set():
                for driver in self.drivers:
                    driver.work()
        except BaseException as error:
            self.error.append(error)

    @property
    def done(self) -> int:
        return sum(driver.done for driver in self.drivers)

    def end(self) -> None:
        self.over.set()
        self.join(60)
        assert [] == self.error


def mapped(made: Rig) -> int:
    return len(made.dom0.account().vectors)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_driver_goes_on_however_often_its_backend_is_killed(seed: int) -> None:
    chance = random.Random(seed)
    with box_only() as made:
        backend = Served("--box", made.box.path, "--monitor")
        try:
            assert backend.wait_for("event=serving")
            made.device(NVME, EDU)
            with made.guest(look_seconds=5.0) as front:
                front.connect()
                drivers = [Driver(front, f.devfn, f.device << 16 | f.vendor, chance) for f in front.found]
                for driver in drivers:
                    driver.start()
                traffic = Traffic(drivers)
                traffic.start()
                for _ in range(4):
                    time.sleep(chance.uniform(0.05, 0.4))
                    backend.end(signal.SIGKILL)
                    before = traffic.done
                    backend = Served("--box", made.box.path, "--monitor")
                    assert backend.wait_for("taken over")
                    assert until(lambda before=before: traffic.done > before + 20 or bool(traffic.error), 30)  # type: ignore[misc]
                traffic.end()
                nvme = next(
                    driver for driver in drivers if driver.identity in IDENTITIES and driver.identity >> 16 == 0x10
                )
                if nvme.vectors is not None:
                    assert nvme.vectors == mapped(made)
                state = made.state()
            made.clean()
            account = made.dom0.account()
            code = backend.end()
        finally:
            backend.__exit__()

    assert (str(Xenbus.CONNECTED.value), 0) == (state, code)
    assert ((), (), (), ()) == (account.mapped, account.held, account.vectors, account.assigned)
    assert not [line for line in backend.lines if "Traceback" in line or "service of the guest ends" in line]
    assert sum(driver.failed for driver in drivers) <= 12, [driver.told for driver in drivers]


def test_without_a_guest_that_can_be_served_on_it_is_closed(tmp_path: object) -> None:
    with box_only() as made:
        first = Served("--box", made.box.path)
        assert first.wait_for("event=serving")
        made.device(EDU)
        with made.guest() as front:
            front.connect()
            first.end(signal.SIGKILL)
            (made.dom0.notes / f"pci/{GUEST}/0/0000-00-07-0").unlink()
            with Served("--box", made.box.path) as second:
                front.follow(lambda: front.state is Xenbus.CLOSED, 10)
                closed = until(lambda: made.state() == "6")
                error = made.toolstack.nodes(GUEST).error
                made.clean()

                assert (True, True) == (closed, second.end() == 0)
        first.__exit__()

    assert error is not None
    assert "taking over 0000:00:07.0: nothing usable was kept of it" in error
