# SPDX-License-Identifier: Apache-2.0
"""``pvpci list``: who has what, and how it stands."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from pvpci.impl import hosts
from pvpci.impl.address import parse_guest
from pvpci.impl.errors import one_line
from pvpci.impl.host import DomId
from pvpci.model.states import Xenbus, parse

_HEAD = ("DOMID", "DEV", "FUNCTION", "GUEST SEES", "FUNCTION IS", "BACKEND", "FRONTEND")
_FUNCTION = {"1": "to be attached", "3": "attached", "5": "to be detached"}


@click.command("list", short_help="List the devices that guests have, and the state of each.")
@hosts.options
@click.option("--json", "as_json", is_flag=True, help="Report for programs.")
@click.argument("domain", type=parse_guest, metavar="[DOMID]", required=False)
def command(kind: hosts.Kind | None, box: str | None, as_json: bool, domain: DomId | None) -> None:
    """List the functions of the guest DOMID, or of all guests."""
    from pvpci.impl.toolstack import Toolstack

    with hosts.toolstack_host(kind, box, "list") as host:
        devices = Toolstack(host).list(domain)
    if as_json:
        click.echo(json.dumps({"devices": [asdict(device) for device in devices]}))
        return
    rows = [_HEAD] + [
        (
            str(device.domain), str(device.device), device.function, device.slot or "-",
            _FUNCTION.get(device.state, device.state or "-"), _state(device.backend), _state(device.frontend),
        )
        for device in devices
    ]  # fmt: skip
    shown = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    for row in shown:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _state(text: str) -> str:
    state = parse(text)
    return "-" if state is Xenbus.UNKNOWN else text if state is Xenbus.ODD else f"{state.value} {state.name.lower()}"
