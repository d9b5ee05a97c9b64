# SPDX-License-Identifier: Apache-2.0
"""The compiler and the translator are the trusted base: every operator, and generated terms, mean the same to both."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from itertools import product

import pytest
import z3
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import proofs_toys as toys

from pvpci.model.kernel.compiled import evaluate, group, source, successors
from pvpci.model.kernel.records import GO
from pvpci.model.kernel.terms import OPERATORS, Bits, Flag, Sort, Term, Var, choose, constant, variable
from pvpci.proofs.translate import Translator, literal

FOUR = Sort(4)
A, B = Var("t.a", FOUR), Var("t.b", FOUR)
P, Q = Var("t.p", Sort(0)), Var("t.q", Sort(0))
a, b = Bits(4, "var", var=A), Bits(4, "var", var=B)
p, q = Flag(op="var", var=P), Flag(op="var", var=Q)

#: what each operator is to mean, over integers: said a third time, so that two equal mistakes are seen
MEANT: dict[str, tuple[Term, Callable[[int, int, int, int], int]]] = {
    "add": (a + b, lambda x, y, s, t: (x + y) % 16),
    "sub": (a - b, lambda x, y, s, t: (x - y) % 16),
    "band": (a & b, lambda x, y, s, t: x & y),
    "bor": (a | b, lambda x, y, s, t: x | y),
    "bxor": (a ^ b, lambda x, y, s, t: x ^ y),
    "bnot": (~a, lambda x, y, s, t: 15 - x),
    "lt": (a < b, lambda x, y, s, t: int(x < y)),
    "gt": (a > b, lambda x, y, s, t: int(x > y)),
    "le": (a <= b, lambda x, y, s, t: int(x <= y)),
    "ge": (a >= b, lambda x, y, s, t: int(x >= y)),
    "eq": (a == b, lambda x, y, s, t: int(x == y)),
    "ne": (a != b, lambda x, y, s, t: int(x != y)),
    "if": (choose(p, a, b), lambda x, y, s, t: x if s else y),
    "if of flags": (choose(p, q, a == b), lambda x, y, s, t: t if s else int(x == y)),
    "and": (p & q, lambda x, y, s, t: s & t),
    "or": (p | q, lambda x, y, s, t: s | t),
    "not": (~p, lambda x, y, s, t: 1 - s),
    "eq of flags": (p == q, lambda x, y, s, t: int(s == t)),
    "ne of flags": (p != q, lambda x, y, s, t: int(s != t)),
    "implies": (p.implies(q), lambda x, y, s, t: int(t or not s)),
    **{f"shl {n}": (a << n, lambda x, y, s, t, n=n: (x << n) % 16) for n in range(6)},  # type: ignore[misc]
    **{f"shr {n}": (a >> n, lambda x, y, s, t, n=n: x >> n) for n in range(6)},  # type: ignore[misc]
    **{f"resize {n}": (a.resize(n), lambda x, y, s, t, n=n: x % (1 << n)) for n in (1, 2, 3, 4, 5, 9)},  # type: ignore[misc]
}


def solved(translator: Translator, term: Term, values: dict[Var, int]) -> int:
    """The value that z3 computes."""
    pairs = [(translator.constant(var), literal(var, number)) for var, number in values.items()]
    result = z3.simplify(z3.substitute(translator.formula(term), *pairs))
    return int(z3.is_true(result)) if z3.is_bool(result) else int(result.as_long())


def test_every_operator_is_meant_by_one_of_the_cases() -> None:
    used = {inner.op for term, _ in MEANT.values() for inner in subterms(term)}

    assert set(OPERATORS) <= used


def subterms(term: Term) -> list[Term]:
    return [term, *(inner for arg in term.args for inner in subterms(arg))]


@pytest.mark.parametrize("name", MEANT)
def test_operator_exhaustively_at_four_bits(name: str) -> None:
    term, meant = MEANT[name]
    translator = Translator()
    compiled = eval(f"lambda x, y, s, t: int({source(term, {A: 'x', B: 'y', P: 's', Q: 't'}.__getitem__)})")
    for x, y, s, t in product(range(16), range(16), (0, 1), (0, 1)):
        if A not in term.variables() and (x or y):
            continue
        if P not in term.variables() and (s or t):
            continue
        expected = meant(x, y, s, t)

        assert expected == compiled(x, y, s, t), (x, y, s, t)
        assert expected == solved(translator, term, {A: x, B: y, P: s, Q: t}), (x, y, s, t)


WIDTHS = (1, 3, 8, 32)


class Colour(Enum):
    RED = auto()
    GREEN = auto()
    BLUE = auto()


COLOUR = Sort(2, tuple(Colour))
VARIABLES = {
    sort: [Var(f"t.v{i}_{n}", sort) for n in range(2)] for i, sort in enumerate([*map(Sort, WIDTHS), Sort(0), COLOUR])
}


def sized(sort: Sort) -> st.SearchStrategy[int]:
    return st.integers(0, sort.size - 1)


@st.composite
def terms(draw: st.DrawFn, sort: Sort, depth: int) -> Term:
    """Any term of the sort, at most `depth` operators deep."""
    leaf = depth == 0 or draw(st.integers(0, 4)) == 0
    if leaf:
        if draw(st.booleans()):
            return variable(draw(st.sampled_from(VARIABLES[sort])))
        return constant(sort, sort.decode(draw(sized(sort))))
    if sort.width == 0:
        op = draw(st.sampled_from(["not", "and", "or", "eq", "lt", "if"]))
        if op == "eq":
            other = draw(st.sampled_from(list(VARIABLES)))
            return Flag(Sort(0), "eq", (draw(terms(other, depth - 1)), draw(terms(other, depth - 1))))
        if op == "lt":
            other = Sort(draw(st.sampled_from(WIDTHS)))
            return Flag(Sort(0), "lt", (draw(terms(other, depth - 1)), draw(terms(other, depth - 1))))
        if op == "if":
            return Flag(Sort(0), "if", tuple(draw(terms(Sort(0), depth - 1)) for _ in range(3)))
        return Flag(Sort(0), op, tuple(draw(terms(Sort(0), depth - 1)) for _ in range(OPERATORS[op])))
    if sort.members:
        return type(variable(VARIABLES[sort][0]))(
            sort, "if", (draw(terms(Sort(0), depth - 1)), draw(terms(sort, depth - 1)), draw(terms(sort, depth - 1)))
        )
    op = draw(st.sampled_from(["add", "sub", "band", "bor", "bxor", "bnot", "shl", "shr", "resize", "if"]))
    if op == "if":
        return Bits(
            sort, "if", (draw(terms(Sort(0), depth - 1)), draw(terms(sort, depth - 1)), draw(terms(sort, depth - 1)))
        )
    if op == "resize":
        return Bits(sort, "resize", (draw(terms(Sort(draw(st.sampled_from(WIDTHS))), depth - 1)),))
    number = draw(st.integers(0, sort.width + 2)) if op in ("shl", "shr") else 0
    return Bits(sort, op, tuple(draw(terms(sort, depth - 1)) for _ in range(OPERATORS[op])), number=number)


@st.composite
def questions(draw: st.DrawFn) -> tuple[Term, dict[Var, int]]:
    sort = draw(st.sampled_from(list(VARIABLES)))
    term = draw(terms(sort, 4))
    return term, {var: draw(sized(var.sort)) for var in dict.fromkeys(term.variables())}


@settings(max_examples=400)
@given(questions())
def test_generated_terms_mean_the_same_to_both(question: tuple[Term, dict[Var, int]]) -> None:
    term, values = question

    assert evaluate(term, values) == solved(Translator(), term, values)


def test_a_wrong_translation_would_be_seen() -> None:
    # z3's own `<` is signed: the mistake that this file exists for.
    translator = Translator()
    signed = translator.formula(a) < translator.formula(b)
    pairs = [(translator.constant(A), z3.BitVecVal(8, 4)), (translator.constant(B), z3.BitVecVal(1, 4))]

    assert 0 == evaluate(a < b, {A: 8, B: 1})
    assert z3.is_true(z3.simplify(z3.substitute(signed, *pairs)))


def test_unknown_operators_are_refused_by_both() -> None:
    strange = Bits(4, "mul", (a, b))

    with pytest.raises(ValueError, match="no such operator: mul"):
        evaluate(strange, {A: 1, B: 1})
    with pytest.raises(ValueError, match="no such operator: mul"):
        Translator().formula(strange)


def test_updates_of_a_step_happen_at_once() -> None:
    space = successors(toys.ticking())
    names = [var.name for var in space.order]
    state = tuple({"clock.now": 5, "clock.spare": 2}[name] for name in names)
    after = [dict(zip(names, state, strict=True)) for _, (by,), state in space.follow(state) if by == 3]

    assert [{"clock.now": 8, "clock.spare": 5}] == after


def test_a_parameter_that_is_too_wide_to_try_is_named() -> None:
    with pytest.raises(ValueError, match=r"hostile: say which values of shared\.word"):
        successors(toys.hostile())


def test_the_running_form_takes_the_row_that_fits_and_says_what_it_asks() -> None:
    machine = toys.clerk()
    running = group([machine])
    state = running.state()
    read = running.steppers["clerk"].steps[toys.Stage.READ.value - 1, GO]
    state.desk_copy = 999
    state.desk_at = toys.Stage.READ.value - 1

    assert (0, ((999,),)) == read.choose(state)
    assert toys.Stage.ASKED.value - 1 == state.desk_at

    state.desk_copy = 1000

    assert (1, ()) == read.choose(state)
    assert toys.Stage.DONE.value - 1 == state.desk_at


def test_only_the_given_actions_are_followed() -> None:
    system = toys.mutex()
    some = [action for action in system.actions if action.party == "one"]
    space = successors(system, only=some)

    assert ["one IDLE --GO--> WANTS"] == [space.actions[number].name for number, _, _ in space.follow(space.initial)]
