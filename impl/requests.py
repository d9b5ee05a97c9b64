# SPDX-License-Identifier: Apache-2.0
"""What the request machine asks of the host: find, perform, ring, give back.

A function that does not answer is the host's trouble, not the guest's: the guest is told "operation failed" and the
line in the log says why.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

from pvpci.impl.engine import Handler, Result, Watcher
from pvpci.impl.host import Channel, HostError, Page
from pvpci.impl.interrupts import Interrupts
from pvpci.impl.log import Log
from pvpci.impl.topology import Attached, Topology
from pvpci.model import wire
from pvpci.model.op import Clock, Done, Found, Reach
from pvpci.model.wire import Cmd, Err, signed

_WORD: Final = 0xFFFFFFFF
#: A frontend gives up after two seconds. What takes longer than this is not answered any more.
LATE_NS: Final = 1_000_000_000
TICK_SECONDS: Final = 0.004
_UNKNOWN: Final[Result] = (Found, (0, 0))
_KNOWN: Final[tuple[Result, ...]] = tuple((Found, (1, reach)) for reach in range(len(Reach)))
_READ: Final = int(Cmd.CONF_READ)


#: rows that a read of configuration space takes, where others lead to the same place
OFTEN: Final = (
    "TAKEN->CLAIMED", "ASKED->ANSWERED (success)", "ERR_STORED->VALUE_STORED (differs)",
    "ERR_STORED->VALUE_STORED (echo)", "VALUE_STORED->STORED", "TOLD->AGAIN", "AGAIN->RETURNING", "RETAKEN->CLAIMED",
)  # fmt: skip


class Requests:
    """The effects of `pvpci.model.op`, for one guest."""

    def __init__(
        self, guest: str, topology: Topology, log: Log, recorder: Watcher, clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self.page: Page | None = None
        self.vectors: Sequence[int] = ()
        self.pause_until = 0.0  #: when a held-back end of interrupt is due, on the monotonic clock in seconds
        self.served = 0  #: requests asked for
        self.find = topology.find
        self.attached: Attached | None = None  #: the function that the request is for
        self.began = 0  #: when it was looked for, ns
        self._guest, self._log, self._clock = guest, log, clock
        self._recorder = recorder
        self.channel = None

    @property
    def channel(self) -> Channel | None:
        return self._channel

    @channel.setter
    def channel(self, channel: Channel | None) -> None:
        self._channel = channel
        # Looked up once. They are not called while there is none: proved (I-33).
        self.take: Callable[[], bool] = channel.take if channel else _nothing
        self.ring: Callable[[], object] = channel.notify if channel else _nothing
        self.give_back: Callable[[], object] = channel.unmask if channel else _nothing

    @property
    def handlers(self) -> dict[str, Handler]:
        return {
            "seek": self.seek, "perform": self.perform, "perform_block": self.perform_block,
            "ask_clock": self.ask_clock, "hand_out": self.hand_out, "notify": self.notify, "unmask": self.unmask,
            "wait": self.wait, "undo": self.undo,
        }  # fmt: skip

    def print_effect(self, name: str, arguments: Sequence[str], results: Sequence[str]) -> list[str] | None:
        """For the hot path: the same as the methods below, without calls and with the time that is known anyway."""
        match name:
            case "seek":
                return [
                    "host.began = now",
                    "host.served += 1",
                    f"host.attached = attached = host.find({', '.join(arguments)})",
                    f"{', '.join(results)} = (0, 0) if attached is None else (1, attached.view.reach)",
                ]
            case "ask_clock":
                return [f"{results[0]} = now - host.began > {LATE_NS}"]
            case "notify" | "unmask":
                call = {"notify": "host.ring()", "unmask": "host.give_back()"}[name]
                return ["try:", f" {call}", "except HostError as error:", " host.gone(error)"]
        return None

    def seek(self, domain: int, bus: int, devfn: int) -> Result:
        self.began = self._clock()
        self.served += 1
        attached = self.attached = self.find(domain, bus, devfn)
        if attached is None:
            return _UNKNOWN
        return _KNOWN[attached.view.reach]

    def perform(self, cmd: int, domain: int, bus: int, devfn: int, offset: int, size: int, value: int) -> Result:
        del domain, bus, devfn  # found, and not to be looked up twice
        attached = self.attached
        assert attached is not None  # proved: looked up before anything is done (I-34)
        try:
            if (
                cmd == _READ
                and size == 4
                and (dword := attached.view.read_dword(offset, attached.hardware)) is not None
            ):
                return Done, (0, dword)
            if cmd == Cmd.CONF_READ:
                err, answer = attached.view.read(signed(offset), signed(size), attached.hardware)
            elif cmd == Cmd.CONF_WRITE:
                err, answer = attached.view.write(signed(offset), signed(size), value, attached.hardware)
                attached.keep()
                if attached.view.warnings:
                    self._report(attached)
            else:
                err, answer = self._interrupt(attached.interrupts, cmd, value)
        except HostError as error:
            self._log.warning(
                "function does not answer",
                key=f"hw {self._guest}",
                guest=self._guest,
                function=str(attached.bdf),
                why=error.what,
            )
            err, answer = Err.OP_FAILED, 0
        return Done, (err & _WORD, answer & _WORD)

    def perform_block(self, *copied: int) -> Result:
        """For the request that says in its last word, `info`, how many messages."""
        attached = self.attached
        assert attached is not None  # as above
        return Done, attached.interrupts.enable_multi_msi(copied[-1])

    def _interrupt(self, interrupts: Interrupts, cmd: int, count: int) -> tuple[int, int]:
        if cmd == Cmd.ENABLE_MSI:
            return interrupts.enable_msi()
        if cmd == Cmd.DISABLE_MSI:
            return interrupts.disable_msi()
        if cmd == Cmd.DISABLE_MSIX:
            return interrupts.disable_msix()
        # The list is looked at once, and the count is the copy's (XSA-155).
        found = self.page.copy(wire.MSIX_ENTRIES, wire.MSIX_ENTRY.size * count)  # type: ignore[union-attr]
        answer = interrupts.enable_msix([entry for _, entry in wire.parse_entries(found, count)])
        self.vectors = tuple(interrupts.pirqs)
        return answer

    def undo(self) -> None:
        """What a process that died may have begun of this enable is turned off again, as after one that failed."""
        assert self.attached is not None
        self.attached.interrupts.reset()

    def ask_clock(self) -> Result:
        return Clock, (int(self._clock() - self.began > LATE_NS),)

    def hand_out(self, count: int) -> None:
        self._recorder.vectors(self.vectors[:count])
        for index in range(count):
            self.page.store16(wire.MSIX_ENTRIES + wire.MSIX_ENTRY.size * index, self.vectors[index])  # type: ignore[union-attr]

    def notify(self) -> None:
        try:
            self.ring()
        except HostError as error:
            self.gone(error)

    def unmask(self) -> None:
        try:
            self.give_back()
        except HostError as error:
            self.gone(error)

    def wait(self, ticks: int) -> None:
        self.pause_until = self._clock() / 1e9 + ticks * TICK_SECONDS

    def gone(self, error: HostError) -> None:
        """A guest that is dying has closed its end; the store will say so presently."""
        self._log.debug("guest's channel is gone", key=f"channel {self._guest}", guest=self._guest, why=error.what)

    def _report(self, attached: Attached) -> None:
        for notice in attached.view.warnings:
            self._log.warning(str(notice), key=f"notice {self._guest}", guest=self._guest, function=str(attached.bdf))
        attached.view.warnings.clear()


def _nothing() -> bool:
    return False
