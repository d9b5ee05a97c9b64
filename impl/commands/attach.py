# SPDX-License-Identifier: Apache-2.0
"""``pvpci attach``: functions for a guest, and what became of them."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import partial

import click

from pvpci.impl import hosts
from pvpci.impl.address import Wish, parse_wish
from pvpci.impl.host import DomId


@click.command("attach", short_help="Give devices to a guest that `serve` looks after.")
@partial(hosts.change, named=parse_wish, metavar="BDF[,GRANT]...")
def command(
    kind: hosts.Kind | None, box: str | None, dry_run: bool, timeout: float, as_json: bool,
    domain: DomId, functions: tuple[Wish, ...],
) -> None:  # fmt: skip
    """Give the functions BDF to the guest DOMID, and wait until the backend has taken them.

    A GRANT is for this guest and this function: permissive=1 (writes to registers that have no rules reach the function),
    extended=1 (it sees the space past 256 bytes), interrupt_control=1 (for a device model: it enables messages by itself),
    quirk=OFFSET:WIDTH:MASK (these bits are the guest's; for example quirk=40:2:ffff).
    """
    from pvpci.impl.toolstack import Toolstack

    with hosts.toolstack_host(kind, box, "attach") as host:
        toolstack, wanted = Toolstack(host, patience=timeout), [wish.function for wish in functions]
        if dry_run:
            how, names = toolstack.check_attach(domain, wanted), [str(wish) for wish in functions]
            plan = {"domain": domain, "would": how, "functions": names}
            click.echo(json.dumps(plan) if as_json else f"would {how}: {' '.join(names)} for domain {domain}")
            return
        devices = toolstack.attach(domain, wanted, {wish.function: wish.grants for wish in functions})
    if as_json:
        click.echo(json.dumps({"attached": [asdict(device) for device in devices]}))
        return
    for device in devices:
        click.echo(f"{device.function}  domain {domain}  at {device.slot or '-'}  state {device.state}")
