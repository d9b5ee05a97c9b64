# SPDX-License-Identifier: Apache-2.0
"""What a program of configuration space means, the slow way: a walk over its steps and terms, as they are defined.

The compiler knows nothing of this, and this nothing of the compiler.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from pvpci.model.config.programs import Finish, Load, Place, Program, Set, Step, Store, Structure, Tell, TellAgain, Wait
from pvpci.model.config.rules import BROUGHT, FOUND, LANES, VALUE, Call, Fetch, Forward
from pvpci.model.config.state import Kind
from pvpci.model.kernel.terms import Term, Var


class Hardware(Protocol):
    def read(self, offset: int, size: int) -> int: ...
    def write(self, offset: int, size: int, value: int) -> None: ...


#: By operator: over the values of the operands, and the number of a shift. The result is cut to its width later.
MEANING: Final[Mapping[str, Callable[[list[int], int], int]]] = {
    "not": lambda a, n: 1 - a[0],
    "and": lambda a, n: min(a),
    "or": lambda a, n: max(a),
    "eq": lambda a, n: int(a[0] == a[1]),
    "if": lambda a, n: a[1] if a[0] else a[2],
    "lt": lambda a, n: int(a[0] < a[1]),
    "add": lambda a, n: a[0] + a[1],
    "sub": lambda a, n: a[0] - a[1],
    "band": lambda a, n: a[0] & a[1],
    "bor": lambda a, n: a[0] | a[1],
    "bxor": lambda a, n: a[0] ^ a[1],
    "bnot": lambda a, n: -1 - a[0],
    "shl": lambda a, n: a[0] * 2**n,
    "shr": lambda a, n: a[0] // 2**n,
    "resize": lambda a, n: a[0],
}


@dataclass
class Interpreter:
    """`values`: what is known and remembered; it changes. `told` and `paused`: what was said and waited for."""

    hardware: Hardware
    values: dict[Var, int]
    bases: Mapping[Structure, int]
    told: list[Kind] = field(default_factory=list)
    paused: list[int] = field(default_factory=list)
    request: tuple[int, int, int] = (0, 0, 0)

    def read(self, program: Program, offset: int, size: int, lanes: int) -> tuple[int, int]:
        self.request = offset, size, 0
        self.values[LANES.variable] = lanes
        return self.run(program) or 0, self.values.get(VALUE.variable, 0)

    def write(self, program: Program, offset: int, size: int, value: int, lanes: int) -> int:
        self.request = offset, size, value % 256**size
        self.values[LANES.variable] = lanes
        self.values[BROUGHT.variable] = self.request[2] * 256 ** (offset % 4)
        return self.run(program) or 0

    def run(self, program: Program) -> int | None:
        """What the program was finished with; None if it came to its end."""
        for step in program:
            happens = bool(self.value(step.when))
            if isinstance(step, Load):
                self.values[step.into.variable] = self.load(step.at) if happens else 0
            elif happens and isinstance(step, Finish):
                return self.value(step.err)
            elif happens:
                self.take(step)
        return None

    def take(self, step: Step) -> None:
        offset, size, value = self.request
        match step:
            case Store():
                self.hardware.write(self.place(step.at), step.at.width, self.value(step.value))
            case Set():
                self.values[step.update.var] = self.value(step.update.value)
            case Tell():
                self.told.append(step.kind)
            case TellAgain():
                self.told.clear()
            case Wait():
                self.paused.append(step.microseconds)
            case Fetch():
                self.values[FOUND.variable] = self.hardware.read(offset, size) * 256 ** (offset % 4)
            case Forward():
                self.hardware.write(offset, size, value)
            case Call():
                self.values[step.err.variable] = self.run(step.steps) or 0

    def load(self, at: Place) -> int:
        return self.hardware.read(self.place(at), at.width)

    def place(self, at: Place) -> int:
        return self.bases.get(at.structure, 0) + at.offset

    def value(self, term: Term) -> int:
        if term.op == "const":
            return term.number
        if term.var is not None:
            return self.values.get(term.var, 0)
        operands = [self.value(arg) for arg in term.args]
        found = int(MEANING[term.op](operands, term.number))
        return int(found % 2 ** (term.sort.width or 1))
