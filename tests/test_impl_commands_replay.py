# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.doctor import CORPUS
from tests.trace_world import HEADER, text

from pvpci.impl.cli import make_group, run

GOOD, BAD = str(CORPUS / "life.jsonl"), str(CORPUS / "answered-other-than-done.jsonl")
Capture = pytest.CaptureFixture[str]


def outcome(capsys: Capture, *arguments: str) -> tuple[int, str, str]:
    code = run(make_group(), arguments)
    out, err = capsys.readouterr()
    return code, out, err


def test_a_life_is_answered_as_recorded(capsys: Capture) -> None:
    said = f"{GOOD}: 15 requests and 10 operations on interrupts answered by reference as recorded\n"

    assert (0, said, "") == outcome(capsys, "replay", GOOD)


def test_differences_are_shown(capsys: Capture) -> None:
    code, out, err = outcome(capsys, "replay", BAD)

    assert (1, "") == (code, err)
    assert "    recorded: store wrote page.value=0x10d38087\n    now: store wrote page.value=0x10d38086\n" in out


def test_json(capsys: Capture) -> None:
    code, out, _ = outcome(capsys, "replay", "--json", "--against", "M16", GOOD)
    found = json.loads(out)

    assert 1 == code
    assert ("violates", "M16", 15, 15) == (
        found["verdict"],
        found["against"],
        found["compared"],
        len(found["differences"]),
    )


def test_a_trace_without_requests_is_undecided(capsys: Capture, tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(text([], HEADER))

    assert (0, f"{path}: undecided: no request of it can be served again\n", "") == outcome(capsys, "replay", str(path))


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            ("--against", "live", GOOD),
            2,
            "--against live: replaying against a live backend is not offered by this version; ",
        ),
        (
            ("--against", "X99", GOOD),
            2,
            "dialect 'X99': there is none of this name for the backend; name one of reference, ",
        ),
        (("/nonexistent",), 3, "/nonexistent: No such file or directory; "),
        ((str(CORPUS / "index.json"),), 3, f"{CORPUS / 'index.json'}:1: is not JSON; "),
    ],
)
def test_what_goes_wrong_is_one_line(capsys: Capture, arguments: tuple[str, ...], code: int, message: str) -> None:
    found, out, err = outcome(capsys, "replay", *arguments)

    assert (code, "") == (found, out)
    assert err.startswith(f"pvpci: {message}")
    assert 1 == len(err.splitlines())
