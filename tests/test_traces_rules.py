# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pvpci.model import connection, connection_claims, op, op_claims
from pvpci.model.kernel.claims import Claim
from pvpci.traces.candidates import Candidates
from pvpci.traces.format import Asked, Line
from pvpci.traces.rules import _EDGES, RULES, name
from pvpci.traces.subject import reference

SUBJECT = reference()
SLOW = Candidates(SUBJECT)
S = "CONNECTED"


def claims() -> set[str]:
    found: list[Claim] = [*op_claims.claims(op.MACHINE), *op_claims.progress(op.MACHINE)]
    for make in vars(connection_claims).values():
        if (
            callable(make)
            and getattr(make, "__module__", "") == connection_claims.__name__
            and make.__name__ in ("claims", "tables")
        ):
            found += make(connection.MACHINE)
    return {claim.id for claim in found}


def test_requests_are_judged_by_rules_that_are_proved() -> None:
    proved = claims() | {"L-08", "I-05"}

    assert {rule.id for rule in RULES["op"]} <= proved


def test_edges_are_those_of_the_table() -> None:
    written = {
        update.value.sort.members[update.value.number].name
        for row in connection.TABLE for update in row.then if update.var.name == "nodes.own"
    }  # fmt: skip

    assert written == {new for _, new in _EDGES}


def test_a_finding_without_a_rule_is_named_after_who_says_what_is_right() -> None:
    state = SUBJECT.initial()
    state.my_at = op.MACHINE.places.index(op.At.COPIED)
    line = Line(
        seq=1, t_ns=0, guest="g", kind="turn", machine="op", event="Turn", wrote={"page.err": 0}, asked=[Asked("?")]
    )
    odd = Line(seq=1, t_ns=0, guest="g", kind="x", machine="op", event="Odd")

    assert "I-31" == name(SUBJECT, line, SLOW.step([state], line))[0]
    assert "pciback_ops.c:xen_pcibk_do_one_op" == name(SUBJECT, odd, SLOW.step([state], odd))[0]


def connection_rule(place: connection.At, line: Line, **values: int) -> str:
    state = SUBJECT.initial()
    state.conn_at = connection.MACHINE.places.index(place)
    for attribute, value in values.items():
        setattr(state, attribute, value)
    outcome = SLOW.step([state], line)
    assert not outcome.states
    return name(SUBJECT, line, outcome)[0]


def look(own: str, fe: str = "CONNECTED", wrote: str | None = None, *asked: Asked, sound: bool = True) -> Line:
    found: dict[str, bool | int | str] = {
        "nodes.own": own, "nodes.fe": fe, "nodes.online": True, "nodes.sound": sound, "nodes.ref": 8, "nodes.port": 9,
        "nodes.listed": False,
    }  # fmt: skip
    return Line(
        seq=1, t_ns=0, guest="g", kind="look", machine="connection", event="GO", found=found,
        wrote={"nodes.own": wrote} if wrote else None, asked=list(asked) or None,
    )  # fmt: skip


def test_what_the_connection_does_wrong_is_named() -> None:
    at = connection.At
    held = {"link_mapped": 1, "link_bound": 1}
    failed = connection.MACHINE.places, connection.After.FAILED.value - 1

    assert "I-01" == connection_rule(at.LOOK, look("INITIALISED", "INITIALISED", "CONNECTED"))
    assert "I-06" == connection_rule(at.LOOK, look("CONNECTED", "CLOSED", "CLOSED"), **held)
    assert "I-08" == connection_rule(at.LOOK, look("UNKNOWN", "CLOSED", "CLOSED"))
    assert "I-09" == connection_rule(at.LOOK, look("CONNECTED", "CLOSED", "INITIALISING"))
    assert "I-10" == connection_rule(at.LOOK, look("CLOSING", "CONNECTED", "CONNECTED"), **held)
    assert "I-12" == connection_rule(at.LOOK, look("CONNECTED", "CONNECTED", "CLOSING"), **held)
    assert "I-13" == connection_rule(at.SETTLE, look("CONNECTED", "CONNECTED", "CLOSING"), conn_after=failed[1])
    assert "I-12" == connection_rule(at.CONNECTING, look("INITIALISED", "INITIALISED"))
    assert "I-04" == connection_rule(
        at.LOOK, look("INITIALISED", "INITIALISED", None, Asked("map", {"ref": 8}), sound=False)
    )
    assert "I-05" == connection_rule(at.LOOK, look("INITIALISED", "INITIALISED", None, Asked("map", {"ref": 7})))
    assert "I-07" == connection_rule(at.LOOK, look("CONNECTED", "CONNECTED", None, Asked("release")))
    assert "I-06" == connection_rule(at.LOOK, look("CONNECTED", "CONNECTED", None, Asked("release")), **held)
