# SPDX-License-Identifier: Apache-2.0
"""``pvpci attach``: functions for a guest, and what became of them."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from pvpci.impl import hosts
from pvpci.impl.host import Bdf, DomId


@click.command("attach", short_help="Give devices to a guest that `serve` looks after.")
@hosts.change
def command(
    kind: hosts.Kind | None, box: str | None, dry_run: bool, timeout: float, as_json: bool,
    domain: DomId, functions: tuple[Bdf, ...],
) -> None:  # fmt: skip
    """Give the functions BDF to the guest DOMID, and wait until the backend has taken them."""
    from pvpci.impl.toolstack import Toolstack

    with hosts.toolstack_host(kind, box, "attach") as host:
        toolstack = Toolstack(host, patience=timeout)
        if dry_run:
            how, names = toolstack.check_attach(domain, functions), [str(bdf) for bdf in functions]
            plan = {"domain": domain, "would": how, "functions": names}
            click.echo(json.dumps(plan) if as_json else f"would {how}: {' '.join(names)} for domain {domain}")
            return
        devices = toolstack.attach(domain, functions)
    if as_json:
        click.echo(json.dumps({"attached": [asdict(device) for device in devices]}))
        return
    for device in devices:
        click.echo(f"{device.function}  domain {domain}  at {device.slot or '-'}  state {device.state}")
