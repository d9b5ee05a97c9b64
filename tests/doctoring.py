# SPDX-License-Identifier: Apache-2.0
"""What doctors of traces have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from pvpci.traces.format import Asked, Below, Line

Lines = list[Line | Below]


class Unfit(ValueError):
    """The trace has nothing that could be doctored so."""


@dataclass(frozen=True)
class Doctored:
    lines: Lines
    rule: str
    line: int  #: of the file, whose first is the header


@dataclass(frozen=True)
class Doctor:
    name: str
    rule: str
    harm: Callable[[Lines], int]  #: changes the lines in place; gives the index of the line that is to be found

    def __call__(self, lines: Lines) -> Doctored:
        """A doctored copy. Raises Unfit."""
        copy: Lines = [msgspec.json.decode(msgspec.json.encode(line), type=type(line)) for line in lines]
        culprit = copy[index] if (index := self.harm(copy)) < len(copy) else None
        assert culprit is not None
        for seq, line in enumerate(copy, copy[0].seq):
            line.seq = seq
        return Doctored(copy, self.rule, 2 + next(i for i, line in enumerate(copy) if line is culprit))


def at(lines: Lines, test: Callable[[Line], bool], start: int = 0) -> int:
    """The index of the first step from `start` that passes."""
    for index in range(start, len(lines)):
        line = lines[index]
        if isinstance(line, Line) and line.machine and test(line):
            return index
    raise Unfit("the trace has no such line")


def kind(*names: str) -> Callable[[Line], bool]:
    return lambda line: line.kind in names


def wrote(name: str) -> Callable[[Line], bool]:
    return lambda line: name in (line.wrote or {})


def fields(line: Line | Below, part: str) -> dict[str, Any]:
    if part == "asked":
        asked: list[Asked] = line.asked  # type: ignore[union-attr,assignment]
        return asked[0].arguments
    return getattr(line, part)  # type: ignore[no-any-return]


def again(line: Line | Below) -> Line | Below:
    return msgspec.json.decode(msgspec.json.encode(line), type=type(line))
