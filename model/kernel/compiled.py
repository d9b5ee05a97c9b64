# SPDX-License-Identifier: Apache-2.0
"""Tables as Python source.

Two readings come from one printer of expressions. `stepper` makes the machine that runs: one function for each
place and event over an object with plain attributes. `successors` makes the system that is searched: one function
from a state (a tuple of integers) to all that may follow. Generated source is several times faster than nested
closures, and can be read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from enum import Enum
from typing import Any

from pvpci.model.kernel.records import Ask, Event, Record
from pvpci.model.kernel.systems import Action, System
from pvpci.model.kernel.tables import Machine, Row
from pvpci.model.kernel.terms import Flag, Term, Var

Naming = Callable[[Var], str]
State = tuple[int, ...]


def source(term: Term, name: Naming) -> str:
    """A Python expression over integers with the term's value; flags are 0 and 1 or True and False."""
    if term.op == "const":
        return str(term.number)
    if term.var is not None:
        return name(term.var)
    a = [source(arg, name) for arg in term.args]
    mask = (1 << term.sort.width) - 1
    match term.op:
        case "not":
            return f"(not {a[0]})"
        case "and" | "or":
            return f"({a[0]} {term.op} {a[1]})"
        case "eq":
            return f"({a[0]} == {a[1]})"
        case "lt":
            return f"({a[0]} < {a[1]})"
        case "if":
            return f"({a[1]} if {a[0]} else {a[2]})"
        case "add":
            return f"(({a[0]} + {a[1]}) & {mask})"
        case "sub":
            return f"(({a[0]} - {a[1]}) & {mask})"
        case "band":
            return f"({a[0]} & {a[1]})"
        case "bor":
            return f"({a[0]} | {a[1]})"
        case "bxor":
            return f"({a[0]} ^ {a[1]})"
        case "bnot":
            return f"({a[0]} ^ {mask})"
        case "shl":
            return f"(({a[0]} << {term.number}) & {mask})" if term.number else a[0]
        case "shr":
            return f"({a[0]} >> {term.number})" if term.number else a[0]
        case "resize":
            return f"({a[0]} & {mask})" if term.args[0].sort.width > term.sort.width else a[0]
    raise ValueError(f"no such operator: {term.op}")


def attribute(var: Var) -> str:
    """The variable's name in generated code."""
    return var.name.replace(".", "_").replace("'", "_after")


@dataclass(frozen=True)
class Step:
    """What one pair of place and event compiles to.

    ``choose(state, *parameters)`` changes `state` (not its shared cells in the real world) and returns the index of the row
    that was taken in `rows`, or -1 if none fits, and the arguments of its effects, evaluated before the updates.
    """

    place: Enum
    event: type[Event]
    cell: str
    rows: tuple[Row, ...]
    choose: Callable[..., tuple[int, tuple[tuple[int, ...], ...]]]


@dataclass(frozen=True)
class Stepper:
    """One machine that runs, over the state that its group shares. `steps` is indexed by place (its number) and event."""

    machine: Machine
    steps: Mapping[tuple[int, type[Event]], Step]
    text: str  #: the generated source
    place: str  #: the attribute of the state that holds the place


@dataclass(frozen=True)
class Group:
    """Machines of one party that share their records: one state, one stepper for each machine."""

    steppers: Mapping[str, Stepper]
    names: Mapping[Var, str]
    start: Mapping[str, int]

    def state(self) -> Any:
        """A fresh running state: a plain object with one integer attribute for each variable."""
        kind = type("Running", (), {"__slots__": tuple(self.names.values())})
        state = kind()
        for name in self.names.values():
            setattr(state, name, self.start.get(name, 0))
        return state


def group(machines: Sequence[Machine], *, extra: Sequence[Record] = ()) -> Group:
    """The running form. `extra` records (ghosts, the modelled world) run too: for a monitor, which evaluates properties."""
    records = [record for machine in machines for record in machine.records] + list(extra)
    running = [machine.at.variable for machine in machines] + [var for record in records for var in record.variables]
    names = {var: attribute(var) for var in dict.fromkeys(running)}
    world = {var for record in extra for var in record.variables}
    start = {names[u.var]: u.value.number for machine in machines for u in machine.start if u.var in names}
    return Group({machine.name: _stepper(machine, names, world) for machine in machines}, names, start)


def _stepper(machine: Machine, names: Mapping[Var, str], world: Set[Var]) -> Stepper:
    lines: list[str] = []
    for index, ((here, event), rows) in enumerate(machine.pairs.items()):
        lines += _function(f"step_{index}", machine, event, rows, names, world, f"{here.name}, {event.__name__}")
    text = "\n".join(lines) + "\n"
    space: dict[str, Any] = {}
    exec(compile(text, f"<{machine.name}>", "exec"), space)
    order = machine.places
    steps = {
        (order.index(here), event): Step(here, event, machine.cell(here, event), rows, space[f"step_{index}"])
        for index, ((here, event), rows) in enumerate(machine.pairs.items())
    }
    return Stepper(machine, steps, text, names[machine.at.variable])


def _function(
    title: str,
    machine: Machine,
    event: type[Event],
    rows: Sequence[Row],
    names: Mapping[Var, str],
    world: Set[Var],
    doc: str,
) -> list[str]:
    parameters = {var: attribute(var).split("_", 1)[1] for var in event.parameters.values()}

    def name(var: Var) -> str:
        return parameters.get(var) or f"s.{names[var]}"

    lines = [f"def {title}(s{''.join(', ' + p for p in parameters.values())}):  # {doc}"]
    for index, row in enumerate(rows):
        indent = "    "
        if row.when.op != "const" or not row.when.number:
            lines.append(f"    if {source(row.when, name)}:")
            indent = "        "
        asked = "".join(_tuple(ask, name) + ", " for ask in row.asks)
        updates = {update.var: update.value for update in row.then}
        besides = (*row.event.takes, *(u for ask in row.asks for u in ask.world()), *machine.notes.get(row.next, ()))
        updates.update({update.var: update.value for update in besides if update.var in world})
        if asked:
            lines.append(f"{indent}asked = ({asked})")
        targets = [f"s.{names[var]}" for var in updates]
        values = [source(value, name) for value in updates.values()]
        if row.next is not row.source:
            targets.append(f"s.{names[machine.at.variable]}")
            values.append(str(machine.places.index(row.next)))
        if targets:
            lines.append(f"{indent}{', '.join(targets)} = {', '.join(values)}")
        lines.append(f"{indent}return {index}, {'asked' if asked else '()'}")
    return [*lines, "    return -1, ()"]


def _tuple(ask: Ask, name: Naming) -> str:
    return "(" + "".join(source(argument, name) + ", " for argument in ask.arguments) + ")"


@dataclass(frozen=True)
class Successors:
    """A system that can be searched. `order` says which place in the tuple is which variable."""

    system: System
    order: tuple[Var, ...]
    initial: State
    follow: Callable[[State], list[tuple[int, tuple[int, ...], State]]]
    actions: tuple[Action, ...]

    def test(self, flag: Flag) -> Callable[[State], bool]:
        """A predicate on states."""
        index = {var: i for i, var in enumerate(self.order)}
        text = f"lambda s: bool({source(flag, lambda v: f's[{index[v]}]')})"
        return eval(text)  # type: ignore[no-any-return]

    def test_step(self, flag: Flag) -> Callable[[State, State], bool]:
        """A predicate on a state and the one after it."""
        index = {var: i for i, var in enumerate(self.order)}
        text = source(flag, lambda v: f"n[{index[v.primed]}]" if v.primed else f"s[{index[v]}]")
        return eval(f"lambda s, n: bool({text})")  # type: ignore[no-any-return]

    def named(self, state: State) -> Iterator[tuple[Var, int]]:
        return zip(self.order, state, strict=True)


def successors(
    system: System, *, keep: Sequence[Var] | None = None, only: Sequence[Action] | None = None
) -> Successors:
    """The searchable form. With `keep`, other variables are sliced away (nothing kept may depend on them).

    With `only`, no other actions are taken: `proofs.search` leaves out those that change nothing that is kept.
    """
    order = tuple(system.variables if keep is None else keep)
    index = {var: i for i, var in enumerate(order)}
    actions = system.actions if only is None else tuple(only)
    lines = ["def follow(s):", "    out = []", f"    ({''.join(f'v{i}, ' for i in range(len(order)))}) = s"]
    for number, action in enumerate(actions):
        inputs = {var: f"p{i}" for i, var in enumerate(action.parameters)}

        def name(var: Var, inputs: Mapping[Var, str] = inputs) -> str:
            return inputs.get(var) or f"v{index[var]}"

        updates = {var: value for var, value in action.updates.items() if var in index}
        used = set(action.guard.variables()) | {v for value in updates.values() for v in value.variables()}
        indent = "    "
        early, late = _split(action.guard, set(inputs))
        if early:
            lines.append(f"{indent}if {' and '.join(source(flag, name) for flag in early)}:")
            indent += "    "
        for var, local in inputs.items():
            values = _values(system, var) if var in used else (0,)
            lines.append(f"{indent}for {local} in {values!r}:")
            indent += "    "
        if late:
            lines.append(f"{indent}if {' and '.join(source(flag, name) for flag in late)}:")
            indent += "    "
        after = ", ".join(
            f"int({source(updates[var], name)})" if var in updates else f"v{i}" for i, var in enumerate(order)
        )
        chosen = "".join(local + ", " for local in inputs.values())
        lines.append(f"{indent}out.append(({number}, ({chosen}), ({after},)))")
    lines.append("    return out")
    space: dict[str, Any] = {}
    exec(compile("\n".join(lines), f"<{system.name}>", "exec"), space)
    initial = system.initial
    return Successors(system, order, tuple(initial[var] for var in order), space["follow"], actions)


def _split(guard: Flag, inputs: set[Var]) -> tuple[list[Flag], list[Flag]]:
    """Conjuncts that need no parameter, to be tested before parameters are tried, and those that do."""
    early: list[Flag] = []
    late: list[Flag] = []
    waiting: list[Term] = [guard]
    while waiting:
        term = waiting.pop()
        if term.op == "and":
            waiting += reversed(term.args)
        else:
            (late if inputs & set(term.variables()) else early).append(term)  # type: ignore[arg-type]
    return early, late


def _values(system: System, var: Var) -> tuple[int, ...]:
    if var in system.samples:
        return tuple(system.samples[var])
    if var.sort.size > 16:
        raise ValueError(f"{system.name}: say which values of {var.name} ({var.sort}) a search should try")
    return tuple(range(var.sort.size))


def evaluate(term: Term, values: Mapping[Var, int]) -> int:
    """The term's value, given its variables'."""
    text = source(term, lambda v: f"values[{attribute(v)!r}]")
    return int(eval(text, {"values": {attribute(v): n for v, n in values.items()}}))


__all__ = ["Group", "Step", "Stepper", "Successors", "evaluate", "group", "source", "successors"]
