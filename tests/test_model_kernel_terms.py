# SPDX-License-Identifier: Apache-2.0
"""The language refuses what would silently mean something else."""

from __future__ import annotations

from enum import Enum, auto
from typing import Any

import pytest

from pvpci.model.kernel.records import Effect, Event, Record
from pvpci.model.kernel.terms import (
    ALWAYS,
    NEVER,
    Bits,
    Choice,
    Flag,
    Sort,
    SortError,
    after,
    all_of,
    any_of,
    number,
    same,
    substitute,
)
from pvpci.model.kernel.words import show, show_update


class Fruit(Enum):
    APPLE = auto()
    PEAR = auto()
    PLUM = auto()


class Basket(Record):
    fruit = Choice(Fruit)
    full = Flag()
    weight = Bits(8)
    price = Bits(16)


basket, other = Basket("basket"), Basket("other")


def not_decided(value: Any) -> bool:
    return bool(value and value)


def test_a_term_is_no_truth_value() -> None:
    with pytest.raises(TypeError, match="is a term, not a truth value"):
        bool(basket.full)
    with pytest.raises(TypeError, match="never 'and'"):
        not_decided(basket.full)


@pytest.mark.parametrize(
    "make",
    [
        lambda: basket.weight + basket.price,
        lambda: basket.weight == basket.price,
        lambda: basket.full & basket.weight,  # type: ignore[operator]
        lambda: basket.weight + 256,
        lambda: basket.fruit == basket.full,  # type: ignore[operator]
        lambda: basket.weight.becomes(basket.price),
        lambda: basket.full.becomes(1),
        lambda: basket.weight - -129,
    ],
)
def test_other_sorts_are_refused_where_they_are_written(make: object) -> None:
    assert callable(make)
    with pytest.raises(SortError):
        make()


def test_only_variables_become_something() -> None:
    with pytest.raises(SortError, match="is not a variable"):
        (basket.weight + 1).becomes(3)


def test_negative_numbers_are_their_twos_complement() -> None:
    assert 0xFB == number(8, -5).number
    assert 128 == number(8, -128).number


def test_a_choice_has_bits_enough_for_its_members() -> None:
    assert 2 == basket.fruit.sort.width
    assert 3 == basket.fruit.sort.size
    assert Fruit.PEAR is basket.fruit.sort.decode(basket.fruit.sort.encode(Fruit.PEAR))


def test_records_have_variables_of_their_own() -> None:
    assert basket.weight.variable is not other.weight.variable
    assert ["basket.fruit", "basket.full", "basket.weight", "basket.price"] == [v.name for v in basket.variables]


def test_copies_and_comparisons_go_field_by_field() -> None:
    assert [v.name for v in basket.variables] == [u.var.name for u in basket.taken_from(other)]
    assert "(basket.full == other.full) & (basket.weight == other.weight)" == show(
        basket.same_as(other, but=("fruit", "price"))
    )


def test_substitution_replaces_at_once() -> None:
    term = basket.weight - other.weight
    swapped = substitute(term, {basket.weight.variable: other.weight, other.weight.variable: basket.weight})

    assert "other.weight - basket.weight" == show(swapped)


def test_after_speaks_of_primed_variables_and_always_of_the_same() -> None:
    primed = after(basket.full)

    assert "basket.full'" == show(primed)
    assert basket.full.variable is primed.variable.primed
    assert same(after(basket.full), primed)
    assert primed.variable is after(basket.full).variable


def test_empty_conjunction_and_disjunction() -> None:
    assert ALWAYS is all_of([])
    assert NEVER is any_of([])


def test_same_compares_what_is_written() -> None:
    assert same(basket.weight + 1, basket.weight + 1)
    assert not same(basket.weight + 1, basket.weight + 2)
    assert not same(basket.weight << 1, basket.weight << 2)
    assert not same(basket.weight, other.weight)


@pytest.mark.parametrize(
    ("term", "text"),
    [
        (basket.full & ~other.full, "basket.full & ~other.full"),
        (basket.fruit != Fruit.PLUM, "basket.fruit != PLUM"),
        (basket.weight >= 10, "basket.weight >= 0xa"),
        (basket.weight.resize(16) + basket.price, "(basket.weight:16) + basket.price"),
        ((basket.weight >> 3) == 9, "(basket.weight >> 3) == 9"),
        (basket.full & (other.full | basket.full), "basket.full & (other.full | basket.full)"),
        (~basket.weight, "~basket.weight"),
        (Flag(), "<declaration of flag>"),
    ],
)
def test_terms_are_printed_as_they_are_written(term: Flag, text: str) -> None:
    assert text == show(term)
    assert text == repr(term)


def test_updates_are_printed() -> None:
    assert "basket.weight := basket.weight + 1" == show_update(basket.weight.becomes(basket.weight + 1))


def test_effects_check_their_arguments() -> None:
    weigh = Effect("weigh", {"grams": Bits(8)})

    assert "weigh(5)" == repr(weigh(5))
    with pytest.raises(SortError, match="takes 1 arguments, 2 given"):
        weigh(5, 6)
    with pytest.raises(SortError):
        weigh(basket.price)


def test_events_have_parameters_of_their_own() -> None:
    class Sold(Event):
        price = Bits(16)

    assert ["Sold.price"] == [var.name for var in Sold.parameters.values()]
    assert Sort(16) == Sold.price.sort
    assert {} == Event.parameters
