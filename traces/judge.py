# SPDX-License-Identifier: Apache-2.0
"""The judge: which party broke which rule first, if any did.

For each guest in a trace it keeps all states that the lines so far allow. Usually that is one state of which everything
is known, and `pvpci.traces.quick` takes the line in about a microsecond. If that fails, the last lines are judged again by
`pvpci.traces.candidates`, with all hidden steps; only if nothing is left there is it a finding. So the quick way can make
the judge faster, never harsher.

After a finding judging goes on. It may be that the line should not have been there, or that something before it is
missing: both are kept as possible, with nothing known of what the machine in question wrote.

What cannot be decided is said to be so: a guest whose beginning is not in the trace is judged from "anything is
possible"; that finds what breaks a rule wherever one starts, and the verdict without a finding is "undecided".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from pvpci.traces.candidates import Candidates, Outcome, WrongValue
from pvpci.traces.findings import Finding, explain
from pvpci.traces.format import Begin, Below, Line, TraceError
from pvpci.traces.quick import MISFIT, Quick
from pvpci.traces.quick import Function as QuickFunction
from pvpci.traces.subject import Subject, reference

CONFORMS, VIOLATES, UNDECIDED = "conforms", "violates", "undecided"
#: After so many findings in one trace the rest is only counted.
MOST_FINDINGS: Final = 50
#: A host has a few hundred guests; a trace that speaks of more must not fill the memory.
MOST_GUESTS: Final = 4096
_MOST_KINDS: Final = 32
_WINDOW: Final = 64  #: lines that are judged again when the quick way fails

#: What a guest did that we must bear with, by the row that bears it.
REMARKS: Final = (
    ("op", "TIMED->DROPPED", "an answer came too late to be given"),
    ("op", "TIMELY->DROPPED", "the frontend took its request back before it was answered"),
    ("op", "STANDING->DROPPED", "the frontend rewrote a request that was being worked on"),
    ("op", "FOUND->ANSWERED (bad read)", "the frontend read at an unsound offset or size"),
    ("op", "FOUND->ANSWERED (bad write)", "the frontend wrote at an unsound offset or size"),
    ("op", "FOUND->ANSWERED (too many vectors)", "the frontend asked for more than 128 vectors"),
    ("op", "FOUND->ANSWERED (unknown)", "the frontend asked for an operation that there is not"),
    ("op", "NOTHING->PAUSED", "the frontend rang again and again without a request"),
    ("connection", "LOOK->CLOSE (bad keys)", "the frontend's keys were missing or out of range"),
    ("connection", "LOOK->HERE (premature)", "the frontend said Connected and was not"),
)


@dataclass(frozen=True)
class Note:
    """Something worth knowing that breaks no rule of the judged party. `line`: where it was first, 0 for the whole."""

    text: str
    party: str = ""
    guest: str = ""
    line: int = 0
    times: int = 1


@dataclass(frozen=True)
class Verdict:
    verdict: str
    findings: tuple[Finding, ...]
    notes: tuple[Note, ...]
    needs: tuple[str, ...]  #: what would decide it
    lines: int  #: lines after the header
    judged: int  #: of these, steps of machines that the judge knows

    def as_dict(self) -> dict[str, Any]:
        """What ``check --json`` prints, the name of the file apart."""
        first = self.findings[0] if self.findings else None
        return {
            "verdict": self.verdict,
            "party": first.party if first else None,
            "rule": first.rule if first else None,
            "line": first.line if first else None,
            "why": f"{first.sentence}: {first.why}" if first else None,
            "needs": list(self.needs),
            "guest": first.guest if first else None,
            "lines": self.lines,
            "judged": self.judged,
            "findings": [
                {
                    "party": one.party, "guest": one.guest, "machine": one.machine, "rule": one.rule, "line": one.line,
                    "why": f"{one.sentence}: {one.why}", "details": list(one.details), "allowed": list(one.allowed),
                }
                for one in self.findings
            ],
            "notes": [
                {"text": note.text, "party": note.party, "guest": note.guest, "line": note.line, "times": note.times}
                for note in self.notes
            ],
        }  # fmt: skip


class _Guest:
    """What the judge knows of one guest."""

    __slots__ = ("base", "known_start", "lines", "single", "states", "whole")

    def __init__(self, states: list[Any], known_start: bool) -> None:
        self.states = states  #: all candidates, hidden steps not yet closed over; only while there is no `single`
        self.single: Any = None  #: the one candidate, its obvious hidden steps taken
        self.whole = False  #: it has no gaps
        self.base: list[Any] = states  #: the candidates before `lines`
        self.lines: list[Line] = []
        self.known_start = known_start


class Judge:
    """Takes lines in order (`feed`), then gives its `verdict`. One judge is for one trace."""

    def __init__(self, subject: Subject | None = None, name: str = "trace") -> None:
        self.subject = subject or reference()
        self.name = name
        self.slow = Candidates(self.subject)
        quick = Quick(self.subject, [(machine, key) for machine, key, _ in REMARKS])
        self._quick: dict[str, dict[str, tuple[list[QuickFunction | None], list[frozenset[str]]]]] = {}
        for (machine, event), functions in quick.functions.items():
            self._quick.setdefault(machine, {})[event] = (functions, quick.reads[machine, event])
        self._settle = quick.settle
        self._place = {machine: part.attribute for machine, part in self.subject.parts.items()}
        self._guests: dict[str, _Guest] = {}
        self._findings: list[Finding] = []
        self._more = 0
        self._notes: dict[tuple[str, str, str], tuple[int, int]] = {}
        self._lines = self._judged = 0
        self._strange: dict[str, int] = {}
        self._last = 0

    def feed(self, number: int, line: Line | Below) -> None:
        """The line at `number` of the file. Raises TraceError if it has values that no line can have."""
        self._lines += 1
        if line.seq != self._last + 1 and self._last:
            self._out_of_step(number, line.seq)
        self._last = line.seq
        if type(line) is not Line:
            if type(line) is Begin:
                self._begin(number, line.guest)
            return
        events = self._quick.get(line.machine)
        if events is None:
            kind = line.kind if line.kind in self._strange or len(self._strange) < _MOST_KINDS else "(others)"
            self._strange[kind] = self._strange.get(kind, 0) + 1
            return
        self._judged += 1
        guest = self._guests.get(line.guest)
        if guest is None:
            guest = self._enter(number, line.guest, self.subject.unknown(), known_start=False)
        state = guest.single
        pair = events.get(line.event)
        if state is not None and pair is not None:
            place = getattr(state, self._place[line.machine])
            function = None if place is None else pair[0][place]
            if function is not None and (guest.whole or self._knows(state, pair[1][place])):
                base = self.slow.copy(state) if len(guest.lines) >= _WINDOW else None
                try:
                    code = function(state, line)
                except (KeyError, TypeError):
                    code = MISFIT
                if code:
                    if base is not None:
                        guest.base, guest.lines = [base], []
                    guest.lines.append(line)
                    if code > 1:
                        self._remark(number, line.guest, code - 2)
                    return
        self._slowly(number, guest, line)

    def _knows(self, state: Any, names: frozenset[str]) -> bool:
        return all(getattr(state, name) is not None for name in names)

    def _enter(self, number: int, name: str, state: Any, *, known_start: bool) -> _Guest:
        if len(self._guests) >= MOST_GUESTS:
            raise TraceError(self.name, number, f"is about more than {MOST_GUESTS} guests", "split the trace by guest")
        guest = self._guests[name] = _Guest([state], known_start)
        self._keep(guest, [state])
        return guest

    def _begin(self, number: int, name: str) -> None:
        if name in self._guests:
            self._note("the machines of this guest start again here", "", name, number)
            del self._guests[name]
        self._enter(number, name, self.subject.initial(), known_start=True)

    def _keep(self, guest: _Guest, states: list[Any]) -> None:
        """Go on from these candidates, without hidden steps taken."""
        guest.states, guest.base, guest.lines = states, states, []
        guest.single = None
        if len(states) == 1:
            single = self.slow.copy(states[0])
            self._settle(single)
            guest.single, guest.whole = single, not self.slow.has_gaps(single)

    def _slowly(self, number: int, guest: _Guest, line: Line) -> None:
        try:
            states = guest.states if guest.single is None else [guest.single]
            outcome = self.slow.step(states, line)
            if not outcome.states and guest.single is not None:
                # Again with all hidden steps and not only those that can be taken: an explanation needs the others too.
                states = guest.base
                for earlier in guest.lines:
                    states = self.slow.step(states, earlier).states
                outcome = self.slow.step(states, line)
        except WrongValue as error:
            raise TraceError(self.name, number, str(error), "give each variable a value of its own sort") from None
        for view in {id(view): view for view in outcome.taken}.values():
            self._remember(number, line.guest, view.machine.name, view.row.key)
        if outcome.states:
            self._keep(guest, outcome.states)
            return
        self._found(number, line, outcome)
        lost = [self.slow.gap(state, line.machine) for state in states]
        onward = self.slow.step(self.slow.unique(lost), line).states
        self._keep(guest, self.slow.unique([*states, *onward]))

    def _found(self, number: int, line: Line, outcome: Outcome) -> None:
        if len(self._findings) >= MOST_FINDINGS:
            self._more += 1
        else:
            self._findings.append(explain(self.subject, number, line, outcome))

    def _remember(self, number: int, guest: str, machine: str, key: str) -> None:
        for index, (of, row, _) in enumerate(REMARKS):
            if (of, row) == (machine, key):
                self._remark(number, guest, index)

    def _remark(self, number: int, guest: str, index: int) -> None:
        self._note(REMARKS[index][2], "frontend", guest, number)

    def _note(self, text: str, party: str, guest: str, number: int) -> None:
        first, times = self._notes.get((text, party, guest), (number, 0))
        self._notes[text, party, guest] = (first, times + 1)

    def _out_of_step(self, number: int, seq: int) -> None:
        what = "lines are missing before this one" if seq > self._last else "lines are repeated or out of order"
        self._note(f"{what}, as `seq` shows; judged as it stands", "", "", number)

    def verdict(self) -> Verdict:
        """Closes the trace: its end is judged too."""
        notes = [Note(text, party, guest, *where) for (text, party, guest), where in self._notes.items()]
        notes.sort(key=lambda note: note.line)
        for name, guest in self._guests.items():
            notes += self._end(name, guest)
        for kind, times in sorted(self._strange.items()):
            notes.append(Note(f"lines of kind {kind!r} are not judged", times=times))
        if self._more:
            notes.append(Note("further findings are not shown", times=self._more))
        needs = [
            f"the beginning of guest {name}: a trace from `pvpci serve --trace`, which has a line of kind 'begin'"
            for name, guest in self._guests.items()
            if not guest.known_start
        ]
        if not self._judged:
            needs.append(f"steps of {' or '.join(self.subject.parts)}: there are none in this trace")
        word = VIOLATES if self._findings else UNDECIDED if needs else CONFORMS
        return Verdict(word, tuple(self._findings), tuple(notes), tuple(needs), self._lines, self._judged)

    def _end(self, name: str, guest: _Guest) -> Iterable[Note]:
        """Who still owes a step: the machines that are not at rest in any candidate."""
        states = [guest.single] if guest.single is not None else self.slow.closed(guest.states)
        for part in self.subject.parts.values():
            numbers = {getattr(state, part.attribute) for state in states}
            places = [part.places[number] for number in numbers if number is not None]
            if None in numbers or not places or any(place in part.machine.resting for place in places):
                continue
            events = {row.event.__name__ for row in part.machine.table if row.source in places}
            due = "a step of its own" if "GO" in events else f"{' or '.join(sorted(events))}"
            where = " or ".join(sorted(place.name for place in places))
            yield Note(f"ends while {part.machine.name} is at {where}, waiting for {due}", self.subject.party, name)


def judge(lines: Iterable[tuple[int, Line | Below]], subject: Subject | None = None, name: str = "trace") -> Verdict:
    """The verdict on `(line number, line)` pairs, as a :class:`pvpci.traces.format.Trace` gives them."""
    court = Judge(subject, name)
    feed = court.feed
    for number, line in lines:
        feed(number, line)
    return court.verdict()
