# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.trace_world import HEADER, life, text

from pvpci.traces.format import (
    LONGEST_LINE,
    Asked,
    Begin,
    Below,
    Function,
    Hardware,
    Header,
    Line,
    Trace,
    TraceError,
    encode,
    schema_text,
)  # fmt: skip

HEAD = encode(HEADER)
STEP = b'{"seq":1,"t_ns":5,"guest":"3/0","kind":"rang","machine":"op","event":"Rang"}\n'


def read(data: bytes) -> list[object]:
    return [line for _, line in Trace(io.BytesIO(data), "t.jsonl")]


def test_a_life_is_read_as_it_was_written() -> None:
    lines = life()

    assert lines == read(text(lines))
    assert text(lines) == text(life())


def test_a_line_has_its_fields_in_one_order_and_nothing_empty() -> None:
    line = Line(
        seq=7,
        t_ns=1,
        guest="3/0",
        kind="seek",
        machine="op",
        event="GO",
        asked=[Asked("seek", {"bus": 0}), Asked("notify")],
    )
    expected = (
        b'{"seq":7,"t_ns":1,"guest":"3/0","kind":"seek","machine":"op","event":"GO",'
        b'"asked":[["seek",{"bus":0}],["notify"]]}\n'
    )

    assert expected == encode(line)
    assert b'{"seq":1,"t_ns":0,"guest":"3/0","kind":"begin"}\n' == encode(Begin(seq=1, t_ns=0, guest="3/0"))


def test_lines_below_the_machines_are_of_their_own_types() -> None:
    below: list[Line | Below] = [
        Begin(seq=1, t_ns=0, guest="3/0"),
        Hardware(seq=2, t_ns=0, guest="3/0", function="0000:00:05.0", access="write", offset=4, size=2, value=7),
        Function(seq=3, t_ns=0, guest="3/0", function="0000:00:05.0", slot=1, identity={"vendor": 1}),
    ]

    assert below == read(HEAD + b"".join(map(encode, below)))


def test_unknown_kinds_are_passed_on() -> None:
    found = read(HEAD + b'{"seq":1,"t_ns":0,"kind":"weather","sky":"blue"}\n')

    assert [Line(seq=1, t_ns=0, kind="weather")] == found


def test_line_numbers_count_the_header() -> None:
    assert [2, 3] == [number for number, _ in Trace(io.BytesIO(HEAD + STEP + STEP), "t")]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "t.jsonl: is empty; "),
        (b"\x7fELF\xff\xfe\n", "t.jsonl:1: is binary; "),
        (b"hello\n", "t.jsonl:1: is not JSON; "),
        (b"[1]\n", "t.jsonl:1: is no header with format 'pvpci-trace'; "),
        (b'{"format":"other","version":1}\n', "t.jsonl:1: is no header with format 'pvpci-trace'; "),
        (b'{"format":"pvpci-trace","version":2,"vantage":"x"}\n', "t.jsonl:1: is of version 2; this program reads version 1"),
        (b'{"format":"pvpci-trace","vantage":"x"}\n', "t.jsonl:1: is of version None; "),
        (b'{"format":"pvpci-trace","version":1}\n', "t.jsonl:1: object missing required field `vantage`; "),
        (HEAD + STEP[:40], "t.jsonl:2: is cut off: the file is truncated; "),
        (HEAD + STEP + b"\n", "t.jsonl:3: is an empty line; "),
        (HEAD + b"nonsense\n", "t.jsonl:2: is not JSON; "),
        (HEAD + b'{"seq":1,"kind":"\xff"}\n', "t.jsonl:2: is binary; "),
        (HEAD + b'{"seq":"one","t_ns":1,"kind":"x"}\n', "t.jsonl:2: expected `int`, got `str` - at `$.seq`; "),
        (HEAD + STEP.replace(b'"event"', b'"found":{"a":4294967296},"event"'), "t.jsonl:2: expected `int` <= 4294967295"),
        (HEAD + STEP.replace(b'"event"', b'"found":{"a":-1},"event"'), "t.jsonl:2: expected `int` >= 0"),
        (HEAD + STEP.replace(b'"event"', b'"found":{"a":[]},"event"'), "t.jsonl:2: expected `bool"),
        (HEAD + b'{"seq":1,"t_ns":0,"kind":"hw","guest":"3/0"}\n', "t.jsonl:2: object missing required field `function`; "),
        (b"[" * 60_000 + b"\n", "t.jsonl:1: is not JSON; "),
        (HEAD + b'{"seq":1,"y":' + b"[" * 50_000 + b"\n", "t.jsonl:2: is nested too deeply; "),
        (HEAD + b" " * (LONGEST_LINE + 1), f"t.jsonl:2: is longer than {LONGEST_LINE} bytes; "),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_said_in_one_line(data: bytes, message: str) -> None:
    with pytest.raises(TraceError) as error:
        read(data)

    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_a_line_without_end_does_not_fill_the_memory() -> None:
    class Endless(io.RawIOBase):
        given = 0

        def read(self, size: int = -1) -> bytes:
            self.given += size
            return b"x" * size

    endless = Endless()
    with pytest.raises(TraceError):
        Trace(endless, "t")  # type: ignore[arg-type]

    assert endless.given <= 1 << 21


@given(st.binary(max_size=200), st.integers(0, 400))
def test_whatever_the_bytes_are_they_are_lines_or_one_error(garbage: bytes, at: int) -> None:
    good = HEAD + STEP + STEP
    data = good[:at] + garbage + good[at:]
    try:
        lines = read(data)
    except TraceError as error:
        assert error.name == "t.jsonl"
    else:
        assert len(lines) == len(data.split(b"\n")) - 1 - data.endswith(b"\n")


def test_the_published_schema_is_that_of_the_types() -> None:
    published = Path(__file__).resolve().parent.parent / "traces" / "schema.json"

    assert schema_text() == published.read_text(encoding="utf-8")


@pytest.mark.parametrize(("bus", "named"), [(0, False), (2, True)])
def test_the_usual_bus_is_not_named(bus: int, named: bool) -> None:
    line = Function(seq=1, t_ns=1, guest="7/0", function="0000:02:05.0", slot=3, identity={}, bus=bus)
    text = encode(line)

    assert named == (b'"bus":2' in text and b'"domain":0' in text) == (b'"bus"' in text)
    assert line == next(found for _, found in Trace(io.BytesIO(HEAD + text), "t"))


def test_a_header_keeps_what_it_says_of_its_source() -> None:
    header = Header(vantage="backend", source={"program": "pvpci 1", "machines": ["op"]})

    assert header == Trace(io.BytesIO(encode(header)), "t").header
