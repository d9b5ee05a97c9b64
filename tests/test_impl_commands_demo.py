# SPDX-License-Identifier: Apache-2.0
"""``pvpci demo`` as a newcomer sees it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.backend_rig import run_cli

from pvpci.impl import demo
from pvpci.impl.commands.demo import command, prove
from pvpci.impl.demo import Proofs, Story

GOOD = Story(
    proofs=Proofs([("op", 200, 12, 1.5), ("handshake", 300, 20, 2.5)], 500, [], 4.2),
    attached=["0000:00:07.0 at 0000:00:00.00"],
    handshake=[("backend", "backend state InitWait"), ("guest", "frontend state Initialised")],
    functions=[{"at": "00:00.0", "devfn": 0, "vendor": 0x1234, "device": 0x11E8, "class_code": 0xFF00, "multi": False}],
    regions={"00:00.0": [{"index": 0, "address": 0xFE200000, "size": 1048576, "is_port": False}]},
    traffic={"requests": 1000, "wrong": 0, "median_us": 50.0, "p99_us": 99.0, "worst_us": 300.0},
    closed=True, served=0, lines=12345, verdict="conforms", seconds=9.5,
)  # fmt: skip


def told(monkeypatch: pytest.MonkeyPatch, story: Story, *arguments: str) -> tuple[int, str]:
    def run(tell: object, **_: object) -> Story:
        assert callable(tell)
        for chapter in ("proofs", "handshake", "bus", "traffic", "end"):
            tell(chapter, story)
        return story

    monkeypatch.setattr(demo, "run", run)
    result = CliRunner().invoke(command, arguments, standalone_mode=False)
    assert result.exception is None
    return int(result.return_value), result.output


def test_every_chapter_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    code, output = told(monkeypatch, GOOD)

    assert 0 == code
    assert "\x1b" not in output
    for text in (
        "The proofs", "500 obligations, all of them proved", "The handshake", "guest      ──> frontend state Initialised",
        "What the guest saw", "1234:11e8", "region 0: memory at 0xfe200000, 1048576 bytes", "1000 reads, 0 answered wrongly",
        "12345 lines: conforms", "nothing is mapped, bound, open or assigned any more", "Everything held. 9.5 s in all.",
    ):  # fmt: skip
        assert text in output
    assert max(map(len, output.splitlines())) <= 100


def test_what_did_not_hold_is_said_and_is_the_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    code, output = told(
        monkeypatch, Story(proofs=GOOD.proofs, problems=["left behind: [bold]a page[/bold]\x1b"], leaks=["a page"])
    )

    assert 1 == code
    assert "- left behind: [bold]a page[/bold]\\x1b" in output
    assert "Not everything held." in output


def test_for_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    code, output = told(monkeypatch, GOOD, "--json")
    story = json.loads(output.splitlines()[-1])

    assert (0, True, "conforms", 500) == (code, story["good"], story["verdict"], story["proofs"]["obligations"])


def test_the_real_command_without_the_proofs(tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl"
    done = run_cli("demo", "--no-proofs", "--seconds", "0.2", "--trace", str(trace))
    checked = run_cli("check", str(trace))

    assert (0, "", 0) == (done.returncode, done.stderr, checked.returncode)
    assert "Everything held." in done.stdout
    assert "The proofs" not in done.stdout
    assert str(trace) in done.stdout.replace("\n", "")


def test_a_record_that_cannot_be_kept() -> None:
    done = run_cli("demo", "--no-proofs", "--trace", "/nowhere/trace")

    assert (2, "pvpci: /nowhere/trace: No such file or directory; name a file that can be written\n") == (
        done.returncode, done.stderr,
    )  # fmt: skip


def test_the_proofs_are_counted_by_system() -> None:
    proofs = prove()

    assert [] == proofs.failed
    assert proofs.obligations == sum(count for _, count, _, _ in proofs.systems)
    assert proofs.obligations > 1000
    assert {"op"} <= {name for name, *_ in proofs.systems}
