# SPDX-License-Identifier: Apache-2.0
"""``pvpci detach``: functions back from a guest."""

from __future__ import annotations

import json

import click

from pvpci.impl import hosts
from pvpci.impl.host import Bdf, DomId


@click.command("detach", short_help="Take devices back from a guest.")
@hosts.change
def command(
    kind: hosts.Kind | None, box: str | None, dry_run: bool, timeout: float, as_json: bool,
    domain: DomId, functions: tuple[Bdf, ...],
) -> None:  # fmt: skip
    """Take the functions BDF back from the guest DOMID. A device without functions is removed."""
    from pvpci.impl.toolstack import Toolstack

    with hosts.toolstack_host(kind, box, "detach") as host:
        toolstack = Toolstack(host, patience=timeout)
        if dry_run:
            how = toolstack.check_detach(domain, functions)
            names = [str(bdf) for bdf in functions]
            plan = {"domain": domain, "would": how, "functions": names}
            click.echo(json.dumps(plan) if as_json else f"would {how}: {' '.join(names)} of domain {domain}")
            return
        done = toolstack.detach(domain, functions)
    if as_json:
        click.echo(json.dumps({"domain": domain, "detached": [str(bdf) for bdf in functions], "done": done}))
        return
    for line in done:
        click.echo(line)
