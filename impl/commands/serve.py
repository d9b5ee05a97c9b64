# SPDX-License-Identifier: Apache-2.0
"""``pvpci serve``: the backend, in the foreground, until a signal ends it."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import ExitStack
from pathlib import Path

import click

from pvpci.impl import hosts
from pvpci.impl.address import parse_guest
from pvpci.impl.errors import ExitCode, UnreadableInput, UsageError, writing
from pvpci.impl.host import DomId, Host, HostError


@click.command("serve", short_help="Be the backend: serve the devices of one or more guests.")
@hosts.options
@click.option("--guest", type=parse_guest, metavar="DOMID", help="Serve only this guest.")
@click.option("--class", "device_class", default="pci", show_default=True, metavar="NAME", help="The device class.")
@click.option(
    "--profile",
    default="strict",
    show_default=True,
    help="What of configuration space a guest may have: strict, linux-6.1.63 or linux-6.1.0.",
)
@click.option("--image", "images", multiple=True, metavar="FILE", help="Offer this function too, in a box of our own.")
@click.option("--topology", default="vpci", show_default=True, help="Where a guest sees its functions.")
@click.option("--shared-lines", is_flag=True, help="Give line interrupts that a driver of dom0 uses too.")
@click.option("--multi-msi", is_flag=True, help="Give several messages of MSI in one block to guests that ask.")
@click.option("--trace", type=click.Path(path_type=Path), metavar="FILE", help="Record everything.")
@click.option("--monitor", is_flag=True, help="Evaluate the proved properties after each step.")
def command(
    kind: hosts.Kind | None, box: str | None, guest: DomId | None, device_class: str, profile: str,
    topology: str, images: tuple[str, ...], trace: Path | None, monitor: bool,
    shared_lines: bool, multi_msi: bool,
) -> int:  # fmt: skip
    """Serve guests until SIGTERM, SIGINT or SIGHUP. Then nothing is mapped, bound or attached any more.

    Without /dev/xen, or with --host embedded, guests are processes of this machine that meet in a box; without --box serve
    makes one and prints its socket.

    Exit code: 0, or 1 if service of a guest was ended because a property was broken.
    """
    from pvpci.impl.cli import PROGRAM, version
    from pvpci.impl.daemon import Daemon, Options
    from pvpci.impl.log import Log
    from pvpci.impl.notify import Notifier
    from pvpci.model.config.linux import PROFILES
    from pvpci.model.topology import TOPOLOGIES

    if profile not in PROFILES:
        raise UsageError(f"--profile {profile}", "there is no such profile", f"there is {', '.join(PROFILES)}")
    if topology not in TOPOLOGIES:
        raise UsageError(f"--topology {topology}", "there is no such topology", f"there is {', '.join(TOPOLOGIES)}")
    if not device_class.isidentifier():
        raise UsageError(
            f"--class {device_class}", "not the name of a device class", "leave it at pci, or use one word"
        )
    kind = kind or ("embedded" if box else hosts.default())
    if images and (kind == "xen" or box):
        what = "real Xen has its own functions" if kind == "xen" else "the box has its functions already"
        raise UsageError(f"--image {images[0]}", what, "use --host embedded without --box")
    log = Log()
    with ExitStack() as stack:
        notifier = stack.enter_context(Notifier())
        host = _xen(stack) if kind == "xen" else _embedded(stack, box, images)
        options = Options(guest, device_class, profile, topology, monitor, trace, shared_lines, multi_msi)
        with writing(trace or "trace"):
            daemon = Daemon(host, options, log, f"{PROGRAM} {version()}")
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            stack.callback(signal.signal, number, signal.getsignal(number))
            signal.signal(number, lambda *_: daemon.stop())
        try:
            daemon.start()
            notifier.ready("serving guests")
            daemon.run(notifier.alive)
        except HostError as error:
            raise UsageError("serve", f"the host has gone: {error.what}", "see to it, and start serve again") from error
        finally:
            notifier.stopping()
        log.info("stopped", violations=daemon.violations)
        return ExitCode.VIOLATION if daemon.violations else ExitCode.OK


def _xen(stack: ExitStack) -> Host:
    from pvpci.impl.xen.host import XenHost

    host = XenHost()
    stack.callback(host.close)
    return host


def _embedded(stack: ExitStack, path: str | None, images: tuple[str, ...]) -> Host:
    from pvpci.impl.embedded.host import EmbeddedHost

    if path is None:
        from pvpci.impl.embedded.box import Box

        path = stack.enter_context(Box(_functions(images))).path
        click.echo(path)
        sys.stdout.flush()
    host = EmbeddedHost(path)
    stack.callback(host.close)
    return host


def _functions(images: tuple[str, ...]) -> dict[str, str]:
    """What a box of our own offers, by address: the images that come with the program, and these before them."""
    from pvpci.impl.embedded.image import ImageError, load, names

    offered = {str(load(name).bdf): name for name in names()}
    for file in images:
        path = os.path.abspath(file)
        try:
            offered[str(load(path).bdf)] = path
        except ImageError as error:
            what = error.what.removeprefix(f"{path}: ")
            raise UnreadableInput(file, what, "record one with `pvpci record-device`") from error
    return offered
