# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.doctor import CORPUS
from tests.trace_world import HEADER, life, text

from pvpci.impl.cli import make_group, run

GOOD, BAD = str(CORPUS / "life.jsonl"), str(CORPUS / "missing-notify.jsonl")
Capture = pytest.CaptureFixture[str]


def outcome(capsys: Capture, *arguments: str) -> tuple[int, str, str]:
    code = run(make_group(), arguments)
    out, err = capsys.readouterr()
    return code, out, err


def test_a_good_trace_conforms(capsys: Capture) -> None:
    code, out, err = outcome(capsys, "check", GOOD)

    assert (0, "") == (code, err)
    assert out.startswith(f"{GOOD}: conforms to reference (")


def test_a_bad_trace_names_party_rule_and_line(capsys: Capture) -> None:
    code, out, err = outcome(capsys, "check", BAD)

    assert (1, "") == (code, err)
    assert "  line 32: the backend breaks L-05, guest 3/0: every answer is rung\n" in out
    assert "    allowed: notify at CLEARED [pciback_ops.c:xen_pcibk_do_op]\n" in out


def test_json_is_one_object_a_file(capsys: Capture) -> None:
    code, out, _ = outcome(capsys, "check", "--json", GOOD, BAD)
    good, bad = (json.loads(line) for line in out.splitlines())
    keys = {"verdict", "party", "rule", "line", "why", "needs"}

    assert 1 == code
    assert keys <= good.keys()
    assert {"verdict": "conforms", "party": None, "rule": None, "line": None, "why": None, "needs": []} == {
        k: good[k] for k in keys
    }
    assert ("violates", "backend", "L-05", 32) == (bad["verdict"], bad["party"], bad["rule"], bad["line"])
    assert [GOOD, BAD] == [good["file"], bad["file"]]


def test_undecided_is_not_called_conforming(capsys: Capture, tmp_path: Path) -> None:
    path = tmp_path / "middle.jsonl"
    path.write_bytes(text(life()[40:]))
    code, out, _ = outcome(capsys, "check", str(path))

    assert 0 == code
    assert "undecided" in out
    assert "conforms" not in out
    assert "needs: the beginning of guest 3/0" in out


def test_a_dialect_judges_by_its_own_table(capsys: Capture) -> None:
    assert 1 == outcome(capsys, "check", "--dialect", "m16", GOOD)[0]
    assert (2, "") == outcome(capsys, "check", "--dialect", "nonsense", GOOD)[:2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "t.jsonl: No such file or directory; name a trace that can be read"),
        (b"", "t.jsonl: is empty; "),
        (b"\x7fELF\x80\n", "t.jsonl:1: is binary; "),
        (
            b'{"format":"pvpci-trace","version":9,"vantage":"x"}\n',
            "t.jsonl:1: is of version 9; this program reads version 1",
        ),
        (text(life())[:-20], "t.jsonl:377: is cut off: the file is truncated; "),
        (text([], HEADER) + b'{"seq":1}\n', "t.jsonl:2: object missing required field `t_ns`; "),
        (
            text(life()).replace(b'"flags.active":true', b'"flags.active":7', 1),
            "t.jsonl:19: flags.active: 7 is no value of a flag; give each variable a value of its own sort",
        ),
    ],
)
def test_what_cannot_be_read_is_one_line_and_code_3(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path("t.jsonl").write_bytes(content)
    code, out, err = outcome(capsys, "check", "t.jsonl")

    assert (3, "") == (code, out)
    assert err.startswith(f"pvpci: {message}")
    assert 1 == len(err.splitlines())


def test_a_trace_cannot_move_the_cursor(capsys: Capture, tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(
        text(life()).replace(b'"guest":"3/0"', b'"guest":"\\u001b[2J\\n"').replace(b'["notify"]', b'["\\u001b"]')
    )
    code, out, _ = outcome(capsys, "check", str(path))

    assert 1 == code
    assert "\x1b" not in out


def test_a_file_must_be_named(capsys: Capture) -> None:
    assert 2 == outcome(capsys, "check")[0]
