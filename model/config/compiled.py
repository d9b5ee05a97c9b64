# SPDX-License-Identifier: Apache-2.0
"""Programs of configuration space as Python source.

One function for each dword and direction, over a state with a plain attribute for each variable, made once for all
functions that have the same rows. The generated source can be read: `text` has it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from types import MappingProxyType
from typing import Any, Final, Protocol, cast

from pvpci.model.config.lanes import MASK
from pvpci.model.config.programs import (
    Field,
    Finish,
    Load,
    Place,
    Program,
    Set,
    Step,
    Store,
    Structure,
    Tell,
    TellAgain,
    Wait,
)
from pvpci.model.config.rules import (
    ALL_LANES,
    BROUGHT,
    FOUND,
    LANES,
    VALUE,
    Call,
    Fetch,
    Forward,
    Rules,
    beyond,
    reading,
    refused,
    writing,
)
from pvpci.model.config.state import RECORDS, Kind
from pvpci.model.kernel.compiled import attribute, source
from pvpci.model.kernel.terms import ALWAYS, Var

NO_VALUES: Final[Mapping[Var, int]] = MappingProxyType({})
NAMES: Final = {var: attribute(var) for record in RECORDS for var in record.variables}
BASES: Final = {structure: f"at_{structure.name.lower()}" for structure in Structure}


class HardwareAccess(Protocol):
    """The real function. 1, 2 or 4 aligned bytes; what it raises passes through us."""

    def read(self, offset: int, size: int) -> int: ...
    def write(self, offset: int, size: int, value: int) -> None: ...


class State:
    """One attachment: an integer for each variable of `state`, and where the function has its structures."""

    __slots__ = (*NAMES.values(), *BASES.values(), "pause", "tell", "tell_again")

    def __init__(
        self, tell: Callable[[Kind], None], tell_again: Callable[[], None], pause: Callable[[int], None]
    ) -> None:
        for name in (*NAMES.values(), *BASES.values()):
            setattr(self, name, 0)
        self.tell, self.tell_again, self.pause = tell, tell_again, pause

    def __getitem__(self, var: Var) -> int:
        return int(getattr(self, NAMES[var]))

    def __setitem__(self, var: Var, value: int) -> None:
        setattr(self, NAMES[var], value)


#: A whole dword: ``(state, hardware, offset)`` to the value.
Whole = Callable[[State, HardwareAccess, int], int]
#: ``(state, hardware, offset, size, lanes)`` to error and value.
Read = Callable[[State, HardwareAccess, int, int, int], tuple[int, int]]
#: ``(state, hardware, offset, size, value, lanes)`` to the error.
Write = Callable[[State, HardwareAccess, int, int, int, int], int]
#: ``(state, hardware)`` to the error.
Plain = Callable[[State, HardwareAccess], int]


class _Printer:
    """The lines of one function. A local variable gets a name of its own, whatever others are called."""

    def __init__(self, title: str, parameters: str, fixed: dict[Var, str]) -> None:
        self.lines = [f"def {title}({parameters}):"]
        self.fixed = fixed
        self.names: dict[Var, str] = {}

    def name(self, var: Var) -> str:
        if var in NAMES:
            return f"s.{NAMES[var]}"
        if var in self.fixed:
            return self.fixed[var]
        return self.names.setdefault(var, f"{var.name.replace(' ', '_')}_{len(self.names)}")

    def line(self, depth: int, text: str) -> None:
        self.lines.append("    " * depth + text)

    def program(self, program: Program, depth: int, end: str) -> None:
        """`end`: what is done with an error."""
        for step in program:
            self.step(step, depth, end)

    def step(self, step: Step, depth: int, end: str) -> None:
        sure = step.when is ALWAYS
        if isinstance(step, Load):
            found = f"h.read({self.at(step.at)}, {step.at.width}) & {MASK[step.at.width]}"
            condition = "" if sure else f" if {source(step.when, self.name)} else 0"
            self.line(depth, f"{self.name(step.into.variable)} = ({found}){condition}")
            return
        if not sure:
            self.line(depth, f"if {source(step.when, self.name)}:")
            depth += 1
        self.line(depth, self.does(step, depth, end))

    def does(self, step: Step, depth: int, end: str) -> str:
        match step:
            case Store():
                return f"h.write({self.at(step.at)}, {step.at.width}, {source(step.value, self.name)})"
            case Set():
                value = source(step.update.value, self.name)
                flag = step.update.var.sort.width == 0
                return f"{self.name(step.update.var)} = {f'int({value})' if flag else value}"
            case Finish():
                return end.format(source(step.err, self.name))
            case Tell():
                return f"s.tell(Kind.{step.kind.name})"
            case TellAgain():
                return "s.tell_again()"
            case Wait():
                return f"s.pause({step.microseconds})"
            case Fetch():
                return f"{self.name(FOUND.variable)} = (h.read(offset, size) & sizes[size]) << (offset & 3) * 8"
            case Forward():
                return "h.write(offset, size, value & sizes[size])"
            case Call():
                return self.call(step, depth)
        raise TypeError(f"no such step: {step!r}")

    def call(self, step: Call, depth: int) -> str:
        """A loop of one turn, which `break` ends."""
        err = self.name(step.err.variable)
        self.line(depth, f"{err} = 0")
        self.line(depth, "while True:")
        self.program(step.steps, depth + 1, f"{err} = {{}}; break")
        return "    break"

    def at(self, place: Place) -> str:
        if place.structure is Structure.HEADER:
            return hex(place.offset)
        return f"s.{BASES[place.structure]} + {place.offset}"


def _made(printer: _Printer) -> Any:
    text = "\n".join(printer.lines) + "\n"
    space: dict[str, Any] = {"Kind": Kind, "sizes": MASK}
    exec(compile(text, "<configuration space>", "exec"), space)
    made = space["program"]
    made.text = text
    return made


def whole(rows: Sequence[Field], rules: Rules) -> Whole:
    """The read of a whole dword; none of the rows may refuse to be read."""
    printer = _Printer("program", "s, h, offset, size=4", {})
    printer.program(reading(rows, rules, ALL_LANES), 1, "")
    printer.line(1, f"return {printer.name(VALUE.variable)}")
    return cast(Whole, _made(printer))


def read(rows: Sequence[Field], rules: Rules, given: Mapping[Var, int] = NO_VALUES) -> Read:
    """`given`: values of variables that no step sets."""
    return _read(reading(rows, rules), given)


def _read(program: Program, given: Mapping[Var, int] = NO_VALUES) -> Read:
    fixed = {LANES.variable: "lanes"} | {var: str(value) for var, value in given.items()}
    printer = _Printer("program", "s, h, offset, size, lanes", fixed)
    value = printer.name(VALUE.variable)
    printer.line(1, f"{printer.name(FOUND.variable)} = 0")
    printer.program(program, 1, f"return {{}}, {value}")
    if not isinstance(program[-1], Finish):
        printer.line(1, f"return 0, {value}")
    return cast(Read, _made(printer))


def write(rows: Sequence[Field], rules: Rules, given: Mapping[Var, int] = NO_VALUES) -> Write:
    """`given`: values of variables that no step sets."""
    return _write(writing(rows, rules), given)


def _write(program: Program, given: Mapping[Var, int] = NO_VALUES) -> Write:
    fixed = {LANES.variable: "lanes", BROUGHT.variable: "brought"} | {var: str(value) for var, value in given.items()}
    printer = _Printer("program", "s, h, offset, size, value, lanes", fixed)
    if any(isinstance(step, Call) for step in program):
        printer.line(1, "brought = (value & sizes[size]) << (offset & 3) * 8")
    printer.program(program, 1, "return {}")
    printer.line(1, "return 0")
    return cast(Write, _made(printer))


def plain(program: Program) -> Plain:
    """A program that no request started."""
    printer = _Printer("program", "s, h", {})
    printer.program(program, 1, "return {}")
    printer.line(1, "return 0")
    return cast(Plain, _made(printer))


@dataclass(frozen=True)
class Dword:
    """What requests for one dword are done with. `whole` is None where a row refuses to be read."""

    whole: Whole | None
    read: Read
    write: Write


#: Sets of rows of one dword whose programs are remembered. A view keeps its own.
_ALIKE: Final = 4096


@lru_cache(_ALIKE)
def dword(rows: tuple[Field, ...], rules: Rules) -> Dword:
    """Made once for each set of rows, which functions share."""
    return Dword(
        None if any(row.reads.refuses for row in rows) else whole(rows, rules), read(rows, rules), write(rows, rules)
    )


@cache
def turned_away(rules: Rules) -> Dword:
    """The same for a request that is not looked at."""
    reads, writes = refused(rules)
    return Dword(None, _read(reads), _write(writes))


@cache
def past_the_end(rules: Rules) -> Dword:
    """The same for what no accessor reaches."""
    reads, writes = beyond(rules)
    return Dword(None, _read(reads), _write(writes))


@cache
def simple(program: Program) -> Plain:
    return plain(program)
