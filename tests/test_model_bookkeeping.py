# SPDX-License-Identifier: Apache-2.0
"""What a host remembers of functions, with numbers: the cases that people meet."""

from __future__ import annotations

import pytest

from pvpci.model.bookkeeping import (
    ATTACHED,
    CLOSING,
    INITIALISING,
    TELLING,
    Attempt,
    Card,
    Held,
    Seized,
    attach,
    detach,
    due,
    enter,
    leave,
    let_go,
    look_up,
)

FREE = Held(0, (False, False), (False, False))
GAP = Card(False, 0, 0)


@pytest.mark.parametrize("refused", range(3))
def test_an_attempt_that_is_refused_anywhere_changes_nothing(refused: int) -> None:
    answers = [number != refused for number in range(3)]

    assert (FREE, False) == attach(FREE, Attempt(1, *answers))


def test_a_second_guest_waits_for_the_first() -> None:
    mine, ok = attach(FREE, Attempt(0, True, True, True))

    assert (True, Held(1, (True, False), (True, False))) == (ok, mine)
    assert (mine, False) == attach(mine, Attempt(1, True, True, True))
    assert (mine, False) == detach(mine, 1)
    assert (FREE, True) == detach(mine, 0)


def test_a_look_up_is_neutral() -> None:
    assert (1, False) == look_up(1, True)
    assert (1, True) == look_up(1, False)


def test_twins_are_two() -> None:
    cards: tuple[Card, ...] = (GAP, GAP, GAP)
    for address in (1, 2, 1):
        cards, _ = enter(cards, Card(False, address, 0x8086))
    cards, was = leave(cards, Card(False, 2, 0x8086))

    assert (True, [1]) == (was, [card.address for card in cards if card.used])
    assert (cards, False) == leave(cards, Card(False, 7, 0x8086))


def test_what_is_let_go_is_freed() -> None:
    assert (Seized(False, False), True) == let_go(Seized(True, True))


def test_roots_are_told_after_the_lock() -> None:
    assert TELLING.index("unlock") < TELLING.index("tell")


@pytest.mark.parametrize(
    ("wish", "is_attached", "expected"),
    [
        (INITIALISING, False, (True, True, False, False)), (INITIALISING, True, (False, True, False, False)),
        (CLOSING, True, (False, False, True, False)), (CLOSING, False, (False, False, False, False)),
        (ATTACHED, True, (False, False, False, False)), (0, False, (False, False, False, False)),
    ],
)  # fmt: skip
def test_what_a_round_does(wish: int, is_attached: bool, expected: tuple[bool, ...]) -> None:
    assert expected == due(wish, is_attached)
