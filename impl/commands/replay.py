# SPDX-License-Identifier: Apache-2.0
"""``pvpci replay``: the requests of a trace, served once more and compared.

Exit code 1 if anything differs. A trace without any request that can be served again is "undecided", exit code 0.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import click

from pvpci.impl.errors import ExitCode, UnreadableInput, UsageError, one_line, reading
from pvpci.traces.format import Trace, TraceError
from pvpci.traces.replay import Replay, Report
from pvpci.traces.subject import dialect_names


def _replay(against: str, name: str) -> Replay:
    if against == "live":
        right = "name reference, or a dialect"
        raise UsageError("--against live", "replaying against a live backend is not offered by this version", right)
    try:
        return Replay(against, name)
    except KeyError:
        right = f"name one of reference, {', '.join(dialect_names())}"
        raise UsageError(f"dialect {against!r}", "there is none of this name for the backend", right) from None


@click.command
@click.argument("trace", metavar="TRACE")
@click.option("--against", metavar="NAME", default="reference", show_default=True, help="The reference, or a dialect.")
@click.option("--json", "as_json", is_flag=True, help="The report as JSON.")
def command(trace: str, against: str, as_json: bool) -> int:
    """Run the requests of a trace again and compare every answer and every access to the function.

    Exit code: 0 if all are as recorded, 1 if something differs, 3 if the trace cannot be read.
    """
    again = _replay(against, trace)
    with reading(trace, "name a trace that can be read"), open(trace, "rb") as file:
        try:
            for number, line in Trace(file, trace):
                again.feed(number, line)
            report = again.finish()
        except TraceError as error:
            raise UnreadableInput(error.where, error.what, error.right) from None
    if as_json:
        click.echo(json.dumps({"file": trace, **report.as_dict()}))
    else:
        for indent, text in _words(trace, report):
            click.echo("  " * indent + one_line(text))
    return ExitCode.VIOLATION if report.differences else ExitCode.OK


def _words(path: str, report: Report) -> Iterator[tuple[int, str]]:
    requests = "request" if report.compared == 1 else "requests"
    if report.operations:
        requests += f" and {report.operations} operation{'s' if report.operations > 1 else ''} on interrupts"
    if not report.compared and not report.operations:
        yield 0, f"{path}: undecided: no request of it can be served again"
    elif report.differences:
        found = len(report.differences) + report.more
        yield 0, f"{path}: {found} differences from {report.against} in {report.compared} {requests}"
    else:
        yield 0, f"{path}: {report.compared} {requests} answered by {report.against} as recorded"
    for one in report.differences:
        yield 1, f"line {one.line}, guest {one.guest}: {one.request}"
        yield 2, f"recorded: {one.recorded}"
        yield 2, f"now: {one.now}"
    if report.more:
        yield 1, f"and {report.more} more differences"
    for why, times in sorted(report.skipped.items()):
        yield 1, f"skipped {times}: {why}"
