# SPDX-License-Identifier: Apache-2.0
"""Findings in words: where the party may have been, what was false there, and what would have been right."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from pvpci.model.kernel.terms import Flag
from pvpci.model.kernel.words import show
from pvpci.model.kernel.words import value as spelled
from pvpci.traces.candidates import Misfit, Outcome
from pvpci.traces.format import Line, Value
from pvpci.traces.rules import name, nearest
from pvpci.traces.subject import Part, Subject

#: Candidates, and rows of each, that are spelled out; the rest is counted.
_SHOWN: Final = 4


@dataclass(frozen=True)
class Finding:
    """A line that no step of the party explains."""

    line: int
    guest: str
    party: str
    machine: str
    rule: str
    sentence: str
    why: str  #: one line
    details: tuple[str, ...] = ()  #: candidate by candidate
    allowed: tuple[str, ...] = ()  #: what would have been accepted, with who says so
    function: str = ""  #: whose machine it is, where each function has one


def describe(line: Line) -> str:
    """A line of a trace in a few words."""
    words = [line.kind]
    if line.event not in ("GO", "") and line.event.lower() != line.kind:
        words.append(f"on {line.event}")
    if line.given:
        words.append(_pairs(line.given))
    if line.wrote:
        words.append(f"wrote {_pairs(line.wrote)}")
    if line.asked:
        words.append("asked " + ", ".join(f"{one.effect}({_pairs(one.arguments)})" for one in line.asked))
    return " ".join(words)


def _pairs(values: dict[str, Value]) -> str:
    return ", ".join(f"{key}={_plain(value)}" for key, value in values.items())


def _plain(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return hex(value) if value > 9 else str(value)
    return value


def _places(part: Part, states: list[Any]) -> list[str]:
    numbers = {getattr(state, part.attribute) for state in states}
    return [part.places[number].name for number in sorted(n for n in numbers if n is not None)]


def allowed(part: Part, states: list[Any]) -> list[str]:
    """What could have come next where the machine may have been: kinds of lines with citations."""
    numbers = {getattr(state, part.attribute) for state in states}
    found: dict[str, None] = {}
    for (place, event), views in part.rows.items():
        if place not in numbers:
            continue
        for view in views:
            if not view.hidden:
                word = view.border.kind if event == "GO" else event.lower()
                wrote = f" {', '.join(view.wrote)}" if view.wrote else ""
                found[f"{word}{wrote} at {part.places[place].name} [{view.row.cite}]"] = None
    return list(found)


def explain(subject: Subject, number: int, line: Line, outcome: Outcome) -> Finding:
    """The finding at line `number`, which nothing in `outcome` explains."""
    part = subject.parts[line.machine]
    rule, sentence = name(subject, line, outcome)
    places = _places(part, outcome.looked)
    here = f"{line.machine} at {' or '.join(places)}" if places else line.machine
    best = nearest(outcome.misfits)
    if best is None or not (best.akin or best.due):
        rights = list(dict.fromkeys(text.split(" [")[0] for text in allowed(part, outcome.looked)))
        due = f"; due there: {', '.join(rights[:_SHOWN])}" if rights else ""
        why = f"{here}: nothing explains {describe(line)}{due}"
    else:
        why = f"{here}: {describe(line)}: {_reason(subject, best, line)}"
    return Finding(
        number, line.guest, subject.party, line.machine, rule, sentence, why, tuple(_details(subject, part, outcome, line)),
        tuple(allowed(part, outcome.looked)), line.function,
    )  # fmt: skip


def _reason(subject: Subject, misfit: Misfit, line: Line) -> str:
    row = f"{misfit.view.row.key} [{misfit.view.row.cite}]"
    if misfit.shape:
        return f"{row}{' is due' if misfit.due else ''}: {misfit.shape}"
    if misfit.false:
        return f"{row}: false: {'; '.join(_false(subject, flag, misfit, line) for flag in misfit.false)}"
    parts = [f"{name} is {_plain(found)}, right is {_plain(right)}" for name, found, right in misfit.differs]
    return f"{row}: {'; '.join(parts) or 'does not fit'}"


def _false(subject: Subject, flag: Flag, misfit: Misfit, line: Line) -> str:
    values = []
    for var in dict.fromkeys(flag.variables()):
        if var in subject.variables:
            number = getattr(misfit.state, subject.variables[var])
            values.append(f"{var.name} = {'unknown' if number is None else spelled(var.sort, number)}")
        else:
            seen = {**(line.found or {}), **(line.given or {})}
            short = var.name.split(".", 1)[1]
            values.append(f"{var.name} = {_plain(seen.get(var.name, seen.get(short, 'not recorded')))}")
    return f"{show(flag)} (with {', '.join(values)})" if values else show(flag)


def _details(subject: Subject, part: Part, outcome: Outcome, line: Line) -> Iterator[str]:
    for index, state in enumerate(outcome.looked[:_SHOWN]):
        number = getattr(state, part.attribute)
        where = "an unknown place" if number is None else part.places[number].name
        others = [
            f"{other.machine.name} at {other.places[at].name}"
            for other in subject.parts.values()
            if other is not part and (at := getattr(state, other.attribute)) is not None
        ]
        yield f"candidate {index + 1}: {part.machine.name} at {where}" + (f", {', '.join(others)}" if others else "")
        misfits = sorted((one for one in outcome.misfits if one.state is state), key=lambda one: one.distance)
        for misfit in misfits[:_SHOWN]:
            yield f"  {_reason(subject, misfit, line)}"
        if not misfits:
            yield f"  no row there takes {line.event} as it is seen here"
        if len(misfits) > _SHOWN:
            yield f"  and {len(misfits) - _SHOWN} more rows"
    if len(outcome.looked) > _SHOWN:
        yield f"and {len(outcome.looked) - _SHOWN} more candidates"
