# SPDX-License-Identifier: Apache-2.0
"""One function over numbers and terms: both mean the same."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvpci.model.kernel.compiled import evaluate
from pvpci.model.kernel.terms import FLAG, Sort, SortError, Term
from pvpci.model.kernel.values import (
    V,
    bit,
    every,
    filled,
    flag,
    leaves,
    names,
    no,
    pick,
    same,
    some,
    terms,
    unknowns,
    wide,
)


class Pair(NamedTuple):
    number: V
    said: V


SHAPE = (Pair(Sort(8), FLAG), Pair(Sort(8), FLAG))
VALUES = st.tuples(*[st.builds(Pair, st.integers(0, 255), st.booleans())] * 2)


def value(found: V, tree: object) -> V:
    """A term's value where the unknowns of SHAPE have these values."""
    if not isinstance(found, Term):
        return found
    return evaluate(found, dict(zip([term.variable for term in leaves(UNKNOWN)], map(int, leaves(tree)), strict=True)))


UNKNOWN = unknowns(SHAPE, "u")


def every_operator(tree: tuple[Pair, Pair]) -> list[V]:
    one, two = tree
    picked = pick(one.said, one, two)
    return [
        no(one.said), every(one.said, two.said), some(one.said, two.said), same(one, two), picked.number, picked.said,
        wide(one.number, 12), wide(one.number, 3), bit(wide(one.number, 2), 4), every(True, one.said), some(two.said, True),
        pick(one.said, 3, two.number), pick(one.said, True, False), pick(one.said, False, True), pick(two.said, 1, two.number),
        every(*(pair.said for pair in tree for _ in range(5))), some(), every(),
    ]  # fmt: skip


@given(VALUES)
def test_terms_mean_what_numbers_mean(tree: tuple[Pair, Pair]) -> None:
    symbolic = [value(found, tree) for found in every_operator(UNKNOWN)]

    assert [int(found) for found in every_operator(tree)] == [int(found) for found in symbolic]


def test_leaves_have_names() -> None:
    assert ["[0].number", "[0].said", "[1].number", "[1].said"] == list(names(SHAPE))
    assert ["at.number", "at.said"] == list(names(SHAPE[0], "at"))
    assert ["number", "said"] == list(names(SHAPE[0]))
    assert ["x"] == list(names(Sort(3), "x"))


def test_a_tree_keeps_its_kind() -> None:
    assert (Pair(1, True), Pair(2, False)) == filled(SHAPE, [1, True, 2, False])
    lifted = terms(SHAPE, (Pair(7, True), UNKNOWN[1]))
    assert isinstance(lifted[0], Pair)
    assert (7, UNKNOWN[1].said) == (lifted[0].number.number, lifted[1].said)


def test_what_is_decided_is_a_term_where_one_is_needed() -> None:
    assert [1, 0] == [flag(True).number, 1 - evaluate(flag(True), {})] == [1, evaluate(flag(False), {})]


def test_a_choice_that_says_no_width_is_an_error() -> None:
    with pytest.raises(SortError, match="neither 1 nor 2"):
        pick(UNKNOWN[0].said, 1, 2)
