# SPDX-License-Identifier: Apache-2.0
"""Which rule of the protocol notes a line breaks that no row explains.

The judge only knows that nobody could have taken this step. People ask *what rule was that*, so each finding is named
after the first entry below that fits. The table decides nothing: a finding without an entry is still a finding, and is
named after the source that the rows cite which would have been right there. Order matters; what is about the bytes that
were written comes before what is about the moment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from pvpci.model import connection, interrupts, op
from pvpci.model.interrupts import MOST_PIRQ
from pvpci.traces.candidates import Misfit, Outcome
from pvpci.traces.format import Line, Value
from pvpci.traces.seam import PERFORMS
from pvpci.traces.subject import Subject

Conn, Op, Irq = connection.At, op.At, interrupts.At
_ANSWER: Final = {"page.err", "page.value"}
_DISPATCHES: Final = {op.SEEK.name, *PERFORMS}
_BEFORE_ANSWER: Final = op.DISPATCH[: op.DISPATCH.index(Op.STORED)]
#: The edges of the backend's own state that are ours (I-10).
_EDGES: Final = {
    ("INITIALISING", "INIT_WAIT"), ("INIT_WAIT", "INITIALISED"), ("INITIALISED", "CONNECTED"),
    ("RECONFIGURING", "RECONFIGURED"), ("RECONFIGURED", "CONNECTED"), ("CLOSED", "INIT_WAIT"),
    *((one, "CLOSING") for one in ("INIT_WAIT", "INITIALISED", "CONNECTED", "RECONFIGURING", "RECONFIGURED")),
    *((one, "CLOSED") for one in ("INIT_WAIT", "INITIALISED", "CONNECTED", "CLOSING", "RECONFIGURING", "RECONFIGURED")),
}  # fmt: skip
_NOT_OURS: Final = ("UNKNOWN", "INITIALISING", "RECONFIGURING", "ODD")


@dataclass(frozen=True)
class Case:
    """One finding to be named."""

    line: Line
    places: frozenset[Enum]  #: where the machine may have been
    nearest: Misfit | None
    outcome: Outcome

    @property
    def wrote(self) -> dict[str, Value]:
        return self.line.wrote or {}

    @property
    def asked(self) -> set[str]:
        return {one.effect for one in self.line.asked or ()}

    @property
    def reads_request(self) -> bool:
        return any(name.startswith("page.") for name in self.line.found or ())

    def at(self, *places: Enum) -> bool:
        """The machine was at one of these, and nowhere else."""
        return bool(self.places) and self.places <= set(places)

    def maybe(self, *places: Enum) -> bool:
        return bool(self.places & set(places))

    def always(self, attribute: str, value: int) -> bool:
        return all(getattr(state, attribute) == value for state in self.outcome.looked)

    def argument(self, name: str) -> Value | None:
        return next((one.arguments[name] for one in self.line.asked or () if name in one.arguments), None)

    def given(self, name: str) -> Value | None:
        return (self.line.given or {}).get(name)

    @property
    def differs(self) -> bool:
        return self.nearest is not None and bool(self.nearest.differs)

    @property
    def due_asks(self) -> set[str]:
        """Effects of rows that should have been taken."""
        return {effect for misfit in self.outcome.misfits if misfit.due for effect, _ in misfit.view.asks}

    @property
    def due_writes(self) -> set[str]:
        return {name for misfit in self.outcome.misfits if misfit.due for name in misfit.view.wrote}

    @property
    def own(self) -> tuple[Value | None, Value | None]:
        """The backend's state as it was found, and as it was written."""
        return (self.line.found or {}).get("nodes.own"), self.wrote.get("nodes.own")


@dataclass(frozen=True)
class Rule:
    id: str
    sentence: str
    fits: Callable[[Case], bool]


def _lacks_report(case: Case) -> bool:
    return "report" in case.due_asks and "report" not in case.asked


def _locked_bits(case: Case) -> bool:
    flags = {name for name in case.wrote if name.startswith("flags.")}
    return bool(flags) and (flags != {"flags.active"} or case.wrote["flags.active"] is not False)


def _does_not_fit(case: Case) -> bool:
    """The number, or the last one of its block."""
    first = int(case.given("pirq") or 0)
    return first == 0 or first + max((state.irq_block or 1 for state in case.outcome.looked), default=1) - 1 > MOST_PIRQ


REQUESTS: Final[tuple[Rule, ...]] = (
    # What was written, what was asked for
    Rule("I-32", "of the flag word only the request bit is cleared, by a locked instruction", _locked_bits),
    Rule("I-28", "only the answer is written into the page", lambda c: bool(set(c.wrote) - _ANSWER - {"flags.active"})),
    Rule("I-26", "what is asked is what was copied", lambda c: c.differs and bool(c.asked & _DISPATCHES)),
    Rule(
        "I-27",
        "as many vectors are stored as were asked for, when they were asked for",
        lambda c: c.differs and "hand_out" in c.asked,
    ),
    Rule("L-11", "idle rings cost more and more", lambda c: c.differs and "wait" in c.asked),
    Rule("D-01", "what is answered is what was done", lambda c: c.differs and bool(c.wrote)),
    # When
    Rule(
        "L-08",
        "no request is begun once the backend closes",
        lambda c: c.at(Op.LEFT) and (c.reads_request or bool(c.asked)),
    ),
    Rule("L-09", "one request a turn", lambda c: c.reads_request and c.maybe(Op.AGAIN, Op.TURN)),
    Rule("I-26", "the request is copied once, and only the copy decides", lambda c: c.reads_request),
    Rule(
        "I-31",
        "a request is answered at most once",
        lambda c: "flags.active" in c.wrote and not c.maybe(*_BEFORE_ANSWER),
    ),
    Rule("I-31", "the flag is cleared only after the answer is stored", lambda c: "flags.active" in c.wrote),
    Rule(
        "I-30",
        "results before the flag, the flag before the ring",
        lambda c: (bool(set(c.wrote) & _ANSWER) or "hand_out" in c.asked) and c.maybe(Op.CLEARED, Op.TOLD),
    ),
    Rule(
        "I-27",
        "as many vectors are stored as were asked for, when they were asked for",
        lambda c: "hand_out" in c.asked,
    ),
    Rule(
        "I-31",
        "an answer goes to the request that was copied, or to nobody",
        lambda c: bool(set(c.wrote) & _ANSWER) and not c.maybe(Op.MATCHED, Op.ERR_STORED, Op.VALUE_STORED, Op.STORED),
    ),
    Rule("I-31", "the answer is stored once, `err` first", lambda c: bool(set(c.wrote) & _ANSWER)),
    Rule("L-05", "every answer is rung", lambda c: c.at(Op.CLEARED)),
    Rule(
        "I-30",
        "results before the flag, the flag before the ring",
        lambda c: "notify" in c.asked and c.maybe(*_BEFORE_ANSWER, Op.STORED),
    ),
    Rule("L-05", "only answers are rung", lambda c: "notify" in c.asked),
    Rule(
        "I-27",
        "no more than 128 vectors are asked for",
        lambda c: bool(c.asked & PERFORMS) and c.maybe(Op.FOUND) and c.argument("cmd") == 4,
    ),
    Rule(
        "I-36",
        "several messages are unknown unless that was asked for",
        lambda c: op.PERFORM_BLOCK.name in c.asked and c.maybe(Op.FOUND) and c.always("allowed_multi_msi", 0),
    ),
    Rule(
        "I-35",
        "only aligned accesses inside the function's space are performed",
        lambda c: bool(c.asked & PERFORMS) and c.maybe(Op.FOUND) and c.argument("cmd") in (0, 1),
    ),
    Rule(
        "I-34",
        "a function is looked up before anything is done",
        lambda c: bool(c.asked & PERFORMS) and c.maybe(Op.COPIED, Op.SOUGHT, Op.FOUND, Op.ANSWERED),
    ),
    Rule(
        "I-38",
        "nothing that sleeps is asked for while the event is judged",
        lambda c: bool(c.asked & _DISPATCHES) and c.maybe(Op.IDLE, Op.TAKEN),
    ),
    Rule("I-29", "one request at a time is worked on", lambda c: bool(c.asked & _DISPATCHES)),
    Rule(
        "I-33",
        "without a channel nothing comes from the guest",
        lambda c: c.line.event == "Rang" and c.always("link_bound", 0),
    ),
    Rule(
        "I-39",
        "an event is given back exactly once",
        lambda c: "unmask" in c.asked or c.line.event == "Rang" or c.at(Op.RETURNING),
    ),
    Rule(
        "I-32",
        "of the flag word only the request bit is cleared, by a locked instruction",
        lambda c: "flags.active" in (c.line.found or {}) and c.at(Op.VALUE_STORED, Op.STORED),
    ),
    Rule("I-36", "every answer is written", lambda c: c.at(Op.MATCHED, Op.ERR_STORED, Op.VALUE_STORED, Op.STORED)),
)

CONNECTION: Final[tuple[Rule, ...]] = (
    # What was written
    Rule(
        "I-09",
        "the backend writes only its own states",
        lambda c: bool(set(c.wrote) - {"nodes.own"}) or c.own[1] in _NOT_OURS,
    ),
    Rule("I-08", "a node that is gone is not written", lambda c: bool(c.wrote) and c.own[0] == "UNKNOWN"),
    Rule(
        "I-01",
        "Connected is written by an attached backend only",
        lambda c: c.own[1] == "CONNECTED" and (c.always("link_bound", 0) or c.always("link_mapped", 0)),
    ),
    Rule(
        "I-06",
        "the page goes before Closed is written",
        lambda c: c.own[1] == "CLOSED" and (c.always("link_bound", 1) or c.always("link_mapped", 1)),
    ),
    Rule("I-10", "states change along the backend's own edges", lambda c: bool(c.wrote) and c.own not in _EDGES),
    Rule("I-13", "a failure is reported and closes", _lacks_report),
    Rule("I-12", "what is stored decides, and is written when it is due", lambda c: bool(c.wrote)),
    # What was held
    Rule(
        "I-03",
        "the page is unmapped after the port is unbound",
        lambda c: "unmap" in c.asked and c.always("link_bound", 1),
    ),
    Rule("I-33", "the page stays while a request uses it", lambda c: bool(c.asked & {"unmap", "unbind"})),
    Rule("I-05", "grant and port of one generation are used", lambda c: c.differs and bool(c.asked & {"map", "bind"})),
    Rule("I-04", "attached only when both are Initialised, once, with sound keys", lambda c: "map" in c.asked),
    Rule("I-03", "the page is mapped before the port is bound", lambda c: "bind" in c.asked),
    Rule(
        "I-06",
        "the page goes before the instance does",
        lambda c: "release" in c.asked and (c.always("link_bound", 1) or c.always("link_mapped", 1)),
    ),
    Rule("I-07", "functions are released with the instance", lambda c: "release" in c.asked),
    Rule("I-12", "what is stored decides, and is written when it is due", lambda c: "nodes.own" in c.due_writes),
)

INTERRUPTS: Final[tuple[Rule, ...]] = (
    # Vectors
    Rule("I-48", "a vector is mapped for the guest that gets it", lambda c: c.argument("guests") is False),
    Rule("I-42", "enabling what is on changes nothing", lambda c: c.maybe(Irq.MSI, Irq.MSIX) and "look" in c.asked),
    Rule(
        "I-45",
        "MSI-X needs memory decode of the physical function",
        lambda c: c.at(Irq.LOOKING) and bool(c.asked) and (c.line.given or {}).get("decodes") is False,
    ),
    Rule(
        "I-50",
        "a vector fits its 16 bits and is not 0",
        lambda c: c.line.event == "Mapped" and bool(c.given("ok")) and _does_not_fit(c),
    ),
    Rule(
        "D-17",
        "as many messages are told apart as are mapped",
        lambda c: c.at(Irq.MAPPING) and "open_block" in c.asked,
    ),
    Rule(
        "D-16",
        "a block has as many messages as were asked for",
        lambda c: c.at(Irq.LOOKING) and "map_block" in c.asked | c.due_asks,
    ),
    Rule(
        "I-52",
        "a failed enable leaves nothing behind",
        lambda c: (
            (c.line.event == "Mapped" and not c.given("ok")) or (c.at(Irq.MASKING, Irq.OPENING) and not c.given("ok"))
        ),
    ),
    Rule(
        "I-43",
        "the line is quiet while messages are on",
        lambda c: c.argument("kind") in ("MSI", "MSIX") and c.argument("line") != "QUIET",
    ),
    Rule(
        "I-47",
        "messages are let through when every vector is mapped, and not before",
        lambda c: c.at(Irq.MAPPING) and "switch" in c.asked,
    ),
    Rule("I-47", "each vector of the list is mapped once", lambda c: c.at(Irq.MAPPING)),
    Rule(
        "I-51",
        "a line that is shared with the host is never opened",
        lambda c: c.argument("line") == "OPEN" and c.always("fn_shared", 1),
    ),
    Rule("I-44", "the line changes only with the kind of interrupt", lambda c: "switch" in c.asked and c.differs),
    Rule(
        "I-49",
        "what is turned off is silent first, and then every vector is given back, the last first",
        lambda c: c.maybe(Irq.QUIETING, Irq.UNMAPPING) or ("unmap_vector" in c.asked),
    ),
    Rule("I-41", "MSI and MSI-X are never on together", lambda c: c.at(Irq.MSI, Irq.MSIX) and bool(c.asked)),
    Rule(
        "I-45",
        "MSI-X is enabled with all of it masked before the first vector",
        lambda c: c.at(Irq.LOOKING, Irq.MASKING),
    ),
)

#: By machine; the first that fits is it.
RULES: Final = {"op": REQUESTS, "connection": CONNECTION, "interrupts": INTERRUPTS}


def nearest(misfits: Iterable[Misfit]) -> Misfit | None:
    return min(misfits, key=lambda misfit: misfit.distance, default=None)


def name(subject: Subject, line: Line, outcome: Outcome) -> tuple[str, str]:
    """The rule's identifier and what it says."""
    part = subject.parts[line.machine]
    numbers = {getattr(state, part.attribute) for state in outcome.looked} - {None}
    places = frozenset(part.places[number] for number in numbers)
    best = nearest(outcome.misfits)
    case = Case(line, places, best, outcome)
    for rule in RULES.get(line.machine, ()):
        if rule.fits(case):
            return rule.id, rule.sentence
    if best is not None:
        return best.view.row.cite, "another step is due here" if best.due else "the step is not due here"
    cites = [view.row.cite for (at, _), views in part.rows.items() if at in numbers for view in views]
    return (cites[0] if cites else part.machine.name), "the step is not due here"
