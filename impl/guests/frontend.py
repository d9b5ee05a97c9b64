# SPDX-License-Identifier: Apache-2.0
"""A guest that keeps to the protocol: `pcifront` as the machines have it, on the embedded host.

The handshake is `model.frontend`, a request is `model.issue`, both run by the same effect loop as the backend. What the tables
leave open is done here as Linux does it: the scan of a bus and the sizing of BARs. Whatever the backend says is heard through
watches and the doorbell; nothing here asks twice to see whether something has changed.

`pvpci.impl.guests.run` makes a process of it.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from pvpci.impl.embedded.guest_side import GuestHost
from pvpci.impl.embedded.link import EmbeddedChannel, EmbeddedPage
from pvpci.impl.engine import Engine, Listener, Overtaken
from pvpci.impl.guests.cells import GuestFlags, GuestRequest, GuestStore
from pvpci.impl.host import GrantRef
from pvpci.model import frontend, issue, wire
from pvpci.model.kernel.compiled import group
from pvpci.model.kernel.visible import Visible
from pvpci.model.states import Xenbus, parse
from pvpci.model.wire import Cmd, Err, signed

_WORD: Final = 0xFFFFFFFF
#: Looks that find the flag set before a guest gives up are counted by the table; this is how long it waits between two.
LOOK_SECONDS: Final = 1.0
_OWN, _PEER = "own", "peer"
_FRONT, _ISSUE = frontend.MACHINE.name, issue.MACHINE.name
_GROUP: Final = group([frontend.IMPATIENT, issue.IMPATIENT])
_STOPS: Final = (frontend.At.SCANNING, frontend.At.UNPLUGGING, issue.At.LATE)
_ABSENT: Final = 0xFFFFFFFF

BARS: Final = (0x10, 0x14, 0x18, 0x1C, 0x20, 0x24, 0x30)  #: six BARs and the expansion ROM


class GuestError(Exception):
    """What a driver in the guest would be told."""


class NoAnswer(GuestError):
    """The backend did not answer a request; it has been taken back."""


class Refused(GuestError):
    """The backend answered a request with an error; `err` is one of `Err`, or a negative Linux number."""

    def __init__(self, what: str, err: int) -> None:
        name = next((known.name for known in Err if known == err), str(err))
        super().__init__(f"{what}: {name}")
        self.err = err


class NotConnected(GuestError):
    """The connection did not come to the state that was waited for."""


@dataclass(frozen=True, slots=True)
class Found:
    """One function as the scan found it."""

    devfn: int  #: with its bus, if that is not 0000:00: domain << 16 | bus << 8 | devfn
    vendor: int
    device: int
    class_code: int  #: 24 bits
    multi: bool  #: its header says that the slot has more functions

    def __str__(self) -> str:
        bus = f"{self.devfn >> 8 & 0xFF:02x}:{self.devfn >> 3 & 0x1F:02x}.{self.devfn & 7}"
        return f"{self.devfn >> 16:04x}:{bus}" if self.devfn >> 16 else bus


@dataclass(frozen=True, slots=True)
class Region:
    """One BAR as the guest sizes it; `size` is 0 for one that is not there."""

    index: int
    address: int
    size: int
    is_port: bool


class _Nobody:
    def step(self, visible: Visible, values: tuple[int, ...]) -> None:
        """Not recorded."""


class GuestFrontend:
    """One device directory of the guest `host`. HostError: the box is gone, or this domain.

    watcher: is told of each visible step. look_seconds: see `LOOK_SECONDS`.
    """

    def __init__(
        self, host: GuestHost, devid: int = 0, *, watcher: Listener | None = None, look_seconds: float = LOOK_SECONDS
    ) -> None:
        self._host, self._look_ms = host, look_seconds * 1000
        self.directory = f"/local/domain/{host.domain}/device/pci/{devid}"
        self.found: list[Found] = []
        self._flags, self._request = GuestFlags(), GuestRequest()
        self.store = GuestStore(host.store, self.directory)
        self.engine = Engine(
            _GROUP, {"kick": self._kick}, {"flags": self._flags, "request": self._request, "store": self.store},
            watcher or _Nobody(), stops=_STOPS,
        )  # fmt: skip
        self.page: EmbeddedPage | None = None
        self.channel: EmbeddedChannel | None = None
        self._rung = select.poll()
        self._watched: list[tuple[str, str]] = []
        self._asleep = select.poll()
        self._asleep.register(host.store.fileno(), select.POLLIN)

    # The handshake

    @property
    def state(self) -> Xenbus:
        """Our own state, as we know it."""
        return self.store.fe

    def connect(self, timeout: float = 10.0) -> None:
        """From nothing to Connected, with the scan; waits for our directory to appear. NotConnected after `timeout` seconds."""
        self.allocate()
        self._watch(f"{self.directory}/state", _OWN)
        self.follow(lambda: self.state is Xenbus.CONNECTED, timeout)
        self.follow(lambda: self.backend_state() is Xenbus.CONNECTED, timeout)

    def allocate(self) -> None:
        """A page and a doorbell for this life."""
        if self.page is None:
            ref, self.page = self._host.grant_page()
            port, self.channel = self._host.alloc_channel()
            self._flags.page = self._request.page = self.page
            self._rung.register(self.channel.fileno(), select.POLLIN)
            self.store.life = ref, port

    def backend_state(self) -> Xenbus:
        """The backend's state as the store has it now."""
        return parse(self._host.store.read(f"{self.store.back}/state") if self.store.back else None)

    def follow(self, until: Callable[[], bool], timeout: float) -> None:
        """Do what the machine does at each change that is heard of, until that holds. NotConnected after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while not until():
            left = deadline - time.monotonic()
            if left <= 0 or not self._asleep.poll(left * 1000):
                ours, place, theirs = self.state.name, self.engine.at(_FRONT).name, self.backend_state().name
                what = f"the frontend is in {ours} (at {place}), the backend in {theirs}"
                raise NotConnected(f"after {timeout:g} s {what}")
            self.hear()

    def hear(self) -> None:
        """Take the watch events that wait, and what follows from them."""
        tokens = {token for _, token in self._host.store.events()}
        if not tokens:
            return
        self._tried(self._hear_all)

    def _hear_all(self) -> None:
        if self.engine.at(_FRONT) is frontend.At.ABSENT:
            self.engine.deliver(_FRONT, frontend.Probe)
            if self.store.back:
                self._watch(f"{self.store.back}/state", _PEER)
        if self.engine.takes(_FRONT, frontend.PeerChanged):
            self.engine.deliver(_FRONT, frontend.PeerChanged)
        self._between()

    def _between(self) -> None:
        """What the driver does at the places where the table waits for it."""
        if self.engine.at(_FRONT) is frontend.At.SCANNING:
            self.found = self.scan()
            self.engine.go(_FRONT)
        elif self.engine.at(_FRONT) is frontend.At.UNPLUGGING:
            gone = self._leaving()
            self.found = [each for each in self.found if each.devfn not in gone]
            self.engine.go(_FRONT)

    def _tried(self, call: Callable[[], None]) -> None:
        """A transaction that was overtaken is begun again: the others write only now and then."""
        while True:
            try:
                return call()
            except Overtaken:
                call = self._resume

    def _resume(self) -> None:
        self.engine.go(_FRONT)
        self._between()

    def shutdown(self, timeout: float = 5.0) -> bool:
        """The guest is shut down: Closing, then Closed when the backend closes too. False if it did not in time."""
        if not self.engine.takes(_FRONT, frontend.Halt):
            return False
        self._tried(lambda: self.engine.deliver(_FRONT, frontend.Halt))
        if self.engine.at(_FRONT) is not frontend.At.HALTING:
            return False
        try:
            self.follow(lambda: self.engine.at(_FRONT) is frontend.At.ABSENT, timeout)
            self.follow(lambda: self.backend_state() in (Xenbus.CLOSED, Xenbus.UNKNOWN), timeout)
        except NotConnected:
            if self.engine.takes(_FRONT, frontend.GiveUp):
                self.engine.deliver(_FRONT, frontend.GiveUp)
            return False
        return True

    def close(self) -> None:
        """Let go of watches, doorbell, page and grant. The directory stays as it is."""
        for path, token in self._watched:
            self._host.store.unwatch(path, token)
        self._watched.clear()
        if self.channel is not None:
            self._rung.unregister(self.channel.fileno())
            self.channel.unbind()
            self.channel = None
        if self.page is not None:
            self._flags.page = self._request.page = None
            self.page.unmap()
            self.page = None
            self._host.revoke(GrantRef(self.store.life[0]))

    def _watch(self, path: str, token: str) -> None:
        if (path, token) not in self._watched:
            self._host.store.watch(path, token)
            self._watched.append((path, token))

    # Requests

    def ask(self, cmd: int, devfn: int, offset: int, size: int, value: int = 0, info: int = 0) -> tuple[int, int]:
        """One request; its (err, value), `err` signed. NoAnswer if the backend did not answer in time."""
        engine = self.engine
        self._request.at, self._request.info = devfn & _WORD, info & _WORD
        engine.deliver(_ISSUE, issue.Want, cmd & _WORD, offset & _WORD, size & _WORD, value & _WORD)
        while engine.at(_ISSUE) is issue.At.RUNG:
            if self._rung.poll(self._look_ms) and self.channel is not None and self.channel.take():
                self.channel.unmask()
            engine.deliver(_ISSUE, issue.Look)
        if engine.at(_ISSUE) is issue.At.LATE:
            engine.go(_ISSUE)
            raise NoAnswer(f"no answer to request {cmd} for {devfn >> 3:02x}.{devfn & 7} at {offset:#x}")
        return signed(engine.state.issue_err), engine.state.issue_value

    def read(self, devfn: int, offset: int, size: int) -> int:
        """A configuration read. NoAnswer, Refused."""
        err, value = self.ask(Cmd.CONF_READ, devfn, offset, size)
        if err:
            raise Refused(f"read of {size} at {offset:#x}", err)
        return value

    def write(self, devfn: int, offset: int, size: int, value: int) -> None:
        """A configuration write. NoAnswer, Refused."""
        err, _ = self.ask(Cmd.CONF_WRITE, devfn, offset, size, value)
        if err:
            raise Refused(f"write of {size} at {offset:#x}", err)

    def enable_msi(self, devfn: int) -> int:
        """Plain MSI; the number of the interrupt, to be bound. NoAnswer, Refused."""
        err, pirq = self.ask(Cmd.ENABLE_MSI, devfn, 0, 0)
        if err:
            raise Refused("enable MSI", err)
        return pirq

    def enable_multi_msi(self, devfn: int, count: int) -> range:
        """Several messages of MSI; the numbers of as many as were asked for. NoAnswer, Refused."""
        err, first = self.ask(Cmd.ENABLE_MULTI_MSI, devfn, 0, 0, info=count)
        if err:
            raise Refused(f"enable {count} messages of MSI", err)
        return range(first, first + count)

    def enable_msix(self, devfn: int, entries: Sequence[int]) -> list[int]:
        """MSI-X with these entries of the function's table; their numbers, in this order. NoAnswer, Refused."""
        assert self.page is not None
        places = [wire.MSIX_ENTRIES + wire.MSIX_ENTRY.size * index for index in range(len(entries))]
        for place, entry in zip(places, entries, strict=True):
            self.page.store32(place, entry << 16)
        err, _ = self.ask(Cmd.ENABLE_MSIX, devfn, 0, 0, len(entries))
        if err:
            raise Refused(f"enable MSI-X with {len(entries)} entries", err)
        return [self.page.load32(place) & 0xFFFF for place in places]

    def disable(self, devfn: int, cmd: Cmd) -> None:
        """`cmd`: DISABLE_MSI or DISABLE_MSIX. NoAnswer, Refused."""
        err, _ = self.ask(cmd, devfn, 0, 0)
        if err:
            raise Refused(cmd.name, err)

    def _kick(self) -> None:
        if self.channel is not None:
            self.channel.notify()

    # What a kernel does with a bus

    def scan(self) -> list[Found]:
        """Probe all 256 addresses of each root that the backend published, function 0 of each slot first."""
        found: list[Found] = []
        for root in self._roots():
            found += [each for devfn in range(256) if (each := self._probe(root | devfn)) is not None]
        return found

    def _probe(self, devfn: int) -> Found | None:
        err, word = self.ask(Cmd.CONF_READ, devfn, 0, 4)
        if err or word in (0, _ABSENT):
            return None
        code = self.read(devfn, 8, 4) >> 8
        multi = bool(self.read(devfn, 0xE, 1) & 0x80)
        return Found(devfn, word & 0xFFFF, word >> 16, code, multi)

    def _roots(self) -> list[int]:
        """Where the buses begin; without a list there is one, 0000:00."""
        store, back = self._host.store, self.store.back
        text = store.read(f"{back}/root_num")
        if text is None or not (text.isdigit() and len(text) <= 3):
            return [0]
        roots = [(store.read(f"{back}/root-{index}") or "0:0").partition(":") for index in range(int(text))]
        return [int(domain, 16) << 16 | int(bus, 16) << 8 for domain, _, bus in roots]

    def _leaving(self) -> set[int]:
        """The addresses that are to be let go of: `vdev-N` of each `state-N` that says 5."""
        store, back = self._host.store, self.store.back
        count = store.read(f"{back}/num_devs") or ""
        devfns = set()
        for index in range(int(count) if count.isdigit() and len(count) <= 3 else 0):
            vdev = store.read(f"{back}/vdev-{index}") or ""
            if store.read(f"{back}/state-{index}") == "5" and vdev.count(":") == 2:
                domain, bus, rest = vdev.split(":")
                slot, _, function = rest.partition(".")
                devfns.add(int(domain, 16) << 16 | int(bus, 16) << 8 | int(slot, 16) << 3 | int(function, 16))
        return devfns

    def regions(self, devfn: int) -> list[Region]:
        """Size every BAR as a kernel does: all ones, read, put back. 64-bit BARs count once, at their lower half."""
        regions: list[Region] = []
        upper = False
        for index, offset in enumerate(BARS):
            if upper:
                upper = False
                continue
            old, mask = self._sized(devfn, offset, 0xFFFFF800 if offset == 0x30 else _WORD)
            if not mask:
                continue
            is_port = offset != 0x30 and bool(old & 1)
            low = 0x3 if is_port else 0x7FF if offset == 0x30 else 0xF
            upper = offset != 0x30 and not is_port and old & 6 == 4
            address, span, width = old & ~low, mask & ~low, 32
            if upper:
                high, high_mask = self._sized(devfn, offset + 4, _WORD)
                address, span, width = address | high << 32, span | high_mask << 32, 64
            regions.append(Region(index, address, (1 << width) - span if span else 0, is_port))
        return regions

    def _sized(self, devfn: int, offset: int, ones: int) -> tuple[int, int]:
        old = self.read(devfn, offset, 4)
        self.write(devfn, offset, 4, ones)
        mask = self.read(devfn, offset, 4)
        self.write(devfn, offset, 4, old)
        return old, mask


if __name__ == "__main__":
    import sys

    from pvpci.impl.guests.run import main

    sys.exit(main())
