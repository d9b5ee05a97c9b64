# SPDX-License-Identifier: Apache-2.0
"""A request for several messages of MSI in a trace: judged, served once more, and named when it is wrong."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from tests.trace_world import GUEST, World, text

from pvpci.model.wire import Cmd
from pvpci.traces.format import Begin, Below, Line, Trace
from pvpci.traces.judge import judge
from pvpci.traces.pictures import arrows
from pvpci.traces.replay import replay

Lines = list[Line | Below]
ON, COUNT = 0x0001, 0x0070  #: of MSI's control word: its enable bit, and how many messages


def life(**world: Any) -> tuple[World, list[tuple[int, int]], Lines]:
    """Blocks granted, refused by everybody who can, and turned off; each answer; and the trace."""
    made = World(messages=8, **world)
    made.connect()
    answers = []

    def ask(cmd: Cmd, info: int = 0, value: int = 0) -> None:
        made.request(cmd, info=info, value=value)
        answers.append((made.page["err"], made.page["value"]))

    for count in (0, 33, 0xFFFFFFFF, 16, 3):
        ask(Cmd.ENABLE_MULTI_MSI, count, 5)
    ask(Cmd.ENABLE_MULTI_MSI, 2)
    ask(Cmd.DISABLE_MSI)
    made.hypervisor.refusals = [95]
    ask(Cmd.ENABLE_MULTI_MSI, 2)
    ask(Cmd.ENABLE_MSI)
    ask(Cmd.DISABLE_MSI)
    made.close()
    return made, answers, made.lines()


def numbered(lines: Lines) -> list[tuple[int, Line | Below]]:
    return list(enumerate(lines, 2))


def verdict(lines: Lines) -> dict[str, Any]:
    found: dict[str, Any] = judge(Trace(BytesIO(text(lines)), "trace"), name="trace").as_dict()
    return found


def test_without_the_option_the_answer_is_that_nobody_knows_it() -> None:
    made, answers, lines = life()

    assert [(0xFFFFFFFC, 5)] * 5 == answers[:5]
    assert (0xFFFFFFFC, 0) == answers[5]
    assert (set(), "conforms") == (made.hypervisor.mapped, verdict(lines)["verdict"])
    assert [] == list(replay(numbered(lines)).differences)


def test_with_the_option_a_block_is_had_and_given_back() -> None:
    made, answers, lines = life(multi_msi=True)
    failed = (0xFFFFFFFB, 0)

    # Three are four, so the first is 52; plain MSI has the last.
    assert [*[failed] * 4, (0, 52), failed, (0, 11), failed, (0, 55), (0, 11)] == answers
    assert (set(), 0) == (made.hypervisor.mapped, made.hardware.read(0x52, 2) & (ON | COUNT))
    assert "conforms" == verdict(lines)["verdict"]
    report = replay(numbered(lines))
    assert ([], {}) == (list(report.differences), report.skipped)
    assert report.operations >= 10


def test_a_trace_that_began_before_is_believed() -> None:
    _, _, lines = life(multi_msi=True)
    later: Lines = [line for line in lines if not isinstance(line, Begin)]

    assert ("undecided", []) == (verdict(later)["verdict"], verdict(later).get("findings", []))
    assert [] == list(replay(numbered(later)).differences)


def test_where_the_beginning_is_lost_nothing_is_blamed_on_the_option() -> None:
    """Neither what it explains nor, as always, what another beginning would."""
    _, _, lines = life()
    refused: Lines = [line for line in lines if not isinstance(line, Begin)]
    _, _, lines = life(multi_msi=True)
    doubled: Lines = [line for line in lines if not isinstance(line, Begin)]
    (first, *_) = [line for line in doubled if asks("perform_block")(line)]
    cut: Lines = doubled[doubled.index(first) :]

    for trace in (refused, cut):
        assert ("undecided", []) == (verdict(trace)["verdict"], verdict(trace)["findings"])


def test_the_picture_has_the_hypervisor_map_the_block() -> None:
    _, _, lines = life(multi_msi=True)
    found = [arrow for line in lines for arrow in arrows(line) if "block" in arrow.text]

    assert {"function", "hypervisor"} == {arrow.target for arrow in found}
    assert any("map_block" in arrow.text and "4" in arrow.text for arrow in found)


def asks(effect: str) -> Callable[[Line | Below], bool]:
    return lambda line: isinstance(line, Line) and any(one.effect == effect for one in line.asked or ())


def spoil_option(lines: Lines) -> None:
    next(line for line in lines if isinstance(line, Begin)).multi_msi = False


def spoil_count(lines: Lines) -> None:
    line: Any = next(filter(asks("perform_block"), lines))
    line.asked[0].arguments["info"] = 4


def spoil_event(lines: Lines) -> None:
    """The function's machine is asked for fewer than the guest wanted, and goes on with that."""
    where: Any = next(line for line in lines if asks("look")(line) and line.event == "EnableMultiMsi")  # type: ignore[union-attr]
    where.given["count"], where.asked[0].arguments["count"] = 2, 2


def spoil_map(lines: Lines) -> None:
    line: Any = next(filter(asks("map_block"), lines))
    line.asked[0].arguments["messages"] = 3


def spoil_open(lines: Lines) -> None:
    line: Any = next(filter(asks("open_block"), lines))
    line.asked[0].arguments["messages"] = 8


def spoil_number(lines: Lines) -> None:
    line: Any = next(filter(asks("open_block"), lines))
    line.given["pirq"] = 0xFFFD


@pytest.mark.parametrize(
    ("spoil", "rule"),
    [
        (spoil_option, "I-36"), (spoil_count, "I-26"), (spoil_event, "D-16"), (spoil_map, "D-16"), (spoil_open, "D-17"),
        (spoil_number, "I-50"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_it_is_named(spoil: Callable[[Lines], None], rule: str) -> None:
    _, _, lines = life(multi_msi=True)
    spoil(lines)
    found = verdict(lines)

    assert ("violates", "backend", rule) == (found["verdict"], found["party"], found["rule"])


def test_replay_finds_a_register_that_says_more_than_was_mapped() -> None:
    _, _, lines = life(multi_msi=True)
    for line in lines:
        if getattr(line, "access", "") == "write" and line.value & ON and line.value & COUNT:  # type: ignore[union-attr]
            line.value |= COUNT  # type: ignore[union-attr]
    differences = list(replay(numbered(lines)).differences)

    assert [GUEST] == [one.guest for one in differences]
