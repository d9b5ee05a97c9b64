# SPDX-License-Identifier: Apache-2.0
"""``pvpci check``: the verdict on recorded traces.

Exit code 1 if any trace violates, else 0. "Undecided" is 0: nothing was found that breaks a rule. It is never called
"conforms", and the output says what would decide it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import click

from pvpci.impl.errors import ExitCode, UnreadableInput, UsageError, one_line, reading
from pvpci.traces.format import Trace, TraceError
from pvpci.traces.judge import Judge
from pvpci.traces.subject import Subject, dialect_names, subject
from pvpci.traces.verdicts import CONFORMS, UNDECIDED, VIOLATES, Verdict

__all__ = ["command", "find_subject", "judge_file"]


def find_subject(name: str | None) -> Subject:
    """The reference, or the dialect of that name. Raises UsageError."""
    try:
        return subject(name or "reference")
    except KeyError:
        right = f"name one of reference, {', '.join(dialect_names())}"
        raise UsageError(f"dialect {name!r}", "there is none of this name for the backend", right) from None


def judge_file(path: str, of: Subject) -> Verdict:
    """The verdict on one file. Raises UnreadableInput."""
    court = Judge(of, path)
    with reading(path, "name a trace that can be read"), open(path, "rb") as file:
        try:
            for number, line in Trace(file, path):
                court.feed(number, line)
        except TraceError as error:
            raise UnreadableInput(error.where, error.what, error.right) from None
    return court.verdict()


@click.command
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option("--dialect", metavar="NAME", help="Judge by this dialect of the backend and not by the reference.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a file, one a line.")
def command(files: tuple[str, ...], dialect: str | None, as_json: bool) -> int:
    """Judge recorded traces: which party broke which rule first, where, and what would have been right.

    Exit code: 0 if all traces conform or are undecided, 1 if one violates, 3 if one cannot be read.
    """
    of = find_subject(dialect)
    worst = ExitCode.OK
    for path in files:
        verdict = judge_file(path, of)
        if verdict.verdict == VIOLATES:
            worst = ExitCode.VIOLATION
        if as_json:
            click.echo(json.dumps({"file": path, "against": of.name, **verdict.as_dict()}))
        else:
            for line in report(path, of, verdict):
                click.echo(line)
    return worst


def report(path: str, of: Subject, verdict: Verdict) -> Iterator[str]:
    """The verdict for people. Whatever the trace holds, each line is one line of printable characters."""
    for indent, text in _report(path, of, verdict):
        yield "  " * indent + one_line(text)


def _report(path: str, of: Subject, verdict: Verdict) -> Iterator[tuple[int, str]]:
    words = {
        CONFORMS: f"conforms to {of.name}", VIOLATES: f"violates {of.name}", UNDECIDED: "undecided, nothing was found",
    }  # fmt: skip
    yield 0, f"{path}: {words[verdict.verdict]} ({verdict.judged} steps judged in {verdict.lines} lines)"
    for index, one in enumerate(verdict.findings):
        guest = f", guest {one.guest}" if one.guest else ""
        yield 1, f"line {one.line}: the {one.party} breaks {one.rule}{guest}: {one.sentence}"
        yield 2, one.why
        if index:
            continue
        for detail in one.details:
            yield (3 if detail.startswith(" ") else 2), detail.strip()
        for text in one.allowed:
            yield 2, f"allowed: {text}"
    for note in verdict.notes:
        where = f"line {note.line}: " if note.line else ""
        party = f" [{note.party}]" if note.party else ""
        times = f" ({note.times} times)" if note.times > 1 else ""
        guest = f"guest {note.guest} " if note.guest else ""
        yield 1, f"note: {where}{guest}{note.text}{times}{party}"
    for need in verdict.needs:
        yield 1, f"needs: {need}"
