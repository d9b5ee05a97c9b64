# SPDX-License-Identifier: Apache-2.0
"""`pvpci prove`: exit codes, one clear line for bad input, and the promised JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pvpci.impl.cli import make_group, run


def prove(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = run(make_group(), ["prove", *arguments])
    captured = capsys.readouterr()
    return int(code), captured.out, captured.err


def test_one_property_is_proved(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = prove(capsys, "op", "--property", "I-35")

    assert (0, "") == (code, err)
    assert out.splitlines()[-1].startswith("all is well: ")


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = prove(capsys, "op", "--property", "I-35", "--json")
    data = json.loads(out)

    assert 0 == code
    assert (0, 0) == (data["violated"], data["unknown"])
    assert len(data["obligations"]) == data["proved"] > 100


def test_a_dialect_is_broken_by_its_property(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = prove(capsys, "--dialect", "r10", "--json")
    data = json.loads(out)

    assert 1 == code
    assert [("I-35", "violated")] == [(one["property"], one["verdict"]) for one in data["obligations"]]


def test_a_counterexample_is_shown_in_the_words_of_the_model(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = prove(capsys, "--dialect", "R10")

    assert 1 == code
    assert "my.at = COPIED" in out


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--dialect", "m99"), "pvpci: --dialect m99: there is no such dialect; known are M01, "),
        (("nobody",), "pvpci: prove: no system or machine 'nobody'; known are "),
        (("--property", "I-99"), "pvpci: --property I-99: no property 'I-99'; known are "),
        (("--smt2", "/dev/null/here", "op", "--property", "I-35"), "pvpci: /dev/null/here: "),
    ],
)
def test_bad_input_is_one_line(arguments: tuple[str, ...], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = prove(capsys, *arguments)

    assert (2, "") == (code, out)
    assert 1 == len(err.splitlines())
    assert err.startswith(line)


@pytest.mark.parametrize(("dialect", "rule"), [("M02", "I-27"), ("R10", "I-35"), ("M13", "I-33"), ("R05", "I-12")])
def test_a_saved_counterexample_is_a_trace_that_check_rejects(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, dialect: str, rule: str
) -> None:
    path = str(tmp_path / "counterexample.jsonl")
    prove(capsys, "--dialect", dialect, "--save", path)
    code = run(make_group(), ["check", "--json", path])
    found = json.loads(capsys.readouterr().out)
    own = run(make_group(), ["check", path, "--dialect", dialect])

    assert (1, "violates", "backend", rule, 0) == (code, found["verdict"], found["party"], found["rule"], own)


def test_a_dialect_that_is_read_off_the_table_has_no_trace(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, _, err = prove(capsys, "--dialect", "M01", "--save", str(tmp_path / "none.jsonl"))

    assert 2 == code
    assert "no step" in err
