# SPDX-License-Identifier: Apache-2.0
"""What becomes of an interrupt that a function raises, and which numbers each domain has for them.

A function's registers decide, as in hardware: with MSI-X on, an entry is sent; else with MSI on, a message; else the line
is asserted. What is masked, or has nobody to go to, pends and is sent when that changes; a message that cannot pend is
lost. Whether anything was mapped does not matter to the function: an enable bit that was left set silences its line.

The hypervisor's part is who hears it. A number (a pirq) is mapped for a message or a line of a domain's function; the
guest binds it to a port. Several messages of plain MSI are mapped at once, under numbers that follow each other, and
unmapped at once by the first of them; how many the function may tell apart is written into its register when they are
mapped. Interrupts are remapped here, without which there is no such block. Numbers of messages are handed out from the top;
one that is unmapped under a bound port stays taken until the port is closed. A domain's numbers go with it, a backend's end
frees none.

Time does not exist here: whoever is rung has served the function at once, so a line goes down when it was heard.
"""

from __future__ import annotations

import errno
import mmap
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Literal

from pvpci.impl.embedded.image import Image
from pvpci.impl.embedded.registers import Registers
from pvpci.impl.embedded.wire import Vector
from pvpci.impl.host import HostError
from pvpci.model.config import constants as pci
from pvpci.model.config.messages import MOST_MESSAGES, capable, enabled, with_enabled

#: Below are the lines of the interrupt controller.
FIRST_MESSAGE_PIRQ: Final = 24
#: The highest number that a domain has; the real hypervisor has an option for it.
LAST_PIRQ: Final = 279
PLAIN_MSI: Final = -1  #: in the place of an entry's number


Outcome = Literal["delivered", "pending", "lost"]


class Mode(Enum):
    """How a function interrupts, by its registers."""

    LINE = "line"
    MSI = "MSI"
    MSIX = "MSI-X"


@dataclass(slots=True)
class _Pirq:
    """A number of one domain. `mapped` False: it only waits until its port is closed."""

    bdf: str  #: whose message it is; "" for a line
    entry: int
    message: int = 0  #: which one of a block
    block: int = 1  #: how many go when this one does
    line: int = 0
    users: set[str] = field(default_factory=set)  #: whose line it is
    bell: socket.socket | None = None
    mapped: bool = True
    delivered: int = 0

    def ring(self) -> bool:
        if not self.mapped or self.bell is None:
            return False
        self.delivered += 1
        ring(self.bell)
        return True


class _Device:
    """One function's sources of interrupts, over the memory of its registers."""

    def __init__(self, bdf: str, image: Image, memory: int) -> None:
        self.bdf, self.irq, self.is_virtual = bdf, image.irq, image.is_virtual
        self.registers = Registers(image, mmap.mmap(memory, image.size))
        self.prepared = False
        self.line = False  #: asserted
        self.pending: dict[Mode, set[int]] = {Mode.MSI: set(), Mode.MSIX: set()}
        self.masked: set[int] = set()  #: entries of the table
        self._msi = self.registers.capabilities.get(pci.CAP_ID_MSI)
        self._msix = self.registers.capabilities.get(pci.CAP_ID_MSIX)

    @property
    def has_msi(self) -> bool:
        return self._msi is not None

    @property
    def entries(self) -> int:
        """Of the MSI-X table; 0 without one."""
        return 0 if self._msix is None else (self._msix_flags & pci.MSIX_FLAGS_QSIZE) + 1

    @property
    def has_line(self) -> bool:
        return self.irq != 0 and self.registers.read(pci.INTERRUPT_PIN, 1) != 0

    @property
    def command(self) -> int:
        return self.registers.read(pci.COMMAND, 2)

    @property
    def mode(self) -> Mode:
        if self._msix_flags & pci.MSIX_FLAGS_ENABLE:
            return Mode.MSIX
        return Mode.MSI if self._msi_flags & pci.MSI_FLAGS_ENABLE else Mode.LINE

    @property
    def messages(self) -> int:
        """How many plain MSI may tell apart."""
        return enabled(self._msi_flags)

    @property
    def capable(self) -> int:
        """How many it could; 0 without the capability."""
        return 0 if self._msi is None else capable(self._msi_flags)

    def set_messages(self, count: int) -> None:
        """A power of two."""
        assert self._msi is not None
        self.registers.write(self._msi + pci.MSI_FLAGS, 2, with_enabled(self._msi_flags, count))

    @property
    def _msix_flags(self) -> int:
        return 0 if self._msix is None else self.registers.read(self._msix + pci.MSIX_FLAGS, 2)

    @property
    def _msi_flags(self) -> int:
        return 0 if self._msi is None else self.registers.read(self._msi + pci.MSI_FLAGS, 2)

    def can_pend(self, mode: Mode) -> bool:
        return mode is Mode.MSIX or bool(self._msi_flags & pci.MSI_FLAGS_MASKBIT)

    def may_send(self, mode: Mode, entry: int) -> bool:
        """Whether no register holds that message back. It is a write to memory, so it takes a bus master."""
        if not self.command & pci.COMMAND_MASTER:
            return False
        if mode is Mode.MSIX:
            return not self._msix_flags & pci.MSIX_FLAGS_MASKALL and entry not in self.masked
        if self._msi is None or not self.can_pend(mode):
            return True
        wide = self._msi_flags & pci.MSI_FLAGS_64BIT
        mask = self.registers.read(self._msi + (pci.MSI_MASK_64 if wide else pci.MSI_MASK_32), 4)
        return not mask >> entry & 1


class Interrupts:
    """All functions' and all domains'. Methods raise HostError with the number of the real call, and then change nothing."""

    def __init__(self) -> None:
        self._devices: dict[str, _Device] = {}
        self._pirqs: dict[tuple[int, int], _Pirq] = {}
        self._dom0: dict[int, str] = {}

    def add(self, bdf: str, image: Image, memory: int) -> None:
        """A new function; `memory`: the descriptor of its configuration space."""
        self._devices[bdf] = _Device(bdf, image, memory)

    # Numbers

    def give(self, domain: int, bdf: str) -> None:
        """The function has become the domain's: its MSI-X is prepared, its line mapped under its own number."""
        device = self._devices[bdf]
        device.prepared = device.entries > 0
        if device.irq:
            line = self._pirqs.setdefault((domain, device.irq), _Pirq("", 0, line=device.irq))
            line.mapped = True
            line.users.add(bdf)

    def take_back(self, domain: int, bdf: str) -> None:
        """It no longer is. Messages that are still mapped stay, and keep MSI-X prepared."""
        device = self._devices[bdf]
        device.prepared = any(it.mapped and it.bdf == bdf and it.entry >= 0 for it in self._pirqs.values())
        line = self._pirqs.get((domain, device.irq))
        if line is not None and bdf in line.users:
            line.users.discard(bdf)
            if not line.users:
                self._unmap((domain, device.irq))

    def prepared(self, bdf: str) -> bool:
        return self._devices[bdf].prepared

    def map(self, domain: int, bdf: str, entry: int | None) -> int:
        """One message of a function that the domain has -> its number. `entry` None: plain MSI."""
        device = self._devices[bdf]
        what = f"{bdf}: map {'the message' if entry is None else f'entry {entry}'} for domain {domain}"
        if entry is None and not device.has_msi:
            raise HostError(f"{what}: it has no MSI capability", errno.EINVAL)
        if entry is not None:
            if not 0 <= entry < device.entries:
                raise HostError(f"{what}: the table has {device.entries} entries", errno.EINVAL)
            # Those of a virtual function answer by its physical one's register.
            if not (device.is_virtual or device.command & pci.COMMAND_MEMORY):
                raise HostError(f"{what}: it does not decode memory", errno.ENXIO)
            if not device.prepared:
                raise HostError(f"{what}: its MSI-X was not prepared before it was given", errno.ENODATA)
        return self._map(what, domain, bdf, PLAIN_MSI if entry is None else entry, 1)

    def map_block(self, domain: int, bdf: str, messages: int) -> int:
        """That many messages of plain MSI, rounded up to a power of two -> the first of their numbers."""
        what = f"{bdf}: map {messages} messages for domain {domain}"
        if not 0 < messages <= MOST_MESSAGES:
            raise HostError(f"{what}: there are 1 to {MOST_MESSAGES}", errno.EDOM)
        block = 1 << (messages - 1).bit_length()
        if block > self._devices[bdf].capable:
            raise HostError(f"{what}: it has {self._devices[bdf].capable}", errno.ENFILE)
        return self._map(what, domain, bdf, PLAIN_MSI, block)

    def _map(self, what: str, domain: int, bdf: str, place: int, block: int) -> int:
        for it in self._messages(bdf):
            if it.entry == place or PLAIN_MSI in (it.entry, place):
                raise HostError(f"{what}: {'MSI' if it.entry < 0 else f'entry {it.entry}'} is mapped", errno.EEXIST)
        for first in range(LAST_PIRQ + 1 - block, FIRST_MESSAGE_PIRQ - 1, -1):
            numbers = range(first, first + block)
            if not any((domain, pirq) in self._pirqs for pirq in numbers):
                for message, pirq in enumerate(numbers):
                    self._pirqs[domain, pirq] = _Pirq(bdf, place, message, block)
                if place == PLAIN_MSI:
                    self._devices[bdf].set_messages(block)
                return first
        raise HostError(f"{what}: the domain has no number left", errno.ENOSPC)

    def unmap(self, domain: int, bdf: str, pirq: int) -> None:
        it = self._pirqs.get((domain, pirq))
        if it is None or not it.mapped or it.bdf != bdf:
            raise HostError(f"{bdf}: interrupt {pirq} of domain {domain} is not mapped", errno.EINVAL)
        if it.message:
            raise HostError(
                f"{bdf}: interrupt {pirq} of domain {domain} goes only with the first of its block", errno.EBUSY
            )
        for each in range(pirq, pirq + it.block):
            self._unmap((domain, each))

    def bind(self, domain: int, pirq: int, bell: socket.socket) -> None:
        """`bell` is rung from now on; at once, if something pends for it."""
        it = self._pirqs.get((domain, pirq))
        if it is None or not it.mapped:
            raise HostError(f"domain {domain} has no interrupt {pirq}", errno.EINVAL)
        if it.bell is not None:
            raise HostError(f"interrupt {pirq} of domain {domain} is bound already", errno.EEXIST)
        it.bell = bell
        for bdf in it.users or {it.bdf}:
            self.settle(bdf)

    def unbind(self, domain: int, pirq: int) -> None:
        """Its port is closed."""
        it = self._pirqs.get((domain, pirq))
        if it is not None:
            it.bell = None
            if not it.mapped:
                del self._pirqs[domain, pirq]

    def destroy(self, domain: int) -> None:
        """The domain is gone, and its numbers with it. The functions' registers stay as they are."""
        for key in [key for key in self._pirqs if key[0] == domain]:
            del self._pirqs[key]

    def vectors(self) -> tuple[Vector, ...]:
        """Messages that are mapped now."""
        return tuple(
            sorted(
                Vector(it.bdf, domain, it.entry, pirq, it.delivered, it.message)
                for (domain, pirq), it in self._pirqs.items()
                if it.mapped and it.bdf
            )
        )

    # What functions do

    def interrupt(self, bdf: str, entry: int) -> Outcome:
        """The function raises `entry`, which says something with MSI-X and with several messages only."""
        device = self._devices[bdf]
        mode = device.mode
        if mode is Mode.LINE:
            if not device.has_line:
                raise HostError(f"{bdf} has no line, and no messages on", errno.EINVAL)
            device.line = True
            self.settle(bdf)
            return "pending" if device.line else "delivered"
        count = device.entries if mode is Mode.MSIX else device.messages
        if not 0 <= entry < count:
            raise HostError(f"{bdf}: entry {entry}: its {mode.value} has {count}", errno.EINVAL)
        device.pending[mode].add(entry)
        self.settle(bdf)
        if entry not in device.pending[mode]:
            return "delivered"
        if device.can_pend(mode):
            return "pending"
        device.pending[mode].discard(entry)
        return "lost"

    def mask(self, bdf: str, entry: int, masked: bool) -> None:
        """The mask bit of one entry of the table."""
        device = self._devices[bdf]
        if not 0 <= entry < device.entries:
            raise HostError(f"{bdf}: the table has {device.entries} entries", errno.EINVAL)
        (device.masked.add if masked else device.masked.discard)(entry)
        self.settle(bdf)

    def settle(self, bdf: str) -> None:
        """Something may have changed: send what pends and can be sent now."""
        device = self._devices[bdf]
        mode = device.mode
        if mode is Mode.LINE:
            if device.line and not device.command & pci.COMMAND_INTX_DISABLE:
                # Everybody on the line hears it; it goes down when one of those has it for this function.
                heard = [bdf in it.users for it in self._pirqs.values() if it.line == device.irq and it.ring()]
                device.line = not any(heard)
            return
        for entry in sorted(device.pending[mode]):
            source = (entry, 0) if mode is Mode.MSIX else (PLAIN_MSI, entry)
            if device.may_send(mode, entry) and any(
                it.ring() for it in self._messages(bdf) if (it.entry, it.message) == source
            ):
                device.pending[mode].discard(entry)

    # Lines that dom0 uses too

    def share_line(self, bdf: str, name: str) -> None:
        """A driver of dom0 has a handler on the function's line; "" takes it away."""
        self._dom0[self._devices[bdf].irq] = name

    def line_shared(self, bdf: str) -> str:
        irq = self._devices[bdf].irq
        return self._dom0.get(irq, "") if irq else ""

    def _messages(self, bdf: str) -> Iterator[_Pirq]:
        return (it for it in self._pirqs.values() if it.mapped and it.bdf == bdf)

    def _unmap(self, key: tuple[int, int]) -> None:
        it = self._pirqs[key]
        it.mapped = False
        if it.bell is None:
            del self._pirqs[key]


def ring(into: socket.socket) -> None:
    try:
        into.send(b"\1", socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
    except OSError:
        # Full: it is pending already. Shut by its owner: then nobody listens.
        return
