# SPDX-License-Identifier: Apache-2.0
"""The backend's side of the XenBus handshake, for one guest's directory.

A watch says only that something changed, never what; several changes may be one event, and a change may be undone
before we look. So there is no handler for each change. At every event we LOOK: one transaction reads both states
and all that decides with them, and what is to be done follows from what is stored *now*. If the answer is a state
to be written, it is written in that same transaction or, where something of ours must end first, in a later one
that looks again. We keep no copy of our own state: the toolstack writes that node too, and what is stored is what
counts.

What a guest holds of us ends in one order: no new request is begun, the one in dispatch ends, the port is unbound,
the page is unmapped, and only then does the store say so (CLOSE, QUIET, UNBOUND, SETTLE). None of it waits for the
guest.

A node may be deleted under us, or replaced by a new one in state 1 for the next guest; both end the instance, and
the node is looked at afresh. A node that is found in any other state without an instance is somebody else's, or that of
a process of ours that died. The latter had kept that it was (RECALL). Then the functions are taken over as they are,
at the addresses that the guest was told, and from there on the store decides: a guest that was attached, and still has
the keys with which it was, is attached again without a word in the store; one that cannot be is told by a failure, like
any other. A function that somebody holds means that the process is not dead at all: then nothing is touched.
Of what is nobody's, Closing and Reconfiguring have nobody else to answer for them and are closed; the rest is left alone.

States 7 and 8 are a round of hot-plug: the toolstack writes 7, the frontend answers 7 when it has let go, we attach
and detach and write 8, the frontend answers 4 when it has scanned, we write 4. The round is only for a guest that
is attached.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from types import MappingProxyType
from typing import Final

from pvpci.model import op
from pvpci.model.kernel.records import GO, Effect, Event, Record
from pvpci.model.kernel.tables import Access, Ignored, Machine, Otherwise, Row, table
from pvpci.model.kernel.terms import ALWAYS, Bits, Choice, Flag, Update
from pvpci.model.shared import channel, flags, kept, link, nodes, watches
from pvpci.model.states import Xenbus as S


class At(Enum):
    AWAY = auto()  #: no instance: the node is watched
    FRESH = auto()  #: is there a node for us?
    RECALLING = auto()  #: the node is in use; asked what was kept of it
    STRANGE = auto()  #: nothing: it is somebody else's, or nobody's
    TAKING = auto()  #: the host takes the functions over that a process of ours had when it died
    TAKEN = auto()  #: they are had; is their guest still attached?
    HERE = auto()  #: an instance at rest: both directories are watched
    LOOK = auto()  #: something changed; what does the store say?
    EXPORTING = auto()  #: the host attaches and detaches what the toolstack listed
    EXPORTED = auto()
    MAPPING = auto()  #: the host maps the page
    BINDING = auto()  #: the host binds the event channel
    CALMING = auto()  #: attached again: an error report of the one who died is withdrawn
    CONNECTING = auto()  #: attached, to be said if it is still wanted
    RECONFIGURING = auto()  #: as EXPORTING, in a round of hot-plug
    RECONFIGURED = auto()
    CLOSE = auto()  #: what the guest holds of us is to end
    QUIET = auto()  #: waiting for the request in dispatch
    UNBOUND = auto()  #: no channel any more; waiting for the request machine to forget it
    SETTLE = auto()  #: nothing is held any more: say so
    RELEASING = auto()  #: the host takes the functions back


class After(Enum):
    """What follows when nothing is held any more."""

    UNDONE = auto()  #: look again: the attach was overtaken
    STAY = auto()  #: nothing to write: Closing is stored already
    CLOSING = auto()
    FAILED = auto()  #: report, and Closing
    CLOSED = auto()
    REMOVE = auto()  #: the frontend is gone: Closed, and give the functions back
    FORGET = auto()  #: the node is gone or not ours any more: write nothing


class Mine(Record):
    at = Choice(At)
    after = Choice(After)
    ref = Bits(32)  #: the grant and the port that one transaction read together, while they are of use
    port = Bits(32)
    fresh = Flag()  #: attached what was listed since our directory last changed
    told = Flag()  #: a premature Connected was reported for this instance
    holds = Flag()  #: functions of the host may be held for this guest
    again = Flag()  #: the instance was taken over, and its guest not attached since
    left = Flag()  #: the last instance ended in order: nothing of it is to be taken over


mine = Mine("conn")


class BackChanged(Event):
    """Something changed in the backend's directory."""

    offered = watches.back
    takes = (watches.back.becomes(False),)


class FrontChanged(Event):
    """The frontend's state was written, or the watch on it has just been placed."""

    offered = watches.front
    takes = (watches.front.becomes(False), watches.waiting.becomes(0))


class Recalled(Event):
    """What was kept: nothing, unless a process of ours had an instance here when it died."""

    ours = Flag()
    ref = Bits(32)
    port = Bits(32)


class TakenOver(Event):
    """`busy`: somebody holds a function, so the one who had it is alive. Then nothing was changed."""

    ok = Flag()
    busy = Flag()


class Exported(Event):
    ok = Flag()


class Reconfigured(Event):
    ok = Flag()


class Mapped(Event):
    ok = Flag()


class Bound(Event):
    ok = Flag()


class Released(Event):
    """The functions are free, and nothing is kept any more."""

    takes = (kept.ours.becomes(False), kept.ref.becomes(0), kept.port.becomes(0))


class Stop(Event):
    """Service ends: whoever runs the backend wants it to."""


class AtRest(Event):
    """No request is in dispatch."""

    offered = op.my.at.among(*op.REST)


class Idle(Event):
    """The request machine holds nothing of the channel any more."""

    offered = op.my.at == op.At.IDLE


TakenOver.offered = ~TakenOver.busy | kept.held
Recalled.offered = (Recalled.ours == kept.ours) & (
    ~kept.ours | ((Recalled.ref == kept.ref) & (Recalled.port == kept.port))
)

# What the toolstack listed is done, and doing it wrote into our own directory.
Exported.takes = (
    watches.back.becomes(watches.back | (nodes.listed & Exported.ok)),
    nodes.listed.becomes(nodes.listed & ~Exported.ok),
)
Reconfigured.takes = (
    watches.back.becomes(watches.back | (nodes.listed & Reconfigured.ok)),
    nodes.listed.becomes(nodes.listed & ~Reconfigured.ok),
)

# A freshly bound port is open, and the hypervisor marks it pending once.
Bound.takes = (channel.pending.becomes(True), channel.masked.becomes(False))

BEGIN = Effect(
    "begin",
    {},
    None,
    lambda: (watches.front.becomes(True), kept.ours.becomes(True)),
    doc="Keep that the instance is ours. Watch the frontend's state; the watch fires at once.",
)
RECALL = Effect("recall", {}, Recalled, doc="What did a process that died keep of this device?")
TAKE_OVER = Effect(
    "take_over",
    {},
    TakenOver,
    doc="Take each function whose `state-N` says attached, as it is, to the address that `vdev-N` says.",
)
EXPORT = Effect(
    "export", {}, Exported, doc="Attach each function whose `state-N` is 1, detach those at 5; publish the roots."
)
RECONFIGURE = Effect("reconfigure", {}, Reconfigured, doc="As `export`, in a round of hot-plug.")
MAP = Effect("map", {"ref": Bits(32)}, Mapped, doc="Map the page that the frontend granted.")
BIND = Effect(
    "bind",
    {"port": Bits(32)},
    Bound,
    doc="Keep the keys for as long as the instance lasts; bind the frontend's event channel.",
)
RING = Effect("ring", {}, None, doc="Ring the guest: it may not have heard of the last answer of the one who died.")
UNBIND = Effect("unbind", {}, None, doc="Close our end of the channel.")
UNMAP = Effect("unmap", {}, None, doc="Unmap the page.")
RENEW = Effect("renew", {}, None, doc="The next kernel of the same guest comes: what the last one set is forgotten.")
REPORT = Effect("report", {}, None, doc="Write the error node.")
WARN = Effect("warn", {}, None, doc="Log that the frontend says Connected and is not.")
RELEASE = Effect("release", {}, Released, doc="Detach all functions; stop watching the frontend.")

own, fe, online = nodes.own, nodes.fe, nodes.online
attached = link.mapped & link.bound
ours = own.among(S.INIT_WAIT, S.INITIALISED, S.CONNECTED, S.CLOSING, S.CLOSED, S.RECONFIGURING, S.RECONFIGURED)
open_ = own.among(S.INIT_WAIT, S.INITIALISED, S.CONNECTED, S.RECONFIGURING, S.RECONFIGURED)
unclosed = open_ | (own == S.CLOSING)
present = ~fe.among(S.UNKNOWN, S.CLOSING, S.CLOSED)
wanted = own.among(S.INITIALISED) & nodes.listed & ~mine.fresh
settled = (own == S.INITIALISED) & ~(nodes.listed & ~mine.fresh)
posted = settled & (fe == S.INITIALISED) & ~link.mapped
premature = (fe == S.CONNECTED) & (settled | (own == S.CLOSED) | ((own == S.RECONFIGURED) & ~attached))
round_ = (own == S.RECONFIGURING) & (fe == S.RECONFIGURING)
#: A guest that was attached, and did not go meanwhile.
served = own.among(S.CONNECTED, S.RECONFIGURING, S.RECONFIGURED) & present
same = (
    fe.among(S.INITIALISED, S.CONNECTED, S.RECONFIGURING, S.RECONFIGURED)
    & nodes.sound & (nodes.ref == mine.ref) & (nodes.port == mine.port)
)  # fmt: skip
gone = (own == S.UNKNOWN) | (own == S.INITIALISING)

quiet = link.closing.becomes(True)
no_keys = (mine.ref.becomes(0), mine.port.becomes(0))
keys = (mine.ref.becomes(nodes.ref), mine.port.becomes(nodes.port))


def _then(after: After) -> Update:
    return mine.after.becomes(after)


def _write(state: S) -> Update:
    return nodes.own.becomes(state)


_TX: Final = Access.TRANSACTION
# fmt: off
TABLE: Final[tuple[Row, ...]] = table(
    #   at                event         when                                  then                                       asks             next              cite
    # No instance
    Row(At.AWAY,          BackChanged,  ALWAYS,                               (mine.left.becomes(False),),                                   (),              At.FRESH,         "xenbus_probe.c:xenbus_dev_changed"),
    Row(At.FRESH,         GO,           own == S.INITIALISING,                (_write(S.INIT_WAIT), mine.fresh.becomes(False), mine.told.becomes(False), mine.holds.becomes(True), mine.left.becomes(False), mine.again.becomes(False)), (BEGIN(),), At.HERE, "xenbus.c:xen_pcibk_xenbus_probe", access=_TX),
    Row(At.FRESH,         GO,           ours & ~mine.left,                    (),                                        (RECALL(),),     At.RECALLING,     "RB-20"),
    Row(At.FRESH,         GO,           own.among(S.CLOSING, S.RECONFIGURING) & mine.left, (_write(S.CLOSED),),          (),              At.AWAY,          "RB-3", access=_TX, name="left over"),
    Otherwise(At.FRESH,   GO,                                                 (),                                        (),              At.AWAY,          "xenbus_probe.c:xenbus_probe_node"),
    Row(At.RECALLING,     Recalled,     ~Recalled.ours,                       (),                                        (),              At.STRANGE,       "RB-20"),
    Row(At.STRANGE,       GO,           own.among(S.CLOSING, S.RECONFIGURING), (_write(S.CLOSED),),                      (),              At.AWAY,          "RB-3", access=_TX, name="orphan"),
    Otherwise(At.STRANGE, GO,                                                 (),                                        (),              At.AWAY,          "xenbus_probe.c:xenbus_probe_node"),
    # A process of ours died
    Row(At.RECALLING,     Recalled,     Recalled.ours,                        (mine.again.becomes(True), mine.ref.becomes(Recalled.ref), mine.port.becomes(Recalled.port), mine.fresh.becomes(False), mine.told.becomes(False), mine.holds.becomes(True)), (BEGIN(), TAKE_OVER()), At.TAKING, "RB-20"),
    Row(At.TAKING,        TakenOver,    TakenOver.busy,                       (mine.holds.becomes(False), mine.again.becomes(False)), (),              At.AWAY,          "RB-20", name="alive"),
    Row(At.TAKING,        TakenOver,    ~TakenOver.busy & TakenOver.ok,       (),                                        (),              At.TAKEN,         "RB-20"),
    Row(At.TAKING,        TakenOver,    ~TakenOver.busy & ~TakenOver.ok,      (_then(After.FAILED),),                    (),              At.CLOSE,         "RB-20"),
    Row(At.TAKEN,         GO,           served & same,                        (),                                        (MAP(mine.ref),), At.MAPPING,      "RB-20"),
    Row(At.TAKEN,         GO,           served & ~same,                       (_then(After.FAILED),),                    (),              At.CLOSE,         "RB-20", name="other keys"),
    Otherwise(At.TAKEN,   GO,                                                 no_keys,                                    (),              At.LOOK,          "RB-20"),
    # Anything changed: look at all of it
    Row(At.HERE,          BackChanged,  ALWAYS,                               (mine.fresh.becomes(False),),              (),              At.LOOK,          "xenbus.c:xen_pcibk_be_watch"),
    Row(At.HERE,          FrontChanged, ALWAYS,                               (),                                        (),              At.LOOK,          "xenbus.c:xen_pcibk_frontend_changed", name="frontend"),
    Row(At.LOOK,          GO,           gone,                                 (_then(After.FORGET),),                    (),              At.CLOSE,         "RB-19", name="node gone"),
    Row(At.LOOK,          GO,           ours & (fe == S.UNKNOWN),             (_then(After.REMOVE),),                    (),              At.CLOSE,         "xenbus.c:xen_pcibk_frontend_changed", name="frontend gone"),
    Row(At.LOOK,          GO,           open_ & (fe == S.CLOSING),            (_then(After.CLOSING),),                   (),              At.CLOSE,         "xenbus.c:xen_pcibk_frontend_changed", name="closing"),
    Row(At.LOOK,          GO,           (own == S.CLOSING) & (fe == S.CLOSING) & link.mapped, (_then(After.STAY),),      (),              At.CLOSE,         "xenbus.c:xen_pcibk_frontend_changed", name="both closing"),
    Row(At.LOOK,          GO,           unclosed & (fe == S.CLOSED),          (_then(After.CLOSED),),                    (),              At.CLOSE,         "xenbus.c:xen_pcibk_frontend_changed", name="closed"),
    Row(At.LOOK,          GO,           (own == S.CLOSED) & ~online & fe.among(S.CLOSED, S.INITIALISING), (_then(After.REMOVE),), (), At.CLOSE,         "xenbus.c:xen_pcibk_frontend_changed", name="offline"),
    Row(At.LOOK,          GO,           (own == S.CLOSED) & online & (fe == S.INITIALISING), (_write(S.INIT_WAIT), mine.again.becomes(False)), (RENEW(),),      At.HERE,          "RB-14", access=_TX, name="renewed"),
    Row(At.LOOK,          GO,           present & ((own == S.INIT_WAIT) | wanted), (mine.fresh.becomes(True),),          (EXPORT(),),     At.EXPORTING,     "xenbus.c:xen_pcibk_setup_backend"),
    Row(At.LOOK,          GO,           posted & nodes.sound,                 keys,                                      (MAP(nodes.ref),), At.MAPPING,     "RB-2"),
    Row(At.LOOK,          GO,           posted & ~nodes.sound,                (_then(After.FAILED),),                    (),              At.CLOSE,         "xenbus.c:xen_pcibk_attach", name="bad keys"),
    Row(At.LOOK,          GO,           round_ & attached,                    (),                                        (RECONFIGURE(),), At.RECONFIGURING, "xenbus.c:xen_pcibk_reconfigure"),
    Row(At.LOOK,          GO,           round_ & ~attached,                   (_then(After.FAILED),),                    (),              At.CLOSE,         "RB-1", name="round without page"),
    Row(At.LOOK,          GO,           (own == S.RECONFIGURED) & (fe == S.CONNECTED) & attached, (_write(S.CONNECTED),), (),             At.HERE,          "RB-1", access=_TX, name="round over"),
    Row(At.LOOK,          GO,           premature & ~mine.told,               (mine.told.becomes(True),),                (WARN(),),       At.HERE,          "RB-1", name="premature"),
    Otherwise(At.LOOK,    GO,                                                 (),                                        (),              At.HERE,          "xenbus.c:xen_pcibk_frontend_changed", name="nothing to do"),
    # Setting up
    Row(At.EXPORTING,     Exported,     Exported.ok,                          (),                                        (),              At.EXPORTED,      "xenbus.c:xen_pcibk_setup_backend"),
    Row(At.EXPORTING,     Exported,     ~Exported.ok,                         (_then(After.FAILED),),                    (),              At.CLOSE,         "RB-4"),
    Row(At.EXPORTED,      GO,           own == S.INIT_WAIT,                   (_write(S.INITIALISED),),                  (),              At.LOOK,          "xenbus.c:xen_pcibk_setup_backend", access=_TX, name="published"),
    Row(At.EXPORTED,      GO,           own != S.INIT_WAIT,                   (),                                        (),              At.LOOK,          "RB-3", name="late device"),
    # Attaching
    Row(At.MAPPING,       Mapped,       Mapped.ok,                            (link.mapped.becomes(True),),              (BIND(mine.port),), At.BINDING,    "xenbus.c:xen_pcibk_do_attach"),
    Row(At.MAPPING,       Mapped,       ~Mapped.ok,                           (_then(After.FAILED),),                    (),              At.CLOSE,         "xenbus.c:xen_pcibk_do_attach"),
    Row(At.BINDING,       Bound,        Bound.ok & ~mine.again,               (link.bound.becomes(True), link.closing.becomes(False), link.resumed.becomes(False)), (), At.CONNECTING, "xenbus.c:xen_pcibk_do_attach"),
    Row(At.BINDING,       Bound,        Bound.ok & mine.again,                (link.bound.becomes(True), link.closing.becomes(False), link.resumed.becomes(True)), (), At.CALMING, "RB-20", name="again"),
    Row(At.CALMING,       GO,           ALWAYS,                               (flags.aer.becomes(False),),               (RING(),),       At.CONNECTING,    "RB-20", access=Access.LOCKED),
    Row(At.BINDING,       Bound,        ~Bound.ok,                            (_then(After.FAILED),),                    (),              At.CLOSE,         "xenbus.c:xen_pcibk_do_attach"),
    Row(At.CONNECTING,    GO,           own == S.INITIALISED,                 (_write(S.CONNECTED), mine.again.becomes(False)), (),       At.HERE,          "xenbus.c:xen_pcibk_attach", access=_TX),
    Row(At.CONNECTING,    GO,           mine.again & own.among(S.CONNECTED, S.RECONFIGURING, S.RECONFIGURED), (mine.again.becomes(False),), (), At.LOOK, "RB-20", name="taken up"),
    Otherwise(At.CONNECTING, GO,                                              (_then(After.UNDONE),),                    (),              At.CLOSE,         "RB-3"),
    # A round of hot-plug
    Row(At.RECONFIGURING, Reconfigured, Reconfigured.ok,                      (),                                        (),              At.RECONFIGURED,  "xenbus.c:xen_pcibk_reconfigure"),
    Row(At.RECONFIGURING, Reconfigured, ~Reconfigured.ok,                     (_then(After.FAILED),),                    (),              At.CLOSE,         "RB-4"),
    Row(At.RECONFIGURED,  GO,           own == S.RECONFIGURING,               (_write(S.RECONFIGURED),),                 (),              At.LOOK,          "xenbus.c:xen_pcibk_reconfigure", access=_TX, name="said"),
    Row(At.RECONFIGURED,  GO,           own != S.RECONFIGURING,               (),                                        (),              At.LOOK,          "RB-3", name="overtaken"),
    # Letting go
    Row(At.CLOSE,         GO,           link.bound,                           (quiet,),                                  (),              At.QUIET,         "RB-6"),
    Row(At.CLOSE,         GO,           link.mapped & ~link.bound,            no_keys,                                   (),              At.UNBOUND,       "xenbus.c:xen_pcibk_disconnect"),
    Row(At.CLOSE,         GO,           ~link.mapped & ~link.bound,           no_keys,                                   (),              At.SETTLE,        "xenbus.c:xen_pcibk_disconnect"),
    Row(At.QUIET,         AtRest,       ALWAYS,                               (link.bound.becomes(False), *no_keys),            (UNBIND(),),     At.UNBOUND,       "XSA-331"),
    Row(At.UNBOUND,       Idle,         ALWAYS,                               (link.mapped.becomes(False),),             (UNMAP(),),      At.SETTLE,        "xenbus.c:xen_pcibk_disconnect"),
    Row(At.SETTLE,        GO,           mine.after.among(After.UNDONE, After.STAY), (),                                  (),              At.LOOK,          "RB-3"),
    Row(At.SETTLE,        GO,           (mine.after == After.CLOSING) & open_, (_write(S.CLOSING),),                     (),              At.HERE,          "xenbus.c:xen_pcibk_frontend_changed", access=_TX, name="closing"),
    Row(At.SETTLE,        GO,           (mine.after == After.CLOSING) & ~open_, (),                                      (),              At.HERE,          "RB-3", name="closing overtaken"),
    Row(At.SETTLE,        GO,           (mine.after == After.FAILED) & open_, (_write(S.CLOSING),),                      (REPORT(),),     At.HERE,          "xenbus_client.c:xenbus_dev_fatal", access=_TX, name="failed"),
    Row(At.SETTLE,        GO,           (mine.after == After.FAILED) & ~open_, (),                                       (REPORT(),),     At.HERE,          "RB-3", name="failed and overtaken"),
    Row(At.SETTLE,        GO,           (mine.after == After.CLOSED) & unclosed & online, (_write(S.CLOSED),),           (),              At.HERE,          "xenbus.c:xen_pcibk_frontend_changed", access=_TX, name="closed"),
    Row(At.SETTLE,        GO,           (mine.after == After.CLOSED) & unclosed & ~online, (_write(S.CLOSED),),          (RELEASE(),),    At.RELEASING,     "xenbus.c:xen_pcibk_frontend_changed", access=_TX, name="closed for good"),
    Row(At.SETTLE,        GO,           (mine.after == After.CLOSED) & ~unclosed, (),                                    (),              At.LOOK,          "RB-3", name="closed overtaken"),
    Row(At.SETTLE,        GO,           (mine.after == After.REMOVE) & unclosed, (_write(S.CLOSED),),                    (RELEASE(),),    At.RELEASING,     "xenbus_probe.c:xenbus_dev_remove", access=_TX, name="removed"),
    Row(At.SETTLE,        GO,           (mine.after == After.REMOVE) & ~unclosed, (),                                    (RELEASE(),),    At.RELEASING,     "RB-3", name="removed already"),
    Row(At.SETTLE,        GO,           mine.after == After.FORGET,           (),                                        (RELEASE(),),    At.RELEASING,     "RB-19", name="forgotten"),
    Row(At.RELEASING,     Released,     ALWAYS,                               (mine.holds.becomes(False), mine.left.becomes(True)), (),              At.FRESH,         "xenbus.c:free_pdev"),
)
# fmt: on

STOPPING: Final = (
    Row(
        At.HERE, Stop, ALWAYS, (_then(After.REMOVE),), (), At.CLOSE, "xenbus_probe.c:xenbus_dev_remove", name="stopping"
    ),
)

AFTER_DEATH: Final = (At.TAKING, At.TAKEN, At.CALMING)
NOBODYS: Final = (At.AWAY, At.FRESH, At.RECALLING, At.STRANGE)  #: there is no instance
KNOWN: Final = {
    "no channel without a page": link.bound.implies(link.mapped),
    "nothing is held without an instance": mine.at.among(
        At.AWAY, At.FRESH, At.RECALLING, At.STRANGE, At.TAKING, At.TAKEN, At.RELEASING, At.SETTLE, At.MAPPING
    ).implies(~link.mapped & ~link.bound),
    "first the page, then the channel": mine.at.among(At.BINDING, At.UNBOUND).implies(link.mapped & ~link.bound),
    "at rest both or neither": mine.at.among(
        At.HERE, At.LOOK, At.EXPORTING, At.EXPORTED, At.RECONFIGURING, At.RECONFIGURED
    ).implies(link.mapped == link.bound),
    "an attached guest is served": (link.bound & ~mine.at.among(At.CLOSE, At.QUIET)).implies(~link.closing),
    "connecting means attached": mine.at.among(At.CALMING, At.CONNECTING, At.QUIET).implies(attached),
    "an instance holds functions": (~mine.at.among(*NOBODYS)) == mine.holds,
}  # fmt: skip

_AWAY: Final = "without an instance nothing of the frontend is watched"
_LATER: Final = "stays pending until we are at rest and look"
_QUIET: Final = (
    Ignored(At.AWAY, FrontChanged, _AWAY),
    *(Ignored(at, event, _LATER) for at in At if at not in (At.AWAY, At.HERE) for event in (BackChanged, FrontChanged)),
)
_STOP_LATER: Final = tuple(Ignored(at, Stop, "stays wanted until we are at rest") for at in At if at is not At.HERE)


def _machine(
    rows: tuple[Row, ...], ignored: tuple[Ignored, ...], besides: Mapping[str, Flag] = MappingProxyType({})
) -> Machine:
    return Machine(
        "connection", "backend", mine.at, rows, records=(mine, link, nodes, flags), known={**KNOWN, **besides},
        resting=frozenset({At.AWAY, At.HERE}), doc=__doc__ or "", ignored=ignored,
    )  # fmt: skip


#: What runs. A backend that may stop at any time is owed nothing, so progress is proved of one that goes on serving.
MACHINE: Final = _machine(TABLE + STOPPING, _QUIET + _STOP_LATER)
SERVING: Final = _machine(TABLE, _QUIET)
#: Without what follows a death, for systems in which nobody dies: there it only makes a search longer.
IMMORTAL: Final = _machine(
    tuple(row for row in TABLE if not {row.source, row.next} & {*AFTER_DEATH} and row.name != "taken up"),
    _QUIET + tuple(Ignored(at, GO, "nobody has died") for at in AFTER_DEATH),
    {
        "nobody has died": ~mine.at.among(*AFTER_DEATH) & ~mine.again
        & ((mine.at == At.RECALLING).implies(~kept.ours)),
    },
)  # fmt: skip
