# SPDX-License-Identifier: Apache-2.0
"""Judging the ordinary line: one candidate state of which all is known that matters.

Most lines of most traces fit the one row that they must fit. For these there is generated code, one function for each
place and event: it looks at the line, chooses the row by the same expressions that run and are proved, compares what was
written and asked for with what the row would have written and asked for, and only then changes the state. It says 0 and
has changed nothing when the line does not fit; then `pvpci.traces.candidates` finds out whether and why. 1 is "fits",
more is "fits, and tells something" (2 + the index into `remarkable`).

A hidden step is taken at once if nobody could tell it from one taken later: no other machine reads what it writes or
writes what it reads, and nothing else can happen at that place. Most are of this kind, so one candidate stays one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from pvpci.model.kernel.compiled import source
from pvpci.model.kernel.terms import ALWAYS, Flag, Term, Var, all_of
from pvpci.traces.format import Line
from pvpci.traces.subject import Part, RowView, Subject

Function = Callable[[Any, Line], int]
MISFIT: Final = 0
FITS: Final = 1


class Quick:
    """`functions[machine, event][place]`; `reads[...]`: the attributes that the function looks at."""

    def __init__(self, subject: Subject, remarkable: Sequence[tuple[str, str]] = ()) -> None:
        """`remarkable`: (machine, key of a row) of rows that are to be told from others."""
        self.subject = subject
        self.remarkable = {pair: FITS + 1 + index for index, pair in enumerate(remarkable)}
        self.eager = {name: _eager_places(subject, part) for name, part in subject.parts.items()}
        self.functions: dict[tuple[str, str], list[Function | None]] = {}
        self.reads: dict[tuple[str, str], list[frozenset[str]]] = {}
        self.text = "\n".join(self._compile())
        space: dict[str, Any] = {}
        exec(compile(self.text, f"<judge of {subject.name}>", "exec"), space)
        for name, part in subject.parts.items():
            for event in part.events:
                size = len(part.places)
                self.functions[name, event] = [space.get(_title(name, event, place)) for place in range(size)]
                self.reads[name, event] = [self._looks_at(part, event, place) for place in range(size)]

        self._hidden_steps = [
            (
                part.attribute,
                {at: (space[_title(name, "hidden", at)], self._looks_at(part, "GO", at)) for at in self.eager[name]},
            )
            for name, part in subject.parts.items()
        ]

    def settle(self, state: Any) -> None:
        """Take the hidden steps that are taken at once, as far as what they look at is known."""
        for attribute, places in self._hidden_steps:
            found = places.get(getattr(state, attribute))
            if found is not None and all(getattr(state, name) is not None for name in found[1]):
                found[0](state, FITS)

    def _compile(self) -> list[str]:
        lines = _constants(self.subject)
        for name, part in self.subject.parts.items():
            for place in sorted(self.eager[name]):
                lines += self._hidden(name, part, place)
            for (place, event), views in part.rows.items():
                if not all(view.hidden for view in views):
                    lines += self._function(name, part, place, event, views)
        return lines

    def _hidden(self, name: str, part: Part, place: int) -> list[str]:
        lines = [f"def {_title(name, 'hidden', place)}(s, code):  # {part.places[place].name}"]
        for view in part.rows[place, "GO"]:
            if view.hidden:
                lines.append(f"    if {source(all_of(view.guard), self._own)}:")
                lines += [f"        {line}" for line in self._move(name, part, view, self._code(name, view, "code"))]
        return [*lines, "    return code"]

    def _function(self, name: str, part: Part, place: int, event: str, views: Sequence[RowView]) -> list[str]:
        first = views[0]
        local = {var: f"g{i}" for i, var in enumerate(first.given.values())}
        local |= {var: f"f{i}" for i, var in enumerate(first.found.values())}

        def naming(var: Var) -> str:
            return local.get(var) or self._own(var)

        lines = [f"def {_title(name, event, place)}(s, line):  # {part.places[place].name}, {event}"]
        lines += _load("given", first.given, local) + _load("found", first.found, local)
        lines.append("    wrote = line.wrote; asked = line.asked")
        for view in views:
            if view.hidden:
                continue
            guard = all_of(view.guard)
            indent = "    "
            if guard is not ALWAYS:
                lines.append(f"    if {source(guard, naming)}:")
                indent = "        "
            lines += [indent + line for line in _compare(view, naming)]
            code = self._code(name, view, str(FITS))
            lines += [indent + line for line in self._move(name, part, view, code, naming)]
        return [*lines, "    return 0"]

    def _move(
        self, name: str, part: Part, view: RowView, code: str, naming: Callable[[Var], str] | None = None
    ) -> list[str]:
        naming = naming or self._own
        targets = [f"s.{attribute}" for attribute, _ in view.updates]
        values = [source(value, naming) for _, value in view.updates]
        if view.next != view.place:
            targets.append(f"s.{part.attribute}")
            values.append(str(view.next))
        moves = [f"{', '.join(targets)} = {', '.join(values)}"] if targets else []
        if view.next in self.eager[name]:
            return [*moves, f"return {_title(name, 'hidden', view.next)}(s, {code})"]
        return [*moves, f"return {code}"]

    def _code(self, name: str, view: RowView, otherwise: str) -> str:
        found = self.remarkable.get((name, view.row.key))
        return otherwise if found is None else str(found)

    def _own(self, var: Var) -> str:
        return f"s.{self.subject.variables[var]}"

    def _looks_at(self, part: Part, event: str, place: int) -> frozenset[str]:
        """What must be known for the function to be right, hidden steps behind it included."""
        terms: list[Term] = []
        waiting, done = [(place, event)], set()
        while waiting:
            pair = waiting.pop()
            if pair in done:
                continue
            done.add(pair)
            for view in part.rows.get(pair, ()):
                terms += [*view.guard, *view.wrote.values(), *(value for _, value in view.updates)]
                terms += [argument for _, arguments in view.asks for argument in arguments.values()]
                if view.next in self.eager[part.machine.name]:
                    waiting.append((view.next, "GO"))
        variables = {var for term in terms for var in term.variables()}
        return frozenset(self.subject.variables[var] for var in variables if var in self.subject.variables)


def _title(machine: str, event: str, place: int) -> str:
    return f"{machine}_{event}_{place}"


def _load(field: str, variables: Mapping[str, Var], local: Mapping[Var, str]) -> list[str]:
    if not variables:
        return [f"    if line.{field}: return 0"]
    lines = [f"    {field} = line.{field}", f"    if {field} is None or len({field}) != {len(variables)}: return 0"]
    words: list[tuple[int, str]] = []
    for name, var in variables.items():
        one = local[var]
        if var.sort.members:
            lines.append(f"    {one} = {var.sort}_indices[{field}[{name!r}]]")
        else:
            lines.append(f"    {one} = {field}[{name!r}]")
            words.append((var.sort.width or 1, one))
    for width in sorted({width for width, _ in words}):
        # A text among them raises TypeError, which is a misfit as well; no number of a line is negative.
        lines.append(f"    if ({' | '.join(one for w, one in words if w == width)} | 0) >> {width}: return 0")
    return lines


def _constants(subject: Subject) -> list[str]:
    sorts = {
        term.sort
        for part in subject.parts.values() for views in part.rows.values() for view in views
        for term in (*view.wrote.values(), *(a for _, arguments in view.asks for a in arguments.values()))
        if term.sort.members
    } | {
        var.sort
        for part in subject.parts.values() for views in part.rows.values() for view in views
        for var in (*view.given.values(), *view.found.values()) if var.sort.members
    }  # fmt: skip
    lines = []
    for sort in sorted(sorts, key=str):
        names = [member.name for member in sort.members]
        lines += [
            f"{sort}_names = {tuple(names)!r}",
            f"{sort}_indices = { {name: i for i, name in enumerate(names)}!r}",
        ]
    return lines


def _written(value: Term, naming: Callable[[Var], str]) -> str:
    text = source(value, naming)
    if value.sort.members:
        return f"{value.sort}_names[{text}]"
    return text


def _dict(values: Mapping[str, Term], naming: Callable[[Var], str]) -> str:
    return "{" + ", ".join(f"{name!r}: {_written(value, naming)}" for name, value in values.items()) + "}"


def _compare(view: RowView, naming: Callable[[Var], str]) -> list[str]:
    lines = [f"if wrote != {_dict(view.wrote, naming)}: return 0"] if view.wrote else ["if wrote: return 0"]
    if not view.asks:
        return [*lines, "if asked: return 0"]
    lines.append(f"if asked is None or len(asked) != {len(view.asks)}: return 0")
    for index, (effect, arguments) in enumerate(view.asks):
        lines.append(f"a = asked[{index}]")
        expected = f"a.arguments != {_dict(arguments, naming)}" if arguments else "a.arguments"
        lines.append(f"if a.effect != {effect!r} or {expected}: return 0")
    return lines


def _eager_places(subject: Subject, part: Part) -> frozenset[int]:
    """Places whose hidden steps may be taken at once."""
    others = [other for other in subject.parts.values() if other is not part]
    foreign_writes = {name for other in others for name in other.writes}
    foreign_terms: list[Flag] = [
        flag for other in others for views in other.rows.values() for v in views for flag in v.guard
    ]
    foreign_reads = {
        subject.variables[var]
        for other in others for views in other.rows.values() for view in views
        for term in (*view.guard, *(value for _, value in view.updates)) for var in term.variables()
        if var in subject.variables
    }  # fmt: skip
    at = part.machine.at.variable
    about_place = [flag for flag in foreign_terms if at in set(flag.variables())]
    found = set()
    for place in range(len(part.places)):
        views = [view for view in part.rows.get((place, "GO"), ()) if view.hidden]
        if not views or any(pair[0] == place and pair[1] != "GO" for pair in part.rows):
            continue
        reads = {subject.variables[var] for view in views for flag in view.guard for var in flag.variables()}
        writes = {name for view in views for name, _ in view.updates}
        same = all(_same_to_others(flag, at, place, view.next) for flag in about_place for view in views)
        if not reads & foreign_writes and not writes & foreign_reads and same:
            found.add(place)
    return frozenset(found)


def _same_to_others(flag: Flag, at: Var, here: int, there: int) -> bool:
    if set(flag.variables()) != {at}:
        return False
    text = source(flag, lambda _: "place")
    return bool(eval(text, {"place": here})) == bool(eval(text, {"place": there}))
