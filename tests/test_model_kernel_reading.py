# SPDX-License-Identifier: Apache-2.0
"""Three readings of one table, side by side: compiled steps, `transitions`, and the fused hot path."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvpci.model import connection, frontend, issue, op, toolstack
from pvpci.model.kernel.compiled import Group, attribute, group
from pvpci.model.kernel.reading import reading, trigger
from pvpci.model.kernel.tables import Machine
from pvpci.model.kernel.terms import Var
from pvpci.model.kernel.visible import parameter

MACHINES = (op.MACHINE, connection.MACHINE, frontend.IMPATIENT, toolstack.IMPATIENT, issue.IMPATIENT)
WORDS = (0, 1, 2, 3, 4, 9, 128, 129, 252, 4095, 4096, 0xFFFFFFFB, 0xFFFFFFFC, 0xFFFFFFFF)


def value(var: Var) -> st.SearchStrategy[int]:
    if var.sort.size <= 32:
        return st.integers(0, var.sort.size - 1)
    return st.sampled_from(WORDS) | st.integers(0, (1 << var.sort.width) - 1)


def filled(made: Group, data: st.DataObject) -> tuple[Any, Any]:
    """Two states alike, every variable at random."""
    one, two = made.state(), made.state()
    for var, name in made.names.items():
        number = data.draw(value(var), label=name)
        setattr(one, name, number)
        setattr(two, name, number)
    return one, two


def snapshot(made: Group, state: Any) -> dict[str, int]:
    return {name: int(getattr(state, name)) for name in made.names.values()}


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)
@given(data=st.data())
def test_transitions_and_compiled_steps_agree_on_every_cell(machine: Machine, data: st.DataObject) -> None:
    made = group([machine])
    stepper = made.steppers[machine.name]
    place, event = data.draw(st.sampled_from(sorted(machine.pairs, key=str)))
    one, two = filled(made, data)
    for state in (one, two):
        setattr(state, attribute(machine.at.variable), machine.places.index(place))
    parameters = {parameter(var): data.draw(value(var)) for var in event.parameters.values()}
    before = snapshot(made, one)

    step = stepper.steps[machine.places.index(place), event]
    index, asked = step.choose(one, *parameters.values())
    model = reading(machine, made, two)
    taken = getattr(model, trigger(event))(**parameters)

    assert taken is (index >= 0)
    assert snapshot(made, two) == snapshot(made, one)
    if index < 0:
        assert snapshot(made, one) == before
    else:
        row = step.rows[index]
        assert model.state is row.next
        assert model.asked == [(ask.effect.name, tuple(map(int, a))) for ask, a in zip(row.asks, asked, strict=True)]


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)
def test_a_pair_without_rows_is_refused_and_changes_nothing(machine: Machine) -> None:
    made = group([machine])
    for place in machine.places:
        for event in machine.events:
            if (place, event) in machine.pairs:
                continue
            state = made.state()
            setattr(state, attribute(machine.at.variable), machine.places.index(place))
            before = snapshot(made, state)
            model = reading(machine, made, state)

            assert getattr(model, trigger(event))(**{parameter(v): 0 for v in event.parameters.values()}) is False
            assert snapshot(made, state) == before
