# SPDX-License-Identifier: Apache-2.0
"""What a judge knows of the party that it judges: its tables, seen from the border.

The machines of one party share records, so they are one joint state. Memory that others write (a *cell*) is no part of
it: what was found there stands in each line. Of the world's part in an event (`offered`) only those conjuncts are
looked at that speak of the party's own variables; whether a doorbell was pending cannot be seen from here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Any, Final, cast

from pvpci.model import connection, interrupts, op
from pvpci.model.dialects import DIALECTS
from pvpci.model.kernel.compiled import attribute
from pvpci.model.kernel.dialects import Dialect, by_id
from pvpci.model.kernel.records import GO, Event
from pvpci.model.kernel.tables import Machine, Row
from pvpci.model.kernel.terms import Flag, Term, Var
from pvpci.model.kernel.visible import Visible, parameter, visible


@dataclass(frozen=True, eq=False)
class RowView:
    """One row as it looks from outside. `guard` has the conjuncts of the guard and of what the event's world owes."""

    machine: Machine
    row: Row
    border: Visible
    guard: tuple[Flag, ...]
    given: dict[str, Var]  #: by the names that lines use; so also the next two
    found: dict[str, Var]
    wrote: dict[str, Term]
    asks: tuple[tuple[str, dict[str, Term]], ...]
    updates: tuple[tuple[str, Term], ...]  #: of the party's own state: attribute and value
    place: int  #: where it starts
    next: int

    @property
    def hidden(self) -> bool:
        return self.border.hidden


def conjuncts(flag: Flag) -> Iterator[Flag]:
    if flag.op == "and":
        for part in flag.args:
            yield from conjuncts(part)  # type: ignore[arg-type]
    elif flag.op != "const" or not flag.number:
        yield flag


@dataclass(frozen=True)
class Part:
    """One machine of a subject."""

    machine: Machine
    attribute: str  #: of the state: where it is
    rows: dict[tuple[int, str], tuple[RowView, ...]]  #: by place and event
    ignored: frozenset[tuple[int, str]]
    events: dict[str, type[Event]]

    @property
    def places(self) -> tuple[Enum, ...]:
        return self.machine.places

    @cached_property
    def writes(self) -> frozenset[str]:
        """Attributes that its rows change, its place included."""
        found = {name for rows in self.rows.values() for view in rows for name, _ in view.updates}
        return frozenset(found | {self.attribute})

    @cached_property
    def hidden_writes(self) -> frozenset[str]:
        rows = [view for rows in self.rows.values() for view in rows if view.hidden]
        return frozenset(name for view in rows for name, _ in view.updates)


class Subject:
    """A party: machines over one state. `name` says which table it is: "reference" or a dialect.

    each: what runs once for each function of a guest, if anything does.
    """

    def __init__(self, name: str, machines: Sequence[Machine], each: Subject | None = None) -> None:
        self.name, self.party, self.each = name, machines[0].party, each
        owned = {
            var: attribute(var)
            for machine in machines
            for var in (machine.at.variable, *(v for record in machine.records for v in record.variables))
            if not var.cell and not var.ghost
        }
        self.variables: dict[Var, str] = owned
        self.by_attribute = {name: var for var, name in owned.items()}
        starts = {update.var: update.value.number for machine in machines for update in machine.start}
        self.start = {name: starts.get(var, 0) for var, name in owned.items()}
        self.parts = {machine.name: self._part(machine) for machine in machines}
        self.state_type: type[Any] = type("Candidate", (), {"__slots__": tuple(owned.values())})

    def _part(self, machine: Machine) -> Part:
        rows: dict[tuple[int, str], list[RowView]] = {}
        for row in machine.table:
            view = self._view(machine, row)
            rows.setdefault((view.place, view.border.event), []).append(view)
        place = {member: index for index, member in enumerate(machine.places)}
        ignored = frozenset((place[one.source], one.event.__name__) for one in machine.ignored)
        events: dict[str, type[Event]] = {event.__name__: event for event in [cast(type[Event], GO), *machine.events]}
        at = self.variables[machine.at.variable]
        return Part(machine, at, {pair: tuple(views) for pair, views in rows.items()}, ignored, events)

    def _view(self, machine: Machine, row: Row) -> RowView:
        border = visible(machine, row)
        known = set(self.variables) | set(row.event.parameters.values())
        world = [flag for flag in conjuncts(row.event.offered) if set(flag.variables()) <= known]
        places = machine.places
        return RowView(
            machine, row, border, (*world, *conjuncts(row.when)),
            {parameter(var): var for var in border.given},
            {var.name: var for var in border.found},
            {update.var.name: update.value for update in row.then if update.var.cell},
            tuple((ask.effect.name, dict(zip(ask.effect.parameters, ask.arguments, strict=True))) for ask in row.asks),
            tuple((self.variables[u.var], u.value) for u in row.then if u.var in self.variables),
            places.index(row.source), places.index(row.next),
        )  # fmt: skip

    def initial(self) -> Any:
        """A state at the start: an object with one integer attribute for each variable."""
        state = self.state_type()
        for name, value in self.start.items():
            setattr(state, name, value)
        return state

    def unknown(self) -> Any:
        """A state of which nothing is known: every attribute is None."""
        state = self.state_type()
        for name in self.start:
            setattr(state, name, None)
        return state


_GUESTS: Final = (connection.MACHINE, op.MACHINE)
_FUNCTIONS: Final = (interrupts.MACHINE,)
_JUDGED: Final = frozenset(machine.name for machine in (*_GUESTS, *_FUNCTIONS))


def reference() -> Subject:
    """The backend as it is proved."""
    return _backend("reference", lambda machine: machine)


def _backend(name: str, changed: Callable[[Machine], Machine]) -> Subject:
    return Subject(name, tuple(map(changed, _GUESTS)), Subject(name, tuple(map(changed, _FUNCTIONS))))


def dialect_names() -> list[str]:
    """Dialects of the machines that traces of a backend speak of."""
    return [one.id for one in DIALECTS if one.machine in _JUDGED]


def find_dialect(name: str) -> Dialect:
    """The dialect of the backend with that name; KeyError if there is none."""
    found = by_id(DIALECTS, name)
    if found.machine not in _JUDGED:
        raise KeyError(name)
    return found


def subject(name: str = "reference") -> Subject:
    """The reference, or the dialect of that name; KeyError if there is none."""
    if name == "reference":
        return reference()
    dialect = find_dialect(name)
    return _backend(
        dialect.id, lambda machine: dialect.machine_of(machine) if machine.name == dialect.machine else machine
    )
