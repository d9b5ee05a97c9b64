# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest
from tests.trace_world import BDF, GUEST, World, life

from pvpci.model.wire import Cmd
from pvpci.traces.format import Below, Function, Gone, Hardware, Line, TraceError
from pvpci.traces.replay import MOST, Report, replay

Lines = list[Line | Below]


def again(lines: Lines, against: str = "reference") -> Report:
    return replay(enumerate(lines, 2), against)


def step(lines: Lines, kind: str, nth: int = 0) -> Any:
    return [line for line in lines if isinstance(line, Line) and line.kind == kind][nth]


def test_a_life_is_answered_as_it_was() -> None:
    report = again(life())

    assert (15, [], {}) == (report.compared, report.differences, report.skipped)
    assert 10 == report.operations
    assert "conforms" == report.as_dict()["verdict"]


def test_a_function_on_another_bus_is_found_there() -> None:
    lines = life()
    for line in lines:
        if isinstance(line, Function):
            line.bus = 2
        for values in (line.found, *(one.arguments for one in line.asked or ())) if isinstance(line, Line) else ():
            for name in {"page.bus", "bus"} & set(values or ()):
                values[name] = 2  # type: ignore[index]
    report = again(lines)

    assert (15, [], {}) == (report.compared, report.differences, report.skipped)
    assert 10 == report.operations


def test_what_the_view_remembers_is_remembered() -> None:
    world = World()
    world.connect()
    for offset, value in ((0x3C, 0x5A), (4, 0x7)):
        world.request(Cmd.CONF_WRITE, offset=offset, size=1 if offset > 4 else 2, value=value)
        world.request(offset=offset, size=2)
    report = again(world.lines())

    assert (4, []) == (report.compared, report.differences)


def test_what_was_found_when_the_function_was_taken_is_remembered() -> None:
    world = World(profile="linux-6.1.63", attaches=True)
    world.hardware.dwords[4] = 0x00100103
    world.connect()
    world.request(offset=4)
    report = again(world.lines())

    assert 0x00100103 == world.page["value"]
    assert (1, []) == (report.compared, report.differences)


@pytest.mark.parametrize(
    ("kind", "nth", "part", "name", "recorded", "now"),
    [
        ("store", 1, "wrote", "page.value", "store wrote page.value=0x63", "store wrote page.value=0x10d38086"),
        ("store", 0, "wrote", "page.err", "store wrote page.err=0x63", "store wrote page.err=0"),
        ("hand_out", 0, "asked", "count", "hand_out asked hand_out(count=0x63)", "hand_out asked hand_out(count=3)"),
    ],
)
def test_another_answer_is_told(kind: str, nth: int, part: str, name: str, recorded: str, now: str) -> None:
    lines = life()
    line = step(lines, kind, nth)
    (line.asked[0].arguments if part == "asked" else line.wrote)[name] = 99
    (found,) = again(lines).differences

    assert (recorded, now) == (found.recorded, found.now)


def test_an_answer_that_is_missing_is_told() -> None:
    lines = life()
    lines.remove(step(lines, "notify"))
    (found,) = again(lines).differences

    assert ("nothing", "notify asked notify()") == (found.recorded, found.now)


def test_another_access_to_the_function_is_told() -> None:
    lines = life()
    access = next(line for line in lines if isinstance(line, Hardware))
    access.offset = 0x40
    found = again(lines).differences

    assert ("hardware: read 0x40/4", "hardware: read 0x8/4") == (found[0].recorded, found[0].now)


def test_what_the_release_does_to_the_function_belongs_to_no_request() -> None:
    world = World()
    world.connect()
    world.request(size=4)
    world.recorder.hw(BDF, "read", 4, 2, 0x103)
    report = again(world.lines())

    assert (1, []) == (report.compared, report.differences)


def untold(lines: Lines) -> Lines:
    """As a trace without interrupts, which does not say which functions go."""
    for line in lines:
        if isinstance(line, Function):
            line.shared = None
    return lines


@pytest.mark.parametrize(("rounds", "lost"), [(0, 2), (1, 0)])
def test_a_function_can_go_in_a_round_of_hot_plug_and_only_there(rounds: int, lost: int) -> None:
    world = World()
    world.connect()
    world.request(offset=8)
    for _ in range(rounds):
        world.plug()
    world.there = False
    for _ in range(2):
        world.request(offset=8)
    report = again(untold(world.lines()))

    assert (3, lost) == (report.compared, len({found.line for found in report.differences}))


def test_where_it_is_said_which_functions_go_no_other_can() -> None:
    world = World()
    world.connect()
    world.plug()
    world.there = False
    world.request(offset=8)
    lines = world.lines()

    assert 2 == len(again(lines).differences)
    lines.insert(lines.index(step(lines, "rang")), Gone(seq=0, t_ns=0, guest=GUEST, function=BDF))
    assert [] == again(lines).differences


@pytest.mark.parametrize(
    ("kind", "nth", "part", "name", "value", "recorded", "now"),
    [
        ("looked", 0, "given", "own", False, "looked own=False, present=True", "looked own=True, present=True"),
        ("mapped", 1, "given", "ok", False, "asked map_vector", "asked switch"),
        ("mapped", 3, "asked", "kind", "MSI", "switch(kind=MSI, line=QUIET)", "switch(kind=MSIX, line=QUIET)"),
        ("disablemsi", 0, "asked", "line", "LEAVE", "switch(kind=NONE, line=LEAVE)", "switch(kind=NONE, line=OPEN)"),
        ("unmapped", 0, "asked", "index", 7, "unmap_vector(index=7)", "unmap_vector(index=1)"),
    ],
)
def test_another_operation_on_interrupts_is_told(
    kind: str, nth: int, part: str, name: str, value: object, recorded: str, now: str
) -> None:
    lines = life()
    line = step(lines, kind, nth)
    (line.asked[0].arguments if part == "asked" else getattr(line, part))[name] = value
    first = again(lines).differences[0]

    assert first.request.endswith(f" of {BDF}")
    assert (recorded in first.recorded, now in first.now) == (True, True)


def test_another_change_of_the_functions_registers_is_told() -> None:
    lines = life()
    start = lines.index(step(lines, "enablemsix"))
    access = next(one for one in lines[start:] if isinstance(one, Hardware) and one.access == "write")
    access.value ^= 0x8000
    (found,) = again(lines).differences

    assert ("EnableMsix of 0000:00:05.0", start + 2) == (found.request, found.line)
    assert ("write 0x72/2 0x4004", "write 0x72/2 0xc004") == tuple(
        text.split(", ")[-1] for text in (found.recorded, found.now)
    )


def test_an_answer_that_the_interrupts_did_not_give_is_told() -> None:
    lines = life()
    start = lines.index(step(lines, "mapped", 6))
    store: Any = next(line for line in lines[start:] if isinstance(line, Line) and line.kind == "store")
    store.wrote["page.err"] = 0
    (found,) = again(lines).differences

    assert ("store wrote page.err=0", "store wrote page.err=0xffffffe4") == (found.recorded, found.now)


def test_operations_after_a_difference_are_skipped() -> None:
    lines = life()
    lines.remove(step(lines, "switched", 0))
    report = again(lines)

    assert (1, 1, {"an operation on its interrupts before it was another": 9}) == (
        report.operations,
        len(report.differences),
        report.skipped,
    )


def test_a_dialect_of_interrupts_is_told_from_the_reference() -> None:
    report = again(life(), "X41")

    assert ["DisableMsi of 0000:00:05.0"] == [found.request for found in report.differences[:1]]


def test_a_function_that_stayed_through_a_round_cannot_go_later() -> None:
    world = World()
    world.connect()
    world.plug()
    world.request(offset=8)
    world.there = False
    world.request(offset=8)
    report = again(world.lines())

    assert (2, 1) == (report.compared, len({found.line for found in report.differences}))


def test_a_value_that_the_function_gave_reaches_the_answer() -> None:
    lines = life()
    next(line for line in lines if isinstance(line, Hardware)).value = 0xABCD
    found = again(lines).differences

    assert [("store wrote page.value=0x2000000", "store wrote page.value=0xabcd")] == [
        (one.recorded, one.now) for one in found
    ]


def test_a_dialect_is_told_from_the_reference() -> None:
    report = again(life(), "M16")

    assert 15 == len(report.differences)
    assert {("notify asked notify()", "nothing")} == {(one.recorded, one.now) for one in report.differences}
    assert "violates" == report.as_dict()["verdict"]
    assert [] == again(life(), "R28").differences


def test_unsound_offsets_are_refused_again() -> None:
    assert [] == again(life(), "R10").differences  # aligned, or else refused by the view itself


def test_a_request_is_taken_back_again() -> None:
    world = World()
    world.connect()

    def give_up(here: World) -> None:
        here.flags["active"] = 0

    world.during = give_up
    world.request()
    world.during = None
    world.request(offset=8)
    report = again(world.lines())

    assert (2, []) == (report.compared, report.differences)


def test_a_function_that_failed_then_fails_again() -> None:
    lines = life()
    access = next(line for line in lines if isinstance(line, Hardware))
    lines.remove(access)
    step(lines, "done", 1).given = {"err": 0xFFFFFFFB, "value": 0}
    step(lines, "store", 3).wrote = {"page.err": 0xFFFFFFFB}
    lines.remove(step(lines, "store", 4))

    assert [] == again(lines).differences


def test_an_access_that_is_not_in_the_record_is_told() -> None:
    lines = life()
    lines.remove(next(line for line in lines if isinstance(line, Hardware)))
    found = again(lines).differences

    assert ("hardware: nothing", "hardware: read 0x8/4") == (found[0].recorded, found[0].now)


def test_requests_to_functions_of_which_nothing_is_known_are_skipped() -> None:
    lines: Lines = [line for line in life() if not isinstance(line, Function)]
    report = again(lines)

    assert {"the trace does not say how the function was attached": 24} == report.skipped
    assert 1 == report.compared


def test_a_request_at_the_end_is_skipped() -> None:
    lines = life()
    report = again(lines[: lines.index(step(lines, "perform")) + 1])

    assert {"the trace ends in the middle of the request": 1} == report.skipped
    assert "undecided" == report.as_dict()["verdict"]


def test_differences_are_counted_when_there_are_too_many() -> None:
    world = World()
    world.connect()
    for _ in range(MOST + 5):
        world.request()
    report = again(world.lines(), "M16")

    assert (MOST, 5) == (len(report.differences), report.more)


@pytest.mark.parametrize(
    ("identity", "profile", "words"),
    [
        ({}, "strict", "object missing required field `vendor`"),
        ({"vendor": "x"}, "strict", "expected `int`"),
        (None, "lax", "there is no configuration space profile 'lax'"),
        ({"header_type": 1}, "strict", "is a bridge"),
    ],
)
def test_a_function_that_cannot_be_rebuilt_is_told(identity: Any, profile: str, words: str) -> None:
    lines = life()
    at = next(i for i, line in enumerate(lines) if isinstance(line, Function))
    line: Any = lines[at]
    line.profile = profile
    line.identity = (
        line.identity
        if identity is None
        else identity
        if not identity.get("header_type")
        else {**line.identity, **identity}
    )
    with pytest.raises(TraceError) as error:
        again(lines)

    assert at + 2 == error.value.line
    assert f"the identity of {BDF} is not usable: " in error.value.what
    assert words.lower() in error.value.what.lower()


def test_values_that_are_no_numbers_are_told() -> None:
    lines = life()
    step(lines, "request").found["page.offset"] = "far"
    with pytest.raises(TraceError) as error:
        again(lines)

    assert "this request has values that are not numbers" == error.value.what


def test_an_unknown_dialect_is_refused() -> None:
    with pytest.raises(KeyError):
        replay([], "M26")
