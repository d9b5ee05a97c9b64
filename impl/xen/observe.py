# SPDX-License-Identifier: Apache-2.0
"""All that sysfs shows of a function, without holding it and without a single write.

Whoever uses the function is not disturbed, so this works for the disk that the machine runs from. The price is that
some things stay unknown, and :attr:`Observed.unknown` says which.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pvpci.impl.embedded.registers import Dump
from pvpci.impl.host import Bdf, HostError, Resource
from pvpci.impl.xen import sysfs
from pvpci.impl.xen.devices import failed
from pvpci.model.config import chain
from pvpci.model.config import constants as pci
from pvpci.model.config.state import ROM
from pvpci.model.config.walk import capabilities

#: A host's name for resets that it does not name: kernels before 5.15 only say that there is one.
UNNAMED_RESET: Final = "unnamed"

_FIRST_WINDOW: Final = 13
_LAST_RESOURCE: Final = 16
_EXTENDED_SERIAL: Final = 0x0003
_SERIAL: Final = 4  #: behind the header of that capability
_NOT_PLACED: Final = pci.RESOURCE_UNSET | pci.RESOURCE_DISABLED


@dataclass(frozen=True, slots=True)
class Observed:
    """One function. `resources` by Linux's index: BARs, ROM, a bridge's windows; only what has an address."""

    bdf: Bdf
    vendor: int
    device: int
    registers: bytes
    resources: Mapping[int, Resource]
    irq: int
    is_virtual: bool
    resets: tuple[str, ...]
    enable_count: int
    driver: str | None
    unknown: tuple[str, ...]  #: sentences

    def serial(self) -> int | None:
        """Where in the registers a device serial number stands, often made from a network address."""
        links = chain.extended(Dump(self.registers).read).links
        return next((link.place + _SERIAL for link in links if link.id == _EXTENDED_SERIAL), None)


def observe(devices: str, bdf: Bdf) -> Observed:
    """HostError: ENODEV, no such function or it does not answer; EACCES, only the beginning may be read."""
    path = f"{devices}/{bdf}"
    if not os.path.isdir(path):
        raise HostError(f"{bdf}: no such PCI function", errno.ENODEV)
    registers, is_virtual = _registers(path, bdf), os.path.lexists(f"{path}/physfn")
    if registers[:4] == b"\xff" * 4 and not is_virtual:
        raise HostError(f"{bdf}: does not answer: its registers read as all ones", errno.ENODEV)
    unknown = ["which bits can be written: assumed as the PCI specifications have them, the rest read-only"]
    resources = _resources(path, unknown)
    driver = sysfs.bound_driver(path)
    if driver is not None and driver not in sysfs.PLACEHOLDERS:
        unknown.append(f"what the registers hold without the driver {driver}, which is using the function")
    at, content = capabilities(Dump(registers)), Dump(registers)
    msi = at.get(pci.CAP_ID_MSI)
    if msi and content.read(msi + pci.MSI_FLAGS, 2) & pci.MSI_FLAGS_ENABLE:
        unknown.append("its line interrupt: MSI is enabled, and the number is that of a message")
    if pci.CAP_ID_VPD in at:
        unknown.append("its vital product data: reading it takes writes")
    return Observed(
        bdf=bdf,
        vendor=sysfs.number(f"{path}/vendor"),
        device=sysfs.number(f"{path}/device"),
        registers=registers,
        resources=resources,
        irq=sysfs.irq_of(path),
        is_virtual=is_virtual,
        resets=_resets(path, unknown),
        enable_count=sysfs.number(f"{path}/enable"),
        driver=driver,
        unknown=tuple(unknown),
    )


def _registers(path: str, bdf: Bdf) -> bytes:
    try:
        with open(f"{path}/config", "rb", buffering=0) as file:
            size, found = os.fstat(file.fileno()).st_size, b""
            while piece := file.read(pci.EXTENDED_SIZE):
                found += piece
    except OSError as error:
        raise failed(f"{bdf}: {path}/config", error) from error
    if len(found) < size:
        raise HostError(f"{bdf}: only {len(found)} of {size} bytes may be read", errno.EACCES)
    if len(found) not in sysfs.CONFIG_SIZES:
        raise HostError(f"{bdf}: {path}/config has {len(found)} bytes, neither 256 nor 4096", errno.ENODEV)
    return found


def _resources(path: str, unknown: list[str]) -> dict[int, Resource]:
    found: dict[int, Resource] = {}
    for index, resource in enumerate(sysfs.all_resources(path)[: _LAST_RESOURCE + 1]):
        # What lies between belongs to virtual functions.
        if not resource.flags or ROM < index < _FIRST_WINDOW:
            continue
        size = resource.size
        whole = index > ROM or (size > 0 and not size & (size - 1) and not resource.start % size)
        if resource.flags & _NOT_PLACED or not resource.end or size <= 0 or not whole:
            unknown.append(f"where resource {index} is: the host has not placed it")
        else:
            found[index] = resource
    return found


def _resets(path: str, unknown: list[str]) -> tuple[str, ...]:
    if not os.path.exists(f"{path}/reset"):
        return ()
    if os.path.exists(f"{path}/reset_method"):
        return tuple(sysfs.read_text(f"{path}/reset_method", f"{path}/reset_method").split())
    unknown.append("how it is reset: this kernel only says that it can")
    return (UNNAMED_RESET,)
