# SPDX-License-Identifier: Apache-2.0
"""Event channels, through ``/dev/xen/evtchn``.

One descriptor per channel: so `poll` says which guest rang, one guest's bell cannot fill the queue that another's is
read from, and closing is a complete unbind.

Reading a port masks it, writing it back unmasks it. The kernel takes the write as the end of an interrupt that was
worth having, always; how long to wait with it after a ring that meant nothing is the machine's decision, not this
file's.
"""

from __future__ import annotations

import errno
import fcntl
import os
from struct import Struct
from struct import error as StructError
from typing import Final

from pvpci.impl.host import DomId, HostError, Port
from pvpci.impl.xen.devices import failed, ioc_none, open_device

# struct ioctl_evtchn_bind_interdomain, xen/evtchn.h; sizeof == 8; the local port is the value that ioctl returns
#   struct { unsigned int remote_domain, remote_port; }
BIND_INTERDOMAIN: Final = Struct("<I I")
#: _IOC(_IOC_NONE, 'E', 1, 8)
IOCTL_EVTCHN_BIND_INTERDOMAIN: Final = ioc_none("E", 1, BIND_INTERDOMAIN.size)

# struct ioctl_evtchn_unbind and struct ioctl_evtchn_notify, xen/evtchn.h; sizeof == 4 each
#   struct { unsigned int port; }
PORT: Final = Struct("<I")
#: _IOC(_IOC_NONE, 'E', 3, 4)
IOCTL_EVTCHN_UNBIND: Final = ioc_none("E", 3, PORT.size)
#: _IOC(_IOC_NONE, 'E', 4, 4)
IOCTL_EVTCHN_NOTIFY: Final = ioc_none("E", 4, PORT.size)


class EventChannel:
    """A bound port. Implements :class:`pvpci.impl.host.Channel`."""

    def __init__(self, what: str, descriptor: int, port: int) -> None:
        self._what, self._descriptor, self.port = what, descriptor, port
        # What is written and what is expected to be read, for ever the same.
        self._packed = PORT.pack(port)

    def fileno(self) -> int:
        """The descriptor to poll for reading; -1 once unbound, as for a closed file."""
        return self._descriptor

    def take(self) -> bool:
        try:
            read = os.read(self._descriptor, PORT.size)
        except BlockingIOError:
            return False
        except OSError as error:
            raise failed(f"{self._what}: read", error) from error
        if read != self._packed:
            raise HostError(f"{self._what}: read {read.hex() or 'nothing'} where port {self.port} was due", errno.EIO)
        return True

    def unmask(self) -> None:
        try:
            os.write(self._descriptor, self._packed)
        except OSError as error:
            raise failed(f"{self._what}: unmask", error) from error

    def notify(self) -> None:
        try:
            fcntl.ioctl(self._descriptor, IOCTL_EVTCHN_NOTIFY, self._packed)
        except (OSError, ValueError) as error:
            raise failed(f"{self._what}: notify", _bad_descriptor(error)) from error

    def unbind(self) -> None:
        """Close the port; the guest's end becomes unbound again. A second call does nothing. Raises HostError."""
        if self._descriptor < 0:
            return
        descriptor, self._descriptor = self._descriptor, -1
        try:
            fcntl.ioctl(descriptor, IOCTL_EVTCHN_UNBIND, self._packed)
        except OSError as error:
            raise failed(f"{self._what}: unbind", error) from error
        finally:
            os.close(descriptor)


def _bad_descriptor(error: OSError | ValueError) -> OSError:
    # ioctl, unlike read and write, checks a negative descriptor in Python and says ValueError.
    return error if isinstance(error, OSError) else OSError(errno.EBADF, "closed")


def bind_channel(path: str, domain: DomId, remote: Port) -> EventChannel:
    """Bind to a port that the domain has opened for us. Raises HostError; then no descriptor stays open."""
    what = f"event channel {remote} of domain {domain}"
    try:
        # Of an immutable argument Python would hand back a copy, and the local port would be lost.
        request = bytearray(BIND_INTERDOMAIN.pack(domain, remote))
    except StructError as error:
        raise HostError(f"{what}: not a number of 32 bits", errno.EINVAL) from error
    descriptor = open_device(path, os.O_NONBLOCK)
    try:
        port = fcntl.ioctl(descriptor, IOCTL_EVTCHN_BIND_INTERDOMAIN, request)
    except OSError as error:
        os.close(descriptor)
        raise failed(f"{what}: bind", error) from error
    return EventChannel(what, descriptor, port)
