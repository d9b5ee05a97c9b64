# SPDX-License-Identifier: Apache-2.0
"""The functions of one guest: attached, taken over from a process that died, and dropped.

What a guest was told of a function outlives the process that told it: it is kept at each change (`pvpci.impl.kept`), and a
function is taken over as it was kept or not at all.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from dataclasses import replace

from pvpci.impl.engine import FunctionWatcher, Watcher
from pvpci.impl.host import Bdf, DomId, Function, Host, HostError
from pvpci.impl.interrupts import Interrupts
from pvpci.impl.kept import FunctionNote, Kept
from pvpci.impl.kept import note as made_of
from pvpci.impl.log import Level, Log
from pvpci.impl.topology import Attached, Topology, parse_vdev
from pvpci.model.config.compiled import HardwareAccess
from pvpci.model.config.constants import CAP_ID_MSI, CAP_ID_MSIX
from pvpci.model.config.grants import NOTHING, GrantError, Grants
from pvpci.model.config.grants import parse as parse_grants
from pvpci.model.config.identity import Identity, Refused, survey
from pvpci.model.config.view import ConfigView, profile_of
from pvpci.model.topology import Address

#: (function, its view, where the guest sees it, whether a driver of the host is on its line)
#: -> what the guest's accesses go through; the recorder's hook
Tap = Callable[[Function, ConfigView, Address, bool], HardwareAccess]


def _pause(microseconds: int) -> None:
    """Everybody waits: a function that changes its power state may not be touched, and its guest has asked for it."""
    time.sleep(microseconds / 1e6)


class Functions:
    """What `impl.handshake` does to functions, and how it says so."""

    def __init__(
        self, host: Host, guest: str, domain: DomId, topology: Topology, kept: Kept, log: Log, tap: Tap, profile: str,
        recorder: Watcher, *, shared_lines: bool = False,
    ) -> None:  # fmt: skip
        self._host, self._guest, self._domain, self._topology = host, guest, domain, topology
        self._kept, self._log, self._tap, self._profile = kept, log, tap, profile_of(profile)
        self._recorder, self._shared_lines = recorder, shared_lines

    def say(self, level: Level, event: str, **fields: object) -> None:
        """A line with a budget of this guest's: what it can cause silences nobody else."""
        self._log.write(level, event, key=f"{event} {self._guest}", guest=self._guest, **fields)

    def open(self, bdf: Bdf, grants: Grants) -> Attached:
        function = self._host.open_function(bdf)
        try:
            return self._attach(function, grants)
        except BaseException:
            function.close()
            raise

    def _attach(self, function: Function, grants: Grants, old: tuple[FunctionNote, str] | None = None) -> Attached:
        """`old`: what the guest has of it already, and where it sees it. ValueError: that cannot be."""
        bdf, layout = function.bdf, self._profile.layout
        identity = survey(function, bridges=layout.bridges, walk=layout.walk)
        shared = old[0].line_shared if old is not None else self._withheld(function, identity)
        identity = replace(identity, line_shared=shared)
        if old is not None:
            if old[0].profile != self._profile.name:
                raise ValueError(f"it was served by the rules of {old[0].profile[:40]!a}")
            identity = replace(identity, command=old[0].command, cache_and_latency=old[0].latency)
        view = ConfigView(identity, self._profile, grants, pause=_pause)
        record: FunctionWatcher | None = None
        held: list[Bdf] = []
        if old is not None:
            view.remember(old[0].state)
            held = self._topology.hold(bdf, function.is_virtual, parse_vdev(old[1]))
        try:
            address = self._topology.place(bdf, function.is_virtual)
            hardware = self._tap(function, view, address, shared)
            record = self._recorder.of(str(bdf))
            last: tuple[object, ...] = ()
            what = f"keep {bdf}"

            def keep() -> None:
                nonlocal last
                now = (view.snapshot(), vectors.vectors)
                if now != last:
                    last = now
                    self.attempt(what, lambda: self._kept.keep_function(bdf, self.note(attached)))

            vectors = Interrupts(
                self._host, self._domain, function, hardware, identity.capabilities, self._log, self._guest, record,
                shared=shared, keep=keep,
            )  # fmt: skip
            attached = Attached(function, view, hardware, address, vectors, keep)
            if old is None:
                view.attach(attached.hardware)
            self._topology.add(attached)
        except BaseException:
            if record is not None:
                record.gone()
            raise
        finally:
            self._topology.let_go(held)
        last = (view.snapshot(), vectors.vectors)
        if old is not None and not vectors.resume(old[0].vectors, self._kept.numbers):
            self.say(Level.ERROR, "its interrupts can neither be used nor turned off", function=str(bdf))
        self.say(Level.INFO, "attached" if old is None else "taken over", function=str(bdf), slot=attached.vdev)
        if grants != NOTHING:
            self.say(Level.WARNING, "granted beyond the usual", function=str(bdf), grants=str(grants))
        return attached

    def note(self, attached: Attached) -> FunctionNote:
        view = attached.view
        return made_of(
            self._profile.name, str(view.grants), view.identity.command, view.identity.cache_and_latency,
            view.identity.line_shared, view.remembered(), attached.interrupts.vectors,
        )  # fmt: skip

    def _withheld(self, function: Function, identity: Identity) -> bool:
        """A driver of the host is on the function's line, and nobody said that it can live with that."""
        if not function.irq or self._shared_lines or (driver := self._host.line_shared(function)) is None:
            return False
        if not identity.capabilities.keys() & {CAP_ID_MSI, CAP_ID_MSIX}:
            what = f"{function.bdf}: busy: its line interrupt is also that of {driver}, and it has no messages"
            raise HostError(f"{what}; serve with --shared-lines if {driver} can live with that", errno.EBUSY)
        self.say(Level.WARNING, "no line interrupt, messages only", function=str(function.bdf), shared=driver)
        return True

    def renew(self, attached: Attached) -> None:
        """For the next kernel of the same guest."""
        attached.interrupts.reset()
        self.attempt(f"stop {attached.bdf}", lambda: attached.view.renew(attached.hardware))
        attached.keep()

    def drop(self, attached: Attached) -> None:
        self._topology.remove(attached)
        if not attached.interrupts.reset():
            # It stays open, so it is nobody else's: its vectors would be, too.
            self.say(
                Level.ERROR, "kept from everybody: its interrupts cannot be turned off", function=str(attached.bdf)
            )
            return
        self.attempt(f"stop {attached.bdf}", lambda: attached.view.detach(attached.hardware))
        self.attempt(f"reset {attached.bdf}", attached.function.reset, quiet=(errno.ENOTTY,))
        attached.interrupts.end()
        self.attempt(f"close {attached.bdf}", attached.function.close)
        self.attempt(f"forget {attached.bdf}", lambda: self._kept.forget_function(attached.bdf))
        self.say(Level.INFO, "detached", function=str(attached.bdf))

    def take_up(self, function: Function, slot: str) -> str:
        """As the one who died left it. Else why that cannot be; then it is stopped, and goes with the instance."""
        bdf = function.bdf
        found = self._kept.function(bdf)
        why = "nothing usable was kept of it" if found is None else ""
        if found is not None:
            try:
                self._attach(function, parse_grants(found.grants), (found, slot))
                return ""
            except (HostError, Refused, GrantError, ValueError) as error:
                why = str(error)
        self.say(Level.WARNING, "cannot take over", function=str(bdf), why=why)
        try:
            attached = self._attach(function, NOTHING)
            if found is not None:
                attached.interrupts.resume(found.vectors, self._kept.numbers)
        except (HostError, Refused) as error:
            self.say(Level.WARNING, "cannot stop", function=str(bdf), why=str(error))
            self.attempt(f"close {bdf}", function.close)
        return why

    def attempt(self, what: str, call: Callable[[], object], quiet: tuple[int, ...] = ()) -> None:
        try:
            call()
        except HostError as error:
            if error.errno not in quiet:
                self.say(Level.WARNING, f"cannot {what}", why=error.what)
