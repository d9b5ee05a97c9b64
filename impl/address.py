# SPDX-License-Identifier: Apache-2.0
"""What people type to name things: devices as ``lspci`` and ``xl`` write them, domains by number.

Python's `int` would take ``0x1f``, ``1_0``, ``+3`` and digits of other scripts; a device that is handed to a guest
should be the one that was meant, so only the plain forms are accepted.

The functions serve as the ``type`` of a click parameter as they are: ``@click.argument("bdf", type=parse_bdf)``.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from pvpci.impl.errors import UsageError
from pvpci.impl.host import Bdf, DomId
from pvpci.model.config.grants import KEYS, NOTHING, GrantError, Grants
from pvpci.model.config.grants import parse as parse_grants

_BDF: Final = re.compile(r"(?:([0-9a-fA-F]{1,4}):)?([0-9a-fA-F]{1,2}):([0-9a-fA-F]{1,2})\.([0-9a-fA-F])", re.ASCII)
_DOMID: Final = re.compile(r"[0-9]{1,9}", re.ASCII)
_BDF_FORM: Final = "write [DDDD:]BB:SS.F in hexadecimal, for example 0000:36:00.0"
_DOMID_FORM: Final = "give the domain's number; `xl domid NAME` prints it"

LAST_SLOT: Final = 0x1F
LAST_FUNCTION: Final = 7
#: xen.h DOMID_FIRST_RESERVED: from here on the numbers mean "myself", "I/O memory" and the like.
DOMID_FIRST_RESERVED: Final = 0x7FF0


def parse_bdf(text: str) -> Bdf:
    """``[DDDD:]BB:SS.F``, hexadecimal, segment 0 if it is not given. Raises UsageError."""
    where = f"device address '{text}'"
    found = _BDF.fullmatch(text)
    if found is None:
        raise UsageError(where, "not an address of a PCI function", _BDF_FORM)
    segment, bus, slot, function = (int(digits, 16) for digits in found.groups(default="0"))
    if slot > LAST_SLOT:
        raise UsageError(where, f"slot {slot:02x} is beyond {LAST_SLOT:02x}", _BDF_FORM)
    if function > LAST_FUNCTION:
        raise UsageError(where, f"function {function:x} is beyond {LAST_FUNCTION:x}", _BDF_FORM)
    return Bdf(segment, bus, slot, function)


class Wish(NamedTuple):
    """A function for a guest, and what the guest is granted with it."""

    function: Bdf
    grants: Grants = NOTHING

    def __str__(self) -> str:
        return ",".join(filter(None, (str(self.function), str(self.grants))))


def parse_wish(text: str) -> Wish:
    """``[DDDD:]BB:SS.F[,permissive=1][,interrupt_control=1][,extended=1][,quirk=OFFSET:WIDTH:MASK]``. Raises UsageError."""
    address, _, rest = text.partition(",")
    function = parse_bdf(address)
    if not rest and address == text:
        return Wish(function)
    where, right = f"device '{text}'", f"grants are {', '.join(KEYS.values())}"
    for part in rest.split(","):
        if part.partition("=")[0] not in KEYS:
            raise UsageError(where, f"'{part}' is no grant", right)
    try:
        return Wish(function, parse_grants(rest))
    except GrantError as error:
        raise UsageError(where, str(error), right) from None


def parse_domid(text: str) -> DomId:
    """A domain's number in decimal, 0 included. Raises UsageError."""
    where = f"domain '{text}'"
    if _DOMID.fullmatch(text) is None:
        raise UsageError(where, "not a number", _DOMID_FORM)
    number = int(text)
    if number >= DOMID_FIRST_RESERVED:
        raise UsageError(where, f"numbers from {DOMID_FIRST_RESERVED} on are reserved by Xen", _DOMID_FORM)
    return DomId(number)


def parse_guest(text: str) -> DomId:
    """As `parse_domid`, but a domain that a device can be given to. Raises UsageError."""
    domain = parse_domid(text)
    if domain == 0:
        raise UsageError("domain '0'", "this is dom0, which has its devices already", "give a guest's number")
    return domain
