# SPDX-License-Identifier: Apache-2.0
"""A host in memory: the embedded store without its sockets, pages that are arrays, doorbells that are two bits.

Everything happens in the order in which a test makes it happen, and everything that is asked of the host is in `calls`.
"""

from __future__ import annotations

import errno
import io
import itertools
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from struct import Struct
from typing import Any, cast

from tests.fake_store import FakeStore

from pvpci.impl.embedded.image import load
from pvpci.impl.embedded.service import Service
from pvpci.impl.host import Bdf, DomId, Function, GrantRef, Host, HostError, Port, Resource
from pvpci.impl.interrupts import Interrupts
from pvpci.impl.log import Log
from pvpci.model.config.walk import capabilities
from pvpci.traces.recorder import Recorder

_NUMBERS = itertools.count()
EDU, RTL = Bdf(0, 0, 7, 0), Bdf(0, 0, 8, 0)


class Words:
    """The words of a fake page, each access written down as the page itself does."""

    def __init__(self, page: FakePage) -> None:
        self.page = page

    def __getitem__(self, key: int) -> int:
        return self.page.load32(4 * key)

    def __setitem__(self, key: int, value: int) -> None:
        self.page.store32(4 * key, value)


class FakePage:
    """`host.Page`. `accesses` is what was done to it, in order; `before` is called ahead of each, to change it meanwhile."""

    def __init__(self) -> None:
        self.data, self.mapped = bytearray(4096), 0
        self.accesses: list[str] = []

    def load32(self, offset: int) -> int:
        self.accesses.append(f"load {offset}")
        return self._word(offset)

    def store32(self, offset: int, value: int) -> None:
        self.accesses.append(f"store {offset}")
        self.data[offset : offset + 4] = (value & 0xFFFFFFFF).to_bytes(4, "little")

    def store16(self, offset: int, value: int) -> None:
        self.accesses.append(f"store16 {offset}")
        self.data[offset : offset + 2] = (value & 0xFFFF).to_bytes(2, "little")

    def copy(self, offset: int, size: int) -> bytes:
        self.accesses.append(f"copy {offset}+{size}")
        return bytes(self.data[offset : offset + size])

    def fetch_and(self, offset: int, mask: int) -> int:
        self.accesses.append(f"and {offset}")
        old = self._word(offset)
        self.data[offset : offset + 4] = (old & mask).to_bytes(4, "little")
        return old

    def fetch_or(self, offset: int, mask: int) -> int:
        self.accesses.append(f"or {offset}")
        old = self._word(offset)
        self.data[offset : offset + 4] = (old | mask).to_bytes(4, "little")
        return old

    def words(self) -> Words:
        return Words(self)

    def reader(self, layout: Struct, offset: int) -> Callable[[], tuple[Any, ...]]:
        return lambda: layout.unpack(self.copy(offset, layout.size))

    def locked_and(self, offset: int, mask: int) -> Callable[[], object]:
        return lambda: self.fetch_and(offset, mask)

    def unmap(self) -> None:
        self.mapped -= 1

    def _word(self, offset: int) -> int:
        return int.from_bytes(self.data[offset : offset + 4], "little")


class FakeChannel:
    """`host.Channel`, and the guest's end of it (`ring`, `heard`)."""

    def __init__(self) -> None:
        self.pending, self.masked, self.bound, self.heard = False, False, False, 0
        self._fd = os.eventfd(0, os.EFD_NONBLOCK)

    def ring(self) -> None:
        self.pending = True
        self._show()

    def fileno(self) -> int:
        return self._fd

    def take(self) -> bool:
        if not self.pending or self.masked:
            return False
        self.pending, self.masked = False, True
        self._show()
        return True

    def unmask(self) -> None:
        self.masked = False
        self._show()

    def notify(self) -> None:
        self.heard += 1

    def unbind(self) -> None:
        self.bound = False

    def _show(self) -> None:
        if self.pending and not self.masked:
            os.eventfd_write(self._fd, 1)
        else:
            try:
                os.eventfd_read(self._fd)
            except BlockingIOError:
                return


class FakeFunction:
    """`host.Function` over the registers of an image. `broken`: accesses fail."""

    def __init__(self, host: FakeHost, name: str) -> None:
        image = load(name)
        self.bdf, self.config_size, self.irq, self.is_virtual = image.bdf, image.size, image.irq, image.is_virtual
        self.vendor, self.device = image.vendor, image.device
        self.resources: Sequence[Resource] = image.resources
        self.registers, self.broken, self.resets = bytearray(image.registers), False, 0
        self._host, self._writable = host, image.writable

    def read(self, offset: int, size: int) -> int:
        self._must_work()
        return int.from_bytes(self.registers[offset : offset + size], "little")

    def write(self, offset: int, size: int, value: int) -> None:
        self._must_work()
        for at in range(offset, offset + size):
            mask, byte = self._writable[at], value >> 8 * (at - offset) & 0xFF
            self.registers[at] = self.registers[at] & ~mask | byte & mask

    def decodes_memory(self) -> bool:
        return bool(self.registers[4] & 2)

    def reset(self) -> None:
        self.resets += 1

    def close(self) -> None:
        self._host.opened.discard(self.bdf)

    def _must_work(self) -> None:
        if self.broken:
            raise HostError(f"{self.bdf}: no answer", errno.EIO)


class FakeHost:
    """`host.Host`. A guest's pages and channels are made by `grant` and `port`."""

    def __init__(self) -> None:
        self.service = Service()
        self.store = FakeStore(self.service)
        self.notes = Path(tempfile.gettempdir()) / f"pvpci-fake-{os.getpid()}-{next(_NUMBERS)}"
        weakref.finalize(self, shutil.rmtree, self.notes, ignore_errors=True)
        self.pages: dict[tuple[int, int], FakePage] = {}
        self.channels: dict[tuple[int, int], FakeChannel] = {}
        self.devices = {EDU: FakeFunction(self, "edu"), RTL: FakeFunction(self, "rtl8139")}
        self.opened: set[Bdf] = set()
        self.given: dict[Bdf, int] = {}
        self.vectors: dict[int, tuple[int, Bdf, int | None]] = {}
        self.blocks: dict[int, int] = {}
        self.refusals: list[int] = []
        self.drivers: dict[int, str] = {}

    def grant(self, domain: int, ref: int) -> FakePage:
        return self.pages.setdefault((domain, ref), FakePage())

    def port(self, domain: int, port: int) -> FakeChannel:
        return self.channels.setdefault((domain, port), FakeChannel())

    def map_page(self, domain: DomId, ref: GrantRef) -> FakePage:
        try:
            page = self.pages[domain, ref]
        except KeyError:
            raise HostError(f"no grant {ref}", errno.EINVAL) from None
        page.mapped += 1
        return page

    def bind_channel(self, domain: DomId, remote: Port) -> FakeChannel:
        channel = self.channels.get((domain, remote))
        if channel is None or channel.bound:
            raise HostError(f"no port {remote}", errno.EINVAL)
        channel.bound, channel.masked = True, False
        channel.ring()
        return channel

    def open_function(self, bdf: Bdf) -> FakeFunction:
        if bdf not in self.devices:
            raise HostError(f"{bdf}: no such function", errno.ENODEV)
        if bdf in self.opened:
            raise HostError(f"{bdf} is held by somebody", errno.EBUSY)
        self.opened.add(bdf)
        return self.devices[bdf]

    def functions(self) -> Sequence[Bdf]:
        return sorted(self.devices)

    def give(self, domain: DomId, function: Function) -> None:
        if function.bdf in self.given:
            raise HostError(f"{function.bdf} is assigned to domain {self.given[function.bdf]}", errno.EBUSY)
        self.given[function.bdf] = domain

    def take_back(self, domain: DomId, function: Function) -> None:
        self.given.pop(function.bdf, None)

    def prepared(self, function: Function) -> bool:
        return True

    def map_vector(self, domain: DomId, function: Function, entry: int | None) -> int:
        """Numbers go down from 55, as the hypervisor's do. `refusals`: the errors of the next calls, 0 for none."""
        if self.refusals and (number := self.refusals.pop(0)):
            raise HostError(f"{function.bdf}: no vector", number)
        pirq = 55 - len(self.vectors)
        self.vectors[pirq] = (domain, function.bdf, entry)
        return pirq

    def map_block(self, domain: DomId, function: Function, messages: int) -> int:
        """The first of so many numbers in a row. The function's register is left as it is."""
        first = self.map_vector(domain, function, None) - messages + 1
        del self.vectors[first + messages - 1]
        self.vectors |= dict.fromkeys(range(first, first + messages), (domain, function.bdf, None))
        self.blocks[first] = messages
        return first

    def unmap_vector(self, domain: DomId, function: Function, pirq: int) -> None:
        if self.refusals and (number := self.refusals.pop(0)):
            raise HostError(f"{function.bdf}: vector {pirq} is not given back", number)
        self._drop(pirq)

    def _drop(self, pirq: int) -> None:
        if any(first < pirq < first + size for first, size in self.blocks.items()):
            raise HostError(f"{pirq} is inside of a block", errno.EBUSY)
        if not self.vectors.pop(pirq, None):
            raise HostError(f"{pirq} is not mapped", errno.EINVAL)
        for each in range(pirq + 1, pirq + self.blocks.pop(pirq, 1)):
            del self.vectors[each]

    def reclaim(self, domain: DomId, function: Function, known: Collection[int]) -> int | None:
        inside = {n for first, size in self.blocks.items() for n in range(first + 1, first + size)}
        mine = {n for n, (owner, bdf, _) in self.vectors.items() if (owner, bdf) == (domain, function.bdf)}
        for pirq in mine - inside - set(known):
            self._drop(pirq)
            return pirq
        return None

    def line_shared(self, function: Function) -> str | None:
        """`drivers`: those of the host by line."""
        return self.drivers.get(function.irq)

    def close(self) -> None:
        """Nothing of the system is held."""

    @property
    def as_host(self) -> Host:
        """The same. A protocol's attribute could be assigned to, so the type checker does not see it by itself."""
        return cast(Host, self)

    @property
    def held(self) -> tuple[int, int, int]:
        """Pages mapped, channels bound, functions open."""
        pages = sum(page.mapped for page in self.pages.values())
        return pages, sum(channel.bound for channel in self.channels.values()), len(self.opened)


def device(host: FakeHost, domain: int, *functions: Bdf, device: int = 0) -> tuple[str, str]:
    """The nodes of a new device; its backend's and its frontend's directory."""
    back, front = f"/local/domain/0/backend/pci/{domain}/{device}", f"/local/domain/{domain}/device/pci/{device}"
    if host.store.read(f"/local/domain/{domain}") is None:
        host.service.introduce(domain)
    nodes = {"frontend": front, "frontend-id": str(domain), "online": "1", "num_devs": str(len(functions))}
    for index, bdf in enumerate(functions):
        nodes |= {f"dev-{index}": str(bdf), f"state-{index}": "1"}
    for folder, rights in ((front, (f"n{domain}", "r0")), (back, ("n0", f"r{domain}"))):
        host.store.write(folder, "")
        host.store.set_permissions(folder, rights)
    host.store.write(f"{front}/backend", back)
    host.store.write(f"{front}/state", "1")
    for key, text in {**nodes, "state": "1"}.items():
        host.store.write(f"{back}/{key}", text)
    return back, front


def interrupts_of(host: FakeHost, function: FakeFunction) -> Interrupts:
    """Those of a function that a guest has."""
    log, recorder = Log(io.StringIO()), Recorder("7/0").of(str(function.bdf))
    return Interrupts(host.as_host, DomId(7), function, function, capabilities(function), log, "7/0", recorder)
