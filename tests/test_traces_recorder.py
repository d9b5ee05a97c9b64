# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import io
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import pytest
from tests.trace_world import GUEST, World, life

from pvpci.model import connection, interrupts, op
from pvpci.model.kernel.visible import visible
from pvpci.traces import recorder as module
from pvpci.traces.format import Asked, Begin, Function, Gone, Hardware, Line, Trace, Vectors
from pvpci.traces.recorder import Recorder, Run, TraceWriter

RANG = visible(op.MACHINE, op.MACHINE.row("IDLE->TAKEN"))
SEEK = visible(op.MACHINE, op.MACHINE.row("COPIED->SOUGHT"))
BEGIN = visible(connection.MACHINE, connection.MACHINE.row("FRESH->HERE"))
FOUND = visible(op.MACHINE, op.MACHINE.row("SOUGHT->FOUND"))


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(1, 1_000_000))
    monkeypatch.setattr(module, "monotonic_ns", lambda: next(ticks))


def line(kind: str, event: str, seq: int = 2, machine: str = "op", **more: Any) -> Line:
    return Line(seq=seq, t_ns=seq, guest=GUEST, kind=kind, machine=machine, event=event, **more)


def test_a_record_begins_with_the_machines() -> None:
    assert [Begin(seq=1, t_ns=1, guest=GUEST)] == Recorder(GUEST).lines()


@pytest.mark.parametrize(
    ("border", "values", "expected"),
    [
        (RANG, (), line("rang", "Rang")),
        (FOUND, (1, 0), line("found", "Found", given={"known": True, "reach": "CONVENTIONAL"})),
        (SEEK, (0, 1, 0xFFFFFFFF), line("seek", "GO", asked=[Asked("seek", {"domain": 0, "bus": 1, "devfn": 0xFFFFFFFF})])),
        (
            BEGIN,
            (1, 9, 1, 0, 8, 17, 1, 2),
            line(
                "begin", "GO", machine="connection", wrote={"nodes.own": "INIT_WAIT"}, asked=[Asked("begin")],
                found={
                    "nodes.own": "INITIALISING", "nodes.fe": "ODD", "nodes.online": True, "nodes.sound": False,
                    "nodes.ref": 8, "nodes.port": 17, "nodes.listed": True,
                },
            ),
        ),
    ],
)  # fmt: skip
def test_values_stand_in_the_order_given_found_wrote_asked(
    border: Any, values: tuple[int, ...], expected: Line
) -> None:
    recorder = Recorder(GUEST)
    recorder.step(border, values)

    assert expected == recorder.lines()[1]


def test_a_run_is_read_as_the_steps_that_it_consists_of() -> None:
    plain, runs = Recorder(GUEST), Recorder(GUEST)
    steps = [(RANG, ()), (FOUND, (1, 0)), (SEEK, (2, 0, 0xFFFFFFFF)), (FOUND, (1, 2))]
    for border, values in steps:
        plain.append((9, border, values))
    places = ((), ((0, -1), (-1, 0)), ((1, 0), (-1, 0), (1, 2)), ((0, -1), (1, 0)))
    runs.append(
        (9, Run(tuple((border, at) for (border, _), at in zip(steps, places, strict=True))), (1, (2, 5, 0xFFFFFFFF)))
    )

    assert plain.lines()[1:] == runs.lines()[1:]
    assert 5 == len(runs) == len(runs.drain())


def test_a_flight_recorder_forgets_a_run_as_a_whole() -> None:
    recorder = Recorder(GUEST, 1)
    run = Run(((RANG, ()), (FOUND, ((0, -1), (0, -1)))))
    recorder.append((1, run, (1,)))
    recorder.append((2, run, (0,)))

    assert [("rang", 2), ("found", 2)] == [(one.kind, one.t_ns) for one in recorder.lines() if isinstance(one, Line)]


def test_a_flight_recorder_forgets_the_oldest_and_then_does_not_say_begin() -> None:
    recorder = Recorder(GUEST, 3)
    for _ in range(5):
        recorder.step(RANG, ())
    kept = recorder.lines()

    assert 3 == len(recorder) == len(kept)
    assert [1, 2, 3] == [one.seq for one in kept]
    assert not any(isinstance(one, Begin) for one in kept)


def test_what_lies_below_the_machines_is_recorded() -> None:
    class Colour(Enum):
        RED = 1

    @dataclass(frozen=True, slots=True)
    class Identity:
        vendor: int
        colour: Colour
        parts: tuple[int, ...] = (1, 2)
        more: dict[int, int] = field(default_factory=lambda: {5: 0x50})

    recorder = Recorder(GUEST)
    recorder.function("0000:00:05.0", 3, Identity(0x8086, Colour.RED), number=1)
    recorder.hw("0000:00:05.0", "read", 0, 4, 0x8086)
    plain = {"vendor": 0x8086, "colour": "RED", "parts": [1, 2], "more": {"5": 0x50}}

    assert [
        Function(seq=2, t_ns=2, guest=GUEST, function="0000:00:05.0", slot=3, identity=plain, number=1),
        Hardware(seq=3, t_ns=3, guest=GUEST, function="0000:00:05.0", access="read", offset=0, size=4, value=0x8086),
    ] == recorder.lines()[1:]


def test_the_steps_of_a_functions_machine_bear_its_name() -> None:
    recorder = Recorder(GUEST)
    of = recorder.of("0000:00:05.0")
    of.step(visible(interrupts.MACHINE, interrupts.MACHINE.row("LOOKING->MASKING")), (1, 1, 1, 1, 1, 2, 0))
    recorder.vectors([55, 54])
    of.gone()
    flags = dict.fromkeys(("present", "decodes", "own", "fits", "prepared"), True)

    assert [
        line(
            "looked", "Looked", machine="interrupts", function="0000:00:05.0", given=flags,
            asked=[Asked("switch", {"kind": "MASKED", "line": "LEAVE"})],
        ),
        Vectors(seq=3, t_ns=3, guest=GUEST, numbers=[55, 54]),
        Gone(seq=4, t_ns=4, guest=GUEST, function="0000:00:05.0"),
    ] == recorder.lines()[1:]  # fmt: skip


def test_a_writer_merges_guests_by_time_and_numbers_through() -> None:
    one, two = Recorder("1/0", None), Recorder("2/0", None)
    for recorder in (one, two, two, one):
        recorder.step(RANG, ())
    file = io.BytesIO()
    writer = TraceWriter(file, {"program": "p"})

    assert 6 == writer.drain([one, two])
    assert 0 == writer.drain([one, two]) == len(one)
    file.seek(0)
    found: list[Any] = [each for _, each in Trace(file, "t")]
    assert [1, 2, 3, 4, 5, 6] == [each.seq for each in found]
    assert ["1/0", "2/0", "1/0", "2/0", "2/0", "1/0"] == [each.guest for each in found]


def test_draining_often_and_draining_once_write_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(often: bool) -> bytes:
        ticks = iter(range(1, 1_000_000))
        monkeypatch.setattr(module, "monotonic_ns", lambda: next(ticks))
        file, world = io.BytesIO(), World()
        writer = TraceWriter(file, {"program": "p"})
        for part in (world.connect, world.request, world.request, world.close):
            part()
            if often:
                writer.drain([world.recorder])
        writer.drain([world.recorder])
        return file.getvalue()

    assert run(often=True) == run(often=False)


def test_a_dump_is_a_whole_trace() -> None:
    world = World()
    world.connect()
    file = io.BytesIO()
    count = world.recorder.dump(file, {"program": "p"})
    file.seek(0)

    assert world.recorder.lines() == [each for _, each in Trace(file, "t")]
    assert count == len(world.recorder) > 10


def test_hidden_steps_are_not_in_a_life() -> None:
    steps = [each for each in life() if isinstance(each, Line)]

    assert all(each.event != "GO" or each.found or each.wrote or each.asked for each in steps)
