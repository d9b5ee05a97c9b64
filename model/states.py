# SPDX-License-Identifier: Apache-2.0
"""The states of a XenBus node, as xenstore holds them (``xen/include/public/io/xenbus.h``).

7 and 8 are numerically above Closing and Closed: a guard that means "closing" names its members, never an order.
"""

from __future__ import annotations

from enum import Enum


class Xenbus(Enum):
    """What a `state` node says. Members stand in the order of their numbers; the last two have none."""

    UNKNOWN = 0  #: the node does not exist, or may not be read
    INITIALISING = 1
    INIT_WAIT = 2
    INITIALISED = 3
    CONNECTED = 4
    CLOSING = 5
    CLOSED = 6
    RECONFIGURING = 7
    RECONFIGURED = 8
    ODD = 9  #: any other text; changes nothing


def parse(text: str | None) -> Xenbus:
    """What the text of a `state` node means: decimal digits of a known state, or ODD; None (no node) is UNKNOWN.

    An empty node counts as missing, as it does for ``xenbus_read_driver_state``. Any other text that is not a state of
    the header is not 0 but "no change": a guest must not end its backend by a typing error.
    """
    if text is None or text == "":
        return Xenbus.UNKNOWN
    if text.isascii() and text.isdigit() and len(text) <= 8 and int(text) <= Xenbus.RECONFIGURED.value:
        return Xenbus(int(text))
    return Xenbus.ODD
