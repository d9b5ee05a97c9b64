# SPDX-License-Identifier: Apache-2.0
"""``pvpci bench``: the figures of the README, as ratios, in one run."""

from __future__ import annotations

import subprocess
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from pvpci.impl.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from pvpci.impl.bench import Figure

_PARTS = ("triggers", "config", "interrupts", "judging", "proofs", "rig")


@click.command("bench", short_help="Measure: the figures of the README, as ratios, in one run.")
@click.argument("parts", nargs=-1, metavar="[PART]...")
@click.option("--json", "as_json", is_flag=True, help="Report for programs.")
def command(parts: tuple[str, ...], as_json: bool) -> int:
    """Measure. PART is triggers, config, interrupts, judging, proofs or rig; all but the rig if none is named.

    The rig boots real Xen under QEMU and takes some minutes.
    """
    import msgspec

    from pvpci.impl import bench, bench_config, bench_interrupts

    if unknown := [part for part in parts if part not in _PARTS]:
        raise UsageError("bench", f"there is no part {unknown[0]!r}", f"parts are {', '.join(_PARTS)}")
    figures: list[bench.Figure] = []
    run = {
        "triggers": bench.triggers, "config": bench_config.configuration, "interrupts": bench_interrupts.messages,
        "judging": bench.judging, "proofs": _proofs, "rig": _rig,
    }  # fmt: skip
    for part in parts or _PARTS[:-1]:
        click.echo(f"measuring: {part}", err=True)
        figures += run[part]()
    if as_json:
        click.echo(msgspec.json.encode([asdict(figure) for figure in figures]).decode())
    else:
        click.echo("\n".join(bench.table(figures)))
    return ExitCode.OK


def _proofs() -> list[Figure]:
    """Seconds for everything that `prove` does."""
    from pvpci.impl.bench import Figure
    from pvpci.proofs.prove import prove
    from pvpci.proofs.systems import SUBJECTS

    report = prove(SUBJECTS)
    proved = sum(one.verdict == "proved" for one in report.obligations)
    return [Figure("proofs, all", report.seconds, "s"), Figure("obligations proved", proved, "")]


def _rig() -> list[Figure]:
    from pvpci.impl import bench

    root = bench.checkout()
    if root is None:
        raise UsageError(
            "bench", "the rig is not installed with the program", "run this from a checkout of the sources"
        )
    try:
        return bench.rig(root)
    except subprocess.CalledProcessError as error:
        why = (error.stderr or error.stdout or "no output").strip().splitlines()[-1]
        raise UsageError("bench", f"the rig did not run: {why}", "see tests/rig/README.md") from error
