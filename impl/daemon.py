# SPDX-License-Identifier: Apache-2.0
"""The daemon: one thread, one loop, any number of guests.

Everything that can happen is a descriptor that becomes readable or a moment that comes. One turn of the loop takes
what has happened, gives each guest at most one request, and looks again; so a guest that never stops asking delays
the others by one request, and itself by all of theirs. Nobody is waited for: a guest that stops answering stops
being heard.

A fault in one guest's service (a table that has no row, a property that the monitor finds broken) ends that guest's
service, with its record written out, and nobody else's.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from pvpci.impl.engine import Fault
from pvpci.impl.host import DomId, Function, Host, HostError
from pvpci.impl.instance import Instance
from pvpci.impl.kept import NODE, sweep
from pvpci.impl.log import Log
from pvpci.impl.monitor import EXTRA, monitor
from pvpci.impl.recording import Recording
from pvpci.model import connection, op
from pvpci.model.config.compiled import HardwareAccess
from pvpci.model.config.view import ConfigView
from pvpci.model.kernel.compiled import group
from pvpci.model.topology import TOPOLOGIES, Address

_CLASS_TOKEN: Final = "class"
_MOST_GUESTS: Final = 4096  #: domain ids end at 0x7ff0; directories that are no guests are not looked into
_REPORT_SECONDS: Final = 5.0
_MOST_EVENTS: Final = 64  #: a turn; the room for more is asked for at each wait


@dataclass(frozen=True)
class Options:
    """What `serve` was asked for. `guest`: serve only this domain; None: every one in the class directory."""

    guest: DomId | None = None
    device_class: str = "pci"
    profile: str = "strict"
    topology: str = "vpci"  #: an engine of `pvpci.model.topology`, by name
    monitor: bool = False
    trace: Path | None = None
    shared_lines: bool = False  #: a guest may have a line interrupt that a driver of the host uses too
    multi_msi: bool = False  #: a guest may have several messages of MSI in one block
    dumps: Path | None = None  #: where the flight recorder writes; None: the system's place for temporary files


class Daemon:
    """Serves guests until `stop`. `step` is one turn, for those who bring their own loop."""

    def __init__(self, host: Host, options: Options, log: Log, program: str) -> None:
        self._host, self._options, self._log = host, options, log
        self._base = f"/local/domain/0/backend/{options.device_class}"
        name = type(host).__name__.removesuffix("Host").lower()
        self._recording = Recording(
            options.trace, options.dumps, program, name, log, profile=options.profile, multi_msi=options.multi_msi
        )
        self._writes = options.trace is not None
        self._monitor = monitor() if options.monitor else None
        self._group = group([connection.MACHINE, op.MACHINE], extra=EXTRA if options.monitor else ())
        self._instances: dict[str, Instance] = {}
        self._tokens: dict[str, Instance] = {}
        self._channels: dict[int, Instance] = {}
        self._due: dict[str, Instance] = {}  #: those for which a moment will come: a turn, a pause, a second attempt
        self._failed: set[str] = set()
        self.violations = 0  #: faults so far: properties that the monitor found broken, events without a row
        self._poll = select.epoll()
        self._stopping = False
        # A signal does not end a wait by itself: the interpreter goes on waiting after the handler.
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll.register(self._wake, select.EPOLLIN)
        self._reported = time.monotonic()

    def start(self) -> None:
        """Watch the class directory; the watch fires at once, so what is there already is found."""
        try:
            sweep(self._host.store, self._base, self._host.notes)
        except HostError as error:
            self._log.warning("cannot clear away old notes", why=error.what)
        self._poll.register(self._host.store.fileno(), select.EPOLLIN)
        self._host.store.watch(self._base, _CLASS_TOKEN)
        self._log.info(
            "serving", directory=self._base, guest=self._options.guest if self._options.guest is not None else "any"
        )

    def stop(self) -> None:
        """End after this turn. Safe to call from a signal handler, and from another thread."""
        self._stopping = True
        if self._wake >= 0:
            os.eventfd_write(self._wake, 1)

    def run(self, alive: Callable[[], object] = lambda: None) -> None:
        """Until `stop`. Then nothing is mapped, bound or attached any more. `alive` is called now and then."""
        turns = 0
        try:
            while not self._stopping:
                turns += 1
                if not self.step(1.0) or turns % 256 == 0:
                    alive()
        finally:
            self.close()

    def step(self, patience: float) -> int:
        """One turn. Waits at most that many seconds for something to happen; how much that was."""
        events = self._poll.poll(self._timeout(patience) if self._due else patience, _MOST_EVENTS)
        for descriptor, _ in events:
            instance = self._channels.get(descriptor)
            if instance is not None:
                # The hot path: a request changes nothing of what is polled, and no instance ends with it.
                try:
                    if not instance.rang():
                        self._due[instance.guest] = instance
                except (Fault, HostError) as error:
                    self._guarded(instance, partial(_raise, error))
            elif descriptor != self._wake:
                self._store_events()
        if self._due:
            self._moments()
        if self._writes and self._recording.wants_drain:
            self._recording.drain()
        if not events:
            self._log_now_and_then()
        return len(events)

    def close(self) -> None:
        for name in list(self._instances):
            self._end(name, "stopping")
        try:
            self._host.store.unwatch(self._base, _CLASS_TOKEN)
        except HostError as error:
            self._log.warning("cannot stop watching", why=error.what)
        self._poll.close()
        wake, self._wake = self._wake, -1
        os.close(wake)
        self._recording.close()
        self._log.report()

    def guests(self) -> dict[str, Instance]:
        return dict(self._instances)

    def _timeout(self, patience: float) -> float:
        for instance in self._due.values():
            if instance.wants_turn:
                return 0.0
            for left in (instance.pause_left, instance.stall_left):
                if left is not None:
                    patience = min(patience, left)
        return patience

    def _moments(self) -> None:
        """Turns, pauses and second attempts that are due."""
        for instance in tuple(self._due.values()):
            if instance.wants_turn:
                self._guarded(instance, instance.turn)
            elif instance.pause_left == 0.0:
                self._guarded(instance, instance.elapsed)
            if instance.stall_left == 0.0:
                self._guarded(instance, instance.settle)
        self._log_now_and_then()

    def _log_now_and_then(self) -> None:
        """Count out what was held back in the log."""
        now = time.monotonic()
        if now - self._reported > _REPORT_SECONDS:
            self._reported = now
            self._log.report()

    def _store_events(self) -> None:
        """Look once at each thing that changed, however many events say so: a guest can make as many as it likes."""
        paths: set[str] = set()
        fronts: dict[str, Instance] = {}
        for path, token in self._host.store.events():
            if token == _CLASS_TOKEN:
                parts = path.removeprefix(self._base).strip("/").split("/")
                # Below a device's directory it makes no difference what it was; unless it was we who wrote it.
                if parts[2:3] != [NODE]:
                    paths.add("/".join(parts[:2]))
            elif (instance := self._tokens.get(token)) is not None:
                fronts[token] = instance
        for path in sorted(paths):
            self._class_changed(path)
        for token, instance in fronts.items():
            if self._tokens.get(token) is instance:
                self._guarded(instance, lambda instance=instance: instance.changed(front=True))  # type: ignore[misc]

    def _class_changed(self, path: str) -> None:
        """Something at or below `path` (relative to the class directory) changed: a device, its guest, or all of them."""
        parts = path.split("/")
        if len(parts) == 2:
            self._node_changed(parts[0], parts[1])
            return
        store = self._host.store
        domains = [parts[0]] if parts[0] else store.directory(self._base)[:_MOST_GUESTS]
        for domain in domains:
            for device in store.directory(f"{self._base}/{domain}")[:_MOST_GUESTS]:
                self._node_changed(domain, device)
        for name in list(self._instances):
            domain, device = name.split("/")
            if domain in domains or not parts[0]:
                self._node_changed(domain, device)

    def _node_changed(self, domain: str, device: str) -> None:
        name = f"{domain}/{device}"
        if not _is_number(domain) or not _is_number(device):
            return
        if self._options.guest is not None and int(domain) != self._options.guest:
            return
        if name in self._failed:
            # Until somebody removes the node: then the next guest of this number starts afresh.
            if self._host.store.read(f"{self._base}/{name}/state") is None:
                self._failed.discard(name)
            return
        instance = self._instances.get(name)
        if instance is None:
            instance = self._make(name, DomId(int(domain)), int(device))
        self._guarded(instance, lambda: instance.changed(back=True))

    def _make(self, name: str, domain: DomId, device: int) -> Instance:
        recorder = self._recording.of(name)

        def tap(function: Function, view: ConfigView, address: Address, shared: bool) -> HardwareAccess:
            return self._recording.tap(name, function, view, address, shared)

        instance = Instance(
            self._host, domain, device, group=self._group, log=self._log, recorder=recorder, tap=tap,
            monitor=self._monitor, back=f"{self._base}/{name}", profile=self._options.profile,
            topology=TOPOLOGIES[self._options.topology], shared_lines=self._options.shared_lines,
            multi_msi=self._options.multi_msi,
        )  # fmt: skip
        self._instances[name] = instance
        self._tokens[instance.token] = instance
        return instance

    def _forget(self, name: str) -> None:
        instance = self._instances.pop(name)
        self._tokens.pop(instance.token, None)
        self._due.pop(name, None)
        self._recording.forget(name)

    def _guarded(self, instance: Instance, call: Callable[[], None]) -> None:
        """Whatever happens in one guest's service stays there, and its channel is polled exactly while it is bound."""
        before = instance.channel
        try:
            call()
        except (Fault, HostError) as error:
            self.violations += isinstance(error, Fault)
            trace = self._recording.dump(instance.guest)
            what = "service of the guest ends"
            self._log.error(what, key=f"{what} {instance.guest}", guest=instance.guest, why=str(error), trace=trace)
            self._failed.add(instance.guest)
            instance.forget()
        after = instance.channel
        if before is not after:
            if before is not None:
                self._unpoll(instance)
            if after is not None:
                self._channels[after.fileno()] = instance
                self._poll.register(after.fileno(), select.EPOLLIN)
        if self._instances.get(instance.guest) is not instance:
            return
        if instance.is_over or instance.guest in self._failed:
            self._forget(instance.guest)
        elif instance.is_quiet:
            self._due.pop(instance.guest, None)
        else:
            self._due[instance.guest] = instance

    def _unpoll(self, instance: Instance) -> None:
        for descriptor in [fd for fd, one in self._channels.items() if one is instance]:
            del self._channels[descriptor]
            try:
                self._poll.unregister(descriptor)
            except (OSError, ValueError):
                continue  # closed with the channel: the kernel has forgotten it already

    def _end(self, name: str, why: str) -> None:
        instance = self._instances[name]
        self._log.info("ending", guest=name, why=why)
        self._guarded(instance, instance.stop)
        if self._instances.get(name) is instance:
            self._unpoll(instance)
            instance.forget()
            self._forget(name)


def _is_number(text: str) -> bool:
    """As xenstore's users write them: decimal, without leading zeros. Domain ids end at 0x7fff."""
    return text.isascii() and text.isdigit() and len(text) <= 5 and str(int(text)) == text


def _raise(error: Exception) -> None:
    raise error
