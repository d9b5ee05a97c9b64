# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from tests.doctor import DOCTORS
from tests.trace_world import life

from pvpci.traces.findings import describe
from pvpci.traces.format import Asked, Line
from pvpci.traces.judge import judge
from pvpci.traces.subject import reference


def finding(name: str):  # type: ignore[no-untyped-def]
    doctor = next(one for one in DOCTORS if one.name == name)
    return judge(enumerate(doctor(life()).lines, 2), reference()).findings[0]


def test_a_line_in_a_few_words() -> None:
    line = Line(seq=1, t_ns=0, kind="seek", event="GO", asked=[Asked("seek", {"bus": 16}), Asked("notify")])

    assert "seek asked seek(bus=0x10), notify()" == describe(line)
    assert "done err=0" == describe(Line(seq=1, t_ns=0, kind="done", event="Done", given={"err": 0}))
    assert "begin wrote a=true" == describe(Line(seq=1, t_ns=0, kind="begin", event="GO", wrote={"a": True}))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing-notify", "op at CLEARED: nothing explains flags; due there: notify at CLEARED"),
        ("answered-other-than-done", "page.value is 0x10d38087, right is 0x10d38086"),
        ("unsound-offset-performed", "(with copy.offset = 0x1001, my.reach = EXTENDED)"),
        ("unbound-under-a-request", "QUIET->UNBOUND [XSA-331]: false: (my.at == IDLE) | "),
        ("unbound-under-a-request", "(with my.at = ASKED)"),
        ("connected-without-a-page", "LOOK->MAPPING [RB-2] is due: wrote nodes.own where nothing is right"),
        ("state-that-is-not-ours", "nodes.own is RECONFIGURING, right is INIT_WAIT"),
        ("write-outside-the-answer", "wrote page.value, page.info where page.value is right"),
    ],
)  # fmt: skip
def test_a_finding_says_what_was_false_or_due(name: str, words: str) -> None:
    assert words in finding(name).why


def test_a_finding_shows_candidates_and_what_would_have_been_allowed() -> None:
    found = finding("unbound-under-a-request")

    assert ["candidate 1: connection at CLOSE, op at ASKED", "candidate 2: connection at QUIET, op at ASKED"] == [
        line for line in sorted(found.details) if not line.startswith(" ")
    ]
    assert ("atrest at QUIET [XSA-331]",) == found.allowed
