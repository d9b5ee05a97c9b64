# SPDX-License-Identifier: Apache-2.0
"""``pvpci prove``: the machines are proved, or a dialect is shown to break what it is said to break.

The solver is loaded here and nowhere else, and only when this command runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pvpci.impl.errors import ExitCode, UsageError, writing

if TYPE_CHECKING:
    from pvpci.proofs.mutate import Mutations
    from pvpci.proofs.prove import Subject
    from pvpci.proofs.report import Obligation


@click.command("prove", short_help="Prove the machines, or show what breaks in a dialect.")
@click.argument("names", nargs=-1, metavar="[SYSTEM|MACHINE]...")
@click.option("--property", "wanted", default="", metavar="ID", help="Only this property, by identifier or name.")
@click.option("--dialect", "dialect_id", default="", metavar="NAME", help="Show what breaks in this dialect.")
@click.option("--solver", type=click.Choice(["z3"]), default="z3", show_default=True, help="Who answers.")
@click.option("--smt2", metavar="DIR", type=click.Path(path_type=Path), help="Write each obligation as SMT-LIB text.")
@click.option(
    "--save", metavar="FILE", type=click.Path(path_type=Path), help="With --dialect: the counterexample as a trace."
)
@click.option("--json", "as_json", is_flag=True, help="Report for programs.")
@click.option("--mutate", is_flag=True, help="Change each row by machine and say what notices.")
@click.option("-v", "--verbose", is_flag=True, help="One line for each obligation.")
def command(
    names: tuple[str, ...],
    wanted: str,
    dialect_id: str,
    solver: str,
    smt2: Path | None,
    save: Path | None,
    as_json: bool,
    mutate: bool,
    verbose: bool,
) -> int:
    """Prove the machines: each property of each system, by induction or exhaustive search.

    Exit code 0 if everything is proved, 1 if anything is violated or unknown.
    """
    del solver
    try:
        from pvpci.proofs import prove, report
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "z3":
            raise
        raise UsageError(
            "prove", "the solver z3 is not installed", "install it with `pip install 'pvpci[prove]'`"
        ) from error
    from pvpci.model.dialects import ALL
    from pvpci.model.kernel.dialects import by_id
    from pvpci.proofs.systems import SUBJECTS

    try:
        systems = prove.select(SUBJECTS, names)
    except prove.NotKnown as error:
        raise _unknown("prove", error) from error
    if mutate:
        return _mutate(_mutants(systems, names), as_json)
    if dialect_id:
        try:
            dialect = by_id(ALL, dialect_id)
        except KeyError as error:
            known = ", ".join(one.id for one in ALL)
            raise UsageError(f"--dialect {dialect_id}", "there is no such dialect", f"known are {known}") from error
        made = prove.break_dialect(systems, dialect)
        if save is not None:
            _save(save, made.obligations, dialect.id)
        if not as_json:
            click.echo(f"{dialect.id}: {dialect.title} [{dialect.cite}]")
    else:
        if smt2 is not None:
            with writing(smt2):
                smt2.mkdir(parents=True, exist_ok=True)
        try:
            made = prove.prove(systems, among=SUBJECTS, property=wanted, smt2=smt2)
        except prove.NotKnown as error:
            raise _unknown(f"--property {wanted}", error) from error
    if as_json:
        click.echo(made.text_json())
    else:
        for line in report.lines(made, verbose=verbose):
            click.echo(line)
    return ExitCode.OK if made.good else ExitCode.VIOLATION


def _save(path: Path, obligations: Sequence[Obligation], dialect: str) -> None:
    """The first counterexample as `check` reads it: what the backend's recorder would have written."""
    from pvpci.traces.format import Header, encode
    from pvpci.traces.recorder import line_of

    borders = next((one.borders for one in obligations if one.borders), ())
    if not borders:
        raise UsageError(
            f"--save {path}", "what breaks is read off the table: there is no step to be saved", "leave it out"
        )
    header = Header(vantage="backend", source={"program": "pvpci prove", "dialect": dialect})
    lines = [line_of(seq, 0, "1/0", border, values) for seq, (border, values) in enumerate(borders, 1)]
    with writing(path):
        path.write_bytes(encode(header) + b"".join(map(encode, lines)))


def _unknown(where: str, error: Exception) -> UsageError:
    what, _, right = str(error).partition("; ")
    return UsageError(where, what, right or "see `pvpci prove --help`")


def _mutants(systems: Sequence[Subject], names: Sequence[str]) -> Mutations:
    """Of the named machines, or of all that the systems have; configuration space is one of them."""
    from pvpci.model.config.bugs import MACHINE
    from pvpci.proofs import mutate as mutation
    from pvpci.proofs.config import mutate as configuration
    from pvpci.proofs.systems import SYSTEMS

    machines = {machine.name for system in systems for machine in system.machines}
    wanted = machines.intersection(names) or machines
    made = mutation.mutations(SYSTEMS, sorted(wanted))
    return made + configuration.mutations() if MACHINE in wanted else made


def _mutate(table: Mutations, as_json: bool) -> int:
    click.echo(table.text_json() if as_json else "\n".join(table.lines()))
    return ExitCode.OK
