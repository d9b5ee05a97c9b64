# SPDX-License-Identifier: Apache-2.0
"""What tests need around one instance over the fake host: a recorder that remembers, and a guest's acts by hand."""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.fake_host import EDU, FakeChannel, FakeHost, FakePage, device

from pvpci.impl.host import Bdf, DomId, Function
from pvpci.impl.instance import Instance
from pvpci.impl.log import Level, Log
from pvpci.impl.monitor import EXTRA, monitor
from pvpci.model import connection, op, wire
from pvpci.model.config.compiled import HardwareAccess
from pvpci.model.config.view import ConfigView
from pvpci.model.kernel.compiled import group
from pvpci.model.kernel.visible import Visible
from pvpci.model.topology import TOPOLOGIES, Address

GUEST = DomId(7)
REF, PORT = 8, 3
PLAIN = group([connection.MACHINE, op.MACHINE])
WATCHED = group([connection.MACHINE, op.MACHINE], extra=EXTRA)


class OfFunction:
    """The recorder of a function's machine. `seen`: as above. `is_gone`: the function went."""

    def __init__(self, function: str = "") -> None:
        self.function, self.is_gone = function, False
        self.seen: list[tuple[Visible, tuple[int, ...]]] = []

    def step(self, visible: Visible, values: tuple[int, ...]) -> None:
        self.seen.append((visible, values))

    def kept(self, numbers: Sequence[int], *, msix: bool, whole: bool) -> None:
        """What is taken up is in the function."""

    def gone(self) -> None:
        self.is_gone = True


class Remembering:
    """A recorder; `kinds` are the kinds of what it saw."""

    def __init__(self) -> None:
        self.seen: list[tuple[Visible, tuple[int, ...]]] = []

    def step(self, visible: Visible, values: tuple[int, ...]) -> None:
        self.seen.append((visible, values))

    def append(self, entry: tuple[int, Visible, tuple[int, ...]]) -> None:
        self.seen.append(entry[1:])

    def of(self, function: str) -> OfFunction:
        return OfFunction(function)

    def vectors(self, numbers: Sequence[int]) -> None:
        """What is handed out is in the page."""

    @property
    def kinds(self) -> list[str]:
        return [visible.kind for visible, _ in self.seen]


def untapped(function: Function, view: ConfigView, address: Address, shared: bool) -> HardwareAccess:
    del view, address, shared
    return function


@dataclass
class Stage:
    """One guest's device and the instance that serves it, moved by hand."""

    watched: bool = True
    functions: tuple[Bdf, ...] = (EDU,)
    topology: str = "vpci"
    multi_msi: bool = False
    host: FakeHost = field(default_factory=FakeHost)
    text: io.StringIO = field(default_factory=io.StringIO)
    recorder: Remembering = field(default_factory=Remembering)

    def __post_init__(self) -> None:
        self.back, self.front = device(self.host, GUEST, *self.functions)
        self.log = Log(self.text, level=Level.DEBUG, colour=False)
        self.page: FakePage = self.host.grant(GUEST, REF)
        self.channel: FakeChannel = self.host.port(GUEST, PORT)
        self.instance = Instance(
            self.host.as_host, GUEST, 0, group=WATCHED if self.watched else PLAIN, log=self.log, recorder=self.recorder,
            tap=untapped, monitor=monitor() if self.watched else None, back=self.back, topology=TOPOLOGIES[self.topology],
            multi_msi=self.multi_msi,
        )  # fmt: skip

    def own(self) -> str | None:
        return self.host.store.read(f"{self.back}/state")

    def say(self, state: str) -> None:
        """The guest writes its state, and the backend hears of it."""
        self.host.store.write(f"{self.front}/state", state)
        self.hear()

    def keys(self, ref: object = REF, port: object = PORT, magic: str = "7") -> None:
        for key, text in (("pci-op-ref", ref), ("event-channel", port), ("magic", magic)):
            self.host.store.write(f"{self.front}/{key}", str(text))

    def tool(self, **nodes: str) -> None:
        """The toolstack writes into the backend's directory."""
        for key, text in nodes.items():
            self.host.store.write(f"{self.back}/{key.replace('_', '-') if key != 'num_devs' else key}", text)
        self.hear()

    def hear(self) -> None:
        """As the daemon does after any change."""
        self.instance.changed(back=True, front=True)

    def connect(self) -> None:
        self.hear()
        self.keys()
        self.say("3")
        self.say("4")
        self.ring()  # a port that was just bound is pending

    def ring(self) -> None:
        self.channel.ring()
        self.instance.rang()
        while self.instance.wants_turn:
            self.instance.turn()

    def post(self, cmd: int = 0, devfn: int = 0, offset: int = 0, size: int = 4, value: int = 0, **more: int) -> None:
        """A request in the page, with its flag."""
        words = [cmd, 0, more.get("domain", 0), more.get("bus", 0), devfn, offset, size, value, more.get("info", 0)]
        data = wire.OP_WORDS.pack(*(word & 0xFFFFFFFF for word in words))
        self.page.data[wire.OP : wire.OP + len(data)] = data
        self.page.data[0] |= 1

    def ask(self, **request: int) -> tuple[int, int]:
        """The answer (err, value) to a request; AssertionError if there is none."""
        self.post(**request)
        heard = self.channel.heard
        self.ring()
        assert (0, heard + 1) == (self.page.data[0] & 1, self.channel.heard)
        answer = wire.parse_op(bytes(self.page.data[wire.OP : wire.OP + 36]))
        return answer.err, answer.value

    def pass_time(self, seconds: float) -> None:
        """Let a pause end."""
        time.sleep(seconds)
        self.instance.elapsed()
