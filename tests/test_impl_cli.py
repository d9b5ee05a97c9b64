# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from pvpci.impl.cli import COMMANDS, LazyGroup, make_group, run

ROOT = Path(__file__).resolve().parent.parent

TABLE = {
    "fine": "Does its work.",
    "code": "Ends with the code that it is given.",
    "fail": "Fails as it is told.",
    "absent": "Has no module.",
    "wrong": "Has a module without a command.",
}
MODULES = {
    "fine": """
import click
@click.command
@click.argument("word")
@click.option("--count", type=int, default=1)
def command(word, count):
    click.echo(word * count)
""",
    "code": """
import click
@click.command
@click.argument("how")
def command(how):
    if how == "exit":
        click.get_current_context().exit(3)
    if how == "system":
        raise SystemExit(1)
    return "three" if how == "text" else True if how == "true" else int(how)
""",
    "fail": """
import errno, click
from pvpci.impl.errors import UnreadableInput, UsageError
from pvpci.impl.host import HostError
FAILURES = {
    "usage": UsageError("dialect 'x'", "there is none of this name", "name one of a, b"),
    "input": UnreadableInput("t.jsonl:3", "bad\\nline \\x1b[2J", "record it again"),
    "busy": HostError("0000:00:05.0: held by x", errno.EBUSY),
    "host": HostError("ioctl", errno.EINVAL),
    "ours": KeyError("no\\nkey"),
    "eof": EOFError(),
    "pipe": BrokenPipeError(32, "Broken pipe"),
    "interrupt": KeyboardInterrupt(),
    "abort": click.Abort(),
    "file": click.FileError("t.jsonl", "gone"),
}
@click.command
@click.argument("how")
def command(how):
    raise FAILURES[how]
""",
    "wrong": "command = 7\n",
}


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LazyGroup:
    package = tmp_path / f"commands_{tmp_path.name}".replace("-", "_")
    package.mkdir()
    (package / "__init__.py").write_text("")
    for name, source in MODULES.items():
        (package / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return make_group(TABLE, package.name)


def outcome(group: LazyGroup, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = run(group, arguments)
    out, err = capsys.readouterr()
    return code, out, err


def test_a_command_runs(group: LazyGroup, capsys: pytest.CaptureFixture[str]) -> None:
    assert (0, "abab\n", "") == outcome(group, capsys, "fine", "ab", "--count", "2")


def test_help_lists_all_commands_in_order_and_imports_none(
    group: LazyGroup, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = outcome(group, capsys, "--help")
    listed = [line.split(maxsplit=1) for line in out.split("Commands:\n")[1].split("\n\n")[0].splitlines()]

    assert (0, "") == (code, err)
    assert [[name, summary] for name, summary in TABLE.items()] == listed
    assert [] == [name for name in sys.modules if name.startswith(f"{group.package}.")]


def test_only_the_command_that_is_asked_for_is_imported(group: LazyGroup, capsys: pytest.CaptureFixture[str]) -> None:
    outcome(group, capsys, "fine", "x")

    assert [f"{group.package}.fine"] == [name for name in sys.modules if name.startswith(f"{group.package}.")]


def test_the_help_of_one_command(group: LazyGroup, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = outcome(group, capsys, "fine", "-h")

    assert (0, "") == (code, err)
    assert out.startswith("Usage: pvpci fine [OPTIONS] WORD\n")


@pytest.mark.parametrize(("how", "code"), [("0", 0), ("1", 1), ("3", 3), ("exit", 3), ("system", 1)])
def test_a_command_says_its_exit_code(
    group: LazyGroup, capsys: pytest.CaptureFixture[str], how: str, code: int
) -> None:
    assert (code, "", "") == outcome(group, capsys, "code", how)


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        ([], 2, "command line: missing command; see `pvpci --help`"),
        (["serv"], 2, "command line: no such command 'serv'; see `pvpci --help`"),
        (["fine"], 2, "fine: missing argument 'WORD'; see `pvpci fine --help`"),
        (["fail", "usage"], 2, "dialect 'x': there is none of this name; name one of a, b"),
        (["fail", "input"], 3, "t.jsonl:3: bad line \\x1b[2J; record it again"),
        (
            ["fail", "busy"],
            2,
            "fail: 0000:00:05.0: held by x (Device or resource busy); free the function first, or name another",
        ),
        (["fail", "file"], 3, "t.jsonl: gone; name a file that can be read"),
    ],
)
def test_an_error_is_one_line_on_stderr(
    group: LazyGroup, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, line: str
) -> None:
    assert (code, "", f"pvpci: {line}\n") == outcome(group, capsys, *arguments)


@pytest.mark.parametrize("arguments", [["--bad"], ["fine", "--bad"], ["fine", "x", "--count", "many"]])
def test_bad_options_are_usage_errors_on_one_line(
    group: LazyGroup, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    code, out, err = outcome(group, capsys, *arguments)

    assert (2, "", 1) == (code, out, err.count("\n"))
    assert err.endswith("--help`\n")


@pytest.mark.parametrize("how", ["interrupt", "abort"])
def test_an_interruption_is_silent(group: LazyGroup, capsys: pytest.CaptureFixture[str], how: str) -> None:
    assert (130, "", "") == outcome(group, capsys, "fail", how)


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (["fail", "ours"], "fail: KeyError: "),
        (["fail", "eof"], "fail: EOFError: "),
        (["fail", "pipe"], "fail: BrokenPipeError: "),
        (["fail", "host"], "fail: HostError: ioctl "),
        (["code", "text"], "code: TypeError: "),
        (["code", "true"], "code: TypeError: "),
        (["absent"], "absent: ModuleNotFoundError: "),
        (["wrong"], "wrong: TypeError: "),
    ],
)
def test_the_unexpected_is_our_bug_and_its_traceback_is_kept(
    group: LazyGroup, capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str], cause: str
) -> None:
    code, out, err = outcome(group, capsys, *arguments)
    (report,) = tmp_path.glob("pvpci-bug-*.txt")

    assert (4, "", 1) == (code, out, err.count("\n"))
    assert err.startswith(f"pvpci: {cause}")
    assert err.endswith(f"; this is a bug in pvpci, please report it with {report}\n")
    assert f"arguments: {arguments!r}" in report.read_text()
    assert "Traceback (most recent call last)" in report.read_text()


def test_a_bug_is_still_told_where_nothing_can_be_written(
    group: LazyGroup, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    code, _, err = outcome(group, capsys, "fail", "ours")

    assert 4 == code
    assert err.endswith("; this is a bug in pvpci, and the traceback could not be saved (No such file or directory)\n")


def installed(arguments: str) -> subprocess.CompletedProcess[str]:
    """The real command with its real standard output, in a shell line."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "LC_ALL": "C.UTF-8"}
    command = f"'{sys.executable}' -m pvpci.impl.cli {arguments}"
    return subprocess.run(
        ["bash", "-c", command], env=environment, capture_output=True, text=True, check=False, timeout=60
    )


def test_the_real_command_lists_its_commands() -> None:
    done = installed("--help")

    assert (0, "") == (done.returncode, done.stderr)
    assert all(f"\n  {name} " in done.stdout for name in COMMANDS)


def test_the_version() -> None:
    done = installed("--version")

    assert (0, "") == (done.returncode, done.stderr)
    assert done.stdout.startswith("pvpci ")


def test_output_that_cannot_be_written_is_no_success() -> None:
    done = installed("--help > /dev/full")

    assert 2 == done.returncode
    assert "pvpci: standard output: No space left on device; send it where there is room\n" == done.stderr


def test_a_reader_that_went_away_is_no_violation() -> None:
    done = installed("--help 2>&1 | true; exit ${PIPESTATUS[0]}")
    # `true` may also be slower than we are: then all was written.

    assert done.returncode in {0, 141}
    assert "" == done.stderr


def test_a_closed_standard_output_is_survived() -> None:
    done = installed("--help >&-")

    assert (0, "") == (done.returncode, done.stderr)


def test_every_listed_command_has_its_module() -> None:
    folder = ROOT / "impl" / "commands"

    assert [] == [name for name in COMMANDS if not (folder / f"{name.replace('-', '_')}.py").is_file()]
