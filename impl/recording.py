# SPDX-License-Identifier: Apache-2.0
"""What the daemon remembers of each guest: the flight recorder, and the trace file if one was asked for.

Without ``--trace`` the last steps of each guest are kept and nothing is written, until its service ends by a fault: then they
go into a file of their own. With it everything goes into one file, some time after it happened, so that a request does not wait
for the disk. A file that cannot be written any more ends the trace with one line in the log, and not the service.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final

from pvpci.impl.host import Function
from pvpci.impl.log import Log
from pvpci.model import connection, interrupts, op
from pvpci.model.config.compiled import HardwareAccess
from pvpci.model.config.view import ConfigView
from pvpci.model.topology import Address
from pvpci.traces.format import Hardware
from pvpci.traces.recorder import CAPACITY, Recorder, TraceWriter

_DRAIN_SECONDS: Final = 0.01  #: of steps that are put into words at once, while every guest waits
_MACHINES: Final = (connection.MACHINE.name, op.MACHINE.name, interrupts.MACHINE.name)


class _Tapped:
    """The function, with each access that reaches it written down."""

    __slots__ = ("_append", "_function", "_hw", "_name", "_read")

    def __init__(self, function: Function, recorder: Recorder) -> None:
        self._function, self._hw, self._name = function, recorder.hw, str(function.bdf)
        self._read, self._append = function.read, recorder.append

    def read(self, offset: int, size: int) -> int:
        # As `Recorder.hw`, without the call: this is half of what a guest asks for.
        value = self._read(offset, size)
        self._append((time.monotonic_ns(), Hardware, (self._name, "read", offset, size, value)))
        return value

    def write(self, offset: int, size: int, value: int) -> None:
        self._function.write(offset, size, value)
        self._hw(self._name, "write", offset, size, value)


class Recording:
    """One for the daemon.

    trace: the file that gets everything (OSError if it cannot be created). dumps: the folder for what the flight recorder
    keeps; None: the system's place for temporary files. `program` and `host` go into the headers.
    """

    def __init__(
        self,
        trace: Path | None,
        dumps: Path | None,
        program: str,
        host: str,
        log: Log,
        *,
        profile: str = "strict",
        multi_msi: bool = False,
    ) -> None:
        self._dumps, self._log, self._profile, self._multi_msi = dumps, log, profile, multi_msi
        self._source: Mapping[str, Any] = {"program": program, "host": host, "machines": list(_MACHINES)}
        self._recorders: dict[str, Recorder] = {}
        self._trace = trace
        self._file: BinaryIO | None = None
        self._writer: TraceWriter | None = None
        self._drained = time.monotonic()
        if trace is not None:
            self._file = trace.open("wb")
            try:
                self._writer = TraceWriter(self._file, self._source)
                self._file.flush()
            except BaseException:
                self._file.close()
                raise

    def of(self, name: str) -> Recorder:
        """The recorder of a guest's instance whose machines start now."""
        capacity = CAPACITY if self._trace is None else None
        recorder = self._recorders[name] = Recorder(name, capacity, multi_msi=self._multi_msi)
        return recorder

    def tap(self, name: str, function: Function, view: ConfigView, address: Address, shared: bool) -> HardwareAccess:
        """`function`, so that the guest's record has what it is and each access that reaches it. `shared`: its line is."""
        recorder = self._recorders[name]
        domain, bus, devfn = address
        recorder.function(
            str(function.bdf),
            devfn >> 3,
            view.described,
            number=devfn & 7,
            profile=self._profile,
            domain=domain,
            bus=bus,
            shared=shared,
        )
        return _Tapped(function, recorder)

    @property
    def wants_drain(self) -> bool:
        return self._trace is not None and time.monotonic() - self._drained >= _DRAIN_SECONDS

    def drain(self) -> None:
        """Move what was recorded since into the trace file, if there is one."""
        self._drained = time.monotonic()
        if self._trace is None:
            return
        if self._writer is None:
            for recorder in self._recorders.values():
                recorder.drain()
            return
        try:
            self._writer.drain(self._recorders.values())
        except OSError as error:
            self._log.error("the trace ends here", file=str(self._trace), why=error.strerror or str(error))
            self._stop_writing()

    def dump(self, name: str) -> str:
        """Write what is kept of a guest where somebody can find it; returns where that is, or why it is not there."""
        if self._trace is not None:
            self.drain()
            return str(self._trace)
        recorder = self._recorders.get(name)
        if recorder is None:
            return "(nothing recorded)"
        prefix = f"pvpci-{name.replace('/', '-')}-"
        try:
            handle, path = tempfile.mkstemp(prefix=prefix, suffix=".jsonl", dir=self._dumps)
            with os.fdopen(handle, "wb") as file:
                recorder.dump(file, self._source)
        except OSError as error:
            return f"(not written: {error.strerror or error})"
        return path

    def forget(self, name: str) -> None:
        """The guest's instance is over. What it did stays in the trace file."""
        self.drain()
        self._recorders.pop(name, None)

    def close(self) -> None:
        self.drain()
        self._stop_writing()

    def _stop_writing(self) -> None:
        file, self._file, self._writer = self._file, None, None
        if file is not None:
            try:
                file.close()
            except OSError as error:
                self._log.error("the trace is not whole", file=str(self._trace), why=error.strerror or str(error))


__all__ = ["Recording"]
