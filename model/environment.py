# SPDX-License-Identifier: Apache-2.0
"""What everybody else may do at any time, in any order, any number of times (the alphabet of the protocol notes,
section 13).

Against the worst guest the page is not described at all: any look may find anything (`System.hostile`). What is
left to say is the doorbell, the store, and the toolstack; and time, which is the events that are always offered.
"""

from __future__ import annotations

from typing import Final

from pvpci.model import connection, interrupts, op
from pvpci.model.kernel.records import Event, Record
from pvpci.model.kernel.systems import Move
from pvpci.model.kernel.terms import ALWAYS, Bits, Choice, Flag, Update, constant
from pvpci.model.shared import channel, flags, kept, link, nodes, watches
from pvpci.model.states import Xenbus as S

ALPHABET: Final = "environment.py"  #: nobody says that they may: nothing keeps them from it


class Said(Event):
    """Any text in a `state` node, and no node at all."""

    state = Choice(S)


class Rekeyed(Event):
    """The guest writes the keys of one of its lives, together."""

    life = Bits(1)


class Fate(Record):
    struck = Flag()  #: a process has died: one death is enough to be asked about, at whatever moment


fate = Fate("fate")

RING: Final = Move("the guest rings", "guest", link.bound, (channel.pending.becomes(True),), ALPHABET)
WATCHES: Final = (
    Move("our directory changes", "anybody", ALWAYS, (watches.back.becomes(True),), ALPHABET),
    Move("the frontend's state changes", "anybody", ALWAYS, (watches.front.becomes(True),), ALPHABET),
)

#: The connection as the request machine sees it, for searches that need not see more: attach, close, unbind, unmap.
ATTACH: Final = Move(
    "the link is attached", "link", ~link.mapped & (op.my.at == op.At.IDLE),
    (
        link.mapped.becomes(True), link.bound.becomes(True), link.closing.becomes(False),
        channel.pending.becomes(True), channel.masked.becomes(False),
    ),
    "connection.py:BINDING",
)  # fmt: skip
OPTION: Final = Move(
    "the backend is told something else", "anybody", ~link.mapped & (op.my.at == op.At.IDLE),
    (op.allowed.multi_msi.becomes(~op.allowed.multi_msi),), "RB-16",
)  # fmt: skip
DETACH: Final = (
    Move("the link is closing", "link", link.bound & ~link.closing, (link.closing.becomes(True),), "connection.py:CLOSE"),
    Move(
        "the port is unbound", "link", link.bound & link.closing & op.my.at.among(*op.REST),
        (link.bound.becomes(False),), "connection.py:QUIET",
    ),
    Move(
        "the page is unmapped", "link", link.mapped & ~link.bound & (op.my.at == op.At.IDLE),
        (link.mapped.becomes(False),), "connection.py:UNBOUND",
    ),
)  # fmt: skip

GUEST: Final = (
    Move("the guest writes its state", "guest", nodes.fe != S.UNKNOWN, (nodes.fe.becomes(Said.state),), ALPHABET, Said),
    Move(
        "the guest writes its keys", "guest", nodes.fe != S.UNKNOWN,
        (nodes.ref.becomes(Rekeyed.life.resize(32)), nodes.port.becomes(Rekeyed.life.resize(32)), nodes.sound.becomes(True)),
        ALPHABET, Rekeyed,
    ),
    Move("the guest spoils its keys", "guest", nodes.sound, (nodes.sound.becomes(False),), ALPHABET),
)  # fmt: skip
#: One that always writes the same keys, for claims that do not look at them.
ONE_LIFE: Final = (
    GUEST[0],
    Move("the guest writes its keys", "guest", nodes.fe != S.UNKNOWN, (nodes.sound.becomes(True),), ALPHABET),
    GUEST[2],
)
CREATE: Final = (
    Move(
        "the toolstack makes a node", "toolstack", nodes.own == S.UNKNOWN,
        (nodes.own.becomes(S.INITIALISING), nodes.fe.becomes(S.INITIALISING), nodes.online.becomes(True)), ALPHABET,
    ),
)  # fmt: skip
ENDS: Final = (
    Move("the frontend's directory is deleted", "toolstack", nodes.fe != S.UNKNOWN, (nodes.fe.becomes(S.UNKNOWN),), ALPHABET),
    Move("the backend's directory is deleted", "toolstack", nodes.own != S.UNKNOWN, (nodes.own.becomes(S.UNKNOWN),), ALPHABET),
)  # fmt: skip
TOOLSTACK: Final = (
    *CREATE,
    Move("the toolstack replaces the node", "toolstack", nodes.own != S.UNKNOWN, (nodes.own.becomes(S.INITIALISING),), ALPHABET),
    Move("the toolstack writes 3", "toolstack", nodes.own != S.UNKNOWN, (nodes.own.becomes(S.INITIALISED),), ALPHABET),
    Move("the toolstack writes 5", "toolstack", nodes.own != S.UNKNOWN, (nodes.own.becomes(S.CLOSING),), ALPHABET),
    Move("the toolstack writes 7", "toolstack", nodes.own != S.UNKNOWN, (nodes.own.becomes(S.RECONFIGURING),), ALPHABET),
    Move("the toolstack says offline", "toolstack", nodes.online, (nodes.online.becomes(False),), ALPHABET),
    Move("the toolstack lists a function", "toolstack", nodes.own != S.UNKNOWN, (nodes.listed.becomes(True),), ALPHABET),
    *ENDS,
)  # fmt: skip

#: An honest guest's AER side: it may announce a handler and clear the AER flag whenever it likes.
AER_FLAGS: Final = (
    Move(
        "the guest announces an AER handler",
        "errors",
        ~flags.handler,
        (flags.handler.becomes(True),),
        "pciif.h:XEN_PCIB_AERHANDLER",
    ),
    Move("the AER flag changes", "errors", ALWAYS, (flags.aer.becomes(~flags.aer),), "pciif.h:XEN_PCIB_active"),
)

#: A change in the store fires the watches on it, and they say no more than that.
RIPPLES: Final = {
    nodes.own.variable: (watches.back.becomes(True), watches.peer.becomes(True)),
    nodes.fe.variable: (watches.front.becomes(True), watches.waiting.becomes(1)),
    nodes.listed.variable: (watches.back.becomes(True),),
    nodes.online.variable: (watches.back.becomes(True),),
}

#: The backend's process dies, once and at any step, and another one is started.
_conn = connection.mine
DEATH: Final = Move(
    "the backend dies and is started again", "fate", (_conn.at != connection.At.AWAY) & ~fate.struck,
    (
        *(Update(var, constant(var.sort, var.sort.decode(0))) for var in _conn.variables),
        *(flag.becomes(False) for flag in (link.mapped, link.bound, link.closing, link.resumed)),
        watches.back.becomes(True), watches.front.becomes(False), watches.waiting.becomes(0), fate.struck.becomes(True),
        kept.ref.becomes(_conn.ref), kept.port.becomes(_conn.port),
    ),
    "RB-20",
)  # fmt: skip

#: The same, as the request machine sees it: at rest again, the port bound anew, and the page as it was.
_my = op.my
DEATH_IN_REQUEST: Final = Move(
    "the backend dies and another is attached", "fate", link.bound & ~fate.struck,
    (
        *(Update(var, constant(var.sort, var.sort.decode(0))) for var in _my.variables),
        link.resumed.becomes(True), link.closing.becomes(False), channel.pending.becomes(True),
        channel.masked.becomes(False), fate.struck.becomes(True), op.seen.idle.becomes(0), op.seen.turns.becomes(0),
        op.seen.returned.becomes(0),
    ),
    "RB-20",
)  # fmt: skip
ANOTHER: Final = Move(
    "another process, which lives, serves the device", "fate", (_conn.at == connection.At.AWAY) & ~kept.held,
    (kept.held.becomes(True), kept.ours.becomes(True)), "RB-20",
)  # fmt: skip

#: The process that has the function dies: at any step, and also between what it asked for and the keeping of the answer.
_irq, _world, _at = interrupts.irq, interrupts.world, interrupts.At
_kept: Final = (
    _irq.at.becomes(_at.LOST), _irq.count.becomes(_irq.vectors), _irq.loud.becomes(False), _irq.block.becomes(0),
)  # fmt: skip
DEATHS: Final = (
    Move("the process dies", "fate", _irq.at != _at.LOST, _kept, "RB-20"),
    Move(
        "the process dies when it has switched", "fate", _irq.at.among(_at.MASKING, _at.OPENING, _at.QUIETING),
        (*_kept, *interrupts.SWITCHED), "RB-20",
    ),
    Move(
        "the process dies when it has given one back", "fate",
        (_irq.at == _at.UNMAPPING) & ~_world.dead & ~_world.ahead,
        (
            *_kept, _world.ahead.becomes(True), _world.mapped.becomes(_world.mapped - 1),
            interrupts.seen.mapped.becomes(interrupts.seen.mapped & (_world.asking != interrupts.seen.one)),
        ),
        "RB-20",
    ),
)  # fmt: skip

#: The hypervisor, besides what it answers: it takes functions away and gives them, and a domain may die at any time.
_other = interrupts.Another
HYPERVISOR: Final = (
    Move(
        "another function is attached", "toolstack", interrupts.irq.at == interrupts.At.OFF,
        (
            interrupts.fn.line.becomes(_other.line), interrupts.fn.shared.becomes(_other.shared),
            interrupts.seen.one.becomes(_other.one), interrupts.world.open.becomes(_other.open),
            interrupts.seen.opened.becomes(False), interrupts.world.dead.becomes(False),
            interrupts.seen.mapped.becomes(False), interrupts.seen.enabling.becomes(False),
            interrupts.seen.open_before.becomes(_other.open),
        ),
        ALPHABET, event=_other,
    ),
    Move("the function is assigned", "toolstack", ~interrupts.world.owned & ~interrupts.world.dead,
         (interrupts.world.owned.becomes(True),), ALPHABET),
    Move("the function is taken away", "toolstack", interrupts.world.owned, (interrupts.world.owned.becomes(False),), ALPHABET),
    Move("the guest dies", "guest", ~interrupts.world.dead,
         (interrupts.world.dead.becomes(True), interrupts.world.mapped.becomes(0), interrupts.seen.mapped.becomes(False)),
         ALPHABET),
)  # fmt: skip
