# SPDX-License-Identifier: Apache-2.0
"""``pvpci record-device``: a real function's configuration space as an image that the embedded host can offer."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Final

import click

from pvpci.impl.address import parse_bdf
from pvpci.impl.errors import UsageError, writing
from pvpci.impl.host import Bdf

if TYPE_CHECKING:
    from pvpci.impl.xen.observe import Observed

_DEVICES: Final = "/sys/bus/pci/devices"


@click.command("record-device", short_help="Record a function's configuration space as an image.")
@click.option("-o", "--output", "file", metavar="FILE", required=True, help="The image to write.")
@click.option("--force", is_flag=True, help="Overwrite FILE.")
@click.option("--name", metavar="NAME", help="The image's name; that of FILE if not given.")
@click.option("--json", "as_json", is_flag=True, help="Report for programs.")
@click.option("--devices", metavar="FOLDER", default=_DEVICES, hidden=True)
@click.argument("bdf", type=parse_bdf, metavar="BDF")
def command(file: str, force: bool, name: str | None, as_json: bool, devices: str, bdf: Bdf) -> None:
    """Record the configuration space of the function BDF, as sysfs shows it, in FILE.

    Only reads: whoever uses the function is not disturbed, and any function that exists will do. So which bits can be
    written is not found out but taken from the PCI specifications; the image says so, and what else stays unknown is
    reported. `serve --host embedded --image FILE` offers the function to guests.

    Before you pass the file on: it holds the registers as they are, and some devices have a serial number or a network
    address there. Vital product data is not read.
    """
    from pvpci.impl.xen.observe import observe

    seen = observe(devices, bdf)
    text = _image(seen, name or os.path.basename(file).removesuffix(".json"))
    try:
        with writing(file), open(file, "w" if force else "x", encoding="utf-8") as output:
            output.write(text)
    except UsageError as error:
        if isinstance(error.__cause__, FileExistsError):
            raise UsageError(file, "the file exists", "name another, or give --force to overwrite it") from None
        raise
    serial = seen.serial()
    private = [] if serial is None else [f"a serial number at {serial:03x}"]
    if as_json:
        report = {"function": str(bdf), "file": file, "size": len(seen.registers)}
        click.echo(json.dumps(report | {"unknown": list(seen.unknown), "private": private}))
        return
    click.echo(f"{bdf}  {seen.vendor:04x}:{seen.device:04x}  {len(seen.registers)} bytes  {file}")
    for each in seen.unknown:
        click.echo(f"not known: {each}", err=True)
    for each in private:
        click.echo(f"the image holds {each}", err=True)


def _image(seen: Observed, name: str) -> str:
    from pvpci.impl.embedded.image import FORMAT
    from pvpci.impl.embedded.image_file import rows, text_of
    from pvpci.impl.embedded.standard import standard

    bits = standard(seen.registers, seen.resources, seen.is_virtual)
    driver = f"bound to {seen.driver}" if seen.driver else "without a driver"
    image: dict[str, object] = {
        "format": FORMAT,
        "name": name,
        "origin": f"recorded under Linux {os.uname().release}, {driver}; masks: as the PCI specifications have them",
        "bdf": str(seen.bdf),
        "size": len(seen.registers),
    }
    if seen.is_virtual:
        image |= {"vendor": f"{seen.vendor:04x}", "device": f"{seen.device:04x}"}
    image |= {"irq": seen.irq, "virtual": seen.is_virtual, "reset": list(seen.resets)}
    if seen.enable_count:
        image["enable_count"] = seen.enable_count
    image["resources"] = [
        {"index": index, "start": f"{each.start:x}", "size": each.size, "flags": f"{each.flags:x}"}
        for index, each in seen.resources.items()
    ]
    return text_of(
        image
        | {
            "registers": rows(seen.registers),
            "writable": rows(bits.writable),
            "write_one_to_clear": rows(bits.write_one_to_clear),
            "power_on": rows(bits.power_on, bits.resettable),
        }
    )
