# SPDX-License-Identifier: Apache-2.0
"""A machine is a table: what leads from where to where, on what, when, and why we believe so.

What the rows of one place and event may look at follows from how the table runs (``impl.loop``): the loop loads
*one* piece of shared memory, the cell, and chooses among the rows with that one value. So

* a row touches at most one cell, and all rows of a place and event the same one;
* a row that reads and writes a cell says how that is one step: ``LOCKED`` (a locked read-modify-write of a word) or
  ``TRANSACTION`` (of the store);
* a ``COPY`` takes the contents of a cell into a record of ours, and no guard of such a row may look at them: what is
  copied is judged afterwards, when it cannot change any more.

These are errors when the machine is built, not when it runs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Any

from pvpci.model.kernel.records import Ask, Event, Record
from pvpci.model.kernel.terms import NEVER, Choice, Flag, Update, Var, any_of


class TableError(ValueError):
    """A table that cannot be run as it is written."""


class Access(Enum):
    """How a row touches shared memory."""

    NONE = auto()
    READ = auto()
    WRITE = auto()
    LOCKED = auto()
    COPY = auto()
    TRANSACTION = auto()


@dataclass(frozen=True, eq=False)
class Row:
    """At `source`, on `event`, when `when` holds: do the updates, ask for the effects, go to `next`. `cite` says who says so."""

    source: Enum
    event: type[Event]
    when: Flag
    then: tuple[Update, ...]
    asks: tuple[Ask, ...]
    next: Enum
    cite: str
    access: Access | None = None  #: only where it does not follow: LOCKED, COPY, TRANSACTION
    name: str = ""  #: told apart by name where two rows lead from and to the same places

    @property
    def key(self) -> str:
        return f"{self.source.name}->{self.next.name}" + (f" ({self.name})" if self.name else "")

    @property
    def reads(self) -> set[Var]:
        found = set(self.when.variables())
        for update in self.then:
            found.update(update.value.variables())
        for ask in self.asks:
            for argument in ask.arguments:
                found.update(argument.variables())
        return found

    @property
    def writes(self) -> set[Var]:
        return {update.var for update in self.then}


@dataclass(frozen=True, eq=False)
class Otherwise:
    """The row for "none of the other guards of this place and event": its guard is computed, complements go wrong by hand."""

    source: Enum
    event: type[Event]
    then: tuple[Update, ...]
    asks: tuple[Ask, ...]
    next: Enum
    cite: str
    access: Access | None = None
    name: str = ""

    def row(self, others: Iterable[Row]) -> Row:
        guards = [row.when for row in others if row.source is self.source and row.event is self.event]
        when = ~any_of(guards) if guards else ~NEVER
        return Row(self.source, self.event, when, self.then, self.asks, self.next, self.cite, self.access, self.name)


@dataclass(frozen=True)
class Ignored:
    """A pair of place and event that changes nothing, on purpose."""

    source: Enum
    event: type[Event]
    reason: str


@dataclass(frozen=True, eq=False)
class Machine:
    """One table with all that belongs to it. See `pvpci.model.op` for how a machine's file is laid out."""

    name: str
    party: str  #: who takes these steps
    at: Choice[Any]
    table: tuple[Row, ...]
    records: tuple[Record, ...] = ()
    notes: Mapping[Any, tuple[Update, ...]] = field(
        default_factory=dict
    )  #: ghost updates, by the place that is entered
    known: Mapping[str, Flag] = field(default_factory=dict)  #: the proof outline: what holds whenever, by name
    ignored: tuple[Ignored, ...] = ()
    start: tuple[Update, ...] = ()  #: initial values that are not 0, false or the first member
    resting: frozenset[Enum] = frozenset()  #: places where no step of our own is due
    doc: str = ""

    def __post_init__(self) -> None:
        for row in self.table:
            _check_row(self, row)
        names = [row.key for row in self.table]
        if twice := {name for name in names if names.count(name) > 1}:
            raise TableError(f"{self.name}: rows that need a name to be told apart: {', '.join(sorted(twice))}")
        for pair in self.pairs:
            self.cell(*pair)

    @property
    def places(self) -> tuple[Enum, ...]:
        return self.at.sort.members

    @property
    def events(self) -> tuple[type[Event], ...]:
        return tuple(dict.fromkeys(row.event for row in self.table))

    @property
    def pairs(self) -> dict[tuple[Enum, type[Event]], tuple[Row, ...]]:
        """The rows by place and event, in the order of the table."""
        found: dict[tuple[Enum, type[Event]], list[Row]] = defaultdict(list)
        for row in self.table:
            found[row.source, row.event].append(row)
        return {pair: tuple(rows) for pair, rows in found.items()}

    def cell(self, source: Enum, event: type[Event]) -> str:
        """The cell that the rows of this pair look at; empty if they look at none."""
        cells = {cell for row in self.table if row.source is source and row.event is event for cell in cells_of(row)}
        if len(cells) > 1:
            raise TableError(
                f"{self.name}: the rows at {source.name} on {event.__name__} touch several cells: {sorted(cells)}"
            )
        return cells.pop() if cells else ""

    def row(self, key: str) -> Row:
        found = [row for row in self.table if row.key == key]
        if len(found) != 1:
            raise TableError(f"{self.name} has no row {key}; it has {', '.join(row.key for row in self.table)}")
        return found[0]

    def with_table(self, change: Callable[[Row], Row | None]) -> Machine:
        """The machine with each row replaced by what `change` makes of it (None drops it)."""
        return replace(self, table=tuple(new for row in self.table if (new := change(row)) is not None))


def table(*rows: Row | Otherwise) -> tuple[Row, ...]:
    """Rows with every `Otherwise` resolved against its neighbours."""
    plain = [row for row in rows if isinstance(row, Row)]
    return tuple(row.row(plain) if isinstance(row, Otherwise) else row for row in rows)


def cells_of(row: Row) -> set[str]:
    return {var.cell for var in row.reads | row.writes if var.cell}


def access_of(row: Row) -> Access:
    """How the row touches its cell: as it says, or as follows from what it reads and writes."""
    if row.access is not None:
        return row.access
    if any(var.cell for var in row.writes):
        return Access.WRITE
    return Access.READ if any(var.cell for var in row.reads) else Access.NONE


def _check_row(machine: Machine, row: Row) -> None:
    where = f"{machine.name}, {row.key}"
    if not isinstance(row.when, Flag):
        raise TableError(f"{where}: the guard is {row.when!r}, not a term; compare variables, not places")
    if not row.cite:
        raise TableError(f"{where}: cites nothing")
    if row.source not in machine.places or row.next not in machine.places:
        raise TableError(f"{where}: is not between places of {machine.at!r}")
    if len(cells_of(row)) > 1:
        raise TableError(f"{where}: touches several cells in one step: {sorted(cells_of(row))}")
    if ghosts := sorted(var.name for var in row.reads | row.writes if var.ghost):
        raise TableError(f"{where}: uses what is for the proofs only: {', '.join(ghosts)}")
    reads, writes = {v for v in row.reads if v.cell}, {v for v in row.writes if v.cell}
    if reads and writes and row.access not in (Access.LOCKED, Access.TRANSACTION):
        raise TableError(f"{where}: reads and writes {sorted(cells_of(row))}, but is neither LOCKED nor a TRANSACTION")
    if row.access is Access.COPY and any(var.cell for var in row.when.variables()):
        raise TableError(f"{where}: decides on what it copies")
    seen: set[Var] = set()
    for update in row.then:
        if update.var in seen:
            raise TableError(f"{where}: gives {update.var.name} two values")
        seen.add(update.var)
    for var in row.reads:
        owner = var.name.split(".")[0]
        if var.primed is not None:
            raise TableError(f"{where}: looks at a value after the step: {var.name}")
        if owner not in {r.record_name for r in machine.records} and var not in row.event.parameters.values():
            raise TableError(
                f"{where}: {var.name} belongs neither to the machine's records nor to {row.event.__name__}"
            )
