# SPDX-License-Identifier: Apache-2.0
"""Which machine a command runs on: real Xen where there is one, else the box that it is told.

Loaded when a command needs it, and each host only if it is the one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Literal

import click

from pvpci.impl.address import parse_bdf, parse_guest
from pvpci.impl.errors import UsageError
from pvpci.impl.host import Host

Kind = Literal["xen", "embedded"]
DEVICES: Final = "/dev/xen"
BOX_VARIABLE: Final = "PVPCI_BOX"


def default() -> Kind:
    return "xen" if os.path.isdir(DEVICES) else "embedded"


def options(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--host`` and ``--box``, as all commands that need a machine have them."""
    box = click.option(
        "--box", metavar="SOCKET", envvar=BOX_VARIABLE, help=f"The box of the embedded host (or {BOX_VARIABLE})."
    )
    host = click.option(
        "--host", "kind", type=click.Choice(["xen", "embedded"]), help="The machine; xen if there is a /dev/xen."
    )
    return host(box(function))


def change(
    function: Callable[..., Any], *, named: Callable[[str], Any] = parse_bdf, metavar: str = "BDF..."
) -> Callable[..., Any]:
    """The options and arguments of the commands that change what a guest has. `named`: reads one of the functions."""
    for decorate in (
        click.argument("functions", nargs=-1, required=True, type=named, metavar=metavar),
        click.argument("domain", type=parse_guest, metavar="DOMID"),
        click.option("--json", "as_json", is_flag=True, help="Report for programs."),
        click.option(
            "--timeout", type=click.FloatRange(0, 3600), default=10.0, show_default=True, help="Seconds to wait."
        ),
        click.option("-N", "--dry-run", is_flag=True, help="Only say what would be done."),
    ):
        function = decorate(function)
    return options(function)


@contextmanager
def toolstack_host(kind: Kind | None, box: str | None, where: str) -> Iterator[Host]:
    """The machine for a toolstack's command. What it gives to a guest stays given when the command ends.

    Raises UsageError if there is no box, HostError as the hosts do.
    """
    if (kind or ("embedded" if box else default())) == "xen":
        from pvpci.impl.xen.host import XenHost

        # Closing it would take back what was just given; its descriptors end with the process.
        yield XenHost()
        return
    if box is None:
        raise UsageError(
            where, "the embedded host needs a box", "name the socket that `pvpci serve` printed with --box"
        )
    from pvpci.impl.embedded.host import EmbeddedHost

    host = EmbeddedHost(box, label="toolstack")
    try:
        yield host
    finally:
        host.close()
