# SPDX-License-Identifier: Apache-2.0
"""What is kept of a guest, where it goes, and what a disk that is full does not do."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from tests.fake_host import EDU, FakeFunction, FakeHost

from pvpci.impl.log import Log
from pvpci.impl.recording import Recording
from pvpci.model import op
from pvpci.model.config.identity import survey
from pvpci.model.config.view import ConfigView
from pvpci.model.kernel.visible import visible
from pvpci.model.topology import Address
from pvpci.traces.format import Trace

RANG = visible(op.MACHINE, op.MACHINE.row("IDLE->TAKEN"))


def recording(trace: Path | None = None, dumps: Path | None = None) -> tuple[Recording, io.StringIO]:
    text = io.StringIO()
    return Recording(trace, dumps, "pvpci tests", "fake", Log(text, colour=False)), text


def kinds(path: Path) -> list[str]:
    with path.open("rb") as file:
        return [str(getattr(line, "kind", type(line).__name__.lower())) for _, line in Trace(file, path.name)]


def touched(made: Recording) -> None:
    """A guest with a function, a step, and an access of each kind."""
    recorder = made.of("7/0")
    function = FakeFunction(FakeHost(), "edu")
    tapped = made.tap("7/0", function, ConfigView(survey(function)), Address(0, 0, 0o13), False)
    tapped.write(4, 2, tapped.read(4, 2) | 4)
    recorder.step(RANG, ())


def test_a_trace_has_everything_in_order(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    made, _ = recording(path)
    touched(made)
    made.forget("7/0")
    made.of("7/0")
    made.close()
    with path.open("rb") as file:
        trace = Trace(file, "trace")
        lines = [line for _, line in trace]

    assert {
        "program": "pvpci tests",
        "host": "fake",
        "machines": ["connection", "op", "interrupts"],
    } == trace.header.source
    assert ["begin", "function", "hardware", "hardware", "rang", "begin"] == kinds(path)
    assert (str(EDU), 1, 3) == (lines[1].function, lines[1].slot, lines[1].number)  # type: ignore[union-attr]
    assert [("read", 0), ("write", 4)] == [(line.access, line.value & 4) for line in lines[2:4]]  # type: ignore[union-attr]


def test_draining_is_wanted_now_and_then_and_only_for_a_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("pvpci.impl.recording.time.monotonic", lambda: now[0])
    made, _ = recording(tmp_path / "trace.jsonl")
    flight, _ = recording()
    before = (made.wants_drain, flight.wants_drain)
    now[0] += 1
    due = (made.wants_drain, flight.wants_drain)
    made.drain()

    assert ((False, False), (True, False), False) == (before, due, made.wants_drain)
    made.close()


def test_the_flight_recorder_is_written_out_where_it_was_asked_for(tmp_path: Path) -> None:
    made, _ = recording(dumps=tmp_path)
    touched(made)
    path = Path(made.dump("7/0"))

    assert tmp_path == path.parent
    assert ["begin", "function", "hardware", "hardware", "rang"] == kinds(path)
    assert 0 == path.stat().st_mode & 0o077


def test_a_dump_that_cannot_be_written_says_why(tmp_path: Path) -> None:
    made, _ = recording(dumps=tmp_path / "nowhere")
    made.of("7/0")

    assert "(not written: No such file or directory)" == made.dump("7/0")
    assert "(nothing recorded)" == made.dump("8/0")


def test_with_a_trace_the_dump_is_the_trace(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    made, _ = recording(path)
    touched(made)

    assert str(path) == made.dump("7/0")
    assert "rang" in kinds(path)
    made.close()


def test_a_trace_that_cannot_be_created_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        recording(tmp_path / "nowhere" / "trace.jsonl")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
def test_a_full_disk_ends_the_trace_and_not_the_service(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    made, text = recording(path)
    assert made._file is not None
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, made._file.fileno())
    touched(made)
    made.drain()
    recorder = made.of("8/0")
    for _ in range(10):
        recorder.step(RANG, ())
    made.drain()
    made.close()
    os.close(full)

    assert 1 == text.getvalue().count("the trace ends here")
    assert "No space left" in text.getvalue()
    assert 0 == len(recorder)
