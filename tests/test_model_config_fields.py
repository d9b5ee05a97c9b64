# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of requests, on numbers, on terms, and for all numbers at once."""

from __future__ import annotations

from typing import Any

import pytest
import z3
from hypothesis import given
from hypothesis import strategies as st

from pvpci.model.config import fields
from pvpci.model.config.fields import DROPPED, Field, Reads, Table, TableError, apart, lanes, merge, take
from pvpci.model.kernel.terms import Flag, Sort, Term, Var, substitute, variable
from pvpci.model.kernel.terms import number as bits

NOTHING = Reads("0", lambda device, facts, raw: 0)


def row(offset: int, width: int, name: str = "F") -> Field:
    return Field(offset, width, name, NOTHING, DROPPED, "test")


class Unsigned:
    """A solver's bit vector with the meaning that operators have here."""

    def __init__(self, expression: Any) -> None:
        self.it = expression

    def __and__(self, other: Any) -> Unsigned:
        return Unsigned(self.it & raw(other))

    def __or__(self, other: Any) -> Unsigned:
        return Unsigned(self.it | raw(other))

    def __add__(self, other: Any) -> Unsigned:
        return Unsigned(self.it + raw(other))

    def __lt__(self, other: Any) -> Truth:
        return Truth(z3.ULT(self.it, raw(other)))

    def __le__(self, other: Any) -> Truth:
        return Truth(z3.ULE(self.it, raw(other)))

    def __eq__(self, other: object) -> Truth:  # type: ignore[override]
        return Truth(self.it == raw(other))

    __hash__ = object.__hash__


class Truth:
    def __init__(self, expression: Any) -> None:
        self.it = expression

    def __and__(self, other: Truth) -> Truth:
        return Truth(z3.And(self.it, other.it))

    def __or__(self, other: Truth) -> Truth:
        return Truth(z3.Or(self.it, other.it))

    def __eq__(self, other: object) -> Truth:  # type: ignore[override]
        return Truth(self.it == raw(other))

    __hash__ = object.__hash__

    def __bool__(self) -> bool:
        raise AssertionError("decided on a value that is not known")


def raw(value: Any) -> Any:
    return value.it if isinstance(value, Unsigned | Truth) else value


@pytest.mark.parametrize("limit", [0, 3, 255, 256, 4096])
def test_valid_is_the_definition_for_every_offset_and_size(limit: int) -> None:
    offset, size = z3.BitVecs("offset size", 32)
    wide = z3.ZeroExt(8, offset)
    meant = z3.And(
        z3.Or(size == 1, size == 2, size == 4),
        z3.URem(offset, size) == 0,
        z3.ULE(wide + z3.ZeroExt(8, size), limit),
    )
    solver = z3.Solver()
    solver.add(raw(fields.valid(Unsigned(offset), Unsigned(size), limit)) != meant)

    assert z3.unsat == solver.check()


def test_a_request_is_in_error_exactly_if_it_is_not_valid() -> None:
    offset, size = z3.BitVecs("offset size", 32)
    arguments = (Unsigned(offset), Unsigned(size), 256)
    solver = z3.Solver()
    solver.add(raw(fields.valid(*arguments)) == raw(fields.request_error(*arguments)))

    assert z3.unsat == solver.check()


@given(
    st.one_of(st.integers(-0x80000000, 0xFFFFFFFF), st.integers(-8, 300), st.integers(4080, 4110)),
    st.one_of(st.integers(-0x80000000, 0xFFFFFFFF), st.integers(-1, 9)),
    st.sampled_from([256, 4096]),
)
def test_numbers_and_terms_agree(offset: int, size: int, limit: int) -> None:
    o, s = Var("offset", Sort(32)), Var("size", Sort(32))
    term = fields.request_error(variable(o), variable(s), limit)
    known = {o: bits(32, offset & 0xFFFFFFFF), s: bits(32, size & 0xFFFFFFFF)}

    assert isinstance(term, Flag)
    assert fields.request_error(offset, size, limit) == bool(evaluate(substitute(term, known)))
    assert fields.request_error(offset, size, limit) == (
        size not in (1, 2, 4) or offset % size != 0 or offset < 0 or offset + size > limit
    )


def evaluate(term: Term) -> int:
    """A constant term's value, written apart from the compiler so that it can judge ours."""
    if term.op == "const":
        return term.number
    args = [evaluate(arg) for arg in term.args]
    match term.op:
        case "not":
            return 1 - args[0]
        case "and" | "band":
            return args[0] & args[1]
        case "or" | "bor":
            return args[0] | args[1]
        case "eq":
            return int(args[0] == args[1])
        case "lt":
            return int(args[0] < args[1])
        case "add":
            return args[0] + args[1] & 0xFFFFFFFF
        case "bnot":
            return args[0] ^ 0xFFFFFFFF
    raise AssertionError(f"{term.op} has no business in a request's check")


@given(*[st.integers(0, 0xFFFFFFFF)] * 2, st.sampled_from([lanes(o, s) for s in (1, 2, 4) for o in range(0, 4, s)]))
def test_merge_takes_lanes_from_one_and_the_rest_from_the_other(under: int, over: int, mask: int) -> None:
    merged = merge(under, over, mask)

    assert 0 <= merged <= 0xFFFFFFFF
    assert over & mask == merged & mask
    assert under & (mask ^ 0xFFFFFFFF) == merged & (mask ^ 0xFFFFFFFF)


def test_merge_and_apart_work_on_terms() -> None:
    under, over = Var("under", Sort(32)), Var("over", Sort(32))
    merged = merge(variable(under), variable(over), 0x00FFFF00)
    known = {under: bits(32, 0x11223344), over: bits(32, 0xAABBCCDD)}

    assert 0x11BBCC44 == evaluate(substitute(merged, known))
    assert 1 == evaluate(substitute(apart(variable(under), 0x00CC0000), known))
    assert 0 == evaluate(substitute(apart(variable(under), 0x00EE0000), known))


@pytest.mark.parametrize(
    ("offset", "size", "expected"),
    [(0x10, 4, 0xFFFFFFFF), (0x11, 1, 0xFF00), (0x12, 2, 0xFFFF0000), (0x3D, 1, 0xFF00), (0x04, 2, 0xFFFF)],
)
def test_lanes_are_the_bytes_of_the_dword(offset: int, size: int, expected: int) -> None:
    assert expected == lanes(offset, size)
    assert 0x44332211 & expected == take(0x44332211, expected, 8 * (offset & 3)) << 8 * (offset & 3)


def test_two_fields_may_overlap_and_stay_in_order() -> None:
    late, early = row(0x41, 1, "LATE"), row(0x40, 2, "EARLY")
    table = Table([late, early])

    assert (late, early) == table.covering(0x40, 0xFFFF)
    assert (early,) == table.covering(0x40, 0xFF)
    assert () == table.covering(0x40, 0xFF0000)
    assert () == table.covering(0x44, 0xFFFFFFFF)


def test_two_fields_at_one_byte_are_refused_by_name() -> None:
    with pytest.raises(TableError, match=r"TWO and ONE both start at 0x40"):
        Table([row(0x40, 2, "ONE"), row(0x40, 4, "TWO")])


@pytest.mark.parametrize(("offset", "width"), [(0x43, 4), (0x42, 4), (0x43, 2), (0x40, 3), (0x40, 8), (-4, 4)])
def test_a_field_that_is_not_inside_one_dword_is_refused(offset: int, width: int) -> None:
    with pytest.raises(TableError, match="not inside one dword"):
        row(offset, width)
