# SPDX-License-Identifier: Apache-2.0
"""Texts that outlive the process that wrote them, and not the machine: files of a folder in memory.

One folder a device, one file a function. A text is there whole or not at all, whenever the writer is killed; it need not
survive a crash of the machine, for no guest does. Names are the caller's: no part of a path may come from a guest.

The first text of a name is written beside it and renamed. Each later one goes over it with a single call: a kernel that
copies within one page looks for no signal on the way, so the old text or the new one is there. A text that is shorter than
the one before is filled up to its length with spaces; so none may end in one.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Sequence
from io import FileIO
from pathlib import Path
from typing import Final

from pvpci.impl.host import HostError

#: What is being written; no name of a text ends so.
_UNFINISHED: Final = ".new"
_MOST_BYTES: Final = 1 << 16
#: No longer text is written over another.
_AT_ONCE: Final = 4096
_FILL: Final = b" "


class Notes:
    """The texts in one folder, which need not exist. Raises HostError with the path and the reason."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._begun: dict[str, FileIO] = {}  #: what was written, and may be written over

    def read(self, name: str) -> bytes | None:
        try:
            with open(self.folder / name, "rb") as file:
                return file.read(_MOST_BYTES).rstrip(_FILL)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._refused(name, error) from error

    def write(self, name: str, text: bytes) -> None:
        try:
            if not self._write_over(name, text):
                self._write_anew(name, text)
        except OSError as error:
            raise self._refused(name, error) from error

    def _write_over(self, name: str, text: bytes) -> bool:
        """False if there is nothing of ours, it was deleted, or it cannot be done at once."""
        if len(text) > _AT_ONCE or (file := self._begun.get(name)) is None:
            return False
        found = os.fstat(file.fileno())
        if not found.st_nlink or found.st_size > _AT_ONCE:
            return False
        whole = text.ljust(found.st_size, _FILL)
        _all_of(os.pwrite(file.fileno(), whole, 0), whole)
        return True

    def _write_anew(self, name: str, text: bytes) -> None:
        path = f"{self.folder}/{name}"
        self._close(name)
        try:
            file = FileIO(path + _UNFINISHED, "w", opener=_private)
        except FileNotFoundError:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = FileIO(path + _UNFINISHED, "w", opener=_private)
        try:
            _all_of(file.write(text), text)
            os.rename(path + _UNFINISHED, path)
        except BaseException:
            file.close()
            raise
        self._begun[name] = file

    def _close(self, name: str) -> None:
        if file := self._begun.pop(name, None):
            file.close()

    def remove(self, name: str) -> None:
        self._close(name)
        try:
            (self.folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise self._refused(name, error) from error

    def names(self) -> Sequence[str]:
        try:
            return sorted(name for name in os.listdir(self.folder) if not name.endswith(_UNFINISHED))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._refused("", error) from error

    def clear(self) -> None:
        """The folder goes, with all that is in it."""
        for name in list(self._begun):
            self._close(name)
        try:
            shutil.rmtree(self.folder)
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._refused("", error) from error

    def _refused(self, name: str, error: OSError) -> HostError:
        return HostError(f"{self.folder / name}: {error.strerror or error}", error.errno or errno.EIO)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _all_of(written: int | None, text: bytes) -> None:
    if written != len(text):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
