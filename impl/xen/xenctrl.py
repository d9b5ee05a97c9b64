# SPDX-License-Identifier: Apache-2.0
"""The hypervisor calls of a toolstack, through libxenctrl and libxencall.

The domain-control interface changes with every release of Xen, so these calls go through the library that belongs to
the running hypervisor, found by its version; one of another version would only be refused. It is loaded when the first
call is due: where `xl` is the toolstack nothing here is ever needed.

:class:`Calls` is what the rest of the program sees; each method is one call and raises HostError with the number that
the hypervisor answered.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from struct import Struct
from typing import Any, Final, Protocol

from pvpci.impl.host import Bdf, DomId, HostError
from pvpci.impl.xen.capability import MsixCapability
from pvpci.impl.xen.devices import open_device

#: xen/include/public/xen.h __HYPERVISOR_physdev_op
HYPERVISOR_PHYSDEV_OP: Final = 33
#: xen/include/public/physdev.h PHYSDEVOP_prepare_msix, PHYSDEVOP_release_msix
PHYSDEVOP_PREPARE_MSIX: Final = 30
PHYSDEVOP_RELEASE_MSIX: Final = 31
#: xen/include/public/physdev.h PHYSDEVOP_map_pirq, and the type of mapping that libxenctrl has no call for
PHYSDEVOP_MAP_PIRQ: Final = 13
MAP_PIRQ_TYPE_MULTI_MSI: Final = 4
# struct physdev_pci_device, xen/include/public/physdev.h; sizeof == 4
#   struct { uint16_t seg; uint8_t bus; uint8_t devfn; }
PHYSDEV_PCI_DEVICE: Final = Struct("<H B B")
# struct physdev_map_pirq, xen/include/public/physdev.h; sizeof == 40
#   { domid_t domid; int type; int index; int pirq; int bus; int devfn; int entry_nr; uint64_t table_base; }
PHYSDEV_MAP_PIRQ: Final = Struct("<H 2x 3i I 2i 4x Q")
MAP_PIRQ_ANSWER: Final = 3  #: where `pirq` is among them

_INT, _U32, _U64, _ULONG, _POINTER = ctypes.c_int, ctypes.c_uint32, ctypes.c_uint64, ctypes.c_ulong, ctypes.c_void_p

#: xenctrl.h: each takes the handle first and returns an int, negative for failure with the number in errno. The flags
#: are uint8_t, uint32_t or bool, depending on function and release; as a 32-bit 0 or 1 they are the same to the callee.
XENCTRL: Final[dict[str, tuple[Any, ...]]] = {
    # (uint32_t domid, uint32_t machine_sbdf, uint32_t flags)
    "xc_assign_device": (_U32, _U32, _U32),
    # (uint32_t domid, uint32_t machine_sbdf)
    "xc_deassign_device": (_U32, _U32),
    # (uint32_t domid, unsigned long first_mfn, unsigned long nr_mfns, uint8_t allow_access)
    "xc_domain_iomem_permission": (_U32, _ULONG, _ULONG, _U32),
    # (uint32_t domid, uint32_t first_port, uint32_t nr_ports, uint32_t allow_access)
    "xc_domain_ioport_permission": (_U32, _U32, _U32, _U32),
    # (uint32_t domid, uint32_t pirq, bool allow_access)
    "xc_domain_irq_permission": (_U32, _U32, _U32),
    # (uint32_t domid, int index, int *pirq)
    "xc_physdev_map_pirq": (_U32, _INT, ctypes.POINTER(_INT)),
    # (uint32_t domid, int index, int *pirq, int devfn, int bus, int entry_nr, uint64_t table_base); bus: segment << 16 | bus
    "xc_physdev_map_pirq_msi": (_U32, _INT, ctypes.POINTER(_INT), _INT, _INT, _INT, _U64),
    # (uint32_t domid, int pirq)
    "xc_physdev_unmap_pirq": (_U32, _INT),
}
LIBXENCALL: Final = "libxencall.so.1"


class Calls(Protocol):
    """What a toolstack asks of the hypervisor for one function. Every method may raise HostError."""

    def assign(self, domain: DomId, bdf: Bdf) -> None: ...
    def deassign(self, domain: DomId, bdf: Bdf) -> None: ...
    def iomem_permission(self, domain: DomId, first_frame: int, frames: int, allow: bool) -> None: ...
    def ioport_permission(self, domain: DomId, first_port: int, ports: int, allow: bool) -> None: ...
    def irq_permission(self, domain: DomId, pirq: int, allow: bool) -> None: ...
    def map_pirq(self, domain: DomId, gsi: int) -> int:
        """Map a line interrupt under its own number; returns the number that the hypervisor gave it."""
        ...

    def map_msi(self, domain: DomId, bdf: Bdf) -> int:
        """Map the one message of plain MSI; returns the number that the hypervisor chose, -1 if it chose none."""
        ...

    def map_msix(self, domain: DomId, capability: MsixCapability, entry: int, table_base: int) -> int:
        """The same for one entry of the table. `table_base`: the address of the BAR that holds the table, not of the table."""
        ...

    def map_multi_msi(self, domain: DomId, bdf: Bdf, messages: int) -> int:
        """Map that many messages of plain MSI as one block; returns the first of the numbers that the hypervisor chose."""
        ...

    def unmap_pirq(self, domain: DomId, pirq: int) -> None: ...
    def prepare_msix(self, capability: MsixCapability) -> None:
        """HostError(EBUSY): it is prepared already."""
        ...

    def release_msix(self, capability: MsixCapability) -> None:
        """HostError(EBUSY): it was not prepared, or vectors are still mapped."""
        ...

    def close(self) -> None: ...


def library_name(hypervisor: str = "/sys/hypervisor") -> str:
    """The soname of libxenctrl for the running hypervisor. HostError if there is none."""
    numbers = []
    for part in ("major", "minor"):
        try:
            with open(f"{hypervisor}/version/{part}", encoding="ascii") as file:
                numbers.append(int(file.read()))
        except (OSError, ValueError) as error:
            what = f"{hypervisor}/version/{part} is missing: this is not running on Xen, or sysfs is not mounted"
            raise HostError(what, getattr(error, "errno", None) or errno.ENOENT) from error
    return "libxenctrl.so.{}.{}".format(*numbers)


def load_library(name: str) -> Any:
    """Load a shared library for calls that leave their failure in errno. HostError(ENOENT) if it cannot be loaded."""
    try:
        return ctypes.CDLL(name, use_errno=True)
    except OSError as error:
        what = f"{name} cannot be loaded ({error}): install the Xen tools of the running hypervisor, or attach with xl"
        raise HostError(what, errno.ENOENT) from error


class Xenctrl:
    """The two libraries, open. Implements :class:`Calls`; to be used by one thread at a time."""

    def __init__(self, name: str, load: Callable[[str], Any] = load_library) -> None:
        """HostError: a library is missing or lacks a call (ENOENT), or the hypercall device cannot be opened."""
        control, call = load(name), load(LIBXENCALL)
        try:
            self._functions = {each: _declare(control, each, _INT, _POINTER, *XENCTRL[each]) for each in XENCTRL}
            control_open = _declare(control, "xc_interface_open", _POINTER, _POINTER, _POINTER, ctypes.c_uint)
            self._control_close = _declare(control, "xc_interface_close", _INT, _POINTER)
            call_open = _declare(call, "xencall_open", _POINTER, _POINTER, ctypes.c_uint)
            self._call_close = _declare(call, "xencall_close", _INT, _POINTER)
            self._allocate = _declare(call, "xencall_alloc_buffer", _POINTER, _POINTER, ctypes.c_size_t)
            self._free = _declare(call, "xencall_free_buffer", None, _POINTER, _POINTER)
            self._call2 = _declare(call, "xencall2", _INT, _POINTER, ctypes.c_uint, ctypes.c_uint64, ctypes.c_uint64)
        except AttributeError as error:
            raise HostError(f"{name} or {LIBXENCALL} is of another version: {error}", errno.ENOENT) from error
        self._control = control_open(None, None, 0)
        if not self._control:
            raise _answered("libxenctrl: open the hypercall device")
        self._call = call_open(None, 0)
        if not self._call:
            answer = _answered("libxencall: open the hypercall device")
            self._control_close(self._control)
            raise answer

    def _ask(self, what: str, name: str, *arguments: Any) -> None:
        if not self._control:
            raise HostError(f"{what}: the library is closed", errno.EBADF)
        ctypes.set_errno(0)
        if self._functions[name](self._control, *arguments) < 0:
            raise _answered(what)

    def assign(self, domain: DomId, bdf: Bdf) -> None:
        self._ask(f"{bdf}: assign to domain {domain}", "xc_assign_device", domain, bdf.sbdf, 0)

    def deassign(self, domain: DomId, bdf: Bdf) -> None:
        self._ask(f"{bdf}: take from domain {domain}", "xc_deassign_device", domain, bdf.sbdf)

    def iomem_permission(self, domain: DomId, first_frame: int, frames: int, allow: bool) -> None:
        what = f"domain {domain}: {_verb(allow)} {frames} page(s) of I/O memory at {first_frame << 12:#x}"
        self._ask(what, "xc_domain_iomem_permission", domain, first_frame, frames, int(allow))

    def ioport_permission(self, domain: DomId, first_port: int, ports: int, allow: bool) -> None:
        what = f"domain {domain}: {_verb(allow)} {ports} I/O port(s) at {first_port:#x}"
        self._ask(what, "xc_domain_ioport_permission", domain, first_port, ports, int(allow))

    def irq_permission(self, domain: DomId, pirq: int, allow: bool) -> None:
        self._ask(f"domain {domain}: {_verb(allow)} interrupt {pirq}", "xc_domain_irq_permission", domain, pirq, allow)

    def map_pirq(self, domain: DomId, gsi: int) -> int:
        pirq = _INT(gsi)
        self._ask(f"domain {domain}: map interrupt {gsi}", "xc_physdev_map_pirq", domain, gsi, ctypes.byref(pirq))
        return pirq.value

    def map_msi(self, domain: DomId, bdf: Bdf) -> int:
        return self._map_message(f"{bdf}: map the message for domain {domain}", domain, bdf, 0, 0)

    def map_msix(self, domain: DomId, capability: MsixCapability, entry: int, table_base: int) -> int:
        _must_be_found(capability, "map")
        bdf = capability.bdf
        what = f"{bdf}: map entry {entry} for domain {domain}"
        # With 0 it would be taken for plain MSI.
        if not 0 < table_base < 1 << 64:
            raise HostError(f"{what}: no table at {table_base:#x}", errno.EINVAL)
        return self._map_message(what, domain, bdf, entry, table_base)

    def _map_message(self, what: str, domain: DomId, bdf: Bdf, entry: int, table_base: int) -> int:
        pirq = _INT(-1)
        place = bdf.devfn, bdf.segment << 16 | bdf.bus, entry, table_base
        self._ask(what, "xc_physdev_map_pirq_msi", domain, -1, ctypes.byref(pirq), *place)
        return pirq.value

    def map_multi_msi(self, domain: DomId, bdf: Bdf, messages: int) -> int:
        what = f"{bdf}: map {messages} messages for domain {domain}"
        bus = bdf.segment << 16 | bdf.bus
        argument = PHYSDEV_MAP_PIRQ.pack(domain, MAP_PIRQ_TYPE_MULTI_MSI, -1, -1, bus, bdf.devfn, messages, 0)
        answer = PHYSDEV_MAP_PIRQ.unpack(self._physdev(what, PHYSDEVOP_MAP_PIRQ, argument))
        return int(answer[MAP_PIRQ_ANSWER])

    def unmap_pirq(self, domain: DomId, pirq: int) -> None:
        self._ask(f"domain {domain}: unmap interrupt {pirq}", "xc_physdev_unmap_pirq", domain, pirq)

    def prepare_msix(self, capability: MsixCapability) -> None:
        self._msix("prepare", PHYSDEVOP_PREPARE_MSIX, capability)

    def release_msix(self, capability: MsixCapability) -> None:
        self._msix("release", PHYSDEVOP_RELEASE_MSIX, capability)

    def _msix(self, verb: str, operation: int, capability: MsixCapability) -> None:
        _must_be_found(capability, verb)
        bdf = capability.bdf
        self._physdev(f"{bdf}: {verb} MSI-X", operation, PHYSDEV_PCI_DEVICE.pack(bdf.segment, bdf.bus, bdf.devfn))

    def _physdev(self, what: str, operation: int, argument: bytes) -> bytes:
        """The argument as the hypervisor left it."""
        if not self._call:
            raise HostError(f"{what}: the library is closed", errno.EBADF)
        ctypes.set_errno(0)
        buffer = self._allocate(self._call, len(argument))
        if not buffer:
            raise _answered(f"{what}: memory for the hypercall")
        try:
            ctypes.memmove(buffer, argument, len(argument))
            if self._call2(self._call, HYPERVISOR_PHYSDEV_OP, operation, buffer) < 0:
                raise _answered(what)
            return ctypes.string_at(buffer, len(argument))
        finally:
            self._free(self._call, buffer)

    def close(self) -> None:
        """A second call does nothing."""
        control, call = self._control, self._call
        self._control = self._call = None
        if control:
            self._call_close(call)
            self._control_close(control)


def open_calls(
    hypervisor: str = "/sys/hypervisor", privcmd: str = "/dev/xen/privcmd", load: Callable[[str], Any] = load_library
) -> Xenctrl:
    """The calls for the running hypervisor. Raises HostError."""
    name = library_name(hypervisor)
    # The libraries would find out by themselves, but print their own lines about it.
    os.close(open_device(privcmd))
    return Xenctrl(name, load)


def _declare(library: Any, name: str, result: Any, *arguments: Any) -> Any:
    function = getattr(library, name)
    function.restype, function.argtypes = result, arguments
    return function


def _must_be_found(capability: MsixCapability, verb: str) -> None:
    # The last line of defence before a call that can end the machine: see impl.xen.capability.
    if type(capability) is not MsixCapability:
        raise HostError(f"{verb} MSI-X: no evidence of a capability", errno.EINVAL)


def _verb(allow: bool) -> str:
    return "allow" if allow else "forbid"


def _answered(what: str) -> HostError:
    return HostError(what, ctypes.get_errno() or errno.EIO)
