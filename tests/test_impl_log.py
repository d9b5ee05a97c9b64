# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import io
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvpci.impl.log import LONGEST_VALUE, MOST_KEYS, Level, Log, quoted


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Full(io.StringIO):
    room = False

    def write(self, text: str) -> int:
        if not self.room:
            raise OSError(28, "No space left on device")
        return super().write(text)


def made(
    stream: io.StringIO, clock: Clock | None = None, rate: float = 1.0, burst: int = 10, colour: bool | None = None
) -> Log:
    return Log(
        stream,
        rate=rate,
        burst=burst,
        clock=clock or Clock(),
        wall=lambda: 1_700_000_000.25,
        colour=colour,
        environment={},
    )


def lines(stream: io.StringIO) -> list[str]:
    return [line.removeprefix("time=2023-11-14T22:13:20.250Z ") for line in stream.getvalue().splitlines()]


def test_a_line_is_time_level_event_and_the_fields_in_order() -> None:
    out = io.StringIO()
    assert made(out).warning("write_dropped", guest=3, bdf="0000:36:00.0", why="not in the table", level="x")

    expected = 'level=warning event=write_dropped guest=3 bdf=0000:36:00.0 why="not in the table" level=x'
    assert f"time=2023-11-14T22:13:20.250Z {expected}\n" == out.getvalue()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (7, "7"),
        ("", '""'),
        ("a=b", '"a=b"'),
        ('say "x"', r'"say \"x\""'),
        ("a\nlevel=error", r'"a\nlevel=error"'),
        ("\x1b[2J", r'"\u001b[2J"'),
        ("\x7f", r'"\u007f"'),
        ("\u202ex", r'"\u202ex"'),
        (None, "None"),
        ("y" * 500, "y" * (LONGEST_VALUE - 3) + "..."),
    ],
)
def test_values_are_bare_or_quoted(value: object, expected: str) -> None:
    assert expected == quoted(value)


@given(st.text(max_size=LONGEST_VALUE))
def test_a_value_is_one_word_of_plain_ascii_and_can_be_read_back(text: str) -> None:
    shown = quoted(text)

    assert shown.isascii() and shown.isprintable()
    assert text == (json.loads(shown) if shown.startswith('"') else shown)


def test_below_the_level_nothing_is_written_and_no_token_spent() -> None:
    out = io.StringIO()
    log = made(out, burst=1)

    assert not log.debug("x")
    assert log.info("x")
    log.level = Level.DEBUG
    assert log.debug("y")
    assert ["level=info event=x", "level=debug event=y"] == lines(out)


def test_after_the_burst_lines_are_counted_and_the_count_goes_out_with_the_next() -> None:
    out, clock = io.StringIO(), Clock()
    log = made(out, clock, rate=0.5, burst=2)
    written = [log.warning("flood", n=n) for n in range(10)]
    clock.now = 2.0
    written.append(log.warning("flood", n=10))

    assert [True, True, *[False] * 8, True] == written
    assert "level=warning event=flood n=10 suppressed=8" == lines(out)[-1]
    log.report()
    assert 3 == len(lines(out))


def test_a_bucket_never_holds_more_than_the_burst() -> None:
    out, clock = io.StringIO(), Clock()
    log = made(out, clock, rate=1.0, burst=3)
    log.info("x")
    clock.now = 1e6

    assert 3 == sum(log.info("x") for _ in range(10))


def test_keys_do_not_silence_each_other() -> None:
    out = io.StringIO()
    log = made(out, burst=1)

    assert log.info("x", key="guest 1")
    assert not log.info("x", key="guest 1")
    assert log.info("x", key="guest 2")


def test_report_tells_what_was_held_back_once() -> None:
    out = io.StringIO()
    log = made(out, burst=1)
    for _ in range(5):
        log.info("x", key="guest 1")
    log.report()
    log.report()

    assert ["level=info event=x", 'level=warning event=suppressed key="guest 1" suppressed=4'] == lines(out)


def test_whoever_makes_up_keys_gets_no_new_budget_with_each() -> None:
    out = io.StringIO()
    log = made(out, burst=2)
    written = sum(log.info("x", key=f"made up {n}") for n in range(10_000))

    assert MOST_KEYS + 2 == written
    log.report()
    assert f"level=warning event=suppressed key=(others) suppressed={10_000 - written}" == lines(out)[-1]


def test_keys_that_are_quiet_make_room() -> None:
    out, clock = io.StringIO(), Clock()
    log = made(out, clock, burst=1)
    for n in range(MOST_KEYS):
        log.info("x", key=f"old {n}")
        log.info("x", key=f"old {n}")
    clock.now = 10.0

    assert all(log.info("x", key=f"new {n}") for n in range(MOST_KEYS))
    log.report()
    assert f"level=warning event=suppressed key=(others) suppressed={MOST_KEYS}" == lines(out)[-1]


def test_a_stream_that_takes_nothing_costs_lines_and_nothing_else() -> None:
    out = Full()
    log = made(out)
    log.info("x")
    log.info("y")
    assert 2 == log.lost
    out.room = True
    log.info("z")

    assert ["level=info event=z lost=2"] == lines(out)
    out.close()
    log.info("after close")
    assert 1 == log.lost


@pytest.mark.parametrize(
    ("stream", "environment", "coloured"),
    [(Terminal(), {}, True), (Terminal(), {"NO_COLOR": "1"}, False), (io.StringIO(), {}, False)],
)
def test_colour_only_on_a_terminal(stream: io.StringIO, environment: dict[str, str], coloured: bool) -> None:
    Log(stream, environment=environment).error("x")

    assert coloured == (re.fullmatch(r"\x1b\[31m.*event=x\x1b\[0m\n", stream.getvalue()) is not None)
    assert coloured == ("\x1b" in stream.getvalue())
