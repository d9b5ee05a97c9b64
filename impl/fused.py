# SPDX-License-Identifier: Apache-2.0
"""The hot path: a table compiled to functions that run from an event to rest without looking anything up.

The engine of `impl.engine` chooses, for each step, among rows; that costs several look-ups a step, and a request is
two dozen steps. Here the same table is printed as straight code. A place that can be reached from one row only is
printed where that row ends; others become functions of their own. What a step does and in which order is the same,
step for step: load the cell, choose, write, record, ask. Tests drive both side by side over every cell and compare
states, accesses and records.

Machines whose cells are transactions that may be overtaken are left to the engine: they are never hot.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Protocol, runtime_checkable

from pvpci.impl.engine import Cell, Handler, Unmatched
from pvpci.model.kernel.compiled import Group, source
from pvpci.model.kernel.records import GO, Event
from pvpci.model.kernel.tables import Access, Machine, Row
from pvpci.model.kernel.terms import Term, Var
from pvpci.model.kernel.visible import Visible, parameter, visible

Append = Callable[[tuple[int, Visible, tuple[int, ...]]], object]
Clock = Callable[[], int]


@runtime_checkable
class HotCell(Protocol):
    """A cell whose accesses can be printed: `me` is the cell's name in the code, `local` the name for what is found."""

    def print_load(self, me: str, local: Callable[[Var], str]) -> list[str]: ...
    def print_write(self, me: str, row: Row, value: Callable[[Term], str]) -> list[str]: ...


class _Printer:
    def __init__(self, machine: Machine, names: Mapping[Var, str], cells: Mapping[str, Cell]) -> None:
        self.machine, self.names, self.cells = machine, names, cells
        self.space: dict[str, Any] = {}
        self.lines: list[str] = []
        self.entries: Counter[Enum] = Counter()
        for row in machine.table:
            self.entries[row.next] += 1
        self.heads: list[Enum] = []

    def constant(self, value: object, stem: str) -> str:
        """A name for an object that the code refers to."""
        name = f"{stem}{len(self.space)}"
        self.space[name] = value
        return name

    def function(self, title: str, place: Enum, event: type[Event]) -> None:
        arguments = [] if event is GO else [parameter(var) for var in event.parameters.values()]
        if event is GO:
            self.lines.append(f"def {title}(now):")
        else:
            self.lines += [f"def {title}({', '.join(arguments)}):", "    now = clock()"]
        self.rows(place, event, 1)

    def hot(self, cell: str) -> HotCell | None:
        found: object = self.cells.get(cell)
        return found if isinstance(found, HotCell) else None

    def head(self, place: Enum) -> str:
        if place not in self.heads:
            self.heads.append(place)
        return f"at_{place.name}"

    def rows(self, place: Enum, event: type[Event], depth: int) -> None:
        """The choice among the rows of one place and event, and all that follows from it."""
        pad = "    " * depth
        machine = self.machine
        rows = machine.pairs[place, event]
        inputs = {var: parameter(var) for var in event.parameters.values()}

        cell = machine.cell(place, event)
        hot = self.hot(cell)

        def name(var: Var) -> str:
            # What is found in a hot cell lives in a local variable, as long as these rows do.
            return inputs.get(var) or (self.names[var] if hot and var.cell == cell else f"s.{self.names[var]}")

        if visible(machine, rows[0]).found:
            lines = hot.print_load(f"cell_{cell}", name) if hot else [f"load_{cell}(s)"]
            self.lines += [pad + line for line in lines]
        for index, row in enumerate(rows):
            last = index == len(rows) - 1
            always = row.when.op == "const" and row.when.number
            if not always:
                self.lines.append(f"{pad}{'if' if index == 0 else 'elif'} {source(row.when, name)}:")
            self.row(row, cell, name, depth + (not always))
            if last and not always:
                self.lines.append(f"{pad}else:")
                self.lines.append(
                    f"{pad}    raise Unmatched('{machine.name} at {place.name}: no row for {event.__name__}')"
                )

    def row(self, row: Row, cell: str, name: Callable[[Var], str], depth: int) -> None:
        pad = "    " * depth
        border = visible(self.machine, row)
        # What is recorded of what was found, and what effects are asked with, is of before the step.
        hot = self.hot(cell)
        found = [name(var) for var in border.found]
        changed = {update.var for update in row.then}
        if hot is None and border.access is Access.LOCKED and found and changed & set(border.found):
            self.lines.append(f"{pad}found = ({', '.join(found)},)")
            found = ["*found"]
        asked: list[list[str]] = []
        for number, ask in enumerate(row.asks):
            arguments = [source(argument, name) for argument in ask.arguments]
            if arguments and any(var in changed for argument in ask.arguments for var in argument.variables()):
                self.lines.append(f"{pad}asked{number} = ({', '.join(arguments)},)")
                arguments = [f"*asked{number}"]
            asked.append(arguments)
        updates = {update.var: update.value for update in row.then if not (hot and update.var.cell)}
        targets = [f"s.{self.names[var]}" for var in updates]
        values = [source(value, name) for value in updates.values()]
        if self.rests(row):
            targets.append(f"s.{self.names[self.machine.at.variable]}")
            values.append(str(self.machine.places.index(row.next)))
        if hot and border.wrote:
            self.lines += [pad + line for line in hot.print_write(f"cell_{cell}", row, lambda term: source(term, name))]
        if targets:
            self.lines.append(f"{pad}{', '.join(targets)} = {', '.join(values)}")
        if border.wrote and not hot:
            self.lines.append(f"{pad}carry_{cell}(s, {self.constant(row, 'row')})")
        if not border.hidden:
            given = [name(var) for var in border.given]
            written = {update.var: update.value for update in row.then}
            wrote = [source(written[var], name) if hot else f"s.{self.names[var]}" for var in border.wrote]
            values = [*given, *found, *wrote, *(argument for arguments in asked for argument in arguments)]
            self.lines.append(
                f"{pad}append((now, {self.constant(border, 'border')}, ({''.join(v + ', ' for v in values)})))"
            )
        answer: type[Event] | None = None
        for ask, arguments in zip(row.asks, asked, strict=True):
            call = f"ask_{ask.effect.name}({', '.join(arguments)})"
            if (
                ask.effect.answer is not None
                and (row.next, ask.effect.answer) in self.machine.pairs
                and ask.effect.synchronous
            ):
                answer = ask.effect.answer
                self.lines.append(
                    f"{pad}_, ({''.join(parameter(v) + ', ' for v in answer.parameters.values())}) = {call}"
                )
                if ask.effect.takes_time:
                    self.lines.append(f"{pad}now = clock()")
            else:
                self.lines.append(f"{pad}{call}")
        self.follow(row, answer, depth)

    def rests(self, row: Row) -> bool:
        """Nothing more follows by itself: only then does the place have to be in the state."""
        answers = any(a.effect.synchronous and (row.next, a.effect.answer) in self.machine.pairs for a in row.asks)
        return (row.next, GO) not in self.machine.pairs and not answers

    def follow(self, row: Row, answer: type[Event] | None, depth: int) -> None:
        """What comes after a row: the answer of what it asked for, our own next step, or rest."""
        pad, place = "    " * depth, row.next
        if answer is not None:
            self.rows(place, answer, depth)
        elif (place, GO) not in self.machine.pairs:
            self.lines.append(f"{pad}return")
        elif self.entries[place] == 1 and depth < 16:
            self.rows(place, GO, depth)
        else:
            self.lines.append(f"{pad}return {self.head(place)}(now)")


def fuse(
    group: Group, machine: Machine, state: Any, handlers: Mapping[str, Handler], cells: Mapping[str, Cell],
    append: Append, clock: Clock,
) -> dict[tuple[int, type[Event]], Callable[..., None]]:  # fmt: skip
    """For each place and event of somebody else's (not GO, not answers): a function that takes the event's parameters.

    It runs on `state` until nothing more is due. `append` gets what the engine would give to the recorder, with a time: that
    of the event, or of the last answer, for asking the clock at each step would cost more than the step.
    """
    printer = _Printer(machine, group.names, cells)
    answers = {ask.effect.answer for row in machine.table for ask in row.asks if ask.effect.synchronous}
    entries = [pair for pair in machine.pairs if pair[1] is not GO and pair[1] not in answers]
    for place, event in entries:
        printer.function(f"on_{place.name}_{event.__name__}", place, event)
    for place in printer.heads:  # grows while they are printed
        printer.function(f"at_{place.name}", place, GO)
    space: dict[str, Any] = {
        **printer.space, "s": state, "append": append, "clock": clock, "Unmatched": Unmatched,
        **{f"ask_{name}": handler for name, handler in handlers.items()},
        **{f"cell_{name}": cell for name, cell in cells.items()},
        **{f"load_{name}": cell.load for name, cell in cells.items()},
        **{f"carry_{name}": cell.carry_out for name, cell in cells.items()},
    }  # fmt: skip
    exec(compile("\n".join(printer.lines), f"<{machine.name}, fused>", "exec"), space)
    order = machine.places
    return {(order.index(place), event): space[f"on_{place.name}_{event.__name__}"] for place, event in entries}
