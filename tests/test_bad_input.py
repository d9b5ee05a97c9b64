# SPDX-License-Identifier: Apache-2.0
"""What people get wrong: one line that says what, where and what would be right, and the exit code of its kind."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.backend_rig import EDU, GUEST, Rig, rig, run_cli

LIFE = Path(__file__).parents[1] / "traces" / "corpus" / "life.jsonl"


@pytest.fixture(scope="module")
def made() -> Iterator[Rig]:
    with rig() as served:
        served.dom0.create_domain(GUEST)
        yield served
        served.clean()


def one_line(done: subprocess.CompletedProcess[str], code: int) -> str:
    """The one line on stderr, once the exit code is right and nothing else was printed."""
    lines = done.stderr.splitlines()

    assert (code, "", 1) == (done.returncode, done.stdout, len(lines))
    assert lines[0].startswith("pvpci: ")
    assert "; " in lines[0], "no word of what would be right"
    return lines[0]


def test_an_unknown_function(made: Rig) -> None:
    line = one_line(run_cli("attach", "--box", made.box.path, str(GUEST), "0000:00:1e.0"), 2)

    assert "0000:00:1e.0" in line


def test_a_busy_device(made: Rig) -> None:
    assert 0 == run_cli("attach", "--box", made.box.path, str(GUEST), str(EDU)).returncode
    line = one_line(run_cli("attach", "--box", made.box.path, str(GUEST), str(EDU)), 2)
    assert 0 == run_cli("detach", "--box", made.box.path, str(GUEST), str(EDU)).returncode

    assert str(EDU) in line


@pytest.mark.parametrize("address", ["00:99.0", "00:05", "no:05.0", "00:05.8", "10000:00:05.0", ""])
def test_an_address_that_is_none(made: Rig, address: str) -> None:
    line = one_line(run_cli("attach", "--box", made.box.path, str(GUEST), address), 2)

    assert repr(address) in line


@pytest.mark.skipif(os.path.exists("/dev/xen"), reason="this machine has /dev/xen")
def test_no_xen_here() -> None:
    line = one_line(run_cli("serve", "--host", "xen"), 2)

    assert "/dev/xen" in line


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not")
def test_no_permission(made: Rig) -> None:
    """The box's socket is its owner's; somebody else is told so."""
    # Once as root, quietly: then everything is loaded when the files of a private checkout are out of reach.
    code = (
        "import contextlib, io, os, sys; from pvpci.impl.cli import make_group, run\n"
        f"arguments = ['list', '--json', '--box', {made.box.path!r}]\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n    assert 0 == run(make_group(), arguments)\n"
        "os.setuid(65534)\nsys.exit(run(make_group(), arguments))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip

    assert made.box.path in one_line(done, 2)


TRACES = {
    "truncated": (LIFE.read_bytes()[:900], "cut off"),
    "binary": (bytes(range(256)) * 8, "binary"),
    "of another version": (LIFE.read_bytes().replace(b'"version":1', b'"version":9', 1), "version 9"),
    "empty": (b"", "empty"),
    "not a trace": (b'{"hello": "world"}\n', ":1"),
    "a line that is no JSON": (b"\n".join([*LIFE.read_bytes().splitlines()[:3], b"{oops", b""]), ":4"),
}


@pytest.mark.parametrize("name", TRACES)
@pytest.mark.parametrize("command", ["check", "replay"])
def test_a_malformed_trace(name: str, command: str, tmp_path: Path) -> None:
    data, word = TRACES[name]
    path = tmp_path / "trace.jsonl"
    path.write_bytes(data)

    line = one_line(run_cli(command, str(path)), 3)

    assert str(path) in line
    assert word in line


def test_a_trace_that_is_not_there() -> None:
    assert "no-such-trace" in one_line(run_cli("check", "no-such-trace"), 3)


@pytest.mark.parametrize("command", [("prove",), ("check", str(LIFE))], ids=["prove", "check"])
def test_an_unknown_dialect(command: tuple[str, ...]) -> None:
    line = one_line(run_cli(*command, "--dialect", "M99"), 2)

    assert "M99" in line
    assert "M01" in line


@pytest.mark.parametrize(
    "arguments", [("prove", "--property", "I-99"), ("prove", "nothing"), ("nothing",), ("serve", "--guest", "0")]
)
def test_words_that_mean_nothing(arguments: tuple[str, ...]) -> None:
    assert arguments[-1] in one_line(run_cli(*arguments), 2)
