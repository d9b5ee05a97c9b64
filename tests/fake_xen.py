# SPDX-License-Identifier: Apache-2.0
"""A sysfs on a temporary folder and a hypervisor in a few sets, for the tests of the real-Xen host."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from pvpci.impl.host import Bdf, DomId, HostError, Resource
from pvpci.impl.xen.capability import MsixCapability, find
from pvpci.model.config.walk import capabilities

NIC = Bdf(0, 0, 5, 0)
IO, MEM = 0x40101, 0x40200


def config_space(size: int = 4096, *, msix: bool = False, msi: bool = False) -> bytearray:
    """An identity, memory decode, and a capability list of power management (40), perhaps MSI-X (50), perhaps MSI (60).

    The table has four entries, at 0x1000 in BAR 0.
    """
    config = bytearray(size)
    config[0:4] = b"\x86\x80\xd3\x10"
    config[0x04] = 0x02
    config[0x06] = 0x10
    config[0x34] = 0x40
    config[0x40:0x42] = bytes((0x01, 0x50 if msix else 0))
    if msi:
        config[0x41], config[0x60:0x62] = 0x60, bytes((0x05, 0x50 if msix else 0))
    if msix:
        config[0x50:0x58] = bytes((0x11, 0, 3, 0, 0x00, 0x10, 0, 0))
    return config


def make_function(
    devices: Path,
    bdf: Bdf = NIC,
    *,
    driver: str | None = None,
    class_code: int = 0x020000,
    irq: int = 21,
    resources: Sequence[Resource] = (),
    config: bytes | bytearray | None = None,
    enabled: int = 0,
    ids: tuple[int, int] = (0x8086, 0x10D3),
) -> Path:
    """One function's folder, with the files that the host reads."""
    folder = devices / str(bdf)
    folder.mkdir(parents=True)
    (folder / "config").write_bytes(config_space() if config is None else config)
    rows = [*resources, *[Resource(0, 0, 0)] * (13 - len(resources))]
    (folder / "resource").write_text("".join(f"0x{r.start:016x} 0x{r.end:016x} 0x{r.flags:016x}\n" for r in rows))
    for name, number in zip(("vendor", "device"), ids, strict=True):
        (folder / name).write_text(f"0x{number:04x}\n")
    (folder / "irq").write_text(f"{irq}\n")
    (folder / "class").write_text(f"0x{class_code:06x}\n")
    (folder / "enable").write_text(f"{enabled}\n")
    if driver is not None:
        os.symlink(f"../../../bus/pci/drivers/{driver}", folder / "driver")
    return folder


class FakeFunction:
    """An `Assignable` without files. `irq` is the routed line only once it was enabled, or while pciback holds it."""

    def __init__(
        self,
        *,
        driver: str | None = None,
        msix: bool = True,
        irq: int = 21,
        resources: Sequence[Resource] = (Resource(0xFEB80000, 0xFEB9FFFF, MEM), Resource(0xC1E0, 0xC1FF, IO)),
    ) -> None:
        self.bdf, self.config_size, self.is_virtual = NIC, 4096, False
        self.vendor, self.device = 0x8086, 0x10D3
        self.resources = resources
        self.config = config_space(msix=msix)
        self._driver, self._routed = driver, irq
        self.irq = irq if driver else 10 if irq else 0
        self.enabled = False
        self.vanished = False
        self.fails: HostError | None = None

    def read(self, offset: int, size: int) -> int:
        if self.vanished:
            raise HostError("gone", errno.ENODEV)
        return int.from_bytes(self.config[offset : offset + size], "little")

    def write(self, offset: int, size: int, value: int) -> None:
        self.config[offset : offset + size] = value.to_bytes(size, "little")

    def reset(self) -> None:
        self.config[4:6] = bytes(2)

    def close(self) -> None:
        self.vanished = True

    @property
    def places(self) -> Mapping[int, int]:
        return capabilities(self)

    @property
    def msix(self) -> MsixCapability | None:
        return find(self)

    def decodes_memory(self) -> bool:
        return bool(self.config[4] & 2)

    def driver(self) -> str | None:
        return self._driver

    def set_enabled(self, on: bool) -> None:
        if self.fails is not None:
            raise self.fails
        if self._driver is not None:
            raise HostError("enable", errno.EBUSY)
        self.enabled = on
        self.irq = self._routed


class FakeXen:
    """The hypervisor's side of `Calls`: what is assigned, allowed, mapped and prepared. Call number `fail_at` fails."""

    def __init__(self, *, functions_with_msix: Sequence[Bdf] = (NIC,)) -> None:
        self.with_msix = frozenset(functions_with_msix)
        self.log: list[str] = []
        self.state: set[tuple[str, int, int]] = set()
        self.dead: set[int] = set()
        self.fail_at: dict[int, int] = {}
        #: The domain dies before the call of this number.
        self.dies_at: tuple[int, DomId] | None = None
        #: A domain that dies stays as long as somebody maps a page of it: calls find it, but nothing of it.
        self.lingers = False
        self.pirq_offset = 0
        self.blocks: dict[int, int] = {}
        #: What the next message is mapped as; counts down, as the hypervisor's does.
        self.next_pirq = 55
        #: The address that is told with an entry of a table.
        self.table_bases: list[int] = []
        self.closed = False

    def _call(self, name: str, domain: int | None = None) -> None:
        number = len(self.log)
        self.log.append(name)
        if self.dies_at is not None and number >= self.dies_at[0]:
            self.kill(self.dies_at[1])
        if number in self.fail_at:
            raise HostError(name, self.fail_at[number])
        if domain in self.dead:
            raise HostError(name, errno.ENODEV if name == "deassign" else errno.ESRCH)

    def _set(self, item: tuple[str, int, int], on: bool) -> None:
        (self.state.add if on else self.state.discard)(item)

    def kill(self, domain: DomId) -> None:
        """All of a domain's resources go with it, not what was prepared for it."""
        if not self.lingers:
            self.dead.add(domain)
        self.state = {item for item in self.state if item[0] == "prepared" or item[1] != domain}

    def assign(self, domain: DomId, bdf: Bdf) -> None:
        self._call("assign", domain)
        if any(item[0] == "assigned" and item[2] == bdf.sbdf for item in self.state):
            raise HostError("assign", errno.EBUSY)
        self.state.add(("assigned", domain, bdf.sbdf))

    def deassign(self, domain: DomId, bdf: Bdf) -> None:
        self._call("deassign", domain)
        if ("assigned", domain, bdf.sbdf) not in self.state:
            raise HostError("deassign", errno.ENODEV)
        self.state.remove(("assigned", domain, bdf.sbdf))

    def iomem_permission(self, domain: DomId, first_frame: int, frames: int, allow: bool) -> None:
        self._call(f"iomem {first_frame:x}+{frames} {allow}", domain)
        for frame in range(first_frame, first_frame + min(frames, 64)):
            self._set(("frame", domain, frame), allow)

    def ioport_permission(self, domain: DomId, first_port: int, ports: int, allow: bool) -> None:
        self._call(f"ioport {first_port:x}+{ports} {allow}", domain)
        for port in range(first_port, first_port + min(ports, 64)):
            self._set(("port", domain, port), allow)

    def irq_permission(self, domain: DomId, pirq: int, allow: bool) -> None:
        self._call(f"irq {pirq} {allow}", domain)
        self._set(("irq", domain, pirq), allow)

    def map_pirq(self, domain: DomId, gsi: int) -> int:
        self._call(f"map {gsi}", domain)
        self.state.add(("pirq", domain, gsi + self.pirq_offset))
        return gsi + self.pirq_offset

    def map_msi(self, domain: DomId, bdf: Bdf) -> int:
        return self._message(f"msi {bdf}", domain, bdf)

    def map_msix(self, domain: DomId, capability: MsixCapability, entry: int, table_base: int) -> int:
        assert capability.bdf in self.with_msix, "the machine is down"
        self.table_bases.append(table_base)
        return self._message(f"msix {capability.bdf} {entry}", domain, capability.bdf)

    def _message(self, name: str, domain: DomId, bdf: Bdf) -> int:
        self._call(name, domain)
        if ("assigned", domain, bdf.sbdf) not in self.state:
            raise HostError(name, errno.ENODEV)
        pirq, self.next_pirq = self.next_pirq, self.next_pirq - 1
        self.state.add(("pirq", domain, pirq))
        return pirq

    def map_multi_msi(self, domain: DomId, bdf: Bdf, messages: int) -> int:
        self.next_pirq -= messages - 1
        first = self._message(f"multi-msi {bdf} {messages}", domain, bdf)
        self.state |= {("pirq", domain, each) for each in range(first, first + messages)}
        self.blocks[first] = messages
        return first

    def unmap_pirq(self, domain: DomId, pirq: int) -> None:
        self._call(f"unmap {pirq}", domain)
        if ("pirq", domain, pirq) not in self.state:
            raise HostError("unmap", errno.EINVAL)
        if any(first < pirq < first + size for first, size in self.blocks.items()):
            raise HostError("unmap", errno.EBUSY)
        self.state -= {("pirq", domain, each) for each in range(pirq, pirq + self.blocks.pop(pirq, 1))}

    def prepare_msix(self, capability: MsixCapability) -> None:
        assert capability.bdf in self.with_msix, "the machine is down"
        self._call("prepare")
        if ("prepared", 0, capability.bdf.sbdf) in self.state:
            raise HostError("prepare", errno.EBUSY)
        self.state.add(("prepared", 0, capability.bdf.sbdf))

    def release_msix(self, capability: MsixCapability) -> None:
        assert capability.bdf in self.with_msix, "the machine is down"
        self._call("release")
        if ("prepared", 0, capability.bdf.sbdf) not in self.state:
            raise HostError("release", errno.EBUSY)
        self.state.remove(("prepared", 0, capability.bdf.sbdf))

    def close(self) -> None:
        self.closed = True
