# SPDX-License-Identifier: Apache-2.0
"""The story is told from what happened, and a story in which something did not hold says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from pvpci.impl import demo
from pvpci.impl.demo import Proofs, Story


def test_a_life_without_the_proofs(tmp_path: Path) -> None:
    told: list[str] = []
    trace = tmp_path / "trace.jsonl"
    story = demo.run(lambda chapter, _: told.append(chapter), prove=None, seconds=0.2, trace=trace)
    handshake = [f"{who}: {what}" for who, what in story.handshake]

    assert ([], True) == (story.problems, story.good)
    assert ["handshake", "bus", "traffic", "end"] == told
    assert [(0x8086, 0x10D3), (0x1234, 0x11E8)] == [(each["vendor"], each["device"]) for each in story.functions]
    assert (0, "conforms", [], 0) == (story.served, story.verdict, story.leaks, story.traffic["wrong"])
    assert story.traffic["requests"] > 50
    assert story.lines > 1000
    order = [
        "toolstack: backend state Initialising", "backend: backend state InitWait", "guest: frontend state Initialised",
        "backend: maps the page that the guest granted", "backend: backend state Connected", "guest: frontend state Connected",
        "guest: frontend state Closing", "backend: unmaps the page", "backend: backend state Closed",
    ]  # fmt: skip
    assert order == [each for each in handshake if each in order]
    assert trace.stat().st_size > 100_000


def test_a_proof_that_fails_is_a_problem() -> None:
    failed = Proofs([("op", 2, 1, 0.1)], 2, ["op: I-31 answered_at_most_once: violated"], 0.1)
    story = demo.run(lambda *_: None, prove=lambda: failed, seconds=0.1, trace=None)

    assert (False, ["op: I-31 answered_at_most_once: violated"]) == (story.good, story.problems)


def test_a_guest_that_fails_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    start = demo._start

    def without_guest(module: str, *arguments: str, **settings: object) -> object:
        if module.endswith("guests.frontend"):
            arguments = (arguments[0], "99", *arguments[2:])
        return start(module, *arguments, **settings)

    monkeypatch.setattr(demo, "_start", without_guest)
    story = demo.run(lambda *_: None, prove=None, seconds=0.1, trace=None)

    assert "the guest failed: domain 99 does not exist" in story.problems
    assert "the guest found 0 functions, not 2" in story.problems
    assert [] == story.leaks


def test_a_story_as_data() -> None:
    assert {"good": True, "problems": []}.items() <= Story().as_dict().items()
