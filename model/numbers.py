# SPDX-License-Identifier: Apache-2.0
"""What an error number means, which depends on where it was printed.

Four sets of numbers meet in this protocol, and a fifth in the toolstack's log. The protocol has codes of its own, 0 to
-5; `xen-pciback` also lets errors of the kernel through to the guest as they are, and among these are the hypervisor's,
which the kernel passes on with the same numbers; inside a kernel, accesses to configuration space return PCIBIOS codes
that are mapped to the protocol's on the way out, all but two. So -5 in one field may be "operation failed" or EIO, and
nothing in the number tells. What a number can be is a table by the place where it appears; where two rows fit, both
are given, and it is not decided.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from pvpci.model.states import Xenbus
from pvpci.model.wire import Err


class Space(Enum):
    """Whose number it is."""

    PROTOCOL = "XEN_PCI_ERR_* of the protocol"
    LINUX = "errno of Linux"
    XEN = "errno of the hypervisor"
    PCIBIOS = "PCIBIOS code"
    LIBXL = "return code of libxl"
    STATE = "state of the handshake"
    DATA = "no error number"


class Where(Enum):
    """Where it was printed or read."""

    CONFIG = "op.err of conf_read or conf_write"
    MSI = "op.err of enable_msi"
    MSIX = "op.err of enable_msix, and its value when it failed (the guest's `enable msix get err`)"
    FRONT = "the guest's `Xen PCI frontend error`"
    BACK = "dom0's `error enabling MSI` or `MSI-X for guest`"
    MAP = "dom0's `xen map irq failed`"
    HYPERCALL = "what another hypercall returned: unmapping, preparing MSI-X, assigning"
    STORE = "an error node in xenstore, or a line of the form `<driver> <device>: <number> <text>`"
    ACCESSOR = "what a kernel's own access to configuration space returns"
    VALUE = "a value read from configuration space"
    LIBXL = "rc= in the output of xl or libvirt"
    STATE = "a `state` node in xenstore"


@dataclass(frozen=True, slots=True)
class Reading:
    """One thing that the number can be. `next` is what to look at or to do, or empty.

    `known` is false where no particular cause is known, only that a number of this kind can come through there.
    """

    where: Where
    space: Space
    name: str
    means: str
    next: str
    cite: str
    known: bool = True


_P, _L, _X, _B, _T = Space.PROTOCOL, Space.LINUX, Space.XEN, Space.PCIBIOS, Space.LIBXL
_PROTOCOL: Final = {err.value: f"XEN_PCI_ERR_{err.name.lower()}" for err in Err}
_PCIBIOS: Final = {
    0x81: "PCIBIOS_FUNC_NOT_SUPPORTED", 0x83: "PCIBIOS_BAD_VENDOR_ID", 0x86: "PCIBIOS_DEVICE_NOT_FOUND",
    0x87: "PCIBIOS_BAD_REGISTER_NUMBER", 0x88: "PCIBIOS_SET_FAILED", 0x89: "PCIBIOS_BUFFER_TOO_SMALL",
}  # fmt: skip
_LIBXL: Final = (
    "NONSPECIFIC", "VERSION", "FAIL", "NI", "NOMEM", "INVAL", "BADFAIL", "GUEST_TIMEDOUT", "TIMEDOUT", "NOPARAVIRT",
    "NOT_READY", "OSEVENT_REG_FAIL", "BUFFERFULL", "UNKNOWN_CHILD", "LOCK_FAIL", "JSON_CONFIG_EMPTY", "DEVICE_EXISTS",
    "CHECKPOINT_DEVOPS_DOES_NOT_MATCH", "CHECKPOINT_DEVICE_NOT_SUPPORTED", "VNUMA_CONFIG_INVALID", "DOMAIN_NOTFOUND",
    "ABORTED", "NOTFOUND", "DOMAIN_DESTROYED", "FEATURE_REMOVED", "PROTOCOL_ERROR_QMP", "UNKNOWN_QMP_ERROR",
    "QMP_GENERIC_ERROR", "QMP_COMMAND_NOT_FOUND", "QMP_DEVICE_NOT_ACTIVE", "QMP_DEVICE_NOT_FOUND", "QEMU_API",
)  # fmt: skip
#: xen/include/public/errno.h: the hypervisor's numbers are Linux's, as far as it has them.
_XEN: Final = frozenset(
    {
        *range(1, 15),
        *range(16, 25),
        28,
        30,
        31,
        *range(33, 40),
        61,
        62,
        74,
        75,
        84,
        88,
        90,
        95,
        98,
        99,
        105,
        106,
        107,
        110,
        111,
    }
)
_DOM0_LINE: Final = "look for `error enabling` and `xen map irq failed` in dom0's log of the same moment"
_ADDRESS: Final = (
    "compare the address with `vdev-N` in xenstore; was there a `pciback not responding` in the guest's log?"
)
_OURS: Final = "RB-21"  #: cited where only pvpci answers so; xen-pciback's numbers of the same name come besides
_SEIZE: Final = "`ls /sys/bus/pci/drivers/pciback` and `xl list`: is it bound there, and has no other guest got it?"

# fmt: off
#: Place, number, whose it is, what it means, what next, source. The name follows from the number.
_ROWS: Final[tuple[tuple[Where, int, Space, str, str, str], ...]] = (
    # Configuration space
    (Where.CONFIG, -1, _P, "no function at this address of the virtual bus, or it was just taken away; pcifront also makes"
     " it of two seconds without an answer", _ADDRESS, "conf_space.c:xen_pcibios_err_to_errno"),
    (Where.CONFIG, -2, _P, "the size is not 1, 2 or 4, or the offset is no multiple of it", "", "conf_space.c:valid_request"),
    (Where.CONFIG, -3, _P, "a field refused the write: a power state that the function does not have, a write of vital"
     " product data, or message control beside the MSI operations", "", "conf_space_capability.c"),
    (Where.CONFIG, -4, _P, "the backend does not know this command", "", "pciback_ops.c:xen_pcibk_do_one_op"),
    (Where.CONFIG, -5, _P, "the operation failed; pvpci answers this also where the function cannot be enabled", "", "pciif.h"),
    (Where.CONFIG, -22, _L, "a read at offset 0x1000 or beyond (its value is then all ones), or a write of COMMAND that was to"
     " enable a function with a BAR that has no address", "did dom0 place all BARs? `lspci -v` there", "conf_space.c:xen_pcibios_err_to_errno"),
    (Where.CONFIG, 0x83, _B, "one of the two PCIBIOS codes that reach the guest unmapped", "", "conf_space.c:xen_pcibios_err_to_errno"),
    (Where.CONFIG, 0x89, _B, "one of the two PCIBIOS codes that reach the guest unmapped", "", "conf_space.c:xen_pcibios_err_to_errno"),
    # MSI: one code for everything
    (Where.MSI, -1, _P, "no function at this address of the virtual bus; pcifront also makes it of two seconds without an answer", _ADDRESS, "pciback_ops.c:xen_pcibk_do_one_op"),
    (Where.MSI, -4, _P, "the backend has no MSI: built without it, or one that never had it (NetBSD). To enable_multi_msi: it has no"
     " blocks of several messages, as upstream Linux's backend, and pvpci without `serve --multi-msi`", "", "pciback_ops.c:xen_pcibk_do_one_op"),
    (Where.MSI, -5, _P, "every failure of enable_msi has this number: MSI or MSI-X is on already, or the kernel or the hypervisor"
     " refused; and of enable_multi_msi, also where the function has not so many messages", _DOM0_LINE, "pciback_ops.c:xen_pcibk_enable_msi"),
    # MSI-X: the kernel's number as it is
    (Where.MSIX, -1, _P, "no function at this address of the virtual bus; pcifront also makes it of two seconds without an answer", _ADDRESS, "pciback_ops.c:xen_pcibk_do_one_op"),
    (Where.MSIX, -4, _P, "the backend has no MSI-X: built without it, or one that never had it (NetBSD)", "", "pciback_ops.c:xen_pcibk_do_one_op"),
    (Where.MSIX, -5, _P, "the operation failed, from a backend that answers with the protocol's code where xen-pciback does not;"
     " from pvpci: the function's enable bits could not be set, or a vector could not be given back", _DOM0_LINE, "pciif.h"),
    (Where.MSIX, -6, _L, "memory decoding of the function is off, or MSI is on", "the driver has to enable the function before its interrupts", "pciback_ops.c:xen_pcibk_enable_msix"),
    (Where.MSIX, -12, _L, "dom0 had no memory for the list of vectors", "", "pciback_ops.c:xen_pcibk_enable_msix"),
    (Where.MSIX, -16, _L, "from pvpci: a vector of before, or an enable bit, is still on because the hypervisor or the function refused"
     " to turn it off; it is tried again when the guest turns its interrupts off, and when the function goes",
     "look for `cannot set the function's enable bits` and `does not take a vector back` in pvpci's log", _OURS),
    (Where.MSIX, -22, _L, "more than 128 vectors, none, or an entry that is twice in the list or not in the function's table", "", "pciback_ops.c:xen_pcibk_enable_msix"),
    (Where.MSIX, -28, _L, "fewer vectors were to be had than asked for: the function's table is smaller, or the hypervisor"
     " refused after the first ones", _DOM0_LINE, "drivers/pci/msi"),
    (Where.MSIX, -34, _L, "the kernel does not take this number of vectors", "", "drivers/pci/msi"),
    (Where.MSIX, -114, _L, "MSI-X is still on from an earlier enable. Linux's frontend sends disable_msi when a driver turns"
     " MSI-X off, and xen-pciback then leaves it on: so it goes to a driver that is loaded again, or that enables twice (nvme)",
     "the driver falls back to MSI or INTx and works, with less throughput; taking the function away and giving it back clears it",
     "pciback_ops.c:xen_pcibk_enable_msix"),
    # What pcifront makes of it
    (Where.FRONT, -22, _L, "pcifront makes this of every enable_msi that fails, and of a vector that it cannot use: the"
     " backend's number is lost", _DOM0_LINE, "xen-pcifront.c:pci_frontend_enable_msi"),
    # The hypervisor, when dom0 maps a vector
    (Where.MAP, -1, _X, "dom0 may not: MSI is off for the host, or dom0 has no right to the interrupt", "is `msi=0` on Xen's command line?", "xen/arch/x86/irq.c:map_domain_pirq"),
    (Where.MAP, -3, _X, "there is no such domain: it died in between", "", "xen/arch/x86/physdev.c"),
    (Where.MAP, -6, _X, "memory decoding of the function is off", "", "xen/arch/x86/msi.c:msix_capability_init"),
    (Where.MAP, -12, _X, "the hypervisor has no memory left for it", "", "xen/arch/x86/irq.c:map_domain_pirq"),
    (Where.MAP, -17, _X, "this interrupt is mapped already", "", "xen/arch/x86/msi.c:__pci_enable_msix"),
    (Where.MAP, -19, _X, "the hypervisor has the function assigned to another domain than the one named",
     "give it with the toolstack (`xl pci-attach`), and take it back with `xl pci-assignable-remove`, not by hand", "xen/arch/x86/irq.c:map_domain_pirq"),
    (Where.MAP, -22, _X, "the entry is beyond the function's table, or the request made no sense", "", "xen/arch/x86/msi.c:__pci_enable_msix"),
    (Where.MAP, -28, _X, "the hypervisor has no interrupt or vector left", "compare `xl debug-keys M; xl dmesg` before and after restarts of the guest", "xen/arch/x86/irq.c:allocate_pirq"),
    (Where.MAP, -33, _X, "a block of messages must have 1 to 32 of them", "", "xen/arch/x86/irq.c:allocate_pirq"),
    (Where.MAP, -61, _X, "the function's MSI-X was not prepared before it was given away", "bind it to pciback first, then assign it", "xen/arch/x86/msi.c:msix_capability_init"),
    (Where.MAP, -95, _X, "more than one message needs interrupt remapping, which this machine does not have", "", "xen/arch/x86/irq.c:allocate_pirq"),
    # The hypervisor, otherwise
    (Where.HYPERCALL, -1, _X, "the caller has no right to do this", "run it as root in dom0", "xen/include/xsm/dummy.h"),
    (Where.HYPERCALL, -3, _X, "there is no such domain, or not any more", "", "xen/arch/x86/physdev.c"),
    (Where.HYPERCALL, -16, _X, "assigning: another guest has the function. Preparing MSI-X: it is prepared already; releasing it: it is"
     " still in use. Unmapping: the interrupt is one of a block, which goes only as a whole", "", "xen/drivers/passthrough/pci.c"),
    (Where.HYPERCALL, -19, _X, "the hypervisor does not know the function, or another domain has it", "", "xen/drivers/passthrough/pci.c"),
    (Where.HYPERCALL, -22, _X, "unmapping: the interrupt is not mapped, or not any more; harmless at the end of a guest", "", "xen/arch/x86/irq.c:unmap_domain_pirq"),
    (Where.HYPERCALL, -28, _X, "the hypervisor has no interrupt or vector left", "", "xen/arch/x86/irq.c:allocate_pirq"),
    # Positive, in texts
    (Where.STORE, 2, _L, "a key is not there: `num_devs`, `dev-N`, or what the frontend publishes", "`xenstore-ls` of both directories", "xenbus.c:xen_pcibk_setup_backend"),
    (Where.STORE, 12, _L, "no memory; from xen-pciback also: all 32 slots of the virtual bus are taken", "", "vpci.c:__xen_pcibk_add_pci_dev"),
    (Where.STORE, 14, _L, "the frontend's `magic` is not 7", "the guest's frontend speaks another protocol", "xenbus.c:xen_pcibk_attach"),
    (Where.STORE, 22, _L, "the function is not bound to pciback or belongs to another guest already; or a key does not parse", _SEIZE, "xenbus.c:xen_pcibk_export_device"),
    # Inside a kernel
    (Where.ACCESSOR, 0x81, _B, "on the wire it is -4", "", "conf_space.c:xen_pcibios_err_to_errno"),
    (Where.ACCESSOR, 0x83, _B, "it goes over the wire as it is", "", "conf_space.c:xen_pcibios_err_to_errno"),
    (Where.ACCESSOR, 0x86, _B, "on the wire it is -1", "", "conf_space.c:xen_pcibios_err_to_errno"),
    (Where.ACCESSOR, 0x87, _B, "on the wire it is -2; pcifront makes it of -2 and of -5", "", "xen-pcifront.c:errno_to_pcibios_err"),
    (Where.ACCESSOR, 0x88, _B, "on the wire it is -3", "", "conf_space.c:xen_pcibios_err_to_errno"),
    (Where.ACCESSOR, 0x89, _B, "it goes over the wire as it is", "", "conf_space.c:xen_pcibios_err_to_errno"),
    # The toolstack's own
    (Where.LIBXL, -3, _T, "it failed; the lines before say at what", "", "libxl_types.idl"),
    (Where.LIBXL, -9, _T, "a wait ran out, for the backend's state mostly", "`xenstore-ls` of the backend: which state, whose turn?", "libxl_types.idl"),
    (Where.LIBXL, -16, _T, "the stored configuration of the domain is empty; not EBUSY", "", "libxl_types.idl"),
    (Where.LIBXL, -28, _T, "QEMU refused a command; not ENOSPC", "the log of QEMU has the reason", "libxl_types.idl"),
)
# fmt: on
_NAMED: Final = re.compile(r"-?(?:E[A-Z0-9]{2,20}|XEN_PCI_ERR_[a-z_]{2,20}|PCIBIOS_[A-Z_]{2,30}|ERROR_[A-Z_]{2,40})")
_LONGEST: Final = 20  #: digits
#: With a prefix, of a full width, or with a digit in it: `dead` and `add` are words.
_HEXADECIMAL: Final = re.compile(
    r"0[xX][0-9a-fA-F]{1,16}|[0-9a-fA-F]{8}|[0-9a-fA-F]{16}|(?=[a-fA-F]*[0-9])[0-9a-fA-F]{2,15}"
)


def parse(text: str) -> int | None:
    """A number as logs print it, or a name of one; None if it is neither.

    Decimal, ``0x…``, or bare hexadecimal as ``%x`` prints it. 32 and 64 bits with the sign bit set
    are negative numbers.
    """
    if len(text) > 60:
        return None
    if _NAMED.fullmatch(text):
        return _by_name(text.removeprefix("-"))
    if re.fullmatch(rf"-?[0-9]{{1,{_LONGEST}}}", text, re.ASCII):
        number = int(text)
    elif _HEXADECIMAL.fullmatch(text):
        number = int(text, 16)
    else:
        return None
    for bits in (32, 64):
        if 1 << bits - 1 <= number < 1 << bits and number >> 32 in (0, 0xFFFFFFFF):
            return number - (1 << bits)
    return number


def _by_name(name: str) -> int | None:
    for number, spelled in (*_PROTOCOL.items(), *_PCIBIOS.items()):
        if spelled == name:
            return number
    if name.startswith("ERROR_") and name[6:] in _LIBXL:
        return -1 - _LIBXL.index(name[6:])
    found = getattr(errno, name, None)
    return -found if isinstance(found, int) else None


def name(space: Space, number: int) -> str:
    """What the number is called there; empty if it has no name."""
    if space is Space.PROTOCOL:
        return _PROTOCOL.get(number, "")
    if space is Space.PCIBIOS:
        return _PCIBIOS.get(number, "")
    if space is Space.LIBXL:
        return f"ERROR_{_LIBXL[-number - 1]}" if -len(_LIBXL) <= number < 0 else ""
    if space is Space.STATE:
        return Xenbus(number).name if 0 <= number < Xenbus.ODD.value else ""
    if space is Space.XEN and abs(number) not in _XEN:
        return ""
    return errno.errorcode.get(abs(number), "")


def readings(number: int, where: Where | None = None) -> tuple[Reading, ...]:
    """All that the number can be at that place, or at any; known causes first.

    Empty: none of the parties that we know prints this number there.
    """
    places = Where if where is None else (where,)
    found = [reading for place in places for reading in _at(place, number)]
    return tuple(sorted(found, key=lambda reading: not reading.known))


def decided(found: tuple[Reading, ...]) -> bool:
    """Whether the readings agree on whose number it is, so that it means one thing wherever it was printed."""
    return len({(reading.space, reading.name) for reading in found}) == 1


def _rows(where: Where, number: int) -> list[Reading]:
    return [
        Reading(where, space, name(space, number), means, after, cite)
        for place, known, space, means, after, cite in _ROWS
        if place is where and known == number
    ]


def _errno(where: Where, number: int, space: Space, means: str, cite: str) -> list[Reading]:
    spelled = name(space, number)
    return [Reading(where, space, spelled, means, "", cite, False)] if number < 0 and spelled else []


def _moved(found: list[Reading], where: Where) -> list[Reading]:
    return [replace(one, where=where) for one in found]


def _at(where: Where, number: int) -> Iterator[Reading]:
    rows = _rows(where, number)
    yield from rows
    match where:
        case Where.CONFIG if not any(row.space is _L for row in rows):
            yield from _errno(where, number, _L, "from enabling the function, after a write of COMMAND only: xen-pciback passes"
                              " that number on as it is", "conf_space_header.c:command_write")  # fmt: skip
        case Where.MSIX:
            yield from _vectors(where, number, any(row.space is _L and row.cite != _OURS for row in rows))
        case Where.BACK:
            own = [row for row in _rows(Where.MSIX, number) if row.space is _L and row.cite != _OURS]
            yield from _moved(own, where)
            yield from _vectors(where, number, bool(own))
        case Where.FRONT:
            # Unchanged from enable_msix; an enable_msi that failed would be the row of this place.
            yield from _moved(list(_at(Where.MSIX, number)), where)
        case Where.MAP if not rows:
            yield from _errno(where, number, _X, "the hypervisor refused to map the interrupt", "xen/arch/x86/irq.c")
        case Where.STORE if 0 < number < min(_PCIBIOS) and not rows and name(_L, number):
            yield Reading(
                where, _L, name(_L, number), "the kernel that printed it failed with this", "", "xenbus_client.c"
            )
        case Where.LIBXL if not rows and name(_T, number):
            yield Reading(
                where, _T, name(_T, number), "a number of libxl's own, which is no errno", "", "libxl_types.idl"
            )
        case Where.STATE if name(Space.STATE, number):
            yield Reading(where, Space.STATE, name(Space.STATE, number), "how far the backend or the frontend is",
                          "`pvpci diagram connection` draws the whole", "xenbus.h")  # fmt: skip
        case Where.VALUE if number in (-1, 0xFF, 0xFFFF):
            yield Reading(where, Space.DATA, "all ones", "nothing answered the read: no function, or one that is gone or dead",
                          "`lspci -xxx` in dom0: does the function answer there?", "PCI Local Bus, 6.1")  # fmt: skip
        case _:
            pass


def _vectors(where: Where, number: int, told: bool) -> Iterator[Reading]:
    """What comes up from below when vectors are set up: the kernel's own, and the hypervisor's with the same numbers."""
    if not told:
        yield from _errno(
            where,
            number,
            _L,
            "a failure while the vectors were set up, the kernel's own or the hypervisor's",
            "drivers/pci/msi",
        )
    yield from _moved(_rows(Where.MAP, number), where)
