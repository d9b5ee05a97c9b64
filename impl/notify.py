# SPDX-License-Identifier: Apache-2.0
"""Telling the service manager how we are: the datagrams of sd_notify(3).

The protocol is one datagram of ``KEY=value`` lines to the socket that NOTIFY_SOCKET names; a library for that would be
more code than this. Nobody listening, or a manager that does not read, must never hold up or end the service of a
guest, so every failure is only a False.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

from pvpci.impl.errors import one_line


class Notifier:
    """The way to the service manager, if there is one. `close` it, or use it as a context."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        path = environment.get("NOTIFY_SOCKET", "")
        # A leading @ stands for the zero byte of an abstract address.
        self._address = "\0" + path[1:] if path.startswith("@") else path if path.startswith("/") else ""
        self._socket: socket.socket | None = None

    @property
    def present(self) -> bool:
        """Whether somebody asked to be told."""
        return bool(self._address)

    def ready(self, status: str = "") -> bool:
        """Guests can be served from now on."""
        return self._send("READY=1", *self._status(status))

    def status(self, text: str) -> bool:
        """One line for ``systemctl status``."""
        return self._send(*self._status(text))

    def stopping(self, status: str = "") -> bool:
        """The shutdown has begun; what is mapped and assigned is being given back."""
        return self._send("STOPPING=1", *self._status(status))

    def alive(self) -> bool:
        """The watchdog's heartbeat (WatchdogSec=)."""
        return self._send("WATCHDOG=1")

    @staticmethod
    def _status(text: str) -> tuple[str, ...]:
        return (f"STATUS={one_line(text)}",) if text else ()

    def _send(self, *lines: str) -> bool:
        if not self._address or not lines:
            return False
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
                self._socket.setblocking(False)
            self._socket.sendto("\n".join(lines).encode("utf-8", "replace"), self._address)
        except OSError:
            return False
        return True

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def __enter__(self) -> Notifier:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
