# SPDX-License-Identifier: Apache-2.0
"""How a request meets the rows of its dword: the one algorithm of configuration space, as a program.

A request for some lanes of a dword is answered from the rows that it meets, in the order of their registration. For a
read they are laid over the function's own bytes, so that a later row wins. For a write each row is given the whole field
that results, with the bytes that were not written as the guest reads them.

What else differs between our backend and Linux's is in `Rules`: each is one decision, and a dialect changes one.

The result is a program like any other, so that the same steps run and are proved. What a program cannot say is the
request as a whole: `Forward` passes it on to the function as it came.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from pvpci.model.config.lanes import ASKED, MASK, WORD, aligned, contained, first, inside, positive
from pvpci.model.config.programs import (
    NEW,
    RAW,
    Field,
    Finish,
    Load,
    Program,
    Set,
    Step,
    Tell,
    but,
    local,
    refuse,
)
from pvpci.model.config.state import Kind, known
from pvpci.model.kernel.terms import ALWAYS, NEVER, Bits, Flag, Update, choose, constant, number, substitute
from pvpci.model.wire import Err

#: What a request asks for: the lanes of its dword, and what it brings for them, in position.
LANES: Final = local("lanes", 32)
BROUGHT: Final = local("brought", 32)
#: What the function itself has in these lanes; the others are 0.
FOUND: Final = local("found", 32)
#: What is answered to a read.
VALUE: Final = local("value", 32)
_ERR: Final = local("err", 32)
_ANSWER: Final = local("answer", 32)
EINVAL: Final = -22
ALL_LANES: Final = number(32, WORD)


@dataclass(frozen=True)
class Rules:
    """Each is what the reference does; a dialect sets one otherwise."""

    bounded: bool = True  #: a request must lie inside the function; else only inside what the accessor reaches
    cut: bool = True  #: the value that is read has no bit beyond the size
    first_refusal: bool = True  #: the first row that refuses ends the request; else the last row's answer counts
    drops: bool = True  #: a write that meets no row is dropped, unless permissive
    inner: bool = True  #: a row that lies strictly inside the request is met too
    ordered: bool = True  #: rows are met in the order of their registration; else in that of their offsets
    stray: bool = False  #: bytes of a write that no row covers reach the function, if any row is met
    zeroed: bool = True  #: the value of a read that is refused is 0
    aligned: bool = True  #: a word starts at an even byte
    lasting: bool = True  #: a read leaves what is remembered as it is; else a size mask is read but once


@dataclass(frozen=True, kw_only=True, eq=False)
class Fetch(Step):
    """`FOUND` becomes what the function has in the lanes of the request: one access of exactly its size."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Forward(Step):
    """The request is written to the function as it came: one access of exactly its size."""


@dataclass(frozen=True, eq=False)
class Call(Step):
    """A program in a program: what finishes it finishes only this step. `err` becomes what it answered."""

    steps: Program
    err: Bits


def meets(row: Field, asked: Bits, rules: Rules) -> Flag:
    """Whether the request and the row have a byte in common."""
    if asked is ALL_LANES:
        return ALWAYS if rules.inner or row.lanes & 0xFF0000FF else NEVER
    if rules.inner:
        return (asked & row.lanes) != 0
    return asked.among(*(lanes for lanes in ASKED if row.lanes & _ends(lanes)))


def _ends(lanes: int) -> int:
    """The first and the last byte of a request."""
    return (lanes & -lanes) * 0xFF | (1 << (lanes.bit_length() - 8)) * 0xFF


def in_order(rows: Sequence[Field], rules: Rules) -> Sequence[Field]:
    return rows if rules.ordered else sorted(rows, key=lambda row: row.offset)


def _seen(row: Field, register: Bits) -> Bits:
    return substitute(row.reads.value, {RAW[row.width].variable: register})


def reading(rows: Sequence[Field], rules: Rules, asked: Bits = LANES) -> Program:
    """The program of a read: it sets `VALUE`. `asked`: `LANES`, or `ALL_LANES` for a whole dword."""
    covered = 0
    for row in rows:
        # What refuses to be read leaves the register in the answer.
        covered |= 0 if row.reads.refuses else row.lanes
    whole = asked is ALL_LANES
    steps: list[Step] = []
    after: list[Step] = []
    answer: Bits = FOUND
    if not whole:
        steps.append(Fetch(when=(asked & (WORD & ~covered)) != 0))
    elif covered != WORD or any(row.reads.real for row in rows):
        steps.append(Fetch())
    else:
        answer = number(32, 0)
    for row in in_order(rows, rules):
        met = meets(row, asked, rules)
        register: Bits = RAW[row.width]
        if row.reads.refuses:
            steps += [Set(VALUE.becomes(_value(asked, answer, rules)), when=met), refuse(row.reads.refuses, met)]
        if whole:
            register = (FOUND >> row.shift).resize(8 * row.width)
        elif row.reads.real:
            register = local(f"raw_{row.offset:x}", 8 * row.width)
            steps.append(Load(register, row.place, when=met))
        if not rules.lasting:
            after += [replace(step, when=met) for step in _forgetting(row)]
        seen = _seen(row, register).resize(32) << row.shift
        laid = seen if whole and row.lanes == WORD else (answer & (WORD & ~row.lanes)) | (seen & row.lanes)
        answer = laid if whole else choose(met, laid, answer)
    if not whole:
        steps.append(Set(_ANSWER.becomes(answer)))
        answer = _ANSWER
    steps.append(Set(VALUE.becomes(_value(asked, answer, rules))))
    return (*steps, *after)


def _forgetting(row: Field) -> list[Step]:
    return [
        Set(Update(step.update.var, constant(step.update.var.sort, False)))
        for step in row.writes.steps
        if isinstance(step, Set) and step.name == "sizing"
    ]


def writing(rows: Sequence[Field], rules: Rules) -> Program:
    """The program of a write."""
    steps: list[Step] = []
    result = _ERR
    any_met: Flag = NEVER
    for row in in_order(rows, rules):
        met = meets(row, LANES, rules)
        any_met = met if any_met is NEVER else any_met | met
        if row.reads.refuses:
            steps.append(refuse(row.reads.refuses, met))
            continue
        if not row.writes.steps:
            if not rules.first_refusal:
                steps.append(Set(result.becomes(0), when=met))
            continue
        steps.append(Call(_of_row(row), result, when=met, name=row.name))
        if rules.first_refusal:
            steps.append(Finish(result, when=met & (result != 0)))
    if rules.stray and rows:
        steps.append(Forward(when=any_met))
    if not rules.first_refusal:
        steps.append(Finish(result, when=any_met))
    steps += unmatched(rules, any_met)
    return tuple(steps)


def _of_row(row: Field) -> Program:
    """What the row does with the field that results from the request."""
    steps: list[Step] = []
    partly = (LANES & row.lanes) != row.lanes
    now = number(8 * row.width, 0)
    if row.lanes in (0xFF, 0xFF00, 0xFF0000, 0xFF000000):
        partly = NEVER
    else:
        register = local("present", 8 * row.width)
        if row.reads.real:
            steps.append(Load(register, row.place, when=partly))
        now = but(_seen(row, register), row.writes.ones) if row.writes.ones else _seen(row, register)
    under = now.resize(32) << row.shift
    merged = BROUGHT if partly is NEVER else (under & ~LANES) | (BROUGHT & LANES)
    steps.append(Set(NEW[row.width].becomes((merged >> row.shift).resize(8 * row.width))))
    return (*steps, *row.writes.steps)


def unmatched(rules: Rules, met: Flag = NEVER) -> Program:
    """A write that meets no row."""
    alone = ALWAYS if met is NEVER else ~met
    passed = known.permissive if rules.drops else ALWAYS
    return (
        Forward(when=passed if alone is ALWAYS else alone & passed),
        Tell(Kind.WRITE_PERMITTED, when=known.permissive if alone is ALWAYS else alone & known.permissive),
        Tell(Kind.WRITE_DROPPED, when=~known.permissive if alone is ALWAYS else alone & ~known.permissive),
    )


def refused(rules: Rules) -> tuple[Program, Program]:
    """Reads and writes that are not `accepted`."""
    value = number(32, 0 if rules.zeroed else WORD)
    return (Set(VALUE.becomes(value)), refuse(Err.INVALID_OFFSET)), (refuse(Err.INVALID_OFFSET),)


def beyond(rules: Rules) -> tuple[Program, Program]:
    """Reads and writes past what the accessor reaches, where no row can be."""
    read = (Set(VALUE.becomes(_value(LANES, LANES, rules))), refuse(EINVAL))
    write = (refuse(EINVAL, known.permissive), Tell(Kind.WRITE_DROPPED))
    return read, write


def accepted(offset: Any, size: Any, limit: Any, rules: Rules) -> Any:
    """Whether a request is looked at; if not, it is answered with `Err.INVALID_OFFSET`. Numbers or terms."""
    well = aligned(offset, size) if rules.aligned else contained(offset, size)
    return well & (inside(offset, size, limit) if rules.bounded else positive(offset))


def _value(asked: Bits, answer: Bits, rules: Rules) -> Bits:
    """The lanes that were asked for, moved down; cut to the size."""
    if asked is ALL_LANES:
        return answer
    found = answer
    for lanes, size in ASKED.items():
        moved = answer >> first(lanes)
        found = choose(asked == lanes, moved & MASK[size] if rules.cut else moved, found)
    return found
