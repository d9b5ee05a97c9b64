# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest
from tests.doctor import CORPUS

from pvpci.impl.cli import make_group, run
from pvpci.impl.commands.diagram import MACHINES
from pvpci.traces import charts

TRACE = str(CORPUS / "life.jsonl")
Capture = pytest.CaptureFixture[str]


def outcome(capsys: Capture, *arguments: str) -> tuple[int, str, str]:
    code = run(make_group(), arguments)
    out, err = capsys.readouterr()
    return code, out, err


def test_the_machines_that_can_be_drawn() -> None:
    assert ["op", "connection", "frontend", "toolstack", "issue"] == list(MACHINES)


@pytest.mark.parametrize("name", list(MACHINES))
def test_a_machine_is_drawn_from_its_table(capsys: Capture, name: str) -> None:
    assert (0, charts.mermaid(MACHINES[name]), "") == outcome(capsys, "diagram", name)
    assert (0, charts.dot(MACHINES[name]), "") == outcome(capsys, "diagram", name, "--format", "dot")
    assert (0, charts.plain(MACHINES[name]), "") == outcome(capsys, "diagram", name, "--format", "text")


def test_a_trace_is_drawn_as_messages(capsys: Capture) -> None:
    code, out, _ = outcome(capsys, "diagram", TRACE, "--limit", "5")

    assert 0 == code
    assert out.startswith("sequenceDiagram\n")
    assert "more lines are not drawn" in out
    assert outcome(capsys, "diagram", TRACE, "--format", "text")[1].split()[:2] == ["guest", "page"]


def test_svg_is_made_by_dot(capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "dot"
    fake.write_text('#!/bin/sh\necho "<svg $1>"; head -n 1\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    assert (0, '<svg -Tsvg>\ndigraph "op" {\n', "") == outcome(capsys, "diagram", "op", "--format", "svg")

    fake.write_text("#!/bin/sh\nexit 3\n")

    assert 2 == outcome(capsys, "diagram", "op", "--format", "svg")[0]


def test_svg_without_dot_is_a_usage_error(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    line = "pvpci: --format svg: the program `dot` is not installed; install graphviz, or use --format dot\n"

    assert (2, "", line) == outcome(capsys, "diagram", "op", "--format", "svg")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            ("nosuch",),
            2,
            "diagram 'nosuch': there is neither a machine nor a file of this name; name a trace, or one of op, ",
        ),
        (("./nosuch",), 3, "./nosuch: No such file or directory; "),
        (
            (TRACE, "--format", "dot"),
            2,
            "--format dot: a trace is a sequence of messages; use --format mermaid or text",
        ),
        ((str(CORPUS / "index.json"),), 3, f"{CORPUS / 'index.json'}:1: is not JSON; "),
        (("op", "--format", "png"), 2, "diagram: invalid value for '--format'"),
    ],
)
def test_what_goes_wrong_is_one_line(capsys: Capture, arguments: tuple[str, ...], code: int, message: str) -> None:
    found, out, err = outcome(capsys, "diagram", *arguments)

    assert (code, "") == (found, out)
    assert err.startswith(f"pvpci: {message}")
    assert 1 == len(err.splitlines())
