# SPDX-License-Identifier: Apache-2.0
"""A box, a backend and a toolstack for tests: in this process, or the real command in one of its own."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pvpci.impl.daemon import Daemon, Options
from pvpci.impl.embedded.box import Box
from pvpci.impl.embedded.guest_side import GuestHost
from pvpci.impl.embedded.host import EmbeddedHost
from pvpci.impl.guests.frontend import GuestFrontend
from pvpci.impl.host import Bdf, DomId
from pvpci.impl.log import Level, Log
from pvpci.impl.toolstack import Toolstack

GUEST = DomId(7)
EDU, RTL = Bdf(0, 0, 7, 0), Bdf(0, 0, 8, 0)
SECONDS = 10.0
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(each for each in sys.path if each)}


def until(holds: Callable[[], bool], seconds: float = SECONDS) -> bool:
    """Whether it comes to hold in time."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


@dataclass
class Rig:
    """What a test has at hand. `log` is what the backend has written."""

    box: Box
    dom0: EmbeddedHost
    toolstack: Toolstack
    log: io.StringIO = field(default_factory=io.StringIO)
    daemon: Daemon | None = None

    def device(self, *functions: Bdf, domain: DomId = GUEST) -> None:
        """A guest that exists, and its device, attached by the backend."""
        if domain not in self.dom0.account().domains:
            self.dom0.create_domain(domain)
        self.toolstack.attach(domain, functions or (EDU,))

    @contextmanager
    def guest(self, domain: DomId = GUEST, **settings: Any) -> Iterator[GuestFrontend]:
        """A frontend of a domain that exists; the domain ends with it."""
        host = GuestHost(self.box.path, domain)
        try:
            yield GuestFrontend(host, **settings)
        finally:
            host.close()

    def state(self, domain: DomId = GUEST) -> str | None:
        return self.dom0.store.read(f"{self.toolstack.back(domain)}/state")

    def settled(self) -> bool:
        """Nothing of any guest is mapped, bound or open any more."""
        account = self.dom0.account()
        return not (account.mapped or account.held or [each for each in account.bound if each.domain == 0])

    def clean(self) -> None:
        """Take away what the toolstack has given, and wait until the backend has let go."""
        for domain in {device.domain for device in self.toolstack.list()} | {
            a.domain for a in self.dom0.account().assigned
        }:
            self.toolstack.destroy(DomId(domain))
        for domain in self.dom0.account().domains:
            if domain:
                self.dom0.destroy_domain(DomId(domain))
        assert until(self.settled), self.dom0.account()


@contextmanager
def rig(options: Options | None = None) -> Iterator[Rig]:
    """A rig with the backend in a thread of this process."""
    with box_only() as made:
        host = EmbeddedHost(made.box.path)
        daemon = made.daemon = Daemon(
            host, options or Options(monitor=True), Log(made.log, level=Level.DEBUG, colour=False), "pvpci tests"
        )
        daemon.start()
        failures: list[BaseException] = []

        def run() -> None:
            try:
                daemon.run()
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield made
        finally:
            daemon.stop()
            thread.join(SECONDS)
            host.close()
        assert [] == failures
        assert "service of the guest ends" not in made.log.getvalue()


@contextmanager
def box_only() -> Iterator[Rig]:
    with Box() as box:
        dom0 = EmbeddedHost(box.path, label="toolstack")
        try:
            yield Rig(box, dom0, Toolstack(dom0))
        finally:
            dom0.close()


class Served:
    """``pvpci serve`` as a process; `line` waits for a line of its log."""

    def __init__(self, *arguments: str, environment: dict[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pvpci.impl.cli", "serve", *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**ENVIRONMENT, **(environment or {})},
        )  # fmt: skip
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        self.lines += iter(self.process.stderr.readline, "")

    def _has(self, text: str) -> bool:
        return any(text in line for line in self.lines)

    def wait_for(self, text: str, seconds: float = SECONDS) -> bool:
        return until(lambda: self._has(text) or self.process.poll() is not None, seconds) and self._has(text)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send the signal; the exit code."""
        self.process.send_signal(number)
        code = self.process.wait(SECONDS)
        self._reader.join(SECONDS)
        return code

    def resident(self) -> int:
        """Bytes of resident memory."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None and stream is not self.process.stderr:
                stream.close()


def guest_process(module: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", f"pvpci.impl.guests.{module}", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )


def events(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def run_cli(*arguments: str, environment: Sequence[tuple[str, str]] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pvpci.impl.cli", *arguments],
        capture_output=True, text=True, env={**ENVIRONMENT, **dict(environment)}, timeout=60, check=False,
    )  # fmt: skip
