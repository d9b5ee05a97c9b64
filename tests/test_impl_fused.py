# SPDX-License-Identifier: Apache-2.0
"""The hot path does what the engine does, access by access."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvpci.impl.engine import Engine, Result, Unmatched
from pvpci.impl.fused import fuse
from pvpci.model import op
from pvpci.model.kernel.compiled import group
from pvpci.model.kernel.records import Event
from pvpci.model.kernel.tables import Row
from pvpci.model.kernel.visible import Visible

GROUP = group([op.MACHINE])


class World:
    """A guest that does anything: what is found at each look comes from a script, what is done is written down."""

    def __init__(self, script: list[int]) -> None:
        self.script, self.log, self.recorded = iter(script), list[object](), list[object]()

    def next(self) -> int:
        return next(self.script, 0)

    def step(self, border: Visible, values: tuple[int, ...]) -> None:
        self.recorded.append((border.shape, tuple(map(int, values))))

    def append(self, line: tuple[int, Visible, tuple[int, ...]]) -> None:
        self.step(line[1], line[2])

    def handler(self, name: str) -> Callable[..., Result | None]:
        def call(*arguments: int) -> Result | None:
            self.log.append((name, tuple(map(int, arguments))))
            match name:
                case "seek":
                    return op.Found, (self.next() & 1, self.next() & 1)
                case "perform":
                    return op.Done, ((0, 0xFFFFFFFB)[self.next() & 1], self.next())
                case "ask_clock":
                    return op.Clock, (int(self.next() == 7),)
            return None

        return call

    @property
    def handlers(self) -> dict[str, Callable[..., Result | None]]:
        names = ("seek", "perform", "ask_clock", "hand_out", "notify", "unmask", "wait")
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
    script: list[int], events: list[type[Event]], *, fused: bool
) -> tuple[dict[str, int], list[object], list[object]]:
    world = World(script)
    cells = {"flags": Flags(world), "request": Request(world)}
    engine = Engine(GROUP, world.handlers, cells, world)
    state = engine.state
    state.link_mapped = state.link_bound = 1
    hot = fuse(GROUP, op.MACHINE, state, world.handlers, cells, world.append, lambda: 0)
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
)
def test_the_fused_table_and_the_engine_do_the_same(script: list[int], events: list[type[Event]]) -> None:
    assert run(script, events, fused=True) == run(script, events, fused=False)


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
