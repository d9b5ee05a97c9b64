# SPDX-License-Identifier: Apache-2.0
"""One guest's directory, served: both machines over one state, and what makes them move.

`rang`, `turn` and `elapsed` move the request machine, `changed` the connection machine. After each of them,
whatever the one machine waits for of the other is delivered, until both rest.

A guest that writes its nodes without pause overtakes our transactions. It delays nobody but itself: its connection is tried
again after a pause that grows while that lasts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from pvpci.impl.cells import FlagsCell, RequestCell, StoreCell
from pvpci.impl.engine import Cell, Engine, Monitor, Overtaken, Watcher
from pvpci.impl.functions import Tap
from pvpci.impl.fused import fuse
from pvpci.impl.handshake import Handshake
from pvpci.impl.host import Channel, DomId, Host
from pvpci.impl.log import Log
from pvpci.impl.requests import OFTEN, Requests
from pvpci.impl.topology import Topology
from pvpci.model import connection, op
from pvpci.model.kernel.compiled import Group
from pvpci.model.kernel.records import Event
from pvpci.model.topology import VPCI, Bus

_OP: Final = op.MACHINE.name
_CONNECTION: Final = connection.MACHINE.name
_SHORTEST_STALL: Final = 0.002  #: seconds until a transaction that was overtaken is tried again
_LONGEST_STALL: Final = 0.25
_IDLE: Final = op.MACHINE.places.index(op.At.IDLE)
_NOTHING_DUE: Final = frozenset({_IDLE, op.MACHINE.places.index(op.At.LEFT)})


class Instance:
    """One `<domid>/<devid>`. Raises `impl.engine.Fault` if machine and world fall apart, `HostError` if the store does."""

    def __init__(
        self, host: Host, domain: DomId, device: int, *, group: Group, log: Log, recorder: Watcher, tap: Tap,
        monitor: Monitor | None = None, back: str, profile: str = "strict", topology: Bus = VPCI,
        shared_lines: bool = False, multi_msi: bool = False,
    ) -> None:  # fmt: skip
        self.guest = f"{domain}/{device}"
        self.topology = Topology(topology)
        self.requests = Requests(self.guest, self.topology, log, recorder)
        flags, request = FlagsCell(), RequestCell()
        store = StoreCell(host.store, back, f"/local/domain/{domain}/device/pci/{device}")
        self._handshake = Handshake(
            host, self.guest, domain, (flags, request, store), self.requests, self.topology, log, tap, profile, recorder,
            shared_lines=shared_lines,
        )  # fmt: skip
        cells: dict[str, Cell] = {"flags": flags, "request": request, "store": store}
        self.engine = Engine(group, {**self.requests.handlers, **self._handshake.handlers}, cells, recorder, monitor)
        self._state = self.engine.state
        self._state.allowed_multi_msi = int(multi_msi)
        self._back = self._front = False
        self._stall, self._stalled_until = 0.0, 0.0
        #: the request machine's functions by place and event; the monitor sees every step, so with it the engine does them
        self._hot: Mapping[tuple[int, type[Event]], Callable[..., None]] = {}
        if monitor is None:
            self._hot = fuse(
                group, op.MACHINE, self.engine.state, self.requests.handlers, cells, recorder.append, time.monotonic_ns,
                self.requests, OFTEN,
            )  # fmt: skip
        self._on_rang = self._hot.get((_IDLE, op.Rang), partial(self.engine.deliver, _OP, op.Rang))

    @property
    def channel(self) -> Channel | None:
        return self.requests.channel

    @property
    def token(self) -> str:
        """Of the watch on the frontend's state."""
        return self._handshake.watch_token

    @property
    def is_over(self) -> bool:
        """No instance behind the node: this object may be forgotten until the node changes again."""
        return self.engine.at(_CONNECTION) is connection.At.AWAY and not self._back

    @property
    def is_quiet(self) -> bool:
        """Nothing is due until somebody else does something."""
        return self.engine.state.my_at in _NOTHING_DUE and not self._stall

    @property
    def wants_turn(self) -> bool:
        return self.engine.at(_OP) is op.At.TURN

    @property
    def pause_left(self) -> float | None:
        """Seconds until a held-back end of interrupt is due; None if none is."""
        if self.engine.at(_OP) is not op.At.PAUSED:
            return None
        return max(0.0, self.requests.pause_until - time.monotonic())

    @property
    def stall_left(self) -> float | None:
        """Seconds until the connection is tried again; None if it does not wait for that."""
        return max(0.0, self._stalled_until - time.monotonic()) if self._stall else None

    def rang(self) -> bool:
        """The channel is readable. True if nothing is due of us afterwards, as `is_quiet`."""
        state = self._state
        if state.my_at == _IDLE and self.requests.take():
            self._on_rang()
        return state.my_at == _IDLE and not self._stall

    def turn(self) -> None:
        """Everybody else had one."""
        if self.wants_turn:
            self._deliver(op.Turn)

    def elapsed(self) -> None:
        if self.engine.at(_OP) is op.At.PAUSED:
            self._deliver(op.Elapsed)

    def _deliver(self, event: type[Event]) -> None:
        run = self._hot.get((self.engine.state.my_at, event))
        if run is None:
            self.engine.deliver(_OP, event)
        else:
            run()

    def changed(self, *, back: bool = False, front: bool = False) -> None:
        """Something changed in our directory (`back`), or the frontend's state was written (`front`)."""
        self._back |= back
        self._front |= front
        self.settle()

    def settle(self) -> None:
        """Let the connection move as far as it can, unless it waits until the guest writes less."""
        if self._stall and time.monotonic() < self._stalled_until:
            return
        try:
            self._settle()
        except Overtaken:
            self._stall = min(_LONGEST_STALL, max(_SHORTEST_STALL, 2 * self._stall))
            self._stalled_until = time.monotonic() + self._stall
        else:
            self._stall = 0.0

    def _settle(self) -> None:
        engine = self.engine
        engine.go(_CONNECTION)
        while True:
            if self._back and engine.takes(_CONNECTION, connection.BackChanged):
                self._back = False
                engine.deliver(_CONNECTION, connection.BackChanged)
            elif self._front and engine.takes(_CONNECTION, connection.FrontChanged):
                self._front = False
                engine.deliver(_CONNECTION, connection.FrontChanged)
            elif engine.takes(_CONNECTION, connection.AtRest) and engine.at(_OP) in op.REST:
                engine.deliver(_CONNECTION, connection.AtRest)
                if engine.takes(_OP, op.Cut):
                    engine.deliver(_OP, op.Cut)
            elif engine.takes(_CONNECTION, connection.Idle) and engine.at(_OP) is op.At.IDLE:
                engine.deliver(_CONNECTION, connection.Idle)
            else:
                return

    def stop(self) -> None:
        """Service ends in order: what the guest holds is let go, and the store says so. Then `is_over`, unless stalled."""
        self.settle()
        if self.engine.takes(_CONNECTION, connection.Stop):
            self.engine.deliver(_CONNECTION, connection.Stop)
            self.settle()

    def forget(self) -> None:
        """Service ends here and now, whatever the machines think: nothing stays mapped, bound or attached."""
        self._handshake.unbind()
        self._handshake.unmap()
        self._handshake.release()
