# SPDX-License-Identifier: Apache-2.0
"""The two virtual buses, against Linux's lists written down once more, step by step, and against what runs."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.fake_host import FakeFunction, FakeHost, interrupts_of

from pvpci.impl.host import Bdf, HostError
from pvpci.impl.topology import Attached, Topology
from pvpci.model.config.identity import survey
from pvpci.model.config.view import ConfigView
from pvpci.model.topology import PASSTHROUGH, SLOTS, TOPOLOGIES, VPCI, Address, Function, Newcomer, publish
from pvpci.model.topology import Root as RootBus

FUNCTIONS = st.builds(
    Function, st.integers(0, 1), st.integers(0, 40), st.sampled_from([0, 1, 16, 31]), st.integers(0, 7)
)
ADDRESSES = st.builds(
    Address, st.sampled_from([0, 1, 0xFFFFFFFF]), st.sampled_from([0, 1, 2, 0x100]),
    st.integers(0, 0x1FF) | st.sampled_from([0x7FFFFFFF, 0xFFFFFFFF]),
)  # fmt: skip


def is_virtual(function: Function) -> bool:
    """Some are, and a function stays what it is."""
    return bool(function.slot == 16 and function.bus % 2)


@dataclass
class Lists:
    """vpci.c as it is written: 32 lists of functions in the order in which they came."""

    slots: list[list[Function]] = field(default_factory=lambda: [[] for _ in range(SLOTS)])

    def add(self, function: Function) -> int | None:
        lone = is_virtual(function) and function.function == 0
        for number, slot in enumerate(self.slots):
            if slot and not lone:
                head = slot[0]
                if is_virtual(head) and head.function == 0:
                    continue
                if head[:3] == function[:3]:
                    slot.append(function)
                    return number
        for number, slot in enumerate(self.slots):
            if not slot:
                slot.append(function)
                return number
        return None

    def get(self, address: Address) -> Function | None:
        """But for the reduction of devfn."""
        if address.domain or address.bus or address.devfn > 0xFF:
            return None
        here = [one for one in self.slots[address.devfn >> 3] if one.function == address.devfn & 7]
        return here[0] if here else None

    def find(self, function: Function) -> int | None:
        return next((number for number, slot in enumerate(self.slots) if function in slot), None)

    def release(self, function: Function) -> None:
        for slot in self.slots:
            if function in slot:
                slot.remove(function)


class Both(RuleBasedStateMachine):
    """The model, the running bus, and for `vpci` Linux's lists."""

    @initialize(name=st.sampled_from(sorted(TOPOLOGIES)))
    def begin(self, name: str) -> None:
        self.bus = TOPOLOGIES[name]
        self.state, self.running, self.lists = self.bus.start(), Topology(self.bus), Lists()
        self.here: dict[Function, Attached] = {}

    @rule(function=FUNCTIONS)
    def add(self, function: Function) -> None:
        self.state, added = self.bus.add(self.state, Newcomer(function, is_virtual(function)))
        bdf = Bdf(*function)
        assert added.here == (function in self.here)
        if added.here:
            return
        try:
            address = self.running.place(bdf, is_virtual(function))
        except HostError:
            assert not added.ok
            assert self.lists.add(function) is None
            return
        assert (added.ok, added.address) == (True, address)
        host = FakeHost()
        real = FakeFunction(host, "edu")
        real.bdf, real.is_virtual = bdf, is_virtual(function)
        self.here[function] = Attached(real, ConfigView(survey(real)), real, address, interrupts_of(host, real))
        self.running.add(self.here[function])
        number = self.lists.add(function)
        if self.bus is VPCI:
            assert (0, 0, number) == (address.domain, address.bus, address.devfn >> 3)

    @rule(number=st.integers(0, 40))
    def release_one(self, number: int) -> None:
        if self.here:
            self.release(sorted(self.here)[number % len(self.here)])

    @rule(function=FUNCTIONS)
    def release(self, function: Function) -> None:
        self.state, was = self.bus.release(self.state, function)
        assert was == (function in self.here)
        if was:
            self.running.remove(self.here.pop(function))
            self.lists.release(function)

    @rule(address=ADDRESSES)
    def get(self, address: Address) -> None:
        found, function = self.bus.get(self.state, address)
        running = self.running.find(*address)

        assert (Bdf(*function) if found else None) == (running.bdf if running else None)
        if self.bus is VPCI:
            assert (function if found else None) == self.lists.get(address)

    @rule(function=FUNCTIONS)
    def find(self, function: Function) -> None:
        found, address = self.bus.find(self.state, function)
        running = self.running.of(Bdf(*function))

        assert (address if found else None) == (running.address if running else None)
        if self.bus is VPCI:
            assert (address.devfn >> 3 if found else None) == self.lists.find(function)

    @invariant()
    def all_that_are_here_are_found(self) -> None:
        for function, attached in self.here.items():
            assert (True, function) == self.bus.get(self.state, attached.address)
            assert attached is self.running.find(*attached.address)
        assert len(self.running.attached) == len(self.here)

    @invariant()
    def roots_are_the_buses(self) -> None:
        buses = {"0000:00"} if self.bus is VPCI else {f"{one.segment:04x}:{one.bus:02x}" for one in self.here}
        told = self.running.new_roots(["0000:01", "no bus"])
        assert buses - {"0000:01"} == set(told)
        assert len(told) == len(set(told))


Both.TestCase.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
TestBoth = Both.TestCase


def test_places_as_linux_gives_them() -> None:
    """Adds in this order, and where Linux 6.1 put them."""
    state, seen = VPCI.start(), []
    for function, virtual in (
        ((0, 1, 0, 1), False), ((0, 1, 0, 0), False), ((0, 2, 0, 0), False), ((0, 1, 16, 0), True),
        ((0, 1, 16, 1), True), ((0, 1, 16, 2), True), ((0, 1, 17, 0), False), ((1, 1, 0, 3), False),
    ):  # fmt: skip
        state, added = VPCI.add(state, Newcomer(Function(*function), virtual))
        seen.append(f"{added.address.devfn >> 3:02x}.{added.address.devfn & 7}")
    for gone in ((0, 1, 0, 1), (0, 1, 0, 0)):
        state, _ = VPCI.release(state, Function(*gone))
    _, added = VPCI.add(state, Newcomer(Function(0, 2, 5, 2), False))

    assert ["00.1", "00.0", "01.0", "02.0", "03.1", "03.2", "04.0", "05.3"] == seen
    assert 0o2 == added.address.devfn


def test_a_thirty_third_slot_is_not_there() -> None:
    state = VPCI.start()
    for bus in range(SLOTS):
        state, _ = VPCI.add(state, Newcomer(Function(0, bus, 0, 0), False))
    same, added = VPCI.add(state, Newcomer(Function(0, 99, 0, 0), False))

    assert (False, False, state) == (added.ok, added.here, same)


def test_passthrough_grows_and_uses_its_gaps() -> None:
    state = PASSTHROUGH.start()
    for slot in range(3):
        state, _ = PASSTHROUGH.add(state, Newcomer(Function(0, 0, slot, 0), False))
    state, _ = PASSTHROUGH.release(state, Function(0, 0, 1, 0))
    state, _ = PASSTHROUGH.add(state, Newcomer(Function(0, 9, 1, 0), False))

    assert [0, 9, 0] == [entry.at.bus for entry in state]
    assert (True, (0, 9, 8)) == PASSTHROUGH.find(state, Function(0, 9, 1, 0))


def test_a_root_is_published_once_and_only_where_there_is_room() -> None:
    roots = (RootBus(True, 0, 1), RootBus(False, 0, 0))
    more, is_new, _ = publish(roots, RootBus(True, 0, 2))

    assert (roots, False, False) == publish(roots, RootBus(True, 0, 1))
    assert ((RootBus(True, 0, 1), RootBus(True, 0, 2)), True) == (more, is_new)
    assert (more, False, True) == publish(more, RootBus(True, 5, 5))
