# SPDX-License-Identifier: Apache-2.0
"""The effect loop: a table, a state, and somebody who carries out what it asks for.

A step is always the same. If the rows of this place and event look at a cell of shared memory, the cell is loaded,
once. The compiled table chooses a row with what was found and changes the state. What the row writes is carried out
in the way the row says (a store, a locked change, a transaction; a transaction that somebody overtook is taken back
and the step begins again). The step is recorded. Only then are its effects asked for, and the result of an effect
is the next event. So the order of accesses that was proved is the order that happens, and nothing here decides
anything.

A transaction may be overtaken again and again by somebody who writes without pause. Then the step is not taken (`Overtaken`):
the machine stays where it was, and whoever drives it tries again when others had their turn.

An event for which there is no row is our own fault, never a guest's: the machine would not have been complete. It
stops service of that guest (`Unmatched`), as does a property that the monitor finds broken (`Broken`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from operator import attrgetter
from typing import Any, Final, Protocol

from pvpci.model.kernel.compiled import Group, Step, Stepper, attribute
from pvpci.model.kernel.records import GO, Event
from pvpci.model.kernel.tables import Row
from pvpci.model.kernel.visible import Visible, visible

Result = tuple[type[Event], tuple[int, ...]]
Handler = Callable[..., Result | None]

ATTEMPTS: Final = 4  #: transactions for one step before others get their turn


class Fault(Exception):
    """The machine and the world do not fit together: service of this guest ends."""


class Unmatched(Fault):
    """An event came for which the table has no row."""


class Broken(Fault):
    """The monitor found a property of the protocol notes broken."""


class Overtaken(Exception):
    """Somebody changed what was looked at, at every attempt. Nothing has happened; take the same step later."""


class Cell(Protocol):
    """One piece of shared memory. Its variables live in the state under their own names."""

    def load(self, state: Any) -> None:
        """Put what is there now into the state."""
        ...

    def carry_out(self, state: Any, row: Row) -> bool:
        """Write what `row` has written into the state. False: overtaken, nothing was written."""
        ...

    def leave(self) -> bool:
        """The cell was loaded and nothing is to be written. False: what was loaded did not belong together."""
        ...


class Listener(Protocol):
    """Whoever wants to know of each step."""

    def step(self, visible: Visible, values: tuple[int, ...]) -> None: ...


class FunctionWatcher(Listener, Protocol):
    """The recorder of one function's machine."""

    def kept(self, numbers: Sequence[int], *, msix: bool, whole: bool) -> None:
        """It begins with what another process had kept of it."""
        ...

    def gone(self) -> None:
        """The function goes, and its machine ends."""
        ...


class Watcher(Listener, Protocol):
    """The recorder. `append` is the same for the hot path, which brings the time."""

    @property
    def append(self) -> Callable[[tuple[int, Any, Any]], object]: ...

    def of(self, function: str) -> FunctionWatcher: ...

    def vectors(self, numbers: Sequence[int]) -> None:
        """These are stored into the page."""
        ...


Monitor = Callable[[Any, str], str | None]  #: the state and the machine that moved -> what is broken


def _getter(names: list[str]) -> Callable[[Any], tuple[Any, ...]]:
    if not names:
        return lambda _: ()
    if len(names) == 1:
        one = attrgetter(names[0])
        return lambda state: (one(state),)
    return attrgetter(*names)


@dataclass(slots=True)
class _RowPlan:
    row: Row
    border: Visible
    hidden: bool
    written: Callable[[Any], tuple[Any, ...]]
    writes: bool
    handlers: tuple[Handler, ...]


@dataclass(slots=True)
class _Plan:
    """All that a place and event needs, looked up once."""

    step: Step
    cell: Cell | None
    loads: bool
    found: Callable[[Any], tuple[Any, ...]]
    rows: tuple[_RowPlan, ...]


class Engine:
    """One party's machines over one state. `handlers` carries out effects, by name; `cells` are the shared memory, by name.

    stops: places at which `deliver` rests although a step is due, for those who have something to do there; `go` goes on.
    """

    def __init__(
        self,
        group: Group,
        handlers: Mapping[str, Handler],
        cells: Mapping[str, Cell],
        recorder: Listener,
        monitor: Monitor | None = None,
        stops: Collection[Enum] = (),
    ) -> None:
        self.state: Any = group.state()
        self.cells = cells
        self._recorder, self._monitor = recorder, monitor
        self._names = tuple(group.names.values())
        self._plans = {
            name: {pair: self._plan(stepper, step, handlers) for pair, step in stepper.steps.items()}
            for name, stepper in group.steppers.items()
        }
        self._place = {name: stepper.place for name, stepper in group.steppers.items()}
        self._machines = {name: stepper.machine for name, stepper in group.steppers.items()}
        self._moves = {
            name: {
                place: plan
                for (place, event), plan in plans.items()
                if event is GO and self._machines[name].places[place] not in stops
            }
            for name, plans in self._plans.items()
        }

    def _plan(self, stepper: Stepper, step: Step, handlers: Mapping[str, Handler]) -> _Plan:
        borders = [visible(stepper.machine, row) for row in step.rows]
        rows = tuple(
            _RowPlan(
                row, border, border.hidden, _getter([attribute(var) for var in border.wrote]), bool(border.wrote),
                tuple(handlers[ask.effect.name] for ask in row.asks),
            )
            for row, border in zip(step.rows, borders, strict=True)
        )  # fmt: skip
        found = [attribute(var) for var in borders[0].found]
        return _Plan(step, self.cells[step.cell] if step.cell else None, bool(found), _getter(found), rows)

    def at(self, machine: str) -> Any:
        """The place of a machine, as the member of its enumeration."""
        return self._machines[machine].places[getattr(self.state, self._place[machine])]

    def takes(self, machine: str, event: type[Event]) -> bool:
        """There is a row for that event at the place where the machine is."""
        return (getattr(self.state, self._place[machine]), event) in self._plans[machine]

    def deliver(self, machine: str, event: type[Event], *parameters: int) -> None:
        """Take the event, and then every step of the machine's own that is due, until it rests or waits for somebody else.

        Raises Fault, Overtaken, and what the cells and handlers raise.
        """
        plans, moves, place, state = self._plans[machine], self._moves[machine], self._place[machine], self.state
        result: Result | None = self._take(machine, plans.get((getattr(state, place), event)), event, parameters)
        while True:
            if result is not None:
                event, parameters = result
                result = self._take(machine, plans.get((getattr(state, place), event)), event, parameters)
                continue
            plan = moves.get(getattr(state, place))
            if plan is None:
                return
            result = self._take(machine, plan, GO, ())

    def go(self, machine: str) -> None:
        """The steps of the machine's own that are due, if any."""
        if self.takes(machine, GO):
            self.deliver(machine, GO)

    def _take(self, machine: str, plan: _Plan | None, event: type[Event], parameters: tuple[int, ...]) -> Result | None:
        if plan is None:
            raise Unmatched(f"{machine} at {self.at(machine).name} has no row for {event.__name__}")
        state, cell = self.state, plan.cell
        attempts = 0
        while True:
            if plan.loads and cell is not None:
                cell.load(state)
            found = plan.found(state)
            before = self._save() if plan.loads else None
            index, asked = plan.step.choose(state, *parameters)
            if index < 0:
                here = self.at(machine).name
                raise Unmatched(f"{machine} at {here}: no row for {event.__name__}{parameters} with {found}")
            row = plan.rows[index]
            if cell is None:
                break
            if cell.carry_out(state, row.row) if row.writes else not plan.loads or cell.leave():
                break
            self._restore(before)
            attempts += 1
            if attempts == ATTEMPTS:
                raise Overtaken(f"{machine} at {self.at(machine).name}")
        if not row.hidden:
            values = (*parameters, *found, *row.written(state))
            for arguments in asked:
                values += arguments
            self._recorder.step(row.border, values)
        if self._monitor is not None and (broken := self._monitor(state, machine)) is not None:
            raise Broken(f"{broken} after {machine} {row.row.key} [{row.row.cite}]")
        result: Result | None = None
        for handler, arguments in zip(row.handlers, asked, strict=True):
            result = handler(*arguments) or result
        return result

    def _save(self) -> tuple[int, ...]:
        state = self.state
        return tuple([getattr(state, name) for name in self._names])

    def _restore(self, values: tuple[int, ...] | None) -> None:
        for name, value in zip(self._names, values or (), strict=True):
            setattr(self.state, name, value)
