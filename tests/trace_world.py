# SPDX-License-Identifier: Apache-2.0
"""A small world for making traces: a guest, a toolstack and a host that do as a test says, around the real loop."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

from pvpci.impl.engine import Engine
from pvpci.impl.host import DomId, HostError
from pvpci.impl.interrupts import Interrupts
from pvpci.impl.log import Log
from pvpci.model import connection as conn
from pvpci.model import interrupts, op
from pvpci.model.config.identity import Identity
from pvpci.model.config.view import ConfigView
from pvpci.model.config.walk import Capability
from pvpci.model.kernel.compiled import group
from pvpci.model.kernel.tables import Row
from pvpci.model.states import Xenbus
from pvpci.model.wire import Cmd, signed
from pvpci.traces.format import Below, Header, Line, encode
from pvpci.traces.recorder import Recorder
from pvpci.traces.subject import subject

GUEST = "3/0"
BDF = "0000:00:05.0"
HEADER = Header(
    vantage="backend", source={"program": "pvpci", "host": "test", "machines": ["connection", "op", "interrupts"]}
)
NIC = Identity(
    vendor=0x8086, device=0x10D3, irq=11, config_size=4096, is_virtual=False, resources=(), pin=1, class_code=0x020000,
    chain=(Capability(5, 0x50, 0x70), Capability(0x11, 0x70, 0)),
)  # fmt: skip
FIELDS = ("cmd", "domain", "bus", "devfn", "offset", "size", "value", "info")
WORD = 0xFFFFFFFF


class _Cell:
    def __init__(self, values: dict[str, int], prefix: str) -> None:
        self.values, self.prefix = values, prefix
        self.overtaken: Callable[[], None] | None = None

    def load(self, state: Any) -> None:
        for name, value in self.values.items():
            setattr(state, f"{self.prefix}_{name}", value)

    def carry_out(self, state: Any, row: Row) -> bool:
        for var in row.writes:
            record, name = var.name.split(".")
            if record == self.prefix:
                self.values[name] = int(getattr(state, f"{self.prefix}_{name}"))
        return True

    def leave(self) -> bool:
        return True


class Registers:
    """The function's own, each access written down."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.dwords = {0: 0x10D38086, 4: 0x00100002, 8: 0x02000000, 0x50: 0x00807005, 0x70: 0x00040011}

    def read(self, offset: int, size: int) -> int:
        value = self.dwords.get(offset & ~3, 0) >> 8 * (offset & 3) & (1 << 8 * size) - 1
        self.recorder.hw(BDF, "read", offset, size, value)
        return value

    def write(self, offset: int, size: int, value: int) -> None:
        shift, mask = 8 * (offset & 3), (1 << 8 * size) - 1
        kept = self.dwords.get(offset & ~3, 0) & ~(mask << shift)
        self.dwords[offset & ~3] = kept | (value & mask) << shift
        self.recorder.hw(BDF, "write", offset, size, value)


class Hypervisor:
    """Vectors from 55 down. `refusals`: the numbers of the next calls, 0 for one that works."""

    def __init__(self) -> None:
        self.mapped: set[int] = set()
        self.refusals: list[int] = []

    def prepared(self, function: object) -> bool:
        return True

    def map_vector(self, domain: int, function: object, entry: int | None) -> int:
        self._pass()
        pirq = 55 - len(self.mapped)
        self.mapped.add(pirq)
        return pirq

    def map_block(self, domain: int, function: object, messages: int) -> int:
        self._pass()
        self.mapped.add(56 - messages)
        return 56 - messages

    def unmap_vector(self, domain: int, function: object, pirq: int) -> None:
        self._pass()
        self.mapped.discard(pirq)

    def _pass(self) -> None:
        if self.refusals and (number := self.refusals.pop(0)):
            raise HostError("refused", number)


@dataclass
class World:
    """`during`: called when the host performs a request, so that a guest can misbehave meanwhile.

    messages: of MSI that the function has, a power of two.
    """

    dialect: str = "reference"
    multi_msi: bool = False
    messages: int = 1
    recorder: Recorder = field(init=False)
    during: Callable[[World], None] | None = None
    late: bool = False
    ok: bool = True
    there: bool = True  #: the function
    profile: str = "strict"
    attaches: bool = False  #: what is done to a function when it is taken is in the trace

    def __post_init__(self) -> None:
        self.recorder = Recorder(GUEST, None, multi_msi=self.multi_msi)
        self.hardware = Registers(self.recorder)
        self.hardware.dwords[0x50] |= self.messages.bit_length() - 1 << 17
        self.view = ConfigView(NIC, self.profile)
        self.hypervisor = Hypervisor()
        self.interrupts: Interrupts | None = None
        self.flags = {"active": 0, "handler": 0, "aer": 0}
        self.page = dict.fromkeys((*FIELDS, "err"), 0)
        self.nodes = {"own": 1, "fe": 1, "online": 1, "sound": 0, "ref": 0, "port": 0, "listed": 1}
        cells = {
            "flags": _Cell(self.flags, "flags"), "request": _Cell(self.page, "page"), "store": _Cell(self.nodes, "nodes"),
        }  # fmt: skip
        nothing = lambda *_: None  # noqa: E731
        handlers: dict[str, Any] = {
            "begin": nothing, "unbind": nothing, "unmap": nothing, "renew": nothing, "report": nothing, "warn": nothing,
            "export": self._export, "reconfigure": lambda: (conn.Reconfigured, (int(self.ok),)),
            "map": lambda ref: (conn.Mapped, (int(self.ok),)), "bind": lambda port: (conn.Bound, (int(self.ok),)),
            "release": self._release, "recall": lambda: (conn.Recalled, (0, 0, 0)),
            "take_over": lambda: (conn.TakenOver, (0, 0)), "ring": nothing, "undo": nothing,
            "seek": lambda domain, bus, devfn: (op.Found, (int(self.there and not devfn | bus | domain), 1)),
            "perform": self._perform, "perform_block": self._perform_block, "ask_clock": lambda: (op.Clock, (int(self.late),)),
            "hand_out": self._hand_out, "notify": nothing, "unmask": nothing, "wait": nothing,
        }  # fmt: skip
        machines = [part.machine for part in subject(self.dialect).parts.values()]
        self.engine = Engine(group(machines), handlers, cells, self.recorder)
        self.engine.state.allowed_multi_msi = int(self.multi_msi)

    def _export(self) -> Any:
        self.nodes["listed"] = 0
        if self.ok:
            self.recorder.function(BDF, 0, self.view.described, profile=self.profile, shared=False)
            function = SimpleNamespace(bdf=BDF, irq=NIC.irq, is_virtual=False)
            recorder, each = self.recorder.of(BDF), subject(self.dialect).each
            self.interrupts = Interrupts(
                cast(Any, self.hypervisor), DomId(3), cast(Any, function), self.hardware, NIC.capabilities,
                Log(io.StringIO()), GUEST, recorder,
            )  # fmt: skip
            assert each is not None
            machine = each.parts["interrupts"].machine
            made = group([machine], extra=[interrupts.world, interrupts.seen])
            self.interrupts._engine = Engine(made, self.interrupts.handlers, {}, recorder)
            self.interrupts._engine.state.fn_line = NIC.irq
            if self.attaches:
                self.view.attach(self.hardware)
        return conn.Exported, (int(self.ok),)

    def _release(self) -> Any:
        if self.interrupts is not None:
            self.interrupts.reset()
            self.interrupts.end()
            self.interrupts = None
        return conn.Released, ()

    def _hand_out(self, count: int) -> None:
        assert self.interrupts is not None
        self.recorder.vectors(self.interrupts.pirqs[:count])

    def _perform(self, cmd: int, domain: int, bus: int, devfn: int, offset: int, size: int, value: int) -> Any:
        if self.during is not None:
            self.during(self)
        if cmd == Cmd.CONF_READ:
            err, value = self.view.read(signed(offset), signed(size), self.hardware)
            return op.Done, (err & WORD, value)
        if cmd == Cmd.CONF_WRITE:
            err, value = self.view.write(signed(offset), signed(size), value, self.hardware)
            return op.Done, (err & WORD, value)
        assert self.interrupts is not None
        operations: dict[int, Callable[[], tuple[int, int]]] = {
            Cmd.ENABLE_MSI: self.interrupts.enable_msi, Cmd.DISABLE_MSI: self.interrupts.disable_msi,
            Cmd.DISABLE_MSIX: self.interrupts.disable_msix,
            Cmd.ENABLE_MSIX: partial(self.interrupts.enable_msix, range(value)),
        }  # fmt: skip
        return op.Done, operations.get(cmd, lambda: (-4 & WORD, value))()

    def _perform_block(self, *copied: int) -> Any:
        assert self.interrupts is not None
        return op.Done, self.interrupts.enable_multi_msi(copied[-1])

    def changed(self, front: bool = True) -> None:
        self.engine.deliver("connection", conn.FrontChanged if front else conn.BackChanged)

    def states(self, own: str | None = None, fe: str | None = None) -> None:
        if own is not None:
            self.nodes["own"] = list(Xenbus).index(Xenbus[own])
        if fe is not None:
            self.nodes["fe"] = list(Xenbus).index(Xenbus[fe])

    def connect(self) -> None:
        """From the start to Connected on both sides."""
        self.changed(front=False)
        self.changed()
        self.nodes |= {"sound": 1, "ref": 8, "port": 17}
        self.states(fe="INITIALISED")
        self.changed()
        self.states(fe="CONNECTED")
        self.changed()

    def plug(self) -> None:
        """A round of hot-plug."""
        self.states(own="RECONFIGURING", fe="RECONFIGURING")
        self.changed()
        self.states(fe="CONNECTED")
        self.changed()

    def post(
        self, cmd: int, offset: int = 0, size: int = 4, value: int = 0, devfn: int = 0, info: int = 0
    ) -> None:  # fmt: skip
        self.page |= {
            "cmd": cmd,
            "offset": offset & WORD,
            "size": size,
            "value": value,
            "devfn": devfn,
            "domain": 0,
            "bus": 0,
            "info": info,
        }
        self.flags["active"] = 1

    def ring(self) -> None:
        """The doorbell, and everybody's turn until the machine rests."""
        self.engine.deliver("op", op.Rang)
        self.turn()

    def turn(self) -> None:
        for event in (op.Turn, op.Elapsed):
            if self.engine.takes("op", event):
                self.engine.deliver("op", event)

    def request(
        self, cmd: int = 0, offset: int = 0, size: int = 4, value: int = 0, devfn: int = 0, info: int = 0
    ) -> None:  # fmt: skip
        self.post(cmd, offset, size, value, devfn, info)
        self.ring()

    def finish(self) -> None:
        """What follows a close: the request machine comes to rest, port and page go."""
        if self.engine.takes("connection", conn.AtRest):
            self.engine.deliver("connection", conn.AtRest)
            if self.engine.takes("op", op.Cut):
                self.engine.deliver("op", op.Cut)
            self.engine.deliver("connection", conn.Idle)

    def close(self) -> None:
        """The frontend closes, twice as it does, and the toolstack has taken the device away."""
        self.states(fe="CLOSING")
        self.changed()
        self.finish()
        self.nodes["online"] = 0
        self.states(fe="CLOSED")
        self.changed()

    def lines(self) -> list[Line | Below]:
        """The trace, with a clock that goes a microsecond a line."""
        found = self.recorder.lines()
        for line in found:
            line.t_ns = 1000 * line.seq
        return found


def life() -> list[Line | Below]:
    """A whole ordinary life: connect, a scan with an absent function, reads, a write, MSI-X, an unsound read, MSI refused,
    then granted, MSI-X over it refused, refused by the hypervisor, granted again and turned off; close.
    """
    world = World()
    world.connect()
    for devfn in (0, 8):
        world.request(devfn=devfn)
    world.request(offset=8)
    world.request(offset=6, size=2)
    world.request(Cmd.CONF_WRITE, offset=4, size=2, value=6)
    world.request(Cmd.ENABLE_MSIX, value=3)
    world.request(offset=3, size=4)
    world.request(Cmd.ENABLE_MSI)
    world.request(Cmd.DISABLE_MSI)
    world.request(Cmd.ENABLE_MSI)
    world.request(Cmd.ENABLE_MSIX, value=2)
    world.request(Cmd.DISABLE_MSI)
    world.hypervisor.refusals = [0, 28]
    world.request(Cmd.ENABLE_MSIX, value=2)
    world.request(Cmd.ENABLE_MSIX, value=2)
    world.request(Cmd.DISABLE_MSIX)
    world.close()
    return world.lines()


def text(lines: list[Line | Below], header: Header = HEADER) -> bytes:
    """The file."""
    return b"".join(map(encode, (header, *lines)))
