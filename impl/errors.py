# SPDX-License-Identifier: Apache-2.0
"""How a command fails: which exit code, and one line that a person can act on.

The line has three parts, because each answers a question that is asked at once: *where* was it, *what* is wrong, and
what would be *right*. Whatever a guest or a file put into a message stays on that one line and cannot move the cursor.

The exit codes are relied on by scripts:

====  =============================================================================================================
0     done, conforms, proved
1     a violation: of the protocol by a trace, of a property by a machine
2     what the caller can mend on the command line or on this machine: a bad address, an unknown function or dialect,
      a device that somebody else holds, no /dev/xen, no permission, output that cannot be written
3     a file that was to be read and cannot be: missing, not readable, truncated, binary, of another version
4     our own bug
130   interrupted; 141: the reader of our output went away (both as the shell counts signals)
====  =============================================================================================================
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import ClassVar, Final

from pvpci.impl.host import HostError

#: A message is for reading: more than this much of somebody's bytes helps nobody.
LONGEST_LINE: Final = 600


class ExitCode(IntEnum):
    OK = 0
    VIOLATION = 1
    USAGE = 2
    UNREADABLE = 3
    BUG = 4
    INTERRUPTED = 130
    BROKEN_PIPE = 141


def one_line(text: str) -> str:
    """The text on one line of printable characters, at most `LONGEST_LINE` of them; the rest as escapes."""
    flat = " ".join(text.split())
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in flat)
    return shown if len(shown) <= LONGEST_LINE else shown[: LONGEST_LINE - 1] + "…"


class CommandError(Exception):
    """Ends a command. Raise one of the two below; what they print is ``<where>: <what>; <what would be right>``."""

    code: ClassVar[ExitCode]

    def __init__(self, where: str, what: str, right: str) -> None:
        super().__init__(where, what, right)
        self.where, self.what, self.right = where, what, right

    def __str__(self) -> str:
        return one_line(f"{self.where}: {self.what}; {self.right}")


class UsageError(CommandError):
    """What the caller can mend on the command line or on this machine."""

    code = ExitCode.USAGE


class UnreadableInput(CommandError):
    """A file that was to be read cannot be; `where` is its name, with the line if one is known (``name:17``)."""

    code = ExitCode.UNREADABLE


#: What to do about a refusal of the host. Numbers that are absent are not the caller's to mend: they are our bug.
_HOST_ADVICE: Final = {
    errno.EACCES: "run as root in dom0",
    errno.EPERM: "run as root in dom0",
    errno.ENOENT: "run in dom0 with the Xen modules loaded (xen-gntdev, xen-evtchn, xenfs), or use --host embedded",
    errno.ENXIO: "run in dom0 with the Xen modules loaded (xen-gntdev, xen-evtchn, xenfs), or use --host embedded",
    errno.ENODEV: "name a function that exists; `lspci -D` lists them",
    errno.EBUSY: "free the function first, or name another",
    errno.ESRCH: "name a domain that runs; `xl list` lists them",
    errno.ECONNREFUSED: "start xenstored first",
    errno.ENOSPC: "free some space on this machine",
    errno.ENOMEM: "free some memory on this machine",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.EOPNOTSUPP: "enable the IOMMU in the firmware and for Xen (iommu=1)",
}


def from_host(error: HostError, where: str) -> UsageError | None:
    """The usage error that a failed host call amounts to; None if it is nobody's doing but ours."""
    advice = _HOST_ADVICE.get(error.errno)
    if advice is None:
        return None
    number = os.strerror(error.errno)
    return UsageError(where, error.what if number in error.what else f"{error.what} ({number})", advice)


@contextmanager
def reading(name: str | os.PathLike[str], right: str = "name a file that can be read") -> Iterator[None]:
    """Turns the failures of opening and decoding the file `name` into :class:`UnreadableInput`."""
    where = os.fspath(name)
    try:
        yield
    except UnicodeDecodeError as error:
        raise UnreadableInput(where, f"byte {error.start} is not UTF-8 text", right) from error
    except OSError as error:
        raise UnreadableInput(where, error.strerror or type(error).__name__, right) from error


@contextmanager
def writing(name: str | os.PathLike[str], right: str = "name a file that can be written") -> Iterator[None]:
    """Turns the failures of creating and writing the file `name` into :class:`UsageError`."""
    try:
        yield
    except OSError as error:
        raise UsageError(os.fspath(name), error.strerror or type(error).__name__, right) from error
