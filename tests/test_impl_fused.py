# SPDX-License-Identifier: Apache-2.0
"""The hot path does what the engine does, access by access."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fake_host import FakeChannel, FakeFunction, FakeHost, FakePage, interrupts_of

from pvpci.impl.cells import FlagsCell, RequestCell
from pvpci.impl.engine import Cell, Engine, FunctionWatcher, Result, Unmatched
from pvpci.impl.fused import fuse
from pvpci.impl.host import HostError
from pvpci.impl.log import Level, Log
from pvpci.impl.requests import LATE_NS, OFTEN, Requests
from pvpci.impl.topology import Attached, Topology
from pvpci.model import op, wire
from pvpci.model.config.identity import survey
from pvpci.model.config.view import ConfigView
from pvpci.model.kernel.compiled import group
from pvpci.model.kernel.records import Event
from pvpci.model.kernel.tables import Row, TableError
from pvpci.model.kernel.visible import Visible
from pvpci.traces.recorder import Run

GROUP = group([op.MACHINE])


class World:
    """A guest that does anything: what is found at each look comes from a script, what is done is written down."""

    def __init__(self, script: list[int]) -> None:
        self.script, self.log, self.recorded = iter(script), list[object](), list[object]()

    def next(self) -> int:
        return next(self.script, 0)

    def step(self, border: Visible, values: tuple[int, ...]) -> None:
        self.recorded.append((border.shape, tuple(map(int, values))))

    def append(self, entry: tuple[int, Run, tuple[Any, ...]]) -> None:
        for border, values in entry[1].each(entry[2]):
            self.step(border, values)

    def handler(self, name: str) -> Callable[..., Result | None]:
        def call(*arguments: int) -> Result | None:
            self.log.append((name, tuple(map(int, arguments))))
            match name:
                case "seek":
                    return op.Found, (self.next() & 1, self.next() & 1)
                case "perform" | "perform_block":
                    return op.Done, ((0, 0xFFFFFFFB)[self.next() & 1], self.next())
                case "ask_clock":
                    return op.Clock, (int(self.next() == 7),)
            return None

        return call

    @property
    def handlers(self) -> dict[str, Callable[..., Result | None]]:
        names = ("seek", "perform", "perform_block", "ask_clock", "hand_out", "notify", "unmask", "wait", "undo")
        return {name: self.handler(name) for name in names}


class Flags:
    def __init__(self, world: World) -> None:
        self.world = world

    def load(self, state: Any) -> None:
        word = self.world.next()
        self.world.log.append(("flags", word))
        state.flags_active, state.flags_handler, state.flags_aer = int(word % 4 > 0), word >> 1 & 1, word >> 2 & 1

    def carry_out(self, state: Any, row: Row) -> bool:
        self.world.log.append(("carry", row.key))
        return True

    def leave(self) -> bool:
        """Nothing to give back."""
        return True


class Request(Flags):
    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.last = (0,) * 9

    def load(self, state: Any) -> None:
        pick = self.world.next()
        if pick % 3 == 0:
            self.last = (pick % 11, 0, 0, 0, 8 * (pick % 2), (0, 4, 4096, 0xFFFFFFFC)[pick % 4], 1 << pick % 4, pick, 0)
        self.world.log.append(("request", self.last))
        (
            state.page_cmd, state.page_err, state.page_domain, state.page_bus, state.page_devfn,
            state.page_offset, state.page_size, state.page_value, state.page_info,
        ) = self.last  # fmt: skip


def run(
    script: list[int], events: list[type[Event]], *, fused: bool, often: Sequence[str] = (), multi_msi: bool = False
) -> tuple[dict[str, int], list[object], list[object]]:
    world = World(script)
    cells = {"flags": Flags(world), "request": Request(world)}
    engine = Engine(GROUP, world.handlers, cells, world)
    state = engine.state
    state.link_mapped = state.link_bound = 1
    state.allowed_multi_msi = int(multi_msi)
    hot = fuse(GROUP, op.MACHINE, state, world.handlers, cells, world.append, lambda: 0, often=often)
    for event in events:
        if (state.my_at, event) not in hot:
            continue
        if fused:
            hot[state.my_at, event]()
        else:
            engine.deliver("op", event)
    return {name: int(getattr(state, name)) for name in GROUP.names.values()}, world.log, world.recorded


@given(
    script=st.lists(st.integers(0, 200), max_size=120),
    events=st.lists(st.sampled_from([op.Rang, op.Turn, op.Elapsed, op.Cut]), max_size=12),
    multi_msi=st.booleans(),
)
def test_the_fused_table_and_the_engine_do_the_same(
    script: list[int], events: list[type[Event]], multi_msi: bool
) -> None:
    expected = run(script, events, fused=False, multi_msi=multi_msi)

    assert expected == run(script, events, fused=True, multi_msi=multi_msi)
    assert expected == run(script, events, fused=True, often=OFTEN, multi_msi=multi_msi)


class Guest:
    """The real cells and effects over a page, a port and a function that write down what happens to them, in one list.

    The guest changes the page, as the script says, ahead of any of our accesses.
    """

    def __init__(self, script: list[int], *, fused: bool) -> None:
        self.script, self.recorded, self.log = iter(script), list[object](), list[object]()
        self.now, self.page, self.channel = 0, FakePage(), Bell(self)
        self.page.accesses = cast("list[str]", Watched(self))
        self.function = FakeFunction(FakeHost(), "edu")
        topology = Topology()
        other = FakeFunction(FakeHost(), "rtl8139")  # in slot 0, so that ours is in slot 1
        for function, hardware in ((other, other), (self.function, self)):
            address = topology.place(function.bdf, False)
            interrupts = interrupts_of(FakeHost(), function)
            topology.add(Attached(function, ConfigView(survey(function)), hardware, address, interrupts))
        topology.remove(next(iter(topology.attached)))
        self.text = io.StringIO()
        log = Log(self.text, level=Level.DEBUG, colour=False, clock=lambda: 0.0, wall=lambda: 0.0)
        self.requests = Requests("7/0", topology, log, self, self.clock)
        flags, request = FlagsCell(), RequestCell()
        self.requests.page = flags.page = request.page = self.page
        self.requests.channel, self.requests.vectors = self.channel, (1, 2)
        cells: dict[str, Cell] = {"flags": flags, "request": request}
        handlers = self.requests.handlers
        self.engine = Engine(GROUP, handlers, cells, self)
        self.state = self.engine.state
        self.state.link_mapped = self.state.link_bound = 1
        self.hot = fuse(
            GROUP, op.MACHINE, self.state, handlers, cells, self.append, self.clock, self.requests, OFTEN
        )  # fmt: skip
        self.fused = fused

    def clock(self) -> int:
        return self.now

    def step(self, border: Visible, values: tuple[int, ...]) -> None:
        self.recorded.append((border.shape, tuple(map(int, values))))

    def vectors(self, numbers: Sequence[int]) -> None:
        self.recorded.append(("vectors", tuple(numbers)))

    def of(self, function: str) -> FunctionWatcher:
        raise AssertionError(f"nothing is attached to {function} here")

    def append(self, entry: tuple[int, Run, tuple[Any, ...]]) -> None:
        for border, values in entry[1].each(entry[2]):
            self.step(border, values)

    def happen(self, what: object) -> None:
        """Something of ours is about to happen; the guest may be faster."""
        self.log.append(what)
        pick = next(self.script, 0)
        if pick < 100:
            return
        places = (0, 0, 4, 8, 16, 20, 24, 28, 32)
        at = places[pick % len(places)]
        self.page.data[at] = (pick - 100) // len(places)

    def read(self, offset: int, size: int) -> int:
        self.happen(("read", offset, size))
        self.slow()
        return self.function.read(offset, size)

    def write(self, offset: int, size: int, value: int) -> None:
        self.happen(("write", offset, size, value))
        self.slow()
        self.function.write(offset, size, value)

    def slow(self) -> None:
        pick = next(self.script, 0)
        self.now += LATE_NS + 1 if pick == 7 else 1000
        self.function.broken = pick == 8

    def deliver(self, event: type[Event], header: tuple[int, ...]) -> None:
        self.page.data[0] |= 1
        self.page.data[4:40] = wire.OP_WORDS.pack(*header)
        if (self.state.my_at, event) in self.hot:
            if self.fused:
                self.hot[self.state.my_at, event]()
            else:
                self.engine.deliver("op", event)

    def told(self) -> tuple[object, ...]:
        state = {
            name: int(getattr(self.state, name))
            for name in GROUP.names.values()
            if not name.startswith(("flags_", "page_"))
        }
        return state, self.log, self.recorded, bytes(self.page.data), self.requests.served, self.text.getvalue()


class Watched(list[str]):
    """The accesses of a page, where the guest is told of each."""

    def __init__(self, guest: Guest) -> None:
        super().__init__()
        self.guest = guest

    def append(self, what: str) -> None:
        self.guest.happen(what)


class Bell(FakeChannel):
    def __init__(self, guest: Guest) -> None:
        super().__init__()
        self.guest = guest

    def notify(self) -> None:
        self.guest.happen("notify")
        if next(self.guest.script, 0) == 9:
            raise HostError("gone")

    def unmask(self) -> None:
        self.guest.happen("unmask")


HEADERS = st.tuples(
    st.sampled_from([0, 0, 0, 1, 2, 4, 9]), st.just(0), st.sampled_from([0, 0, 0, 1]), st.just(0),
    st.sampled_from([8, 8, 8, 0]), st.sampled_from([0, 4, 16, 0x3C, 0x40, 254, 4096]), st.sampled_from([4, 4, 4, 1, 2, 3]),
    st.sampled_from([0, 0x11E81234, 6, 0xFFFFFFFF]), st.just(0),
)  # fmt: skip


@given(
    script=st.lists(st.integers(0, 160), max_size=60),
    turns=st.lists(st.tuples(st.sampled_from([op.Rang, op.Rang, op.Turn, op.Elapsed]), HEADERS), max_size=6),
)
def test_with_real_cells_and_effects_it_is_the_same_access_by_access(
    script: list[int], turns: list[tuple[type[Event], tuple[int, ...]]]
) -> None:
    plain, fused = Guest(script, fused=False), Guest(script, fused=True)
    for event, header in turns:
        plain.deliver(event, header)
        fused.deliver(event, header)

    assert plain.told() == fused.told()


def test_a_served_request_is_recorded_step_for_step() -> None:
    script = [1, 0, 1, 0, 0, 5, 0, 1, 1, 0, 0]

    _, log, recorded = run(script, [op.Rang], fused=True)

    assert ("notify", ()) in log
    assert 10 < len(recorded)


def test_a_place_without_a_row_is_a_fault_not_silence() -> None:
    table = tuple(row for row in op.TABLE if not (row.source is op.At.TAKEN and row.next is op.At.NOTHING))
    broken = op.MACHINE.with_table(lambda row: row if row in table else None)
    made = group([broken])
    world = World([0])
    cells = {"flags": Flags(world), "request": Request(world)}
    state = made.state()
    hot = fuse(made, broken, state, world.handlers, cells, world.append, lambda: 0)

    with pytest.raises(Unmatched, match="TAKEN"):
        hot[0, op.Rang]()


def test_what_happened_before_an_effect_fails_is_recorded() -> None:
    world = World([1, 0, 1, 0])
    cells = {"flags": Flags(world), "request": Request(world)}
    handlers = world.handlers

    def fails(*_: int) -> Result:
        raise RuntimeError("broken")

    state = GROUP.state()
    state.link_mapped = state.link_bound = 1
    hot = fuse(GROUP, op.MACHINE, state, handlers | {"perform": fails}, cells, world.append, lambda: 0, often=OFTEN)
    with pytest.raises(RuntimeError):
        hot[0, op.Rang]()

    assert "perform" in str(world.recorded[-1])


def test_a_row_that_is_not_there_is_not_taken_often() -> None:
    world = World([])
    with pytest.raises(TableError, match="has no row IDLE->LEFT"):
        fuse(GROUP, op.MACHINE, GROUP.state(), world.handlers, {}, world.append, lambda: 0, often=["IDLE->LEFT"])
