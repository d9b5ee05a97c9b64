# SPDX-License-Identifier: Apache-2.0
"""``pvpci diagram``: a machine drawn from its table, or a trace as a sequence of messages."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from typing import Final

import click

from pvpci.impl.errors import ExitCode, UnreadableInput, UsageError, reading
from pvpci.model import connection, frontend, issue, op, toolstack
from pvpci.model.kernel.tables import Machine
from pvpci.traces import charts, pictures
from pvpci.traces.format import Trace, TraceError

MACHINES: Final[Mapping[str, Machine]] = {
    machine.name: machine
    for machine in (op.MACHINE, connection.MACHINE, frontend.MACHINE, toolstack.MACHINE, issue.MACHINE)
}
_CHARTS: Final[Mapping[str, Callable[[Machine], str]]] = {
    "mermaid": charts.mermaid, "dot": charts.dot, "text": charts.plain,
}  # fmt: skip
_SECONDS: Final = 60


@click.command
@click.argument("what", metavar="MACHINE|TRACE")
@click.option(
    "--format", "form", type=click.Choice(["mermaid", "dot", "svg", "text"]), default="mermaid", show_default=True,
    help="A trace is drawn as mermaid or text.",
)  # fmt: skip
@click.option("--guest", metavar="ID", default="", help="Of a trace, draw this guest; the first one otherwise.")
@click.option(
    "--limit", type=click.IntRange(1, 100_000), default=pictures.LIMIT, show_default=True,
    help="Of a trace, draw about so many messages.",
)  # fmt: skip
def command(what: str, form: str, guest: str, limit: int) -> int:
    """Draw a machine from its table, or the sequence of messages of a trace."""
    machine = MACHINES.get(what)
    if machine is not None:
        click.echo(_svg(machine) if form == "svg" else _CHARTS[form](machine), nl=False)
        return ExitCode.OK
    if not (os.path.exists(what) or "/" in what or what.endswith(".jsonl")):
        raise UsageError(f"diagram {what!r}", "there is neither a machine nor a file of this name", _machines())
    if form not in ("mermaid", "text"):
        raise UsageError(f"--format {form}", "a trace is a sequence of messages", "use --format mermaid or text")
    click.echo(_trace(what, form, guest, limit), nl=False)
    return ExitCode.OK


def _machines() -> str:
    return f"name a trace, or one of {', '.join(MACHINES)}"


def _trace(path: str, form: str, guest: str, limit: int) -> str:
    with reading(path, "name a trace that can be read"), open(path, "rb") as file:
        try:
            draw = pictures.mermaid if form == "mermaid" else pictures.plain
            return draw(Trace(file, path), guest, limit)
        except TraceError as error:
            raise UnreadableInput(error.where, error.what, error.right) from None


def _svg(machine: Machine) -> str:
    program = shutil.which("dot")
    if program is None:
        raise UsageError("--format svg", "the program `dot` is not installed", "install graphviz, or use --format dot")
    try:
        done = subprocess.run(
            [program, "-Tsvg"], input=charts.dot(machine), capture_output=True, text=True, check=True, timeout=_SECONDS
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise UsageError("--format svg", f"`dot` failed ({type(error).__name__})", "use --format dot") from error
    return done.stdout
