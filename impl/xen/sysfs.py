# SPDX-License-Identifier: Apache-2.0
"""PCI functions through ``/sys/bus/pci/devices``.

Who may have a function is decided here. A function is *ours to use* when no driver is bound to it or one of the drivers
that exist to keep others away (pciback, pci-stub, vfio-pci); it is *ours to offer* (:func:`functions`) when it is bound
to pciback, which says that an administrator meant it for guests, or when it has no driver and is not a bridge: the host
bridge and the ISA bridge of a PC have no driver either, and the machine needs them.

Of two processes that want the same function the second is told so. The lock is on the configuration file itself, so it
is gone with the process that held it and no file of ours is left lying about.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Final

from pvpci.impl.host import Bdf, HostError, Resource
from pvpci.impl.xen.capability import MsixCapability, find
from pvpci.impl.xen.devices import failed
from pvpci.model.config.constants import COMMAND, COMMAND_MEMORY
from pvpci.model.config.walk import capabilities

#: What the kernel calls the driver, and what its module is called.
PCIBACK: Final = frozenset({"pciback", "xen-pciback"})
PLACEHOLDERS: Final = PCIBACK | {"pci-stub", "vfio-pci"}

CONFIG_SIZES: Final = (256, 4096)
RESOURCES: Final = 7
IORESOURCE_UNSET: Final = 0x20000000
#: Linux's IRQ_NOTCONNECTED: the line goes nowhere.
IRQ_NOTCONNECTED: Final = 1 << 31
BASE_CLASS_BRIDGE: Final = 0x06

#: Segments past ffff exist in Linux (VMD) but not in the addresses that Xen takes.
_BDF: Final = re.compile(r"([0-9a-f]{4}):([0-9a-f]{2}):([01][0-9a-f])\.([0-7])", re.ASCII)
_NO_BAR: Final = Resource(0, 0, 0)


class SysfsFunction:
    """A function that this process holds. Implements :class:`pvpci.impl.host.Function`.

    `irq` is what it was when the function was opened. The kernel routes the line only when it enables the function:
    with pciback it has done so, otherwise :meth:`set_enabled` does it and brings `irq` up to date.
    """

    def __init__(self, bdf: Bdf, path: str, descriptor: int) -> None:
        self.bdf, self.path, self._descriptor = bdf, path, descriptor
        self.config_size = os.fstat(descriptor).st_size
        if self.config_size not in CONFIG_SIZES:
            raise HostError(f"{path}/config: {self.config_size} bytes, neither 256 nor 4096", errno.EIO)
        self.resources: Sequence[Resource] = _resources(path)
        self.vendor, self.device = number(f"{path}/vendor"), number(f"{path}/device")
        self.irq = irq_of(path)
        self.is_virtual = os.path.lexists(f"{path}/physfn")

    def read(self, offset: int, size: int) -> int:
        if size not in (1, 2, 4) or offset % size:
            raise HostError(f"{self.bdf}: read of {size} bytes at {offset:#x}: not 1, 2 or 4, aligned", errno.EINVAL)
        try:
            found = os.pread(self._descriptor, size, offset)
        except (OSError, OverflowError) as error:
            raise self._refused("read", offset, size, error) from error
        if len(found) != size:
            raise HostError(f"{self.bdf}: configuration read of {size} bytes at {offset:#x} came short", errno.EIO)
        return int.from_bytes(found, "little")

    def write(self, offset: int, size: int, value: int) -> None:
        if size not in (1, 2, 4) or offset % size:
            raise HostError(f"{self.bdf}: write of {size} bytes at {offset:#x}: not 1, 2 or 4, aligned", errno.EINVAL)
        try:
            written = os.pwrite(self._descriptor, value.to_bytes(size, "little"), offset)
        except (OSError, OverflowError) as error:
            raise self._refused("write", offset, size, error) from error
        if written != size:
            raise HostError(f"{self.bdf}: configuration write of {size} bytes at {offset:#x} came short", errno.EIO)

    def _refused(self, verb: str, offset: int, size: int, error: OSError | OverflowError) -> HostError:
        what = f"{self.bdf}: configuration {verb} of {size} bytes at {offset:#x}"
        return HostError(what, getattr(error, "errno", None) or errno.EINVAL)

    def reset(self) -> None:
        """The reset that the kernel prefers for it (FLR, power, bus). HostError(ENOTTY) if the kernel knows none."""
        if not os.path.exists(f"{self.path}/reset"):
            raise HostError(f"{self.bdf}: reset: the kernel knows no way to reset it", errno.ENOTTY)
        _write(f"{self.path}/reset", "1", f"{self.bdf}: reset")

    def decodes_memory(self) -> bool:
        """Whether its memory BARs answer. Those of a virtual function do when its physical function's do. Raises HostError."""
        if not self.is_virtual:
            return bool(self.read(COMMAND, 2) & COMMAND_MEMORY)
        path = f"{self.path}/physfn/config"
        try:
            with open(path, "rb", buffering=0) as file:
                found = os.pread(file.fileno(), 2, COMMAND)
        except OSError as error:
            raise failed(path, error) from error
        return bool(int.from_bytes(found, "little") & COMMAND_MEMORY)

    @cached_property
    def places(self) -> Mapping[int, int]:
        """Where its capabilities are, by identifier. They do not move while somebody holds it. Raises HostError."""
        return capabilities(self)

    @cached_property
    def msix(self) -> MsixCapability | None:
        """The evidence that it has MSI-X. Raises HostError."""
        return find(self)

    def driver(self) -> str | None:
        """The driver that is bound now, None if there is none. Raises HostError."""
        return bound_driver(self.path)

    def set_enabled(self, on: bool) -> None:
        """Let the kernel enable the function, or disable it, as a driver does. Only without a driver (EBUSY).

        Enabling wakes the function, turns on the decoding of its BARs, and routes and registers its interrupt line with
        Xen; `irq` is right only afterwards. The kernel counts the enables: whatever an earlier process left counted is
        used, and taken back by one call.
        """
        what = f"{self.bdf}: {'enable' if on else 'disable'}"
        already = read_text(f"{self.path}/enable", what).strip() not in ("", "0")
        if on != already:
            _write(f"{self.path}/enable", "1" if on else "0", what)
        self.irq = irq_of(self.path)

    def close(self) -> None:
        """Let others have it. A second call does nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def open_function(devices: str, bdf: Bdf, locks: str = "/proc/locks") -> SysfsFunction:
    """Hold a function exclusively. HostError: ENODEV, no such function; EBUSY, `what` says who has it."""
    path = f"{devices}/{bdf}"
    if not os.path.isdir(path):
        raise HostError(f"{bdf}: no such PCI function", errno.ENODEV)
    driver = bound_driver(path)
    if driver is not None and driver not in PLACEHOLDERS:
        raise HostError(f"{bdf}: busy: driver {driver} has it", errno.EBUSY)
    if driver is None and _is_bridge(path):
        raise HostError(f"{bdf}: busy: this machine uses it as a bridge (pciback is not bound to it)", errno.EBUSY)
    try:
        descriptor = os.open(f"{path}/config", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise HostError(f"{bdf}: no such PCI function", errno.ENODEV) from error
    except PermissionError as error:
        raise failed(f"{path}/config may not be opened for writing: run as root", error) from error
    except OSError as error:
        raise failed(f"{path}/config cannot be opened", error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return SysfsFunction(bdf, path, descriptor)
    except BlockingIOError as error:
        who = _holder(os.fstat(descriptor), locks)
        os.close(descriptor)
        raise HostError(f"{bdf}: busy: {who} has it", errno.EBUSY) from error
    except (OSError, HostError) as error:
        os.close(descriptor)
        raise error if isinstance(error, HostError) else failed(f"{path}/config: lock", error) from error


def lines(devices: str) -> set[int]:
    """The numbers of all functions' line interrupts, whoever has them. Raises HostError."""
    found = set()
    try:
        names = os.listdir(devices)
    except OSError as error:
        raise failed("the PCI functions of this machine", error) from error
    for name in names:
        # A function may go meanwhile.
        with contextlib.suppress(HostError, ValueError):
            found.add(int(read_text(f"{devices}/{name}/irq", name)))
    return found


def functions(devices: str) -> list[Bdf]:
    """What can be offered to guests, in order of address: see the top of this file. Raises HostError."""
    try:
        names = sorted(os.listdir(devices))
    except OSError as error:
        raise failed(f"{devices}: the PCI functions of this machine", error) from error
    offered = []
    for name in names:
        address = _BDF.fullmatch(name)
        if address is None:
            continue
        # One that goes away while we look is simply not there.
        with contextlib.suppress(HostError):
            driver = bound_driver(f"{devices}/{name}")
            if driver in PCIBACK or (driver is None and not _is_bridge(f"{devices}/{name}")):
                segment, bus, slot, function = (int(part, 16) for part in address.groups())
                offered.append(Bdf(segment, bus, slot, function))
    return offered


def bound_driver(path: str) -> str | None:
    """Name of the driver bound to the function whose folder is `path`. Raises HostError."""
    try:
        return os.path.basename(os.readlink(f"{path}/driver"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise failed(f"{path}/driver", error) from error


def _is_bridge(path: str) -> bool:
    return number(f"{path}/class") >> 16 == BASE_CLASS_BRIDGE


def irq_of(path: str) -> int:
    """The routed line of the function whose folder is `path`, 0 if it goes nowhere. Raises HostError."""
    irq = number(f"{path}/irq")
    return 0 if irq >= IRQ_NOTCONNECTED else irq


def number(path: str) -> int:
    """The file's number, in whatever base it is written. Raises HostError."""
    text = read_text(path, path).strip()
    try:
        return int(text, 0)
    except ValueError as error:
        raise HostError(f"{path}: {text[:20]!a} is not a number", errno.EIO) from error


def _resources(path: str) -> tuple[Resource, ...]:
    """The first seven lines of ``resource``; what the kernel could not place counts as not there."""
    found = all_resources(path)[:RESOURCES]
    if len(found) != RESOURCES:
        raise HostError(f"{path}/resource: {len(found)} lines, not {RESOURCES}", errno.EIO)
    return tuple(_NO_BAR if not r.end or not r.flags or r.flags & IORESOURCE_UNSET else r for r in found)


def all_resources(path: str) -> list[Resource]:
    """Every line of ``resource``, placed or not, by Linux's index: BARs, the ROM, then what the header has no room for.

    Raises HostError.
    """
    try:
        rows = [
            [int(word, 16) for word in line.split()]
            for line in read_text(f"{path}/resource", f"{path}/resource").splitlines()
        ]
        return [Resource(start, end, flags) for start, end, flags in rows]
    except ValueError as error:
        raise HostError(f"{path}/resource: not lines of three numbers", errno.EIO) from error


def _holder(status: os.stat_result, locks: str) -> str:
    """Who holds the flock, by the kernel's table of locks: ``1: FLOCK ADVISORY WRITE pid major:minor:inode …``."""
    inode = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    with contextlib.suppress(HostError):
        for line in read_text(locks, locks).splitlines():
            words = line.split()
            if len(words) > 5 and words[1] == "FLOCK" and words[5] == inode:
                with contextlib.suppress(HostError):
                    return f"process {words[4]} ({read_text(f'/proc/{words[4]}/comm', 'name').strip()})"
                return f"process {words[4]}"
    return "another process"


def read_text(path: str, what: str) -> str:
    """The file's text. HostError speaks of `what`."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError as error:
        raise failed(what, error) from error


def _write(path: str, text: str, what: str) -> None:
    try:
        # Unbuffered: sysfs wants one write, and its answer belongs to this call, not to the closing of the file.
        with open(path, "wb", buffering=0) as file:
            file.write(text.encode("ascii"))
    except OSError as error:
        raise failed(what, error) from error
