# SPDX-License-Identifier: Apache-2.0
"""What the connection machine asks of the host: attach and detach functions, map, bind, report.

Everything that the store says is somebody's text. A `num_devs` that is no small number, a `dev-N` that is no
address, a function that is not there or is held by somebody else: each is one line in the log, with the number and
the reason that the error node carries, and the function stays where it was.
"""

from __future__ import annotations

import errno
import re
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from pvpci.impl.address import parse_bdf
from pvpci.impl.cells import FlagsCell, RequestCell, StoreCell
from pvpci.impl.engine import Handler, Result, Watcher
from pvpci.impl.errors import UsageError
from pvpci.impl.host import Bdf, DomId, Function, GrantRef, Host, HostError, Port, Transaction
from pvpci.impl.interrupts import Interrupts
from pvpci.impl.log import Level, Log
from pvpci.impl.requests import Requests
from pvpci.impl.topology import Attached, Topology
from pvpci.model.bookkeeping import due
from pvpci.model.config.compiled import HardwareAccess
from pvpci.model.config.constants import CAP_ID_MSI, CAP_ID_MSIX
from pvpci.model.config.grants import NOTHING, GrantError, Grants
from pvpci.model.config.grants import parse as parse_grants
from pvpci.model.config.identity import Identity, Refused, survey
from pvpci.model.config.view import ConfigView, profile_of
from pvpci.model.connection import Bound, Exported, Mapped, Reconfigured, Released
from pvpci.model.topology import Address

MOST_DEVICES: Final = 1024  #: `num_devs` above it is refused before anything loops (I-25)
_PATH: Final = re.compile("(/[A-Za-z0-9_@-]+)+")
_RETRIES: Final = 100  #: a transaction that is overtaken that often is somebody writing all the time

MOST_ROOTS: Final = 4096  #: as many as 16 segments have buses; more in `root_num` is nobody's list

#: (function, its view, where the guest sees it, whether a driver of the host is on its line)
#: -> what the guest's accesses go through; the recorder's hook
Tap = Callable[[Function, ConfigView, Address, bool], HardwareAccess]


def _pause(microseconds: int) -> None:
    """Everybody waits: a function that changes its power state may not be touched, and its guest has asked for it."""
    time.sleep(microseconds / 1e6)


class Handshake:
    """The effects of `pvpci.model.connection`, for one guest's directory."""

    def __init__(
        self, host: Host, guest: str, domain: DomId, cells: tuple[FlagsCell, RequestCell, StoreCell],
        requests: Requests, topology: Topology, log: Log, tap: Tap, profile: str, recorder: Watcher,
        *, shared_lines: bool = False,
    ) -> None:  # fmt: skip
        self._host, self._guest, self._domain, self._log = host, guest, domain, log
        self._flags, self._request, self._store = cells
        self._requests, self._topology, self._tap, self._profile = requests, topology, tap, profile_of(profile)
        self._recorder, self._shared_lines = recorder, shared_lines
        self._why = (errno.EINVAL, "unknown")
        self._watched = ""
        self._unmap: Callable[[], None] = lambda: None

    @property
    def handlers(self) -> dict[str, Handler]:
        return {
            "begin": self.begin, "export": lambda: (Exported, (self._bring(strict=True),)),
            "reconfigure": lambda: (Reconfigured, (self._bring(strict=False),)),
            "map": self.map, "bind": self.bind, "unbind": self.unbind, "unmap": self.unmap,
            "renew": self.renew, "report": self.report, "warn": self.warn, "release": self.release,
        }  # fmt: skip

    @property
    def watch_token(self) -> str:
        return f"front {self._guest}"

    def _say(self, level: Level, event: str, **fields: object) -> None:
        """A line with a budget of this guest's: what it can cause silences nobody else."""
        self._log.write(level, event, key=f"{event} {self._guest}", guest=self._guest, **fields)

    # The instance

    def begin(self) -> None:
        store, back = self._host.store, self._store.back
        front = store.read(f"{back}/frontend") or ""
        if front.startswith(f"/local/domain/{self._domain}/") and _PATH.fullmatch(front):
            self._store.front = front
        else:
            self._say(Level.WARNING, "frontend path is not the guest's, using the usual one", path=front)
        self._watched = f"{self._store.front}/state"
        store.watch(self._watched, self.watch_token)
        self._say(Level.INFO, "found a device")

    def renew(self) -> None:
        for attached in self._topology.attached:
            attached.interrupts.reset()
            self._try(f"stop {attached.bdf}", lambda attached=attached: attached.view.renew(attached.hardware))  # type: ignore[misc]
        self._say(Level.INFO, "the next kernel of the guest comes")

    def release(self) -> Result:
        if self._watched:
            self._try("stop watching", lambda: self._host.store.unwatch(self._watched, self.watch_token))
            self._watched = ""
        for attached in list(self._topology.attached):
            self._drop(attached)
        self._say(Level.INFO, "released")
        return Released, ()

    def warn(self) -> None:
        self._say(Level.WARNING, "frontend says Connected without a page")

    def report(self) -> None:
        number, text = self._why
        relative = self._store.back.removeprefix("/local/domain/0/")
        node = f"/local/domain/0/error/{relative}/error"
        self._try("write the error node", lambda: self._host.store.write(node, f"{number} {text}"[:1024]))
        self._say(Level.ERROR, "gave up on the device", errno=number, why=text)

    # Page and channel

    def map(self, ref: int) -> Result:
        try:
            page = self._host.map_page(self._domain, GrantRef(ref))
        except HostError as error:
            self._why = (error.errno or errno.EINVAL, f"mapping grant {ref}: {error.what}")
            return Mapped, (0,)
        self._flags.page = self._request.page = self._requests.page = page
        self._unmap = page.unmap
        return Mapped, (1,)

    def bind(self, port: int) -> Result:
        try:
            self._requests.channel = self._host.bind_channel(self._domain, Port(port))
        except HostError as error:
            self._why = (error.errno or errno.EINVAL, f"binding event channel {port}: {error.what}")
            return Bound, (0,)
        self._say(Level.INFO, "connected", port=port)
        return Bound, (1,)

    def unbind(self) -> None:
        channel, self._requests.channel = self._requests.channel, None
        if channel is not None:
            self._try("unbind the channel", channel.unbind)

    def unmap(self) -> None:
        self._flags.page = self._request.page = self._requests.page = None
        self._try("unmap the page", self._unmap)
        self._unmap = lambda: None
        self._say(Level.INFO, "disconnected", requests=self._requests.served)

    # Functions

    def _bring(self, *, strict: bool) -> int:
        """Attach what is listed at 1, detach what is listed at 5. `strict`: a function that cannot be had is a failure.

        After a failure the guest has what it had before, for nothing else was published (C-61).
        """
        before = {attached.bdf for attached in self._topology.attached}
        try:
            if self._brought(strict=strict):
                return 1
        except HostError as error:
            self._why = (error.errno or errno.EIO, error.what)
        for attached in [one for one in self._topology.attached if one.bdf not in before]:
            self._drop(attached)
        return 0

    def _brought(self, *, strict: bool) -> bool:
        for _ in range(_RETRIES):
            tx = self._host.store.begin()
            try:
                ok = self._bring_once(tx, strict=strict)
            except BaseException:
                tx.abort()
                raise
            if not ok:
                tx.abort()
                return False
            if tx.commit():
                return True
        self._why = (errno.EAGAIN, "the device's directory is being written all the time")
        return False

    def _bring_once(self, tx: Transaction, *, strict: bool) -> bool:
        back = self._store.back
        count = _number(tx.read(f"{back}/num_devs"), MOST_DEVICES)
        if count is None:
            said = tx.read(f"{back}/num_devs")
            number = errno.ENOENT if said is None else errno.EINVAL
            self._why = (number, f"reading num_devs: {said!r} is not 0 to {MOST_DEVICES}")
            return False
        for index in range(count):
            wish = _number(tx.read(f"{back}/state-{index}"), 9)
            if wish is None:
                continue
            try:
                if any(due(wish, False)) or any(due(wish, True)):
                    self._bring_index(tx, index, wish)
            except (HostError, Refused, GrantError, UsageError) as error:
                number = error.errno if isinstance(error, HostError) else errno.EINVAL
                self._why = (number or errno.EINVAL, f"dev-{index}: {error}")
                self._say(Level.WARNING, "cannot attach", device=index, why=str(error))
                if strict:
                    return False
        return self._tell_roots(tx)

    def _bring_index(self, tx: Transaction, index: int, wish: int) -> None:
        back = self._store.back
        bdf = parse_bdf(tx.read(f"{back}/dev-{index}") or "")
        attached = self._topology.of(bdf)
        what = due(wish, attached is not None)
        if what.drop and attached is not None:
            self._drop(attached)
        if what.publish:
            grants = parse_grants(tx.read(f"{back}/opts-{index}") or "")
            mine = attached or self._attach(bdf, grants)
            try:
                tx.write(f"{back}/vdev-{index}", mine.vdev)
                tx.write(f"{back}/state-{index}", "3")
            except BaseException:
                if attached is None:
                    self._drop(mine)
                raise

    def _tell_roots(self, tx: Transaction) -> bool:
        """The list is counted after it is written, and only grows."""
        back = self._store.back
        said = tx.read(f"{back}/root_num")
        count = 0 if said is None else _number(said, MOST_ROOTS)
        if count is None:
            self._why = (errno.EINVAL, f"reading root_num: {said!r} is not 0 to {MOST_ROOTS}")
            return False
        told = [tx.read(f"{back}/root-{index}") or "" for index in range(count)]
        new = self._topology.new_roots(told)
        for index, root in enumerate(new, count):
            tx.write(f"{back}/root-{index}", root)
        if new:
            tx.write(f"{back}/root_num", str(count + len(new)))
        return True

    def _attach(self, bdf: Bdf, grants: Grants) -> Attached:
        layout = self._profile.layout
        function = self._host.open_function(bdf)
        record = self._recorder.of(str(bdf))
        try:
            identity = survey(function, bridges=layout.bridges, walk=layout.walk)
            shared = self._withheld(function, identity)
            identity = replace(identity, line_shared=shared)
            view = ConfigView(identity, self._profile, grants, pause=_pause)
            address = self._topology.place(bdf, function.is_virtual)
            hardware = self._tap(function, view, address, shared)
            vectors = Interrupts(
                self._host, self._domain, function, hardware, identity.capabilities, self._log, self._guest, record,
                shared=shared,
            )  # fmt: skip
            attached = Attached(function, view, hardware, address, vectors)
            view.attach(attached.hardware)
            self._topology.add(attached)
        except BaseException:
            record.gone()
            function.close()
            raise
        self._say(Level.INFO, "attached", function=str(bdf), slot=attached.vdev)
        if grants != NOTHING:
            self._say(Level.WARNING, "granted beyond the usual", function=str(bdf), grants=str(grants))
        return attached

    def _withheld(self, function: Function, identity: Identity) -> bool:
        """A driver of the host is on the function's line, and nobody said that it can live with that."""
        if not function.irq or self._shared_lines or (driver := self._host.line_shared(function)) is None:
            return False
        if not identity.capabilities.keys() & {CAP_ID_MSI, CAP_ID_MSIX}:
            what = f"{function.bdf}: busy: its line interrupt is also that of {driver}, and it has no messages"
            raise HostError(f"{what}; serve with --shared-lines if {driver} can live with that", errno.EBUSY)
        self._say(Level.WARNING, "no line interrupt, messages only", function=str(function.bdf), shared=driver)
        return True

    def _drop(self, attached: Attached) -> None:
        self._topology.remove(attached)
        if not attached.interrupts.reset():
            # It stays open, so it is nobody else's: its vectors would be, too.
            self._say(
                Level.ERROR, "kept from everybody: its interrupts cannot be turned off", function=str(attached.bdf)
            )
            return
        self._try(f"stop {attached.bdf}", lambda: attached.view.detach(attached.hardware))
        self._try(f"reset {attached.bdf}", attached.function.reset, quiet=(errno.ENOTTY,))
        attached.interrupts.end()
        self._try(f"close {attached.bdf}", attached.function.close)
        self._say(Level.INFO, "detached", function=str(attached.bdf))

    def _try(self, what: str, call: Callable[[], object], quiet: tuple[int, ...] = ()) -> None:
        try:
            call()
        except HostError as error:
            if error.errno not in quiet:
                self._say(Level.WARNING, f"cannot {what}", why=error.what)


def _number(text: str | None, most: int) -> int | None:
    """A decimal number of at most four digits and not above `most`; None for anything else."""
    if text is None or not (text.isascii() and text.isdigit()) or len(text) > 4 or int(text) > most:
        return None
    return int(text)
