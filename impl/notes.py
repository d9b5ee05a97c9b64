# SPDX-License-Identifier: Apache-2.0
"""Texts that outlive the process that wrote them, and not the machine: files of a folder in memory.

One folder a device, one file a function. A text is there whole or not at all, whenever the writer is killed; it need not
survive a crash of the machine, for no guest does. Names are the caller's: no part of a path may come from a guest.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pvpci.impl.host import HostError

#: What is being written; no name of a text ends so.
_UNFINISHED: Final = ".new"
_MOST_BYTES: Final = 1 << 16


class Notes:
    """The texts in one folder, which need not exist. Raises HostError with the path and the reason."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, name: str) -> bytes | None:
        try:
            with open(self.folder / name, "rb") as file:
                return file.read(_MOST_BYTES)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._refused(name, error) from error

    def write(self, name: str, text: bytes) -> None:
        path = f"{self.folder}/{name}"
        try:
            try:
                descriptor = os.open(path + _UNFINISHED, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            except FileNotFoundError:
                self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                descriptor = os.open(path + _UNFINISHED, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                if os.write(descriptor, text) != len(text):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            finally:
                os.close(descriptor)
            os.rename(path + _UNFINISHED, path)
        except OSError as error:
            raise self._refused(name, error) from error

    def remove(self, name: str) -> None:
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
        try:
            shutil.rmtree(self.folder)
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._refused("", error) from error

    def _refused(self, name: str, error: OSError) -> HostError:
        return HostError(f"{self.folder / name}: {error.strerror or error}", error.errno or errno.EIO)
