# SPDX-License-Identifier: Apache-2.0
"""What of a step can be seen from outside, and what it looks like in a record.

Of every row it follows from the table what crosses the machine's border when it is taken: the event with its
parameters, what was found in the cell that was looked at, what was written there, and which effects were asked for
with which arguments. That, and neither places nor rows, is what a trace records: a record must not contain the
judgement that is passed on it. Rows at which nothing crosses the border are hidden steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from pvpci.model.kernel.compiled import attribute
from pvpci.model.kernel.records import GO
from pvpci.model.kernel.tables import Access, Machine, Row, access_of
from pvpci.model.kernel.terms import Sort, Var


@dataclass(frozen=True)
class Visible:
    """The border of one row. The values of a record stand in the order `given`, `found`, `wrote`, then each ask's arguments."""

    machine: str
    event: str  #: name of the event; "GO" if the machine moved by itself
    given: tuple[Var, ...]  #: the event's parameters
    found: tuple[Var, ...]  #: what was loaded from the cell: the same for all rows of a place and event
    wrote: tuple[Var, ...]
    asks: tuple[tuple[str, tuple[str, ...]], ...]  #: effects by name, with the names of their arguments
    access: Access
    sorts: tuple[Sort, ...] = ()  #: of the arguments, one effect's after the other's

    @property
    def hidden(self) -> bool:
        return self.event == "GO" and not (self.found or self.wrote or self.asks)

    @property
    def kind(self) -> str:
        """A word for people: the event, or the effect, or how the cell was touched."""
        if self.event != "GO":
            return self.event.lower()
        if self.asks:
            return self.asks[0][0]
        if self.access is Access.LOCKED:
            return "clear"
        if self.wrote and not self.found:
            return "store"
        cell = (*self.found, *self.wrote)[0].cell if self.found or self.wrote else "hidden"
        return {"store": "look"}.get(cell, cell)

    @property
    def shape(self) -> tuple[object, ...]:
        """Two rows with one shape cannot be told apart by what is named in the record, only by the values."""
        return (
            self.machine, self.event, tuple(v.name for v in self.given), tuple(v.name for v in self.found),
            tuple(v.name for v in self.wrote), self.asks,
        )  # fmt: skip


def loaded(machine: Machine, row: Row) -> tuple[Var, ...]:
    """What the loop loads before it chooses among the rows of this row's place and event, in a stable order.

    Nothing, if those rows only write. Otherwise every variable of the cell's record: a load is of the whole cell.
    """
    cell = machine.cell(row.source, row.event)
    rows = machine.pairs[row.source, row.event]
    if not cell or not any(var.cell for one in rows for var in one.reads):
        return ()
    return tuple(var for record in machine.records for var in record.variables if var.cell == cell)


@lru_cache(maxsize=4096)
def visible(machine: Machine, row: Row) -> Visible:
    """Remembered, because a machine of each function runs, and each asks for all rows."""
    given = () if row.event is GO else tuple(row.event.parameters.values())
    asks = tuple((ask.effect.name, tuple(ask.effect.parameters)) for ask in row.asks)
    wrote = tuple(update.var for update in row.then if update.var.cell)
    sorts = tuple(argument.sort for ask in row.asks for argument in ask.arguments)
    return Visible(machine.name, row.event.__name__, given, loaded(machine, row), wrote, asks, access_of(row), sorts)


def parameter(var: Var) -> str:
    """The name of an event's parameter, without the event's."""
    return attribute(var).split("_", 1)[1]
