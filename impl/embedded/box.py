# SPDX-License-Identifier: Apache-2.0
"""Starting and stopping the box: a process of its own, so that guests, backends and toolstack are equals before it."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from pvpci.impl.embedded import image
from pvpci.impl.embedded.wire import notes_of
from pvpci.impl.host import HostError

_STOP_SECONDS: Final = 5.0


class Box:
    """A Xen in a box. Between `start` and `stop` (or inside ``with``) processes can connect to `path`.

    functions: address to image (a name of `image.names()`, or a path with a slash). None: every image that comes with
        the program, at the address where it was recorded.
    path: where the socket is to be; None: in a private directory under the system's place for temporary files.

    The box ends with the process that started it, however that ends. Connecting works as soon as `start` has returned.
    HostError: an image is bad (the text says how), the socket cannot be made, or the process cannot be started.
    """

    def __init__(self, functions: Mapping[str, str] | None = None, path: str | Path | None = None) -> None:
        if functions is None:
            functions = {str(image.load(name).bdf): name for name in image.names()}
        # Loaded here too, for here somebody reads the message.
        for each in functions.values():
            image.load(each)
        self._functions = {str(image.parse_bdf(bdf)): name for bdf, name in functions.items()}
        self._folder: str | None = None
        self._wanted = None if path is None else str(path)
        self._process: subprocess.Popen[bytes] | None = None
        self._path = ""

    @property
    def path(self) -> str:
        """The socket. HostError(ENOTCONN) if the box does not run."""
        if self._process is None:
            raise HostError("the box is not running", errno.ENOTCONN)
        return self._path

    @property
    def pid(self) -> int:
        """The box's process. HostError(ENOTCONN) if the box does not run."""
        if self._process is None:
            raise HostError("the box is not running", errno.ENOTCONN)
        return self._process.pid

    def start(self) -> Self:
        if self._process is not None:
            raise HostError("the box is running already", errno.EALREADY)
        if self._wanted is None:
            self._folder = tempfile.mkdtemp(prefix="pvpci-box-")
            self._path = f"{self._folder}/box"
        else:
            self._path = self._wanted
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            try:
                self._bind(listener)
                # Bound and listening before the process exists: whoever connects now waits in the queue.
                self._process = subprocess.Popen(
                    [
                        sys.executable,
                        *("-m", "pvpci.impl.embedded.broker"),
                        *(str(listener.fileno()), str(os.getpid()), self._folder or "", json.dumps(self._functions)),
                    ],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    pass_fds=(listener.fileno(),),
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(each for each in sys.path if each)},
                    start_new_session=True,
                )
            except OSError as error:
                self._clean(bound=bool(listener.getsockname()))
                raise HostError(f"box at {self._path}: {error.strerror or error}", error.errno or 0) from error
        return self

    def stop(self) -> None:
        """End the box and wait for it. Idempotent."""
        if self._process is None:
            return
        process, self._process = self._process, None
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._clean(bound=True)

    def __enter__(self) -> Self:
        return self if self._process is not None else self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _bind(self, listener: socket.socket) -> None:
        try:
            listener.bind(self._path)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not self._is_dead():
                raise
            os.unlink(self._path)
            listener.bind(self._path)
        listener.listen(64)

    def _is_dead(self) -> bool:
        """Whether the path is what a box that was killed has left: a socket that nobody listens on."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
            probe.settimeout(1)
            return stat.S_ISSOCK(os.lstat(self._path).st_mode) and probe.connect_ex(self._path) == errno.ECONNREFUSED

    def _clean(self, *, bound: bool) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
        elif bound:
            with contextlib.suppress(OSError):
                os.unlink(self._path)
            shutil.rmtree(notes_of(self._path), ignore_errors=True)
