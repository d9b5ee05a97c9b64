# SPDX-License-Identifier: Apache-2.0
"""The toolstack's part: what libxl writes to make, change and remove a device.

Creation is one transaction. Hot-plug waits until the backend says Connected, then lists the function and writes 7,
then waits for Connected again. The wait and the write are two steps, so the 7 may land on a backend that has left
Connected meanwhile. The impatient version gives up after ten seconds, wherever it waits, and goes on to whatever it
is asked next. Removal of the whole device deletes the frontend's directory and then the backend's; the generic path
first says offline and Closing and waits for Closed.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from pvpci.model.kernel.records import GO, Event, Record
from pvpci.model.kernel.tables import Access, Machine, Otherwise, Row, table
from pvpci.model.kernel.terms import ALWAYS, Choice
from pvpci.model.shared import nodes
from pvpci.model.states import Xenbus as S


class At(Enum):
    NONE = auto()  #: no device
    IDLE = auto()
    POLLING = auto()  #: waiting for Connected before a hot-plug
    WRITING = auto()  #: saw it; about to write 7
    PLUGGING = auto()  #: waiting for Connected after it
    REMOVING = auto()  #: said offline and Closing
    HALF = auto()  #: the frontend's directory is gone, the backend's is not


class Mine(Record):
    at = Choice(At)


tool = Mine("tool")


class Create(Event):
    """A device is configured for the domain."""

    offered = (nodes.own == S.UNKNOWN) & (nodes.fe == S.UNKNOWN)


class Plug(Event):
    """Somebody asks for a function to be attached or detached."""


class Remove(Event):
    """Somebody asks for the device to be removed in an orderly way."""


class Destroy(Event):
    """The domain is destroyed, or its last function detached."""


class Poll(Event):
    """It looks at the backend's state once more."""


class GiveUp(Event):
    """It has waited ten seconds."""


own = nodes.own
create = (
    nodes.own.becomes(S.INITIALISING), nodes.fe.becomes(S.INITIALISING), nodes.online.becomes(True),
    nodes.listed.becomes(True), nodes.sound.becomes(False),
)  # fmt: skip
forget_front = (nodes.fe.becomes(S.UNKNOWN), nodes.sound.becomes(False))
forget_back = (nodes.own.becomes(S.UNKNOWN), nodes.online.becomes(False), nodes.listed.becomes(False))

_TX: Final = Access.TRANSACTION
# fmt: off
TABLE: Final[tuple[Row, ...]] = table(
    #   at            event    when                 then                                                                asks  next           cite
    Row(At.NONE,      Create,  ALWAYS,              create,                                                             (),   At.IDLE,       "libxl_pci.c:libxl__create_pci_backend", access=_TX),
    Row(At.IDLE,      Plug,    ALWAYS,              (),                                                                 (),   At.POLLING,    "libxl_pci.c:libxl__device_pci_add_xenstore"),
    Row(At.POLLING,   Poll,    own == S.CONNECTED,  (),                                                                 (),   At.WRITING,    "libxl_pci.c:libxl__device_pci_add_xenstore"),
    Row(At.POLLING,   Poll,    own != S.CONNECTED,  (),                                                                 (),   At.POLLING,    "libxl_pci.c:libxl__device_pci_add_xenstore"),
    Row(At.WRITING,   GO,      ALWAYS,              (nodes.listed.becomes(True), nodes.own.becomes(S.RECONFIGURING)),   (),   At.PLUGGING,   "libxl_pci.c:libxl__device_pci_add_xenstore", access=_TX),
    Row(At.PLUGGING,  Poll,    own == S.CONNECTED,  (),                                                                 (),   At.IDLE,       "libxl_pci.c:libxl__device_pci_remove_xenstore"),
    Row(At.PLUGGING,  Poll,    own != S.CONNECTED,  (),                                                                 (),   At.PLUGGING,   "libxl_pci.c:libxl__device_pci_remove_xenstore"),
    Row(At.IDLE,      Remove,  ALWAYS,              (nodes.own.becomes(S.CLOSING), nodes.online.becomes(False)),        (),   At.REMOVING,   "libxl_device.c:libxl__initiate_device_generic_remove", access=_TX),
    Row(At.REMOVING,  Poll,    own.among(S.CLOSED, S.UNKNOWN), forget_front,                                            (),   At.HALF,       "libxl_device.c:libxl__device_destroy", access=_TX),
    Otherwise(At.REMOVING, Poll,                    (),                                                                 (),   At.REMOVING,   "libxl_device.c:libxl__initiate_device_generic_remove"),
    Row(At.IDLE,      Destroy, ALWAYS,              forget_front,                                                       (),   At.HALF,       "libxl_device.c:libxl__device_destroy", access=_TX),
    Row(At.HALF,      GO,      ALWAYS,              forget_back,                                                        (),   At.NONE,       "libxl_device.c:libxl__device_destroy", access=_TX),
)
IMPATIENCE: Final[tuple[Row, ...]] = table(
    Row(At.POLLING,   GiveUp,  ALWAYS,              (),                                                                 (),   At.IDLE,       "libxl_pci.c:libxl__device_pci_add_xenstore", name="gives up"),
    Row(At.PLUGGING,  GiveUp,  ALWAYS,              (),                                                                 (),   At.IDLE,       "libxl_pci.c:libxl__device_pci_remove_xenstore", name="gives up"),
    Row(At.REMOVING,  GiveUp,  ALWAYS,              forget_front,                                                       (),   At.HALF,       "libxl_device.c:libxl__initiate_device_generic_remove", access=_TX, name="gives up"),
)
# fmt: on


def _machine(rows: tuple[Row, ...]) -> Machine:
    resting = frozenset({At.NONE, At.IDLE})
    return Machine("toolstack", "toolstack", tool.at, rows, (tool, nodes), resting=resting, doc=__doc__ or "")


MACHINE: Final = _machine(TABLE)
IMPATIENT: Final = _machine(TABLE + IMPATIENCE)
