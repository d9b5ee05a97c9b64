# SPDX-License-Identifier: Apache-2.0
"""The bug catalogue as differences against the reference, each named after the rule that it breaks.

M and R are the catalogue of the protocol notes: M what was published and fixed, R what was found by reading. X are
our own, so that no property goes unbroken. A dialect names the property that must fail (`breaks`) and the system in
which the shortest counterexample is looked for.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from pvpci.model import connection as conn
from pvpci.model import op
from pvpci.model.kernel.dialects import Dialect, Edit, add, change, drop, forget
from pvpci.model.kernel.records import GO, Record
from pvpci.model.kernel.tables import Access, Row
from pvpci.model.kernel.terms import ALWAYS, Choice, Flag
from pvpci.model.op import NOTIFY, PERFORM, UNMASK, At, Done, answer, copy, my
from pvpci.model.shared import flags, link, nodes, page
from pvpci.model.states import Xenbus as S


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


DIALECTS: Final[tuple[Dialect, ...]] = (
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
            (change("CLOSE->QUIET", asks=(conn.UNBIND(),), then=(conn.quiet, link.bound.becomes(False)), next=_C.UNBOUND),
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
    # Connection: found by reading
    Dialect("R05", "Connected is written by an attached backend only", "connection", "RB-1",
            (change("LOOK->HERE (premature)", when=conn.premature, then=(nodes.own.becomes(S.CONNECTED),), asks=(), access=_TX),),
            ("I-01",), "handshake-hostile"),
    Dialect("R14", "a frontend in a round still closes", "frontend", "xen-pcifront.c:pcifront_backend_changed",
            (change("LOOK->HERE (close)", when=nodes.own.among(S.CLOSING, S.CLOSED)
                    & nodes.fe.among(S.INITIALISING, S.INIT_WAIT, S.INITIALISED, S.CONNECTED)),
             change("LOOK->HERE (nothing to do)", when=lambda row: row.when | (
                 nodes.own.among(S.CLOSING, S.CLOSED) & nodes.fe.among(S.RECONFIGURING, S.RECONFIGURED)))),
            ("L-12",), "handshake-impatient"),
    Dialect("R25", "the keys of an attach are read together", "connection", "RB-2", _keys_one_by_one(), ("I-05",),
            "handshake-hostile", (half,)),
    Dialect("R27", "the page goes before the instance does", "connection", "RB-19",
            (change("LOOK->CLOSE (frontend gone)", asks=(conn.RELEASE(),), next=_C.RELEASING),), ("I-06", "L-13"), "handshake-hostile"),
    Dialect("R28", "what is stored decides, not what was written", "connection", "RB-3",
            (change("SETTLE->HERE (closing)", when=lambda row: row.when & (cache.own != S.CLOSING),
                    then=(nodes.own.becomes(S.CLOSING), cache.own.becomes(S.CLOSING))),
             change("SETTLE->HERE (closing overtaken)", when=lambda row: row.when | (
                 (conn.mine.after == conn.After.CLOSING) & conn.open_ & (cache.own == S.CLOSING)))),
            ("I-12",), "handshake-hostile", (cache,)),
)  # fmt: skip

__all__ = ["DIALECTS", "NOTIFY", "drop", "replace"]
