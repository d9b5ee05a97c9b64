# SPDX-License-Identifier: Apache-2.0
"""Random programs of a guest, and of a host that resets and changes the function behind it, against every property."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.config_checks import CHECKS
from tests.config_programs import BAR_OFFSETS, WORLDS, Op, make, random_program, run
from tests.config_registers import identity

from pvpci.model.config.fields import lanes
from pvpci.model.config.view import ConfigView

requests = st.tuples(
    st.sampled_from("rw"),
    st.one_of(
        st.integers(0, 0x53), st.sampled_from((0x04, *BAR_OFFSETS)), st.integers(-8, 4104), st.integers(-(2**31), 2**31)
    ),
    st.one_of(st.sampled_from((1, 2, 4)), st.integers(-1, 9)),
    st.one_of(st.integers(0, 0xFFFFFFFF), st.integers(0, 0x7FF), st.sampled_from((0xFFFFFFFF, 0xFFFFFFF0, 0xFFFFF800))),
)
others = st.one_of(st.tuples(st.just("host"), st.integers(0, 4), st.just(0), st.just(0)), st.just(("guest", 0, 0, 0)))
programs = st.lists(st.one_of(requests, requests, requests, others), max_size=25)


@pytest.mark.parametrize("world", WORLDS)
@settings(max_examples=60, deadline=None)
@given(program=programs)
def test_all_properties_hold_in_every_step(world: str, program: list[Op]) -> None:
    for step in run(world, program):
        broken = [name for name, holds in CHECKS.items() if not holds(step)]

        assert [] == broken, step


@pytest.mark.parametrize("world", WORLDS)
def test_all_properties_hold_in_long_programs(world: str) -> None:
    for seed in range(30):
        for step in run(world, random_program(Random(seed), 100)):
            broken = [name for name, holds in CHECKS.items() if not holds(step)]

            assert [] == broken, (seed, step)


@pytest.mark.parametrize("world", WORLDS)
def test_c07_a_request_meets_only_fields_of_its_dword(world: str) -> None:
    registers = WORLDS[world]()
    table = make(identity(registers)).table
    for size in (1, 2, 4):
        for offset in range(0, 256, size):
            met = table.covering(offset, lanes(offset, size))
            expected = [r for r in table.rows if r.offset < offset + size and offset < r.offset + r.width]

            assert expected == list(met)
            assert all(row.offset >> 2 == (row.offset + row.width - 1) >> 2 == offset >> 2 for row in met)


def test_a_bus_scan_and_a_driver_leave_what_they_should() -> None:
    """What Linux does to a new function: look, size every BAR, enable, become master; and take it all back."""
    registers = WORLDS["golden"]()
    view = ConfigView(identity(registers))
    registers.poke(0x04, 2, 0x0400)
    sizes = []
    for offset in BAR_OFFSETS:
        address = view.read(offset, 4, registers).value
        view.write(offset, 4, 0xFFFFF800 if offset == 0x30 else 0xFFFFFFFF, registers)
        sizes.append(view.read(offset, 4, registers).value)
        view.write(offset, 4, address, registers)
        assert address == view.read(offset, 4, registers).value

    assert [0xFFFE0000, 0xFFF80000, 0xFFFFFFE1, 0xF000000C, 0xFFFFFFFF, 0, 0xFFFC0000] == sizes
    assert [] == registers.writes
    for value in (0x0003, 0x0007):
        view.write(0x04, 2, view.read(0x04, 2, registers).value | value, registers)
    assert (0x0007, 0x40) == (registers.peek(0x04, 2), registers.peek(0x0D, 1))
    view.write(0x04, 2, 0, registers)
    assert (0x0003, 0x0000) == (registers.peek(0x04, 2), view.read(0x04, 2, registers).value)
