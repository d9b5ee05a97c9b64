# SPDX-License-Identifier: Apache-2.0
"""Small named differences against the reference.

A dialect is a handful of changes to rows. Published bugs, real implementations and our own mutants are all
dialects: one mechanism. A row is named by where it leads from and to, and by its own name where two share that. A
change that fits no row, or several, is an error, so that dialects do not rot when the table moves on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

from pvpci.model.kernel.records import Record
from pvpci.model.kernel.systems import Move, System
from pvpci.model.kernel.tables import Machine, Row, TableError
from pvpci.model.kernel.terms import Update, Var

Edit = Callable[[Machine], Machine]


@dataclass(frozen=True, eq=False)
class Dialect:
    """`edits` apply to the machine of the given name; `breaks` names the property that must fail, in which system."""

    id: str
    title: str  #: after the rule that is broken
    machine: str
    cite: str
    edits: tuple[Edit, ...]
    breaks: tuple[str, ...]
    system: str = ""  #: where the counterexample is looked for; any system with the machine if empty
    records: tuple[Record, ...] = ()  #: variables of its own
    moves: tuple[Move, ...] = ()
    ripples: Mapping[Var, tuple[Update, ...]] = field(default_factory=dict)  #: in place of the system's, by variable

    def machine_of(self, machine: Machine) -> Machine:
        changed = replace(machine, records=machine.records + self.records)
        for edit in self.edits:
            changed = edit(changed)
        return changed

    def system_of(self, system: System) -> System:
        """The system with its machine changed. Lemmas are kept: whether they still hold is part of the answer."""
        if self.machine not in {machine.name for machine in system.machines}:
            raise TableError(f"dialect {self.id} changes {self.machine}, which {system.name} does not contain")
        machines = tuple(self.machine_of(m) if m.name == self.machine else m for m in system.machines)
        ripples = {**system.ripples, **self.ripples}
        return replace(system, machines=machines, moves=system.moves + self.moves, ripples=ripples)


def change(key: str, **fields: Any) -> Edit:
    """Replace fields of the one row with this key (``COPIED->ASKED``, or ``COPIED->ASKED (name)``)."""

    def edit(machine: Machine) -> Machine:
        row = machine.row(key)
        values = {
            name: value(row) if callable(value) and not isinstance(value, type) else value
            for name, value in fields.items()
        }
        return machine.with_table(lambda one: replace(one, **values) if one is row else one)

    return edit


def drop(key: str) -> Edit:
    def edit(machine: Machine) -> Machine:
        row = machine.row(key)
        return machine.with_table(lambda one: None if one is row else one)

    return edit


def add(*rows: Row) -> Edit:
    return lambda machine: replace(machine, table=machine.table + rows)


def forget(*lemmas: str) -> Edit:
    """Lemmas that are no longer true of the dialect."""

    def edit(machine: Machine) -> Machine:
        if missing := set(lemmas) - set(machine.known):
            raise TableError(f"{machine.name} knows nothing called {', '.join(sorted(missing))}")
        return replace(machine, known={name: flag for name, flag in machine.known.items() if name not in lemmas})

    return edit


class _Named(Protocol):
    @property
    def id(self) -> str: ...


AnyDialect = TypeVar("AnyDialect", bound=_Named)


def by_id(dialects: Sequence[AnyDialect], name: str) -> AnyDialect:
    """The dialect with that identifier, whatever the case; KeyError if there is none."""
    for dialect in dialects:
        if dialect.id.lower() == name.lower():
            return dialect
    raise KeyError(name)
