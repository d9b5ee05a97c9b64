# SPDX-License-Identifier: Apache-2.0
"""Guests and toolstacks that do anything in any order: the daemon keeps what the protocol promises.

After each step: the monitor is content, no transaction is open, a page is mapped exactly while its guest is attached, and what
the store says of the backend is what the backend holds.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tests.fake_host import EDU, RTL, device
from tests.test_impl_daemon import Made

from pvpci.model import connection, op, wire
from pvpci.model.states import Xenbus, parse

DOMAINS = st.sampled_from([7, 8])
STATES = st.sampled_from(["1", "2", "3", "4", "5", "6", "7", "8", "9", "0", "", "x"])
WORDS = st.sampled_from([0, 1, 2, 4, 8, 0x10, 0x30, 0x3C, 0xFF, 0x1000, 0x7FFFFFFF, 0xFFFFFFFC, 0xFFFFFFFF])
FUNCTIONS = {7: EDU, 8: RTL}


class Anything(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.made = Made(monitor=True)
        self.host = self.made.host

    def back(self, domain: int) -> str:
        return f"/local/domain/0/backend/pci/{domain}/0"

    def front(self, domain: int) -> str:
        return f"/local/domain/{domain}/device/pci/0"

    # The toolstack

    @rule(domain=DOMAINS)
    def make(self, domain: int) -> None:
        device(self.host, domain, FUNCTIONS[domain])
        for port in (3, 4):
            self.host.grant(domain, port + 5)
            self.host.port(domain, port)

    @rule(domain=DOMAINS, state=st.sampled_from(["1", "5", "7"]))
    def write_backend_state(self, domain: int, state: str) -> None:
        if self.host.store.read(self.back(domain)) is not None:
            self.host.store.write(f"{self.back(domain)}/state", state)

    @rule(domain=DOMAINS, index=st.integers(0, 1), wish=st.sampled_from(["1", "5"]), bdf=st.sampled_from([EDU, RTL]))
    def list_function(self, domain: int, index: int, wish: str, bdf: object) -> None:
        if self.host.store.read(self.back(domain)) is not None:
            for key, text in ((f"dev-{index}", str(bdf)), (f"state-{index}", wish), ("num_devs", "2")):
                self.host.store.write(f"{self.back(domain)}/{key}", text)

    @rule(domain=DOMAINS, online=st.sampled_from(["0", "1"]))
    def go_offline(self, domain: int, online: str) -> None:
        if self.host.store.read(self.back(domain)) is not None:
            self.host.store.write(f"{self.back(domain)}/online", online)

    @rule(domain=DOMAINS)
    def remove_frontend(self, domain: int) -> None:
        self.host.store.remove(self.front(domain))

    @rule(domain=DOMAINS)
    def remove_backend(self, domain: int) -> None:
        self.host.store.remove(self.back(domain))

    # The guest

    @rule(domain=DOMAINS, state=STATES)
    def write_state(self, domain: int, state: str) -> None:
        if self.host.store.read(self.front(domain)) is not None:
            self.host.store.write(f"{self.front(domain)}/state", state)

    @rule(domain=DOMAINS, port=st.sampled_from(["3", "4", "9", "x"]), magic=st.sampled_from(["7", "7", "7", "8"]))
    def write_keys(self, domain: int, port: str, magic: str) -> None:
        if self.host.store.read(self.front(domain)) is not None:
            ref = str(int(port) + 5) if port.isdigit() else port
            for key, text in (("pci-op-ref", ref), ("event-channel", port), ("magic", magic)):
                self.host.store.write(f"{self.front(domain)}/{key}", text)

    @rule(domain=DOMAINS)
    def behave(self, domain: int) -> None:
        """So that there is something to spoil."""
        self.make(domain)
        self.turn()
        self.write_keys(domain, "3", "7")
        for state in ("3", "4"):
            self.write_state(domain, state)
            self.turn()

    @rule(domain=DOMAINS, words=st.tuples(*[WORDS] * 9), flags=st.integers(0, 7), port=st.sampled_from([3, 4]))
    def scribble(self, domain: int, words: tuple[int, ...], flags: int, port: int) -> None:
        page = self.host.grant(domain, port + 5)
        page.data[wire.OP : wire.OP + 36] = wire.OP_WORDS.pack(*words)
        page.data[0] = flags

    @rule(domain=DOMAINS, port=st.sampled_from([3, 4]))
    def ring(self, domain: int, port: int) -> None:
        self.host.port(domain, port).ring()

    # Everybody else

    @rule(times=st.integers(0, 5))
    def overtake(self, times: int) -> None:
        self.host.store.overtake = times

    @rule()
    def turn(self) -> None:
        self.made.turn(2)

    @invariant()
    def nothing_is_left_open(self) -> None:
        assert 0 == self.host.store.open_transactions
        assert "service of the guest ends" not in self.made.text.getvalue()

    @invariant()
    def pages_and_channels_are_held_together_and_only_by_instances(self) -> None:
        attached = 0
        for instance in self.made.daemon.guests().values():
            state = instance.engine.state
            assert state.link_mapped == state.link_bound
            assert bool(state.link_bound) == (instance.channel is not None)
            attached += state.link_bound
        pages, channels, _ = self.host.held
        assert (attached, attached) == (pages, channels)

    @invariant()
    def open_functions_are_those_that_guests_have(self) -> None:
        had = [one.bdf for instance in self.made.daemon.guests().values() for one in instance.topology.attached]
        assert sorted(had) == sorted(self.host.opened)

    @invariant()
    def a_machine_that_rests_agrees_with_the_store(self) -> None:
        """Unless something has changed that was not heard of yet, Connected is said exactly of those that are attached."""
        self.host.store.overtake = 0
        for name, instance in self.made.daemon.guests().items():
            resting = instance.engine.at("connection") is connection.At.HERE and instance.stall_left is None
            own = parse(self.host.store.read(f"/local/domain/0/backend/pci/{name}/state"))
            if resting and own is Xenbus.CONNECTED and not instance.engine.state.link_bound:
                # Only the toolstack may have written that, and no rule of these does.
                raise AssertionError(f"{name} says Connected and holds nothing")
            assert instance.engine.at("op") in op.REST

    def teardown(self) -> None:
        self.made.daemon.close()
        assert (0, 0, 0) == self.host.held
        assert (0, 0) == (self.host.store.watches, self.host.store.open_transactions)


Anything.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestAnything = Anything.TestCase
