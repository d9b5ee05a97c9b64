# SPDX-License-Identifier: Apache-2.0
"""Opening Xen's device nodes, and the numbers of their ioctls.

A missing node and a missing right are what people meet first, on the wrong machine or without root, so these two get
words of their own; everything else that the kernel answers is passed on by its number.
"""

from __future__ import annotations

import errno
import os
from typing import Final

from pvpci.impl.host import HostError

#: The kernel module behind each node; not every distribution loads them by itself. xenbus is part of any Xen kernel.
MODULES: Final = {"gntdev": "xen-gntdev", "evtchn": "xen-evtchn", "privcmd": "xen-privcmd"}


def ioc_none(kind: str, number: int, size: int) -> int:
    """``_IOC(_IOC_NONE, kind, number, size)`` of asm-generic/ioctl.h; all of Xen's device nodes use this form."""
    return size << 16 | ord(kind) << 8 | number


def failed(what: str, error: OSError) -> HostError:
    """The HostError for a failed system call; `what` says what was asked for."""
    return HostError(what, error.errno or errno.EIO)


def refused(path: str, error: OSError) -> HostError:
    """The HostError for a device node that could not be opened."""
    module = MODULES.get(os.path.basename(path))
    match error.errno:
        case errno.ENOENT | errno.ENODEV | errno.ENXIO:
            what = f"{path} is missing: this is not a Xen dom0"
            if module is not None:
                what += f", or the module {module} is not loaded (modprobe {module})"
        case errno.EACCES | errno.EPERM:
            what = f"{path} may not be opened: run as root"
        case _:
            what = f"{path} cannot be opened"
    return failed(what, error)


def open_device(path: str, flags: int = 0) -> int:
    """A descriptor of a device node, for reading and writing. Raises HostError."""
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC | flags)
    except OSError as error:
        raise refused(path, error) from error
