# SPDX-License-Identifier: Apache-2.0
"""The same table as a machine of the `transitions` library, for whoever knows that library: in tests, in a notebook.

It is a shell around the guards and updates of the table, not a second description. Two differences to how the table
is read elsewhere are the library's: of two rows that are enabled the first wins silently, and an exception in a
callback leaves the new state in place. The first does not matter, for the lint shows that guards are disjoint; of
the second, that effects are carried out afterwards by somebody else.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, cast

from transitions import EventData
from transitions import Machine as Transitions

from pvpci.model.kernel.compiled import Group, source
from pvpci.model.kernel.records import GO
from pvpci.model.kernel.tables import Machine, Row
from pvpci.model.kernel.terms import Var
from pvpci.model.kernel.visible import parameter


class Model:
    """What the library attaches its triggers to. `state` is the place, `values` the variables, `asked` what was asked last."""

    state: Enum

    def __init__(self, values: Any) -> None:
        self.values = values
        self.asked: list[tuple[str, tuple[int, ...]]] = []


def trigger(event: type) -> str:
    """The method that delivers an event: its name in lower case."""
    return "go" if event is GO else event.__name__.lower()


def reading(machine: Machine, group: Group, values: Any) -> Model:
    """A model with one trigger for each event. Parameters are given by keyword; a refused trigger returns False."""
    model = Model(values)
    shell = Transitions(
        model, states=list(machine.places), initial=machine.places[getattr(values, group.names[machine.at.variable])],
        auto_transitions=False, send_event=True, ignore_invalid_triggers=True,
    )  # fmt: skip
    for row in machine.table:
        guard, step = _guard(row, group), _step(machine, row, group)
        shell.add_transition(trigger(row.event), row.source, row.next, conditions=[guard], before=[step])
    return model


def _expression(text: str) -> Callable[[Any, dict[str, int]], Any]:
    return eval(f"lambda s, p: {text}")  # type: ignore[no-any-return]


def _namer(row: Row, group: Group) -> Callable[[Var], str]:
    inputs = {var: f"p['{parameter(var)}']" for var in row.event.parameters.values()}
    return lambda var: inputs.get(var) or f"s.{group.names[var]}"


def _guard(row: Row, group: Group) -> Callable[[EventData], bool]:
    holds = _expression(source(row.when, _namer(row, group)))
    return lambda data: bool(holds(cast(Model, data.model).values, data.kwargs))


def _step(machine: Machine, row: Row, group: Group) -> Callable[[EventData], None]:
    name = _namer(row, group)
    updates = [(group.names[u.var], _expression(source(u.value, name))) for u in row.then]
    asks = [(ask.effect.name, [_expression(source(a, name)) for a in ask.arguments]) for ask in row.asks]
    here = group.names[machine.at.variable]

    def step(data: EventData) -> None:
        model, given = cast(Model, data.model), data.kwargs
        values = model.values
        model.asked = [(effect, tuple(int(a(values, given)) for a in arguments)) for effect, arguments in asks]
        changed = [(variable, value(values, given)) for variable, value in updates]
        for variable, value in changed:
            setattr(values, variable, value)
        setattr(values, here, machine.places.index(row.next))

    return step
