# SPDX-License-Identifier: Apache-2.0
"""The frontend's side of the handshake: what a guest's `pcifront` does with its own state.

A frontend publishes a page and a port, says Initialised, and from then on follows the backend: 4 means scan and say
Connected, 7 means let go of what is to be detached and say so, 8 means scan again. When the backend closes, it
closes: the guard names the open states, for 7 and 8 are greater than Closing and still have to be closed.

Two versions. The patient one does only this. The impatient one also shuts down in the middle (5, a short wait, 6)
and is, after the end, started again by the next kernel in the same domain.
"""

from __future__ import annotations

from dataclasses import replace
from enum import Enum, auto
from typing import Final

from pvpci.model.kernel.records import GO, Event, Record
from pvpci.model.kernel.tables import Access, Ignored, Machine, Otherwise, Row, table
from pvpci.model.kernel.terms import ALWAYS, Bits, Choice, Update
from pvpci.model.shared import nodes, watches
from pvpci.model.states import Xenbus as S


class At(Enum):
    ABSENT = auto()  #: no driver, or none yet
    PUBLISHED = auto()  #: page and port are in the store
    HERE = auto()
    LOOK = auto()  #: the backend's state changed
    SCANNING = auto()  #: probing every address: one read each
    UNPLUGGING = auto()  #: removing the devices that are to go
    HALTING = auto()  #: shutting down: waiting for the backend's 5


class Mine(Record):
    at = Choice(At)
    life = Bits(2)  #: which kernel of this domain: its grant and port carry the same number


front = Mine("front")


class Probe(Event):
    """The driver is loaded and finds its node; a watch that is placed fires at once."""

    takes = (watches.peer.becomes(True),)


class PeerChanged(Event):
    """The backend's state was written."""

    offered = watches.peer
    takes = (watches.peer.becomes(False),)


class Halt(Event):
    """The guest is shut down."""


class GiveUp(Event):
    """It has waited long enough."""


class Restart(Event):
    """The next kernel starts in the same domain."""

    offered = front.life < 3


own, fe = nodes.own, nodes.fe
publish = (
    nodes.sound.becomes(True),
    nodes.ref.becomes(front.life.resize(32)),
    nodes.port.becomes(front.life.resize(32)),
)
closable = fe.among(S.INITIALISING, S.INIT_WAIT, S.INITIALISED, S.CONNECTED, S.RECONFIGURING, S.RECONFIGURED)
scans = ((own == S.CONNECTED) & (fe == S.INITIALISED)) | ((own == S.RECONFIGURED) & (fe == S.RECONFIGURING))
unplugs = (own == S.RECONFIGURING) & fe.among(S.INITIALISED, S.CONNECTED)
closes = own.among(S.CLOSING, S.CLOSED) & closable


def _say(state: S) -> Update:
    return nodes.fe.becomes(state)


_TX: Final = Access.TRANSACTION
# fmt: off
TABLE: Final[tuple[Row, ...]] = table(
    #   at               event        when                    then                      asks  next            cite
    Row(At.ABSENT,       Probe,       fe == S.INITIALISING,   publish,                  (),   At.PUBLISHED,   "xen-pcifront.c:pcifront_publish_info", access=_TX),
    Row(At.ABSENT,       Probe,       fe != S.INITIALISING,   (),                       (),   At.ABSENT,      "xenbus_probe.c:xenbus_probe_node"),
    Row(At.PUBLISHED,    GO,          fe == S.INITIALISING,   (_say(S.INITIALISED),),   (),   At.HERE,        "xen-pcifront.c:pcifront_publish_info", access=_TX),
    Row(At.PUBLISHED,    GO,          fe != S.INITIALISING,   (),                       (),   At.ABSENT,      "xenbus_client.c:__xenbus_switch_state", name="node gone"),
    Row(At.HERE,         PeerChanged, ALWAYS,                 (),                       (),   At.LOOK,        "xen-pcifront.c:pcifront_backend_changed"),
    Row(At.LOOK,         GO,          fe == S.UNKNOWN,        (),                       (),   At.ABSENT,      "xen-pcifront.c:pcifront_xenbus_remove"),
    Row(At.LOOK,         GO,          scans,                  (),                       (),   At.SCANNING,    "xen-pcifront.c:pcifront_connect"),
    Row(At.LOOK,         GO,          unplugs,                (),                       (),   At.UNPLUGGING,  "xen-pcifront.c:pcifront_detach_devices"),
    Row(At.LOOK,         GO,          closes,                 (_say(S.CLOSED),),        (),   At.HERE,        "xen-pcifront.c:pcifront_try_disconnect", access=_TX, name="close"),
    Otherwise(At.LOOK,   GO,                                  (),                       (),   At.HERE,        "xen-pcifront.c:pcifront_backend_changed", name="nothing to do"),
    Row(At.SCANNING,     GO,          fe.among(S.INITIALISED, S.RECONFIGURING), (_say(S.CONNECTED),), (), At.HERE, "xen-pcifront.c:pcifront_connect", access=_TX),
    Otherwise(At.SCANNING, GO,                                (),                       (),   At.ABSENT,      "xenbus_client.c:__xenbus_switch_state", name="node gone"),
    Row(At.UNPLUGGING,   GO,          fe.among(S.INITIALISED, S.CONNECTED), (_say(S.RECONFIGURING),), (), At.HERE, "xen-pcifront.c:pcifront_detach_devices", access=_TX),
    Otherwise(At.UNPLUGGING, GO,                              (),                       (),   At.ABSENT,      "xenbus_client.c:__xenbus_switch_state", name="node gone"),
)
SHUTDOWN: Final[tuple[Row, ...]] = table(
    Row(At.HERE,         Halt,        fe == S.CONNECTED,      (_say(S.CLOSING),),       (),   At.HALTING,     "xenbus_probe_frontend.c:xenbus_frontend_dev_shutdown", access=_TX),
    Row(At.HERE,         Halt,        fe != S.CONNECTED,      (),                       (),   At.HERE,        "xenbus_probe_frontend.c:xenbus_frontend_dev_shutdown"),
    Row(At.HALTING,      PeerChanged, (own == S.CLOSING) & (fe == S.CLOSING), (_say(S.CLOSED),), (), At.ABSENT, "xenbus_probe_frontend.c:xenbus_frontend_dev_shutdown", access=_TX),
    Otherwise(At.HALTING, PeerChanged,                        (),                       (),   At.HALTING,     "xenbus_probe_frontend.c:xenbus_frontend_dev_shutdown"),
    Row(At.HALTING,      GiveUp,      ALWAYS,                 (),                       (),   At.ABSENT,      "xenbus_probe_frontend.c:xenbus_frontend_dev_shutdown", name="gives up"),
    Row(At.HERE,         Restart,     (fe == S.CLOSED) & (own == S.CLOSED), (_say(S.INITIALISING), nodes.sound.becomes(False), front.life.becomes(front.life + 1)), (), At.ABSENT, "pcifront.c:shutdown_pcifront", access=_TX),
    Row(At.HERE,         Restart,     (fe != S.CLOSED) | (own != S.CLOSED), (), (), At.HERE, "pcifront.c:shutdown_pcifront", name="not yet"),
)
# fmt: on

_LATER: Final = "stays pending until the driver is at rest and looks"


def _machine(rows: tuple[Row, ...], name: str) -> Machine:
    ignored_probe = tuple(Ignored(at, Probe, "the driver is loaded already") for at in At if at is not At.ABSENT)
    patient = not any(row.source is At.HALTING for row in rows)
    ignored = ignored_probe + tuple(Ignored(at, PeerChanged, _LATER) for at in At if at not in (At.HERE, At.HALTING))
    if patient:
        ignored += tuple(Ignored(At.HALTING, event, "one that stays up never halts") for event in (GO, PeerChanged))
    else:
        ignored += (Ignored(At.HALTING, GO, "it waits for the backend, or gives up"),)
    return Machine(
        name, "frontend", front.at, rows, records=(front, nodes),
        ignored=ignored, resting=frozenset({At.ABSENT, At.HERE}), doc=__doc__ or "",
    )  # fmt: skip


MACHINE: Final = _machine(TABLE, "frontend")
IMPATIENT: Final = replace(
    _machine(TABLE + SHUTDOWN, "frontend"), doc="A frontend that also halts, gives up and restarts."
)
