# SPDX-License-Identifier: Apache-2.0
"""The hot path: a table compiled to functions that run from an event to rest without looking anything up.

The engine of `impl.engine` chooses, for each step, among rows; that costs several look-ups a step, and a request is
two dozen steps. Here the same table is printed as straight code. What a step does to the world and in which order is
the same, step for step: load the cell, choose, write, ask. Tests drive both side by side over every cell and compare
states, accesses and records.

What nobody can see happen is put off. Until an effect is asked for that is not printed in, and so may look around or
fail, or until the machine rests, our own variables live in local names, and what there is to record is gathered: it
goes to the recorder as one `Run`, not step by step. Conditions that the way here has decided are not asked again.

A place that can be reached from one row only is printed where that row ends; so are the places behind the rows that
are named as taken `often`. Others become functions of their own. Machines whose cells are transactions that may be
overtaken are left to the engine: they are never hot.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from types import CodeType
from typing import Any, Protocol, runtime_checkable

from pvpci.impl.engine import Cell, Handler, Unmatched
from pvpci.impl.host import HostError
from pvpci.model.kernel.compiled import Group, attribute, source
from pvpci.model.kernel.records import GO, Ask, Event
from pvpci.model.kernel.tables import Machine, Row
from pvpci.model.kernel.terms import Term, Var, variable
from pvpci.model.kernel.visible import Visible, parameter, visible
from pvpci.traces.recorder import Run

Append = Callable[[tuple[int, Any, tuple[Any, ...]]], object]
Clock = Callable[[], int]
#: An expression that is as good as a name: it may be repeated, and its value does not change.
_NAME = re.compile(r"\w+(\[\d+\])?")
#: An expression without names: its value is known now.
_LITERAL = re.compile(r"(?:[\d\s()=<&|^]|\b(?:not|and|or|if|else|True|False)\b)+")


@runtime_checkable
class HotCell(Protocol):
    """A cell whose accesses can be printed: `me` is the cell's name in the code."""

    order: Sequence[Var]  #: the cell's variables as a load finds them

    def print_load(self, me: str) -> str:
        """An expression whose value is a tuple: what is found, in `order`."""
        ...

    def print_write(self, me: str, row: Row, value: Callable[[Term], str]) -> list[str]: ...


class HotEffects(Protocol):
    """Whoever carries out the effects, where some can be printed. It is called `host` in the code, and time `now`."""

    def print_effect(self, name: str, arguments: Sequence[str], results: Sequence[str]) -> list[str] | None:
        """Lines that carry it out, cannot fail and leave the answer's parameters in the names of `results`; or None."""
        ...


@dataclass
class _Path:
    """What is known, while printing, of the way that led here."""

    depth: int = 1
    names: int = 0  #: local names given out
    known: dict[Var, str] = field(default_factory=dict)  #: the expression for a variable's present value
    unsaved: dict[Var, str] = field(default_factory=dict)  #: not written into the state yet
    steps: list[tuple[Visible, list[str]]] = field(default_factory=list)  #: not given to the recorder yet
    facts: dict[str, bool] = field(default_factory=dict)  #: conditions that were decided on the way
    elements: dict[str, str] = field(default_factory=dict)  #: names of a tuple's elements -> the tuple, indexed
    passed: tuple[Enum, ...] = ()

    def fork(self, deeper: int) -> _Path:
        return replace(
            self, depth=self.depth + deeper, known=dict(self.known), unsaved=dict(self.unsaved), steps=list(self.steps),
            facts=dict(self.facts), elements=dict(self.elements),
        )  # fmt: skip

    def fresh(self, stem: str) -> str:
        self.names += 1
        return f"{stem}{self.names}"


class _Printer:
    def __init__(
        self, machine: Machine, names: Mapping[Var, str], cells: Mapping[str, Cell], effects: HotEffects | None,
        often: Sequence[str],
    ) -> None:  # fmt: skip
        self.machine, self.names, self.cells, self.effects = machine, names, cells, effects
        self.pairs = machine.pairs
        self.often = [machine.row(key) for key in often]
        self.space: dict[str, Any] = {}
        self.lines: list[str] = []
        self.entries: Counter[Enum] = Counter(row.next for row in machine.table)
        self.heads: list[Enum] = []

    def constant(self, value: object, stem: str) -> str:
        """A name for an object that the code refers to."""
        name = f"{stem}{len(self.space)}"
        self.space[name] = value
        return name

    def line(self, path: _Path, text: str) -> None:
        self.lines.append(" " * path.depth + text)

    def function(self, title: str, place: Enum, event: type[Event]) -> None:
        path = _Path(passed=(place,))
        if event is GO:
            self.lines.append(f"def {title}(now):")
        else:
            inputs = {var: parameter(var) for var in event.parameters.values()}
            path.known |= inputs
            self.lines += [f"def {title}({', '.join(inputs.values())}):", " now = clock()"]
        self.rows(path, place, event)

    def hot(self, cell: str) -> HotCell | None:
        found: object = self.cells.get(cell)
        return found if isinstance(found, HotCell) else None

    def source(self, path: _Path, term: Term) -> str:
        return source(term, lambda var: path.known.get(var) or f"s.{self.names[var]}")

    # ------------------------------------------------------------------ what was put off

    def record(self, path: _Path) -> None:
        """Give the recorder what was gathered. Each value is kept once, however often it crossed the border."""
        if not path.steps:
            return
        places, recorded = dict[str, int](), []
        for border, texts in path.steps:
            picks = []
            for text in texts:
                text = path.elements.get(text, text)
                if text.isdigit():
                    picks.append((-1, int(text)))
                else:
                    whole, _, element = text.removesuffix("]").partition("[")
                    picks.append((places.setdefault(whole, len(places)), int(element or -1)))
            recorded.append((border, tuple(picks)))
        path.steps = []
        run = self.constant(Run(tuple(recorded)), "run")
        self.line(path, f"append((now, {run}, ({''.join(f'{name}, ' for name in places)})))")

    def save(self, path: _Path) -> None:
        """Write into the state what belongs there."""
        for var, text in path.unsaved.items():
            self.line(path, f"s.{self.names[var]} = {text}")
        path.unsaved = {}

    # ------------------------------------------------------------------ the table

    def rows(self, path: _Path, place: Enum, event: type[Event]) -> None:
        """The choice among the rows of one place and event, and all that follows from it."""
        rows, cell = self.pairs[place, event], self.machine.cell(place, event)
        found = ""
        if visible(self.machine, rows[0]).found:
            found = self.load(path, cell, rows)
        missing = f"raise Unmatched('{self.machine.name} at {place.name}: no row for {event.__name__}')"
        for row in rows:
            guard = self.guard(path, row.when)
            if guard == "True":
                self.row(path, row, cell)
                return
            if guard != "False":
                before = self.compared(path, row.when, found) if found else None
                # Where all that was found is as it was, so is each part of it, and one comparison says so.
                self.line(path, f"if {guard}:" if before is None else f"if {found} == {before} or {guard}:")
                taken = path.fork(1)
                self.decided(taken, row.when, True)
                self.row(taken, row, cell)
                self.decided(path, row.when, False)
        self.record(path)
        self.line(path, missing)

    def load(self, path: _Path, cell: str, rows: Sequence[Row]) -> str:
        """Look at the cell. The name of the tuple that was found, if it is a hot one."""
        hot = self.hot(cell)
        if hot is None:
            for var in [var for var in path.known if var.cell == cell]:
                del path.known[var]
            self.line(path, f"load_{cell}(s)")
            return ""
        found = path.fresh("found")
        self.line(path, f"{found} = {hot.print_load(f'cell_{cell}')}")
        order = list(hot.order)
        if any(var in order for row in rows for update in row.then for var in update.value.variables()):
            # It is copied: its elements will be asked for again and again.
            names = [path.fresh(attribute(var) + "_") for var in order]
            self.line(path, f"{', '.join(names)} = {found}")
            path.elements |= {name: f"{found}[{place}]" for place, name in enumerate(names)}
        else:
            names = [f"{found}[{place}]" for place in range(len(order))]
        path.known |= dict(zip(order, names, strict=True))
        return found

    def guard(self, path: _Path, term: Term) -> str:
        """The condition without what is decided already: "True" or "False" if that is all of it."""
        if term.op in ("and", "or"):
            parts = [self.guard(path, part) for part in term.args]
            ends, passes = ("False", "True") if term.op == "and" else ("True", "False")
            if ends in parts:
                return ends
            left = [part for part in parts if part != passes]
            return passes if not left else left[0] if len(left) == 1 else f"({f' {term.op} '.join(left)})"
        if term.op == "not":
            (part,) = (self.guard(path, part) for part in term.args)
            return {"True": "False", "False": "True"}.get(part, f"(not {part})")
        text = self.source(path, term)
        if _LITERAL.fullmatch(text):
            return str(bool(eval(text)))
        return str(path.facts[text]) if text in path.facts else text

    def decided(self, path: _Path, term: Term, way: bool) -> None:
        """Remember what follows from the condition being so."""
        if term.op == "not":
            self.decided(path, term.args[0], not way)
        elif term.op == ("and" if way else "or"):
            for part in term.args:
                self.decided(path, part, way)
        elif term.op in ("and", "or"):
            open_ = [part for part in term.args if self.guard(path, part) not in ("True", "False")]
            if len(open_) == 1:
                self.decided(path, open_[0], way)
        else:
            path.facts[self.source(path, term)] = way

    def compared(self, path: _Path, term: Term, found: str) -> str | None:
        """The tuple whose elements, each at its place, are all that the term compares those of `found` with."""
        if term.op == "and":
            parts = {self.compared(path, part, found) for part in term.args}
            return parts.pop() if len(parts) == 1 else None
        if term.op != "eq" or any(part.var is None for part in term.args):
            return None
        texts = [self.source(path, part) for part in term.args]
        one, other = (path.elements.get(text, text) for text in texts)
        if not one.startswith(f"{found}["):
            one, other = other, one
        before, _, place = other.partition("[")
        return before if place and one == f"{found}[{place}" else None

    def row(self, path: _Path, row: Row, cell: str) -> None:
        border, hot = visible(self.machine, row), self.hot(cell)
        # What is recorded of what was found, and what effects are asked with, is of before the step.
        asked = [[self.value(path, argument) for argument in ask.arguments] for ask in row.asks]
        values = {update.var: self.value(path, update.value) for update in row.then}
        texts = [self.value(path, variable(var)) for var in (*border.given, *border.found)]
        texts += [values[var] for var in border.wrote]
        texts += [text for arguments in asked for text in arguments]
        if hot is not None and border.wrote:
            lines = hot.print_write(f"cell_{cell}", row, lambda term: self.source(path, term))
            for line in lines:
                self.line(path, line)
        for var, text in values.items():
            if not (hot and var.cell):
                path.known[var] = path.unsaved[var] = text
        if not border.hidden:
            path.steps.append((border, texts))
        if hot is None and cell:
            # Such a cell works on the state itself.
            self.save(path)
            if border.wrote:
                self.line(path, f"carry_{cell}(s, {self.constant(row, 'row')})")
        self.follow(path, row, self.ask(path, row, asked))

    def value(self, path: _Path, term: Term) -> str:
        """A term's value under a name that keeps it."""
        text = self.source(path, term)
        if _NAME.fullmatch(text):
            return text
        name = path.fresh("v")
        self.line(path, f"{name} = {text}")
        return name

    def ask(self, path: _Path, row: Row, asked: Sequence[Sequence[str]]) -> type[Event] | None:
        """Have the effects carried out. The event that is their answer, if there is a row for it."""
        answer: type[Event] | None = None
        for ask, arguments in zip(row.asks, asked, strict=True):
            effect, results = ask.effect, list[str]()
            if self.answers(row, ask):
                answer = effect.answer
                assert answer is not None
                results = [path.fresh(parameter(var)) for var in answer.parameters.values()]
                path.known |= dict(zip(answer.parameters.values(), results, strict=True))
            lines = self.effects.print_effect(effect.name, arguments, results) if self.effects else None
            if lines is None:
                # It may look around, and it may not come back.
                self.record(path)
                self.save(path)
                path.facts = {text: way for text, way in path.facts.items() if "s." not in text}
                call = f"ask_{effect.name}({', '.join(arguments)})"
                lines = [f"_, ({''.join(f'{name}, ' for name in results)}) = {call}" if results else call]
            if answer is not None and effect.takes_time:
                self.record(path)
                lines = [*lines, "now = clock()"]
            for line in lines:
                self.line(path, line)
        return answer

    def answers(self, row: Row, ask: Ask) -> bool:
        answer = ask.effect.answer
        return answer is not None and ask.effect.synchronous and (row.next, answer) in self.pairs

    def follow(self, path: _Path, row: Row, answer: type[Event] | None) -> None:
        """What comes after a row: the answer of what it asked for, our own next step, or rest."""
        place = row.next
        if answer is not None:
            self.rows(path, place, answer)
        elif (place, GO) not in self.pairs:
            path.unsaved[self.machine.at.variable] = str(self.machine.places.index(place))
            self.record(path)
            self.save(path)
            self.line(path, "return")
        elif place not in path.passed and (self.entries[place] == 1 or row in self.often):
            path.passed += (place,)
            self.rows(path, place, GO)
        else:
            if place not in self.heads:
                self.heads.append(place)
            self.record(path)
            self.save(path)
            self.line(path, f"return at_{place.name}(now)")


@dataclass(frozen=True)
class _Program:
    """What all guests share: the code, and the constants that it refers to."""

    code: CodeType
    constants: Mapping[str, Any]
    entries: Mapping[tuple[int, type[Event]], str]  #: the functions' names


#: Printing takes as long as a hundred requests, so it is done once for each kind of cells and effects.
_programs: dict[object, _Program] = {}
_MOST_PROGRAMS = 16


def _program(
    group: Group, machine: Machine, cells: Mapping[str, Cell], effects: HotEffects | None, often: Sequence[str]
) -> _Program:
    key = (machine, tuple((name, type(cell)) for name, cell in cells.items()), type(effects), tuple(often))
    if key not in _programs:
        if len(_programs) == _MOST_PROGRAMS:
            _programs.clear()
        printer = _Printer(machine, group.names, cells, effects, often)
        answers = {ask.effect.answer for row in machine.table for ask in row.asks if ask.effect.synchronous}
        entries = [pair for pair in printer.pairs if pair[1] is not GO and pair[1] not in answers]
        for place, event in entries:
            printer.function(f"on_{place.name}_{event.__name__}", place, event)
        for place in printer.heads:  # grows while they are printed
            printer.function(f"at_{place.name}", place, GO)
        code = compile("\n".join(printer.lines), f"<{machine.name}, fused>", "exec")
        names = {(machine.places.index(place), event): f"on_{place.name}_{event.__name__}" for place, event in entries}
        _programs[key] = _Program(code, printer.space, names)
    return _programs[key]


def fuse(
    group: Group, machine: Machine, state: Any, handlers: Mapping[str, Handler], cells: Mapping[str, Cell],
    append: Append, clock: Clock, effects: HotEffects | None = None, often: Sequence[str] = (),
) -> dict[tuple[int, type[Event]], Callable[..., None]]:  # fmt: skip
    """For each place and event of somebody else's (not GO, not answers): a function that takes the event's parameters.

    It runs on `state` until nothing more is due. `append` gets what the engine would give to the recorder, as runs of steps with
    a time: that of the event, or of the last answer, for asking the clock at each step would cost more than the step. `often`:
    keys of rows behind which the code goes straight on (TableError if there is no such row).
    """
    program = _program(group, machine, cells, effects, often)
    space: dict[str, Any] = {
        **program.constants, "s": state, "append": append, "clock": clock, "Unmatched": Unmatched, "HostError": HostError,
        "host": effects,
        **{f"ask_{name}": handler for name, handler in handlers.items()},
        **{f"cell_{name}": cell for name, cell in cells.items()},
        **{f"load_{name}": cell.load for name, cell in cells.items()},
        **{f"carry_{name}": cell.carry_out for name, cell in cells.items()},
    }  # fmt: skip
    exec(program.code, space)
    return {pair: space[name] for pair, name in program.entries.items()}
