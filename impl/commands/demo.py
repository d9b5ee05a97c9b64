# SPDX-License-Identifier: Apache-2.0
"""``pvpci demo``: the life of a device, for somebody who sees this for the first time."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pvpci.impl.errors import ExitCode, UsageError, one_line, writing

if TYPE_CHECKING:
    from rich.console import Console

    from pvpci.impl.demo import Proofs, Story


@click.command("demo", short_help="Show the whole life of a device: proved, served, recorded, judged.")
@click.option("--proofs/--no-proofs", default=True, help="Prove the machines first (half a minute).")
@click.option(
    "--seconds", type=click.FloatRange(0.1, 3600), default=2.0, show_default=True, help="How long the guest works."
)
@click.option("--trace", type=click.Path(path_type=Path), metavar="FILE", help="Keep the record.")
@click.option("--json", "as_json", is_flag=True, help="Report for programs.")
def command(proofs: bool, seconds: float, trace: Path | None, as_json: bool) -> int:
    """Show the whole life of a device on the embedded Xen. No hardware, no Xen and no rights are needed.

    Exit code 0 if everything held, else 1.
    """
    from pvpci.impl import demo

    if trace is not None:
        with writing(trace):
            trace.open("wb").close()
    if as_json:
        story = demo.run(lambda *_: None, prove=prove if proofs else None, seconds=seconds, trace=trace)
        click.echo(json.dumps(story.as_dict()))
    else:
        story = _told(proofs, seconds, trace)
    return ExitCode.OK if story.good else ExitCode.VIOLATION


def prove() -> Proofs:
    """Prove all that this demonstration runs: not the profiles of Linux. UsageError if the solver is not installed."""
    try:
        from pvpci.model.config.linux import LINUX_6_1_0, LINUX_6_1_63
        from pvpci.proofs import prove as proving
        from pvpci.proofs.systems import SUBJECTS
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "z3":
            raise
        what = "the solver z3 is not installed"
        raise UsageError("demo", what, "install it with `pip install 'pvpci[prove]'`, or use --no-proofs") from error
    from pvpci.impl.demo import Proofs

    others = {f"config-{profile.name}" for profile in (LINUX_6_1_63, LINUX_6_1_0)}
    report = proving.prove([one for one in SUBJECTS if one.name not in others], among=SUBJECTS)
    systems = []
    for name in dict.fromkeys(one.system for one in report.obligations):
        mine = [one for one in report.obligations if one.system == name]
        properties = len({(one.property, one.title) for one in mine})
        systems.append((name, len(mine), properties, round(sum(one.seconds for one in mine), 2)))
    failed = [f"{one.system}: {one.property} {one.title}, {one.row}: {one.verdict}" for one in report.failed]
    if not report.obligations:
        failed.append("nothing was to be proved")
    return Proofs(systems, len(report.obligations), failed, report.seconds)


def _told(proofs: bool, seconds: float, trace: Path | None) -> Story:
    from rich.console import Console

    from pvpci.impl import demo

    console = Console(highlight=False, soft_wrap=False, emoji=False)
    if not console.is_terminal:
        console = Console(highlight=False, emoji=False, width=100)
    console.print(_INTRODUCTION)

    def tell(chapter: str, story: Story) -> None:
        _chapter(console, chapter, story)

    with console.status("working") if console.is_terminal else nullcontext():
        return demo.run(tell, prove=prove if proofs else None, seconds=seconds, trace=trace)


_INTRODUCTION = (
    "[bold]pvpci[/bold] gives PCI devices to Xen PV guests. Such a guest has no PCI bus of its own: it asks a backend in "
    "dom0 for each access, through one shared page and a doorbell, and neither side trusts the other. Here both sides are "
    "state machines, written as tables. You will see the tables proved, then run, and the record of that run judged by the "
    "tables once more."
)


def _chapter(console: Console, name: str, story: Story) -> None:
    {"proofs": _proofs, "handshake": _handshake, "bus": _bus, "traffic": _traffic, "end": _end}[name](console, story)


def _title(console: Console, text: str, sentence: str) -> None:
    console.print(f"\n[bold cyan]{text}[/bold cyan]\n{sentence}")


def _proofs(console: Console, story: Story) -> None:
    from rich.table import Table

    assert story.proofs is not None
    _title(
        console, "The proofs",
        "Every rule of the protocol is shown to hold after every step of the tables, whatever the guest does.",
    )  # fmt: skip
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column, right in (("system", False), ("properties", True), ("obligations", True), ("seconds", True)):
        table.add_column(column, justify="right" if right else "left")
    for system, obligations, properties, spent in story.proofs.systems:
        table.add_row(system, str(properties), str(obligations), f"{spent:.1f}")
    console.print(table)
    failed = len(story.proofs.failed)
    verdict = "[green]all of them proved[/green]" if not failed else f"[red]{failed} NOT proved[/red]"
    console.print(f"{story.proofs.obligations} obligations, {verdict}, in {story.proofs.seconds:.1f} s.")


def _handshake(console: Console, story: Story) -> None:
    _title(
        console, "The handshake",
        "Backend and guest meet in xenstore, a small shared directory: each has a state that the other watches.",
    )  # fmt: skip
    for each in story.attached:
        console.print(f"  toolstack   gives the function {each} to guest 7")
    for who, what in story.handshake:
        console.print(f"  {who:<10} ──> {one_line(what)}", markup=False)


def _bus(console: Console, story: Story) -> None:
    _title(
        console, "What the guest saw",
        "The guest probed all 256 addresses of its bus and asked each function that answered how large its regions are.",
    )  # fmt: skip
    for each in story.functions:
        console.print(
            f"  {each['at']}  {each['vendor']:04x}:{each['device']:04x}  class {each['class_code']:06x}", markup=False
        )
        for region in story.regions.get(each["at"], []):
            kind = "ports" if region["is_port"] else "ROM" if region["index"] == 6 else "memory"
            console.print(
                f"           region {region['index']}: {kind} at {region['address']:#x}, {region['size']} bytes",
                markup=False,
            )


def _traffic(console: Console, story: Story) -> None:
    _title(console, "Traffic", "Each read is a request in the shared page, a ring, an answer, and a ring back.")
    traffic = story.traffic
    if traffic:
        console.print(
            f"  {traffic['requests']} reads, {traffic['wrong']} answered wrongly; "
            f"half of them took less than {traffic['median_us']:.0f} µs, 99 of 100 less than {traffic['p99_us']:.0f} µs"
        )
    console.print(
        f"  then the guest shut down, and the connection was {'closed in order' if story.closed else '[red]not closed[/red]'}"
    )


def _end(console: Console, story: Story) -> None:
    _title(
        console, "The judgement",
        "The backend wrote down everything that crossed its border; the judge, who knows only the tables, read it.",
    )  # fmt: skip
    colour = "green" if story.verdict == "conforms" else "red"
    console.print(f"  {story.lines} lines: [{colour}]{story.verdict or 'not judged'}[/{colour}]")
    left = (
        "nothing is mapped, bound, open or assigned any more"
        if not story.leaks
        else f"[red]{len(story.leaks)} things left[/red]"
    )
    console.print(f"  {left}; the backend ended with exit code {story.served}")
    if story.trace:
        console.print(f"  the record is in {story.trace}; `pvpci check` and `pvpci replay` read it", markup=False)
    for problem in story.problems[:20]:
        console.print(f"  - {one_line(problem)}", style="red", markup=False)
    verdict = "[bold green]Everything held.[/bold green]" if story.good else "[bold red]Not everything held.[/bold red]"
    console.print(f"\n{verdict} {story.seconds:.1f} s in all.")
