# SPDX-License-Identifier: Apache-2.0
"""A counterexample is run again with numbers, by the programs that serve guests, before anybody is shown it.

The solver's values become the state and a function of bytes and masks that reacts as `symbolic` has it. What is answered
and what is written, in its order, must be the same; if not, the executor and the compiled programs disagree, and nothing
was shown either way.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import z3

from pvpci.model.config import compiled
from pvpci.model.config import constants as pci
from pvpci.model.config.compiled import State
from pvpci.model.config.lanes import MASK, lanes
from pvpci.model.config.programs import Program, Step, Structure, variables
from pvpci.model.config.rules import Call, accepted, reading, writing
from pvpci.model.config.state import RECORDS, Kind
from pvpci.model.config.steps import D0, D3HOT
from pvpci.model.kernel.terms import Var
from pvpci.proofs.config.cases import Case
from pvpci.proofs.config.claims import AWAY, LIMIT, OFFSET, SENT, SIZE, Asked, Question, Ran
from pvpci.proofs.config.symbolic import LOST, Byte, World, is_given, takes
from pvpci.proofs.translate import Formula, value_in

#: Where each structure is put: out of each other's way.
PLACES: Final = {structure: 0x1000 * number for number, structure in enumerate(Structure)}
_CONTROL: Final = PLACES[Structure.PM] + pci.PM_CTRL


@dataclass
class Bytes:
    """The function of a model. Each access of it is a place and a value, as the executor writes them down."""

    model: Formula
    before: World
    held: dict[Byte, int] = field(default_factory=dict)
    writes: list[tuple[Structure, int, int, int]] = field(default_factory=list)

    def read(self, offset: int, size: int) -> int:
        return sum(self._byte(_at(offset + n)) << 8 * n for n in range(size))

    def write(self, offset: int, size: int, value: int) -> None:
        structure, place = _at(offset)
        self.writes.append((structure, place, size, value))
        old = self.read(offset, size)
        for n in range(size):
            self._put((structure, place + n), value >> 8 * n & 0xFF)
        if offset == _CONTROL and size == 2:
            self._powered(old, value)

    def _byte(self, at: Byte) -> int:
        if at not in self.held:
            self.held[at] = value_in(self.model, self.before.byte(at))
        return self.held[at]

    def _put(self, at: Byte, value: int) -> None:
        mask = value_in(self.model, takes(at))
        self.held[at] = (self._byte(at) & ~mask) | (value & mask)

    def _powered(self, old: int, value: int) -> None:
        status = (Structure.PM, pci.PM_CTRL + 1)
        self.held[status] = (self._byte(status) & 0x7F) | ((old & ~value) >> 8 & 0x80)
        now = self.read(_CONTROL, 2) & pci.PM_CTRL_STATE
        if old & pci.PM_CTRL_STATE == D3HOT and now == D0 and not old & pci.PM_CTRL_NO_SOFT_RESET:
            self.held |= {at: self._byte(at) & ~value_in(self.model, takes(at)) for at in LOST}


def _at(offset: int) -> Byte:
    structure = list(Structure)[offset >> 12]
    return structure, offset & 0xFFF


@dataclass(frozen=True)
class Seen:
    """What can be compared: the answer, and each write to the function."""

    err: int
    value: int
    writes: tuple[tuple[Structure, int, int, int], ...]
    state: tuple[int, ...]
    told: frozenset[Kind]
    told_again: bool


def agrees(model: Formula, of: Asked | Ran | Question) -> bool:
    """Whether the compiled programs do what the model says."""
    if isinstance(of, Question):
        return of.again(model)
    return _goes_there(model, of) and concrete(model, of) == expected(model, of)


def _goes_there(model: Formula, of: Asked | Ran) -> bool:
    if isinstance(of, Ran):
        return True
    offset, size, limit = (value_in(model, one) for one in (OFFSET, SIZE, LIMIT))
    return bool(accepted(offset, size, limit, of.profile.rules)) == (of.route != AWAY)


def concrete(model: Formula, of: Asked | Ran) -> Seen:
    """The request, or the program, run with the model's numbers."""
    told: set[Kind] = set()
    again: list[bool] = []
    state = State(told.add, lambda: again.append(True), lambda microseconds: None)
    for var in _variables():
        state[var] = value_in(model, of.before.value(var))
    for structure, base in PLACES.items():
        setattr(state, compiled.BASES[structure], base)
    function = Bytes(model, of.before)
    err, value = _request(model, of, state, function) if isinstance(of, Asked) else _program(model, of, state, function)
    return Seen(
        err & MASK[4],
        value,
        tuple(function.writes),
        tuple(state[var] for var in _variables()),
        frozenset(told),
        bool(again),
    )


def _request(model: Formula, of: Asked, state: State, function: Bytes) -> tuple[int, int]:
    """One request, where it goes."""
    offset, size, sent = (value_in(model, one) for one in (OFFSET, SIZE, SENT))
    lane = lanes(offset, size) if size in MASK else 0
    if of.case is None:
        made = compiled.turned_away(of.profile.rules) if of.route == AWAY else compiled.past_the_end(of.profile.rules)
        if of.is_read:
            return made.read(state, function, offset, size, lane)
        return made.write(state, function, offset, size, sent, lane), 0
    if of.is_read:
        given = _given(model, of, reading(of.case.rows, of.profile.rules))
        read = compiled.read(of.case.rows, of.profile.rules, given)
        return read(state, function, _start(of.case) + (offset & 3), size, lane)
    return _write(model, of, of.case, offset & 3, size, sent, state, function), 0


def _write(
    model: Formula, of: Asked | Ran, case: Case, at: int, size: int, sent: int, state: State, function: Bytes
) -> int:
    given = _given(model, of, writing(case.rows, of.profile.rules))
    write = compiled.write(case.rows, of.profile.rules, given)
    return write(state, function, _start(case) + at, size, sent, lanes(at, size))


def _start(case: Case) -> int:
    return PLACES[case.structure] + case.offset


def _program(model: Formula, of: Ran, state: State, function: Bytes) -> tuple[int, int]:
    err = 0
    for part in of.parts:
        if isinstance(part, str):
            compiled.simple(getattr(of.profile, part))(state, function)
        else:
            err = _write(model, of, part.case, 0, part.size, value_in(model, part.value), state, function)
    return err, 0


def _given(model: Formula, of: Asked | Ran, program: Program) -> dict[Var, int]:
    """Variables that no step sets: what the table of a function fixes."""
    free = {var for var in variables(tuple(_steps(program))) if is_given(var)} - set(_variables())
    return {var: value_in(model, of.before.value(var)) for var in free}


def _steps(program: Program) -> Iterator[Step]:
    """Those inside others too."""
    for step in program:
        yield step
        if isinstance(step, Call):
            yield from _steps(step.steps)


def _variables() -> Iterator[Var]:
    for record in RECORDS:
        yield from record.variables


def expected(model: Formula, of: Asked | Ran) -> Seen:
    """The same as the executor has it."""
    answer = of.answer if isinstance(of, Asked) and of.answer is not None else z3.BitVecVal(0, 32)
    return Seen(
        value_in(model, of.err),
        value_in(model, answer),
        tuple(_written(model, of)),
        tuple(value_in(model, of.after.value(var)) for var in _variables()),
        frozenset(one.kind for one in of.after.told if value_in(model, one.when)),
        bool(value_in(model, of.after.told_again)),
    )


def _written(model: Formula, of: Asked | Ran) -> Iterator[tuple[Structure, int, int, int]]:
    for one in of.written:
        if not value_in(model, one.when):
            continue
        if one.lanes is None:
            yield one.place.structure, one.place.offset, one.place.width, value_in(model, one.value)
        else:
            size = value_in(model, SIZE)
            place = one.place.offset + (value_in(model, OFFSET) & 3)
            yield one.place.structure, place, size, value_in(model, SENT) & MASK[size]
