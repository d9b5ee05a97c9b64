# SPDX-License-Identifier: Apache-2.0
"""What the connection machine asks of the host: attach and detach functions, map, bind, report.

Everything that the store says is somebody's text. A `num_devs` that is no small number, a `dev-N` that is no
address, a function that is not there or is held by somebody else: each is one line in the log, with the number and
the reason that the error node carries, and the function stays where it was.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable
from typing import Final

from pvpci.impl.address import parse_bdf
from pvpci.impl.cells import FlagsCell, RequestCell, StoreCell
from pvpci.impl.engine import Handler, Result, Watcher
from pvpci.impl.errors import UsageError
from pvpci.impl.functions import Functions, Tap
from pvpci.impl.host import Bdf, DomId, Function, GrantRef, Host, HostError, Port, Transaction
from pvpci.impl.kept import Kept
from pvpci.impl.log import Level, Log
from pvpci.impl.requests import Requests
from pvpci.impl.topology import Topology
from pvpci.model.bookkeeping import due
from pvpci.model.config.grants import GrantError
from pvpci.model.config.grants import parse as parse_grants
from pvpci.model.config.identity import Refused
from pvpci.model.connection import Bound, Exported, Mapped, Recalled, Reconfigured, Released, TakenOver

MOST_DEVICES: Final = 1024  #: `num_devs` above it is refused before anything loops (I-25)
_PATH: Final = re.compile("(/[A-Za-z0-9_@-]+)+")
_RETRIES: Final = 100  #: a transaction that is overtaken that often is somebody writing all the time

MOST_ROOTS: Final = 4096  #: as many as 16 segments have buses; more in `root_num` is nobody's list


class Handshake:
    """The effects of `pvpci.model.connection`, for one guest's directory."""

    def __init__(
        self, host: Host, guest: str, domain: DomId, cells: tuple[FlagsCell, RequestCell, StoreCell],
        requests: Requests, topology: Topology, log: Log, tap: Tap, profile: str, recorder: Watcher,
        *, shared_lines: bool = False,
    ) -> None:  # fmt: skip
        self._host, self._guest, self._domain = host, guest, domain
        self._flags, self._request, self._store = cells
        self._requests, self._topology = requests, topology
        self._why = (errno.EINVAL, "unknown")
        self._kept, self._is_kept = Kept(host.store, self._store.back, host.notes), False
        self._functions = Functions(
            host, guest, domain, topology, self._kept, log, tap, profile, recorder, shared_lines=shared_lines
        )
        self._watched, self._ref = "", 0
        self._unmap: Callable[[], None] = lambda: None

    @property
    def handlers(self) -> dict[str, Handler]:
        return {
            "begin": self.begin, "recall": self.recall, "take_over": self.take_over,
            "export": lambda: (Exported, (self._bring(strict=True),)),
            "reconfigure": lambda: (Reconfigured, (self._bring(strict=False),)),
            "map": self.map, "bind": self.bind, "unbind": self.unbind, "unmap": self.unmap, "ring": self._requests.notify,
            "renew": self.renew, "report": self.report, "warn": self.warn, "release": self.release,
        }  # fmt: skip

    @property
    def watch_token(self) -> str:
        return f"front {self._guest}"

    # The instance

    def begin(self) -> None:
        store, back = self._host.store, self._store.back
        front = store.read(f"{back}/frontend") or ""
        if front.startswith(f"/local/domain/{self._domain}/") and _PATH.fullmatch(front):
            self._store.front = front
        else:
            self._functions.say(Level.WARNING, "frontend path is not the guest's, using the usual one", path=front)
        if not self._is_kept:
            self._kept.begin()
        self._watched = f"{self._store.front}/state"
        store.watch(self._watched, self.watch_token)
        self._functions.say(Level.INFO, "found a device")

    def recall(self) -> Result:
        found = self._kept.keys()
        self._is_kept = found is not None
        return Recalled, (int(self._is_kept), *(found or (0, 0)))

    def take_over(self) -> Result:
        self._is_kept = False
        self._functions.say(Level.WARNING, "a backend has died with this guest's functions, taking them over")
        try:
            listed = self._listed()
        except HostError as error:
            self._why = (error.errno or errno.EIO, error.what)
            return TakenOver, (0, 0)
        opened: dict[Bdf, Function] = {}
        try:
            for bdf, _ in listed:
                opened[bdf] = self._host.open_function(bdf)
        except HostError as error:
            if error.errno == errno.EBUSY:
                for function in opened.values():
                    self._functions.attempt(f"close {function.bdf}", function.close)
                self._stop_watching()
                self._functions.say(Level.ERROR, "somebody serves this guest, leaving it alone", why=error.what)
                return TakenOver, (0, 1)
            self._why = (error.errno or errno.EIO, f"taking over: {error.what}")
        ok = len(opened) == len(listed)
        for bdf, slot in listed:
            if bdf in opened:
                why = self._functions.take_up(opened[bdf], slot)
                if why:
                    ok, self._why = False, (errno.EINVAL, f"taking over {bdf}: {why}")
        return TakenOver, (int(ok), 0)

    def _listed(self) -> list[tuple[Bdf, str]]:
        """The functions that the guest has by the store, and where it sees them."""
        store, back = self._host.store, self._store.back
        found: dict[Bdf, str] = {}
        for index in range(_number(store.read(f"{back}/num_devs"), MOST_DEVICES) or 0):
            state = store.read(f"{back}/state-{index}")
            try:
                bdf = parse_bdf(store.read(f"{back}/dev-{index}") or "")
            except UsageError:
                continue  # such a one was never attached
            if state == "3" or (state == "5" and self._kept.function(bdf) is not None):
                found[bdf] = store.read(f"{back}/vdev-{index}") or ""
        return list(found.items())

    def renew(self) -> None:
        for attached in self._topology.attached:
            self._functions.renew(attached)
        self._functions.say(Level.INFO, "the next kernel of the guest comes")

    def release(self) -> Result:
        self._stop_watching()
        for attached in list(self._topology.attached):
            self._functions.drop(attached)
        self._functions.attempt("forget the device", self._kept.forget)
        self._functions.say(Level.INFO, "released")
        return Released, ()

    def _stop_watching(self) -> None:
        if self._watched:
            self._functions.attempt("stop watching", lambda: self._host.store.unwatch(self._watched, self.watch_token))
            self._watched = ""

    def warn(self) -> None:
        self._functions.say(Level.WARNING, "frontend says Connected without a page")

    def report(self) -> None:
        number, text = self._why
        relative = self._store.back.removeprefix("/local/domain/0/")
        node = f"/local/domain/0/error/{relative}/error"
        self._functions.attempt("write the error node", lambda: self._host.store.write(node, f"{number} {text}"[:1024]))
        self._functions.say(Level.ERROR, "gave up on the device", errno=number, why=text)

    # Page and channel

    def map(self, ref: int) -> Result:
        try:
            page = self._host.map_page(self._domain, GrantRef(ref))
        except HostError as error:
            self._why = (error.errno or errno.EINVAL, f"mapping grant {ref}: {error.what}")
            return Mapped, (0,)
        self._flags.page = self._request.page = self._requests.page = page
        self._ref = ref
        self._unmap = page.unmap
        return Mapped, (1,)

    def bind(self, port: int) -> Result:
        try:
            # Before anybody can be served: whoever finds a guest attached finds its keys.
            self._kept.keep_keys(self._ref, port)
            self._requests.channel = self._host.bind_channel(self._domain, Port(port))
        except HostError as error:
            self._why = (error.errno or errno.EINVAL, f"binding event channel {port}: {error.what}")
            return Bound, (0,)
        self._functions.say(Level.INFO, "connected", port=port)
        return Bound, (1,)

    def unbind(self) -> None:
        channel, self._requests.channel = self._requests.channel, None
        if channel is not None:
            self._functions.attempt("unbind the channel", channel.unbind)

    def unmap(self) -> None:
        self._flags.page = self._request.page = self._requests.page = None
        self._functions.attempt("unmap the page", self._unmap)
        self._unmap = lambda: None
        self._functions.say(Level.INFO, "disconnected", requests=self._requests.served)

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
            self._functions.drop(attached)
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
                self._functions.say(Level.WARNING, "cannot attach", device=index, why=str(error))
                if strict:
                    return False
        return self._tell_roots(tx)

    def _bring_index(self, tx: Transaction, index: int, wish: int) -> None:
        back = self._store.back
        bdf = parse_bdf(tx.read(f"{back}/dev-{index}") or "")
        attached = self._topology.of(bdf)
        what = due(wish, attached is not None)
        if what.drop and attached is not None:
            self._functions.drop(attached)
        if what.publish:
            grants = parse_grants(tx.read(f"{back}/opts-{index}") or "")
            mine = attached or self._functions.open(bdf, grants)
            try:
                # Before the store can say that the guest has it.
                self._kept.keep_function(bdf, self._functions.note(mine))
                tx.write(f"{back}/vdev-{index}", mine.vdev)
                tx.write(f"{back}/state-{index}", "3")
            except BaseException:
                if attached is None:
                    self._functions.drop(mine)
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


def _number(text: str | None, most: int) -> int | None:
    """A decimal number of at most four digits and not above `most`; None for anything else."""
    if text is None or not (text.isascii() and text.isdigit()) or len(text) > 4 or int(text) > most:
        return None
    return int(text)
