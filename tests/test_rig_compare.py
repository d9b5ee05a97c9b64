# SPDX-License-Identifier: Apache-2.0
"""The comparison of two backends finds each kind of difference, and takes no rule where the rule cannot act."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.config_registers import express, golden
from tests.rig.compare import Exactly, Strictly, differences, named
from tests.rig.differential import Played, Run
from tests.rig.frontend.operations import Answer, Operation
from tests.rig.programs import Target

IMAGE = bytes(golden().image)
TARGET = Target("golden", IMAGE)
PMCSR = 0xCC


def played(*pairs: tuple[Operation, Answer | None], state: dict[int, int] | None = None) -> Played:
    asked, given = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    return Played(Run("0000:00:05.0", "golden", 1, len(pairs)), asked, given, IMAGE, [state or {}], 0.0)


def kinds(linux: Played, ours: Played) -> list[tuple[str, tuple[str, ...]]]:
    """What differs, and the rules of `strict` for it. Without rules the same is found."""
    found = differences(linux, ours, Strictly(TARGET))
    bare = differences(linux, ours, Exactly())

    assert [(each.where, each.kind) for each in bare] == [(each.where, each.kind) for each in found]
    assert not any(each.rules for each in bare)
    return [(each.kind, each.rules) for each in found]


def read(offset: int, size: int, linux: Answer | None, ours: Answer | None) -> list[tuple[str, tuple[str, ...]]]:
    asked = Operation(offset, size)
    return kinds(played((asked, linux)), played((asked, ours)))


def after(write: Operation, offset: int, linux: int, ours: int) -> list[tuple[str, tuple[str, ...]]]:
    """A byte that reads differently after a write that both take."""
    taken, asked = Answer(0, write.value or 0), Operation(offset, 1)
    return kinds(
        played((write, taken), (asked, Answer(0, linux))),
        played((write, taken), (asked, Answer(0, ours))),
    )


def test_equal_is_equal() -> None:
    assert [] == read(0, 4, Answer(0, 0x10D38086), Answer(0, 0x10D38086))


def test_no_answer_is_a_difference_even_if_neither_has_one() -> None:
    assert [("unanswered", ())] == read(0, 4, None, None)
    assert [("unanswered", ())] == read(0, 4, Answer(0, 0), None)


def test_answers_that_are_missing_at_the_end_are_found() -> None:
    both = [(Operation(0, 4), Answer(0, 0)), (Operation(8, 4), Answer(0, 0))]
    shorter = replace(played(*both), answers=[Answer(0, 0)])

    assert [("unanswered", ())] == kinds(played(*both), shorter)


def test_spare_bits_are_not_the_value() -> None:
    assert [("spare bits", ("truncated",))] == read(0x10, 1, Answer(0, 0xF7D00000), Answer(0, 0))
    assert [("spare bits", ())] == read(0x10, 1, Answer(0, 0), Answer(0, 0xF7D00000))


@pytest.mark.parametrize(
    ("offset", "linux", "ours", "rules"),
    [
        (0x100, Answer(0, 0xFFFFFFFF), Answer(-2, 0), ("bounds",)),
        (0x1000, Answer(-22, 0xFFFFFFFF), Answer(-2, 0), ("bounds",)),
        (0x1000, Answer(-22, 0xFFFFFFFF), Answer(0, 0), ()),
        (0xFC, Answer(0, 0), Answer(-2, 0), ()),
    ],
)
def test_bounds(offset: int, linux: Answer, ours: Answer, rules: tuple[str, ...]) -> None:
    assert [("error", rules)] == read(offset, 4, linux, ours)


def test_a_value_needs_a_rule_for_each_byte() -> None:
    assert [("value", ())] == read(0x08, 4, Answer(0, 0x02000000), Answer(0, 0x02000001))
    assert [("value", ("command-starts-clear",))] == read(4, 4, Answer(0, 0x00100103), Answer(0, 0x00100000))
    assert [("value", ())] == read(4, 4, Answer(0, 0x00100103), Answer(0, 0x00000000))


def test_a_rule_for_the_start_ends_with_the_first_write() -> None:
    elsewhere = Operation(0x0C, 1, 0)

    assert [("value", ("command-starts-clear",))] == after(elsewhere, 4, 0x03, 0x00)
    assert [("value", ())] == after(Operation(4, 2, 0x0003), 4, 0x03, 0x00)
    assert [("value", ("starts-without-mastering",))] == after(Operation(4, 2, 0x0000), 4, 0x04, 0x00)
    assert [("value", ())] == after(Operation(4, 2, 0x0004), 4, 0x04, 0x00)


def test_what_is_kept_was_written_first() -> None:
    assert [("value", ())] == after(Operation(0x0D, 1, 0x20), 0x3C, 0x15, 0x0B)
    assert [("value", ("line-kept",))] == after(Operation(0x3C, 1, 0x0B), 0x3C, 0x15, 0x0B)


def test_an_echo_is_never_excused() -> None:
    asked = Operation(0x3C, 1, 0x0B)

    assert [("value", ())] == kinds(played((asked, Answer(0, 0x0B))), played((asked, Answer(0, 0))))


def test_a_dword_whose_last_field_refuses_nothing() -> None:
    whole, alone = Operation(PMCSR, 4, 2), Operation(PMCSR, 2, 2)
    expected = {whole: ("refused-means-nothing-done",), alone: ()}

    assert {asked: [("error", rules)] for asked, rules in expected.items()} == {
        asked: kinds(played((asked, Answer(0, 2))), played((asked, Answer(-3, 2)))) for asked in expected
    }
    assert [("error", ())] == kinds(played((whole, Answer(-3, 2))), played((whole, Answer(0, 2))))


def test_a_function_is_woken_by_a_write_of_command_only() -> None:
    assert [("value", ("enabling-does-not-wake",))] == after(Operation(4, 2, 0x0003), PMCSR, 0, 3)
    assert [("value", ())] == after(Operation(4, 2, 0x0003), PMCSR, 3, 0x13)
    assert [("value", ())] == after(Operation(0x0C, 1, 0), PMCSR, 0, 3)


def test_extended_space_is_not_past_the_end() -> None:
    function = Target("express", bytes(express().image))
    asked = Operation(0x100, 4)
    linux, ours = played((asked, Answer(0, 1))), played((asked, Answer(-2, 0)))

    assert [("extended-on-request",)] == [each.rules for each in differences(linux, ours, Strictly(function))]
    assert [("bounds",)] == [each.rules for each in differences(linux, ours, Strictly(TARGET))]


def test_registers_are_compared_byte_by_byte() -> None:
    wrote = (Operation(0x0C, 1, 0x40), Answer(0, 0x40))
    linux = played(wrote, state={0x0C: 0x40, 0x10: 1})

    assert [("register", ("cache-line-kept",)), ("register", ())] == kinds(linux, played(wrote))


def test_different_programs_are_not_compared() -> None:
    with pytest.raises(ValueError, match="not the same program"):
        kinds(played((Operation(0, 4), Answer(0, 0))), played((Operation(0, 2), Answer(0, 0))))


def test_a_rule_that_is_gone_explains_nothing() -> None:
    with pytest.raises(ValueError, match="no rule"):
        named("whatever-we-like")
