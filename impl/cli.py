# SPDX-License-Identifier: Apache-2.0
"""The command ``pvpci``: finds the subcommand, runs it, and turns whatever happens into an exit code and one line.

In dom0 memory is scarce and `serve` must never load the solver, so a subcommand's module is imported when it is used
and not before; the list below is what ``--help`` shows without importing any.

Click's own `main` is not used, for three of its habits: its messages take several lines, it reports a broken pipe with
exit code 1, which here means "violation", and it takes an EOFError from anywhere for the user's wish to stop.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import Any, Final

import click

from pvpci.impl.errors import CommandError, ExitCode, UsageError, from_host, one_line
from pvpci.impl.host import HostError

PROGRAM: Final = "pvpci"

#: Name and summary; the module has the command's name. The order is that of a first acquaintance.
COMMANDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "demo": "Show the whole life of a device: proved, served, recorded, judged.",
        "serve": "Be the backend: serve the devices of one or more guests.",
        "attach": "Give devices to a guest that `serve` looks after.",
        "detach": "Take devices back from a guest.",
        "list": "List the devices that guests have, and the state of each.",
        "prove": "Prove the machines, or show what breaks in a dialect.",
        "check": "Judge recorded traces.",
        "explain": "Say what a number, a line of a log or a whole log means.",
        "replay": "Run the requests of a trace again and compare every answer.",
        "record-device": "Record a function's configuration space as an image.",
        "diagram": "Draw a machine from its table.",
        "bench": "Measure the figures of the README.",
    }
)


class LazyGroup(click.Group):
    """A group whose commands are imported from `package` when they are used; `table`: their names and summaries."""

    def __init__(self, *, table: Mapping[str, str], package: str, **settings: Any) -> None:
        super().__init__(**settings)
        self.table, self.package = table, package

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.table:
            return None
        command = importlib.import_module(f"{self.package}.{cmd_name.replace('-', '_')}").command
        if not isinstance(command, click.Command):
            raise TypeError(f"{self.package}.{cmd_name}.command is not a click.Command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(self.table.items()))


def _print_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    click.echo(f"{PROGRAM} {version()}")
    ctx.exit(0)


def version() -> str:
    """The installed version; "(not installed)" when run from a bare tree."""
    from importlib import metadata

    try:
        return metadata.version(PROGRAM)
    except metadata.PackageNotFoundError:
        return "(not installed)"


def make_group(table: Mapping[str, str] = COMMANDS, package: str = "pvpci.impl.commands") -> LazyGroup:
    return LazyGroup(
        name=PROGRAM,
        table=table,
        package=package,
        help="The Xen PV PCI protocol as explicit state machines: proved, run, checked and drawn.",
        epilog="Exit codes: 0 done, conforms, proved; 1 violation; 2 usage; 3 unreadable input; 4 our own bug.",
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
        no_args_is_help=False,
        params=[
            click.Option(
                ["--version"],
                is_flag=True,
                is_eager=True,
                expose_value=False,
                callback=_print_version,
                help="Show the version and exit.",
            )
        ],
    )


class Output(io.RawIOBase):
    """Standard output that remembers why it failed.

    Only so can a reader of ours that went away be told from any other connection that broke: both are a
    BrokenPipeError, and the one is everyday while the other is a bug.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self.descriptor = descriptor
        self.failure: OSError | None = None

    def fileno(self) -> int:
        return self.descriptor

    def isatty(self) -> bool:
        return os.isatty(self.descriptor)

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        try:
            return os.write(self.descriptor, data)
        except OSError as error:
            self.failure = error
            raise


def main() -> int:
    """The entry point of the installed command."""
    group = make_group()
    if sys.stdout is None:  # closed by the caller; click then prints nothing
        return run(group, sys.argv[1:])
    output = Output(sys.stdout.fileno())
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(output),
        encoding=sys.stdout.encoding,
        errors="backslashreplace",
        line_buffering=output.isatty(),
    )
    return run(group, sys.argv[1:], output)


def run(group: LazyGroup, arguments: Sequence[str], output: Output | None = None) -> int:
    """Run one command line and return the exit code. Nothing but a message on stderr escapes."""
    code = _run(group, arguments, output)
    if output is None:
        return code
    with suppress(OSError):
        sys.stdout.flush()
    return code if output.failure is None else _output_lost(output.failure)


def _run(group: LazyGroup, arguments: Sequence[str], output: Output | None) -> int:
    name = arguments[0] if arguments and arguments[0] in group.table else "command line"
    try:
        with group.make_context(PROGRAM, list(arguments)) as context:
            return _exit_code(group.invoke(context))
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except SystemExit as stop:
        return _exit_code(stop.code)
    except (KeyboardInterrupt, click.Abort):
        return ExitCode.INTERRUPTED
    except click.FileError as error:
        _say(f"{error.ui_filename}: {error.message}; name a file that can be read")
        return ExitCode.UNREADABLE
    except click.ClickException as error:
        _say(_click_line(error))
        return ExitCode.USAGE
    except CommandError as error:
        _say(str(error))
        return error.code
    except Exception as error:
        if output is not None and output.failure is not None:
            return ExitCode.USAGE  # `run` says the rest
        if isinstance(error, HostError) and (usage := from_host(error, name)) is not None:
            _say(str(usage))
            return usage.code
        return _bug(name, arguments, error)


def _exit_code(result: object) -> int:
    if result is None:
        return ExitCode.OK
    if isinstance(result, int) and not isinstance(result, bool):
        return int(result)
    raise TypeError(f"the command returned {result!r}, which is no exit code")


def _click_line(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else PROGRAM
    where = path.removeprefix(PROGRAM).strip() or "command line"
    what = error.format_message().strip().rstrip(".")
    return f"{where}: {what[:1].lower()}{what[1:]}; see `{path} --help`"


def _bug(name: str, arguments: Sequence[str], error: Exception) -> int:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<")]
    at = f" at {os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else ""
    summary = f"{name}: {type(error).__name__}: {error}{at}"
    report = "\n".join(
        (
            f"{PROGRAM} {version()}, Python {sys.version.split()[0]}",
            f"arguments: {list(arguments)!r}",
            "".join(traceback.format_exception(error)),
        )
    )
    try:
        handle, path = tempfile.mkstemp(prefix=f"{PROGRAM}-bug-", suffix=".txt")
        with open(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(report)
        rest = f"this is a bug in {PROGRAM}, please report it with {path}"
    except OSError as failure:
        rest = f"this is a bug in {PROGRAM}, and the traceback could not be saved ({failure.strerror})"
    _say(f"{one_line(summary)}; {rest}", whole=True)
    return ExitCode.BUG


def _say(line: str, *, whole: bool = False) -> None:
    with suppress(OSError, ValueError):
        click.echo(f"{PROGRAM}: {line if whole else one_line(line)}", err=True)


def _output_lost(error: OSError) -> int:
    # The interpreter flushes once more when it ends, and would complain.
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):
        return ExitCode.BROKEN_PIPE
    _say(str(UsageError("standard output", error.strerror or "cannot be written", "send it where there is room")))
    return ExitCode.USAGE


if __name__ == "__main__":
    sys.exit(main())
