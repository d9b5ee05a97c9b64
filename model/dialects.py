# SPDX-License-Identifier: Apache-2.0
"""The bug catalogue as differences against the reference, each named after the rule that it breaks.

M and R are the catalogue of the protocol notes: M what was published and fixed, R what was found by reading. X are
our own, so that no property goes unbroken. A dialect names the property that must fail (`breaks`) and the system in
which the shortest counterexample is looked for.
"""

from __future__ import annotations

from typing import Final

from pvpci.model import connection as conn
from pvpci.model import op, topology_dialects
from pvpci.model.config.bugs import ConfigDialect
from pvpci.model.config.dialects import CONFIG_DIALECTS
from pvpci.model.interrupt_dialects import INTERRUPT_DIALECTS
from pvpci.model.kernel.algorithms import Variant
from pvpci.model.kernel.dialects import Dialect, Edit, add, change, drop, forget
from pvpci.model.kernel.records import GO, Record
from pvpci.model.kernel.tables import Access, Row
from pvpci.model.kernel.terms import ALWAYS, NEVER, Choice, Flag, choose
from pvpci.model.op import NOTIFY, PERFORM, UNMASK, At, Done, answer, copy, my
from pvpci.model.shared import flags, link, nodes, page, watches
from pvpci.model.states import Xenbus as S
from pvpci.model.wire import Cmd


class Saved(Record):
    """The flag word, loaded in one step to be stored in another."""

    handler = Flag()
    aer = Flag()


class Half(Record):
    taken = Flag()  #: the grant was read, the port was not yet


class Cache(Record):
    own = Choice(S)  #: what we last wrote


saved, half, cache = Saved("saved"), Half("half"), Cache("cache")

_TX: Final = Access.TRANSACTION
_C, _O = conn.At, At
FROM_PAGE: Final = PERFORM(page.cmd, page.domain, page.bus, page.devfn, page.offset, page.size, page.value)
_deaf: Final = tuple(Row(at, op.Rang, ALWAYS, (), (), at, "2006", name="unheard") for at in op.DISPATCH)


def _keys_one_by_one() -> tuple[Edit, ...]:
    def first(row: Row) -> Flag:
        return row.when & ~half.taken

    second = Row(
        _C.LOOK, GO, half.taken, (conn.mine.port.becomes(nodes.port), half.taken.becomes(False)), (conn.MAP(conn.mine.ref),),
        _C.MAPPING, "xenbus.c:xen_pcibk_attach", name="second key",
    )  # fmt: skip
    others = tuple(
        change(row.key, when=lambda row: row.when & ~half.taken)
        for row in conn.TABLE
        if row.source is _C.LOOK and row.next is not _C.MAPPING
    )
    took = (conn.mine.ref.becomes(nodes.ref), half.taken.becomes(True))
    return (
        *others,
        change("LOOK->MAPPING", when=first, then=took, asks=(), next=_C.LOOK, name="first key"),
        add(second),
    )


CATALOGUE: Final[tuple[Dialect, ...]] = (
    # Requests: published
    Dialect("M01", "the copy decides, not the page", "op", "XSA-155",
            (change("FOUND->ASKED (configuration)", asks=(FROM_PAGE,)),), ("I-26",), "op"),
    Dialect("M02", "the count is taken before anything is done", "op", "XSA-155",
            (change("ASKED->ANSWERED (success)",
                    then=(answer.err.becomes(Done.err), answer.value.becomes(Done.value), my.vectors.becomes(Done.value))),),
            ("I-27",), "op"),
    Dialect("M12", "a ring without a request is paid for, and an event is given back once", "op", "XSA-332",
            (change("NOTHING->PAUSED", asks=(), next=_O.RETURNING, name="for nothing"),
             change("TAKEN->CLAIMED", asks=(UNMASK(),))), ("L-11", "I-39"), "op"),
    Dialect("M13", "the port is not closed under the request in dispatch", "connection", "XSA-331",
            (change("CLOSE->QUIET", asks=(conn.UNBIND(),), then=(conn.quiet, link.bound.becomes(False)), next=_C.UNBOUND, name="at once"),
             forget("connecting means attached")), ("I-33",), "backend"),
    Dialect("M14", "the flag is tested again after the request", "op", "xen b11a028b04",
            (change("TAKEN->CLAIMED", asks=(UNMASK(),)), change("TOLD->AGAIN", next=_O.RETURNING), add(*_deaf)),
            ("L-04",), "requests"),
    Dialect("M15", "nothing sleeps in the upcall", "op", "xen 93bb8669b3",
            (change("TAKEN->CLAIMED", asks=(op.SEEK(copy.domain, copy.bus, copy.devfn),)),), ("I-38",), "op"),
    Dialect("M16", "every answer is rung", "op", "xen b4adf19334", (change("CLEARED->TOLD", asks=()),), ("L-05",), "op"),
    # Requests: found by reading
    Dialect("R01", "closing waits for one request", "op", "RB-6",
            (change("AGAIN->TURN", when=flags.active, next=_O.CLAIMED, then=(op.claim,)),
             change("AGAIN->LEFT", when=link.closing & ~flags.active)), ("L-08", "L-09"), "op"),
    Dialect("R10", "offsets are inside the function's space", "op", "RB-8",
            (change("FOUND->ASKED (configuration)", when=(op.reads | op.writes) & op.aligned),
             change("FOUND->ANSWERED (bad read)", when=op.reads & ~op.aligned),
             change("FOUND->ANSWERED (bad write)", when=op.writes & ~op.aligned)), ("I-35",), "op"),
    Dialect("R15", "an answer goes to the request that was copied", "op", "RB-7",
            (change("TIMED->TIMELY", next=_O.MATCHED),), ("I-31",), "requests-impatient"),
    Dialect("R17", "every refusal is written", "op", "pciback.c (NetBSD)",
            (change("SOUGHT->ANSWERED", next=_O.STORED),), ("I-36",), "op"),
    Dialect("R24", "flags change by locked instructions", "op", "RB-17",
            (change("VALUE_STORED->STORED", then=saved.taken_from(flags)),
             change("VALUE_STORED->STORED (vectors)", then=saved.taken_from(flags)),
             change("STORED->CLEARED", access=None,
                    then=(flags.active.becomes(False), flags.handler.becomes(saved.handler), flags.aer.becomes(saved.aer)))),
            ("I-32",), "requests", (saved,)),
    # Connection: published
    Dialect("M26", "a frontend that missed Connected answers 7", "frontend", "xen-pcifront.c, 2022",
            (change("LOOK->UNPLUGGING", when=(nodes.own == S.RECONFIGURING) & (nodes.fe == S.CONNECTED)),),
            ("I-14",), "handshake"),
    Dialect("M45", "missing is not closed", "connection", "xen e7b9a93ed4",
            (change("LOOK->CLOSE (frontend gone)", then=(conn.mine.after.becomes(conn.After.CLOSED),)),),
            ("I-15",), "handshake-hostile"),
    Dialect("M46", "a node that is gone is not written", "connection", "xenbus_client.c:__xenbus_switch_state",
            (change("SETTLE->RELEASING (removed already)", then=(nodes.own.becomes(S.CLOSED),), access=_TX),),
            ("I-08",), "handshake-hostile"),
    Dialect("M41", "one event waits, however often a guest writes", "connection", "XSA-349", (), ("L-09",), "handshake-hostile",
            ripples={nodes.fe.variable: (watches.front.becomes(True), watches.waiting.becomes(
                choose(watches.waiting == 7, watches.waiting, watches.waiting + 1)))}),
    # Connection: found by reading
    Dialect("R05", "Connected is written by an attached backend only", "connection", "RB-1",
            (change("LOOK->HERE (premature)", when=conn.premature, then=(nodes.own.becomes(S.CONNECTED),), asks=(), access=_TX),),
            ("I-01", "I-10"), "handshake-hostile"),
    Dialect("R13", "a failed round is a failure", "connection", "RB-4",
            (change("RECONFIGURING->CLOSE", next=_C.HERE, then=()),), ("L-06",), "handshake"),
    Dialect("R14", "a frontend in a round still closes", "frontend", "xen-pcifront.c:pcifront_backend_changed",
            (change("LOOK->HERE (close)", when=nodes.own.among(S.CLOSING, S.CLOSED)
                    & nodes.fe.among(S.INITIALISING, S.INIT_WAIT, S.INITIALISED, S.CONNECTED)),
             change("LOOK->HERE (nothing to do)", when=lambda row: row.when | (
                 nodes.own.among(S.CLOSING, S.CLOSED) & nodes.fe.among(S.RECONFIGURING, S.RECONFIGURED)))),
            ("L-12",), "handshake-impatient"),
    Dialect("R25", "the keys of an attach are read together", "connection", "RB-2", _keys_one_by_one(), ("I-05",),
            "keys", (half,)),
    Dialect("R27", "the page goes before the instance does", "connection", "RB-19",
            (change("LOOK->CLOSE (frontend gone)", asks=(conn.RELEASE(),), next=_C.RELEASING),), ("I-06", "L-13"), "handshake-hostile"),
    Dialect("R28", "what is stored decides, not what was written", "connection", "RB-3",
            (change("SETTLE->HERE (closing)", when=lambda row: row.when & (cache.own != S.CLOSING),
                    then=(nodes.own.becomes(S.CLOSING), cache.own.becomes(S.CLOSING))),
             change("SETTLE->HERE (closing overtaken)", when=lambda row: row.when | (
                 (conn.mine.after == conn.After.CLOSING) & conn.open_ & (cache.own == S.CLOSING)))),
            ("I-12",), "handshake-hostile", (cache,)),
)  # fmt: skip


def _own(number: int, title: str, machine: str, breaks: str, system: str, *edits: Edit) -> Dialect:
    """`breaks`: the properties, with spaces between them; they are what it cites, for nobody has been seen to do this."""
    return Dialect(f"X{number:02}", title, machine, breaks, edits, tuple(breaks.split()), system)


_HOSTILE, _SHAKE = "handshake-hostile", "handshake"
OWN: Final[tuple[Dialect, ...]] = (
    _own(1, "only the answer is written", "op", "I-28", "op",
         change("MATCHED->ERR_STORED", then=(page.err.becomes(answer.err), page.info.becomes(answer.value)))),
    _own(2, "a request is let go before the next is taken", "op", "I-29", "op", change("TOLD->AGAIN", then=op.earn_trust)),
    _own(3, "a request is claimed", "op", "I-29", "op", change("TAKEN->CLAIMED", then=())),
    _own(4, "nothing is stored behind the flag", "op", "I-30", "op",
         change("CLEARED->TOLD", then=(page.value.becomes(answer.value),))),
    _own(5, "a request is answered once", "op", "I-31", "op", change("CLEARED->TOLD", next=_O.STORED)),
    _own(6, "the page stays until the request in dispatch is over", "connection", "I-33", "backend",
         change("CLOSE->QUIET", asks=(conn.UNBIND(), conn.UNMAP()), next=_C.SETTLE, name="page at once",
                then=(conn.quiet, link.bound.becomes(False), link.mapped.becomes(False)))),
    _own(7, "the function is looked up first", "op", "I-34", "op",
         change("COPIED->SOUGHT", asks=(op.PERFORM_COPY,), next=_O.ASKED)),
    _own(8, "an unknown function is not found", "op", "I-36", "op",
         change("SOUGHT->ANSWERED", then=(answer.err.becomes(0), answer.value.becomes(0), op.nothing_to_hand_out))),
    _own(9, "an event that went with its port is not held", "op", "I-39", "op", change("LEFT->IDLE", then=())),
    _own(10, "every event is given back", "op", "L-10", "requests", change("RETURNING->IDLE", asks=())),
    _own(11, "an event with a request is not spurious", "op", "I-40", "op", change("TAKEN->NOTHING", when=~link.closing), change("TAKEN->CLAIMED", when=NEVER)),
    _own(12, "what is dropped is not rung", "op", "L-05", "op", change("TIMED->DROPPED", asks=(NOTIFY(),))),
    _own(13, "what is answered is what the host said", "op", "D-01", "op",
         change("ASKED->ANSWERED (success)", then=(answer.err.becomes(Done.err), answer.value.becomes(copy.value)))),
    _own(14, "what differs is stored", "op", "D-03", "requests", change("ERR_STORED->VALUE_STORED (differs)", then=())),
    _own(15, "the whole request is copied", "op", "I-31", "requests",
         change("CLAIMED->COPIED", then=lambda row: tuple(u for u in row.then if u.var is not copy.offset.variable)),
         change("TIMED->TIMELY", next=_O.MATCHED)),
    _own(16, "an idle port is open", "op", "I-39", "op", change("RETURNING->IDLE", asks=())),
    _own(17, "an unlocked change is no change", "op", "I-32", "op", change("STORED->CLEARED", access=None)),
    _own(18, "a frontend gives up", "issue", "L-15", "requests-impatient",
         change("RUNG->RUNG (not yet)", when=flags.active, then=()), drop("RUNG->LATE")),
    _own(20, "Closed is written when nothing is held", "connection", "I-06 I-02", _HOSTILE,
         change("LOOK->CLOSE (closed)", then=(nodes.own.becomes(S.CLOSED),), next=_C.HERE, access=_TX)),
    _own(21, "a deleted node ends the instance", "connection", "L-13", _HOSTILE,
         change("LOOK->CLOSE (node gone)", then=(), next=_C.HERE)),
    _own(22, "the channel goes before the page", "connection", "I-03", _HOSTILE,
         change("QUIET->UNBOUND", then=(link.mapped.becomes(False),), asks=(conn.UNMAP(),))),
    _own(23, "a page is mapped once", "connection", "I-04", _HOSTILE,
         change("LOOK->MAPPING", when=conn.settled & (conn.fe == S.INITIALISED) & nodes.sound)),
    _own(24, "functions go back with the instance", "connection", "I-07", _HOSTILE, change("RELEASING->FRESH", then=())),
    _own(25, "offline and closed gives back", "connection", "I-07", _HOSTILE,
         change("SETTLE->RELEASING (closed for good)", next=_C.HERE, asks=())),
    _own(26, "7 is the toolstack's to write", "connection", "I-09", _HOSTILE,
         change("EXPORTED->LOOK (published)", then=(nodes.own.becomes(S.RECONFIGURING),))),
    _own(27, "closed is written over any open state", "connection", "I-12", _HOSTILE,
         change("SETTLE->HERE (closed)", then=(), access=None)),
    _own(28, "an attached backend says so", "connection", "I-12", _HOSTILE, change("CONNECTING->HERE", then=(), access=None)),
    _own(29, "a failure is reported", "connection", "I-13", _HOSTILE, change("SETTLE->HERE (failed)", asks=())),
    _own(30, "a failure closes", "connection", "I-13", _HOSTILE, change("SETTLE->HERE (failed)", then=(), access=None)),
    _own(31, "a failed setup is a failure", "connection", "I-14", _HOSTILE,
         change("EXPORTING->CLOSE", then=(conn.mine.after.becomes(conn.After.STAY),))),
    _own(32, "a guest that has closed is let go", "connection", "L-08", _HOSTILE,
         change("LOOK->CLOSE (closed)", next=_C.HERE, then=())),
    _own(33, "setting up is said", "connection", "L-01", _SHAKE, change("EXPORTED->LOOK (published)", then=(), access=None)),
    _own(34, "a posted page is mapped", "connection", "L-02", _SHAKE, change("LOOK->MAPPING", when=NEVER)),
    _own(35, "a round that was scanned is over", "connection", "L-07", _SHAKE,
         change("LOOK->HERE (round over)", then=(), access=None)),
    _own(36, "a guest cannot fill the log", "connection", "I-37", _HOSTILE,
         change("LOOK->HERE (premature)", when=conn.premature, then=())),
    _own(37, "a round does not keep a device from closing", "connection", "I-11", _HOSTILE,
         change("LOOK->CLOSE (closing)", when=lambda row: row.when & ~nodes.own.among(S.RECONFIGURING, S.RECONFIGURED)),
         change("LOOK->HERE (nothing to do)", when=lambda row: row.when | (conn.fe == S.CLOSING))),
    _own(38, "what a dead process had is somebody's", "connection", "D-08", "restart",
         change("TAKING->CLOSE", next=_C.AWAY, then=(conn.mine.holds.becomes(False),))),
    _own(39, "what may have been done is not done again", "op", "D-10", "requests-restart",
         change("FOUND->ASKED (configuration)", when=(op.reads | op.writes) & op.sound),
         change("FOUND->ANSWERED (doubtful write)", when=NEVER)),
    _own(40, "the first request after a death is in doubt", "connection", "D-09", "restart",
         change("BINDING->CALMING (again)",
                then=(link.bound.becomes(True), link.closing.becomes(False), link.resumed.becomes(False)))),
    _own(53, "several messages are unknown unless that was asked for", "op", "I-36", "op",
         change("FOUND->ASKED (several messages)", when=(copy.cmd == Cmd.ENABLE_MULTI_MSI) & ~op.doubtful)),
    _own(54, "as many messages are asked for as the copy says", "op", "I-26", "op",
         change("FOUND->ASKED (several messages)", asks=(op.PERFORM_BLOCK(*op.THE_COPY, copy.value),))),
)  # fmt: skip

DIALECTS: Final = CATALOGUE + OWN + INTERRUPT_DIALECTS

#: Those of what is no table. Only `prove` knows them: no trace says which rule of an algorithm was used.
VARIANTS: Final = topology_dialects.VARIANTS

ALL: Final[tuple[Dialect | ConfigDialect | Variant, ...]] = (*DIALECTS, *CONFIG_DIALECTS, *VARIANTS)
