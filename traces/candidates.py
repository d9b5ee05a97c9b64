# SPDX-License-Identifier: Apache-2.0
"""Judging by sets: every state that the lines so far allow, with hidden steps closed over.

A state may have gaps (None): the place and the memory of a machine whose beginning was not recorded, or that did what it
may not do. Terms over gaps are true, false or undecided, and only *false* ever excludes anything; so a gap never leads to
a wrong accusation. Gaps are filled by what lines show: a row that stores a variable shows its value.

This is the slow and complete way; `pvpci.traces.quick` is the fast one for states without gaps.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pvpci.model.kernel.terms import Flag, Sort, Term, Var
from pvpci.traces.format import Line, Value
from pvpci.traces.subject import Part, RowView, Subject

State = Any
#: So many candidates at once mean that nothing is known; the gaps then say it better than the set.
MOST: Final = 512


class WrongValue(ValueError):
    """A line gives a variable a value of another sort."""


@dataclass(frozen=True)
class Misfit:
    """Why one row does not explain a line in one candidate state."""

    state: State
    view: RowView
    shape: str = ""  #: what the line has, or lacks, that the row has not
    akin: bool = True  #: it writes a variable or asks for an effect that the row does too
    due: bool = False  #: but its guard holds with what was found: it is this row that should have been taken
    false: tuple[Flag, ...] = ()  #: conjuncts of the guard
    differs: tuple[tuple[str, Value, Value], ...] = ()  #: what, as recorded, as the row would have it

    @property
    def distance(self) -> tuple[int, int]:
        """The smaller, the more likely is it the row that was meant."""
        if self.shape:
            return (1 if self.due else 3 if self.akin else 4, 0 if self.akin else 1)
        if not self.false:
            return (0, len(self.differs))
        # One variable that all false conjuncts speak of could be all that is wrong.
        common = set.intersection(*(set(flag.variables()) for flag in self.false))
        return (2, 1 if common else len(self.false))


@dataclass
class Outcome:
    states: list[State] = field(default_factory=list)
    taken: list[RowView] = field(default_factory=list)  #: the rows that explain the line
    misfits: list[Misfit] = field(default_factory=list)  #: for the candidates at places that are known
    looked: list[State] = field(default_factory=list)  #: the candidates, hidden steps closed over


def decode(sort: Sort, value: Value) -> int:
    """A line's value as the machine's integer. Raises WrongValue."""
    if sort.members:
        for index, member in enumerate(sort.members):
            if member.name == value:
                return index
        raise WrongValue(f"{value!r} is none of {', '.join(member.name for member in sort.members)}")
    if not isinstance(value, int) or value >= sort.size:
        raise WrongValue(f"{value!r} is no value of {'a flag' if not sort.width else str(sort)}")
    return int(value)


def evaluate(term: Term, env: Mapping[Var, int | None]) -> int | None:
    """The term's value where variables may be unknown; None if it depends on them."""
    if term.op == "const":
        return term.number
    if term.var is not None:
        return env.get(term.var)
    args = term.args
    if term.op in ("and", "or"):
        decisive = 0 if term.op == "and" else 1
        undecided = False
        for arg in args:
            value = evaluate(arg, env)
            if value is None:
                undecided = True
            elif value == decisive:
                return decisive
        return None if undecided else 1 - decisive
    if term.op == "if":
        test = evaluate(args[0], env)
        if test is None:
            yes, no = evaluate(args[1], env), evaluate(args[2], env)
            return yes if yes == no else None
        return evaluate(args[1] if test else args[2], env)
    values = [evaluate(arg, env) for arg in args]
    known = [value for value in values if value is not None]
    return _apply(term, known) if len(known) == len(values) else None


def _apply(term: Term, a: Sequence[int]) -> int:
    mask = (1 << term.sort.width) - 1
    match term.op:
        case "not":
            return int(not a[0])
        case "eq":
            return int(a[0] == a[1])
        case "lt":
            return int(a[0] < a[1])
        case "add":
            return (a[0] + a[1]) & mask
        case "sub":
            return (a[0] - a[1]) & mask
        case "band":
            return a[0] & a[1]
        case "bor":
            return a[0] | a[1]
        case "bxor":
            return a[0] ^ a[1]
        case "bnot":
            return a[0] ^ mask
        case "shl":
            return (a[0] << term.number) & mask
        case "shr":
            return a[0] >> term.number
        case "resize":
            return a[0] & mask
    raise ValueError(f"no such operator: {term.op}")


class Candidates:
    """The rules of the slow way, for one subject."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self._names = tuple(subject.start)

    def key(self, state: State) -> tuple[int | None, ...]:
        return tuple([getattr(state, name) for name in self._names])

    def copy(self, state: State) -> State:
        new = self.subject.state_type()
        for name in self._names:
            setattr(new, name, getattr(state, name))
        return new

    def has_gaps(self, state: State) -> bool:
        return None in self.key(state)

    def gap(self, state: State, machine: str) -> State:
        """The state with nothing known of what that machine writes."""
        new = self.copy(state)
        for name in self.subject.parts[machine].writes:
            setattr(new, name, None)
        return new

    def unique(self, states: Sequence[State]) -> list[State]:
        found = {self.key(state): state for state in states}
        if len(found) <= MOST:
            return list(found.values())
        merged = self.subject.state_type()
        for index, name in enumerate(self._names):
            values = {key[index] for key in found}
            setattr(merged, name, values.pop() if len(values) == 1 else None)
        return [merged]

    def closed(self, states: Sequence[State]) -> list[State]:
        """The states and all that hidden steps lead to."""
        found: dict[tuple[int | None, ...], State] = {}
        waiting = list(states)
        while waiting:
            state = self._blurred(waiting.pop())
            key = self.key(state)
            if key in found:
                continue
            found[key] = state
            for part in self.subject.parts.values():
                here = getattr(state, part.attribute)
                for view in part.rows.get((here, "GO"), ()) if here is not None else ():
                    if view.hidden:
                        waiting += self._move(state, part, view, {})
        return list(found.values())

    def _blurred(self, state: State) -> State:
        """Where a machine's place is not known, it may be taking hidden steps at any time."""
        for part in self.subject.parts.values():
            if getattr(state, part.attribute) is None and part.hidden_writes:
                state = self.copy(state)
                for name in part.hidden_writes:
                    setattr(state, name, None)
        return state

    def step(self, states: Sequence[State], line: Line) -> Outcome:
        """What follows when the line is seen. Raises WrongValue if it has values that no line can have."""
        outcome = Outcome()
        part = self.subject.parts[line.machine]
        outcome.looked = self.closed(states)
        for state in outcome.looked:
            here = getattr(state, part.attribute)
            for place in range(len(part.places)) if here is None else (here,):
                self._at(outcome, state, part, place, line, known=here is not None)
        outcome.states = self.unique(outcome.states)
        return outcome

    def _at(self, outcome: Outcome, state: State, part: Part, place: int, line: Line, *, known: bool) -> None:
        if (place, line.event) in part.ignored and not (line.found or line.wrote or line.asked):
            outcome.states.append(state)
            return
        for view in part.rows.get((place, line.event), ()):
            if view.hidden:
                continue
            env = dict(self._shown(view.given, line.given)) | dict(self._shown(view.found, line.found))
            if shape := _shape(view, line):
                if known:
                    outcome.misfits.append(
                        Misfit(state, view, shape, _akin(view, line), self._due(state, view, env, line))
                    )
                continue
            at_place = state if known else self.copy(state)
            if not known:
                setattr(at_place, part.attribute, place)
            after = self._move(at_place, part, view, env, line)
            if after:
                outcome.states += after
                outcome.taken.append(view)
            elif known:
                outcome.misfits.append(self._why(state, view, env, line))

    def _due(self, state: State, view: RowView, seen: Mapping[Var, int], line: Line) -> bool:
        looked_alike = view.found.keys() == (line.found or {}).keys() and view.given.keys() == (line.given or {}).keys()
        env = self._env(state, seen)
        return looked_alike and bool(line.found) and all(evaluate(flag, env) != 0 for flag in view.guard)

    def _shown(self, names: Mapping[str, Var], values: Mapping[str, Value] | None) -> Iterator[tuple[Var, int]]:
        for name, var in names.items():
            if values is not None and name in values:
                try:
                    yield var, decode(var.sort, values[name])
                except WrongValue as error:
                    raise WrongValue(f"{name}: {error}") from None

    def _env(self, state: State, seen: Mapping[Var, int]) -> dict[Var, int | None]:
        env: dict[Var, int | None] = {var: getattr(state, name) for var, name in self.subject.variables.items()}
        env.update(seen)
        return env

    def _move(
        self, state: State, part: Part, view: RowView, seen: Mapping[Var, int], line: Line | None = None
    ) -> list[State]:
        """The state after the row, as a list of none or one."""
        env = self._env(state, seen)
        for flag in view.guard:
            value = evaluate(flag, env)
            if value == 0:
                return []
            if value is None:
                self._learn(flag, 1, env)
        if line is not None:
            for term, recorded in _outputs(view, line):
                if not self._fits(term, recorded, env):
                    return []
        new = self.subject.state_type()
        for var, name in self.subject.variables.items():
            setattr(new, name, env[var])
        for name, term in view.updates:
            setattr(new, name, evaluate(term, env))
        setattr(new, part.attribute, view.next)
        return [new]

    def _fits(self, term: Term, value: Value, env: dict[Var, int | None]) -> bool:
        try:
            number = decode(term.sort, value)
        except WrongValue:
            return False
        expected = evaluate(term, env)
        if expected is None:
            self._learn(term, number, env)
        return expected is None or expected == number

    def _learn(self, term: Term, value: int, env: dict[Var, int | None]) -> None:
        """The row was taken, so the term had that value: fill the gap if it is a plain one."""
        if term.var is not None:
            if term.var in self.subject.variables and env[term.var] is None:
                env[term.var] = value
        elif term.op == "not":
            self._learn(term.args[0], 1 - value, env)
        elif term.op == "eq" and value:
            one, two = (evaluate(arg, env) for arg in term.args)
            if one is not None and two is None:
                self._learn(term.args[1], one, env)
            elif two is not None and one is None:
                self._learn(term.args[0], two, env)
        elif term.op == "and" and value:
            for arg in term.args:
                self._learn(arg, 1, env)

    def _why(self, state: State, view: RowView, seen: Mapping[Var, int], line: Line) -> Misfit:
        env = self._env(state, seen)
        false = tuple(flag for flag in view.guard if evaluate(flag, env) == 0)
        if false:
            return Misfit(state, view, false=false)
        differs = []
        names = [*view.wrote, *(f"{effect}.{name}" for effect, arguments in view.asks for name in arguments)]
        for name, (term, value) in zip(names, _outputs(view, line), strict=True):
            expected = evaluate(term, env)
            if not self._fits(term, value, env):
                differs.append((name, value, _shown_value(term.sort, expected)))
        return Misfit(state, view, differs=tuple(differs))


def _shown_value(sort: Sort, number: int | None) -> Value:
    if number is None:
        return "unknown"
    if sort.members:
        return sort.members[number].name
    return number if sort.width else bool(number)


def _outputs(view: RowView, line: Line) -> Iterator[tuple[Term, Value]]:
    for name, term in view.wrote.items():
        yield term, (line.wrote or {})[name]
    for (_, arguments), asked in zip(view.asks, line.asked or (), strict=True):
        for name, term in arguments.items():
            yield term, asked.arguments[name]


def _shape(view: RowView, line: Line) -> str:
    """How the line looks other than the row: one part of it, in words; empty if it looks the same."""
    pairs = (("given", line.given, view.given), ("found", line.found, view.found), ("wrote", line.wrote, view.wrote))
    for what, has, should in pairs:
        if (has or {}).keys() != should.keys():
            return f"{what} {_list(has or {})} where {_list(should)} is right"
    has_asked = [(asked.effect, set(asked.arguments)) for asked in line.asked or ()]
    if has_asked != [(effect, set(arguments)) for effect, arguments in view.asks]:
        has_names, names = [name for name, _ in has_asked], [name for name, _ in view.asks]
        if has_names == names:
            return f"asked for {_list(names)} with other arguments"
        return f"asked for {_list(has_names)} where {_list(names)} is right"
    return ""


def _akin(view: RowView, line: Line) -> bool:
    asked = {one.effect for one in line.asked or ()}
    return bool(view.wrote.keys() & (line.wrote or {}).keys()) or any(effect in asked for effect, _ in view.asks)


def _list(names: Iterable[str]) -> str:
    return ", ".join(names) or "nothing"
