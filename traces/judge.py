# SPDX-License-Identifier: Apache-2.0
"""The judge: which party broke which rule first, if any did.

For each guest in a trace, and for each of its functions, it keeps all states that the lines so far allow. Usually that is one
state of which everything is known, and `pvpci.traces.quick` takes the line in about a microsecond. If that fails, the last lines
are judged again by `pvpci.traces.candidates`, with all hidden steps; only if nothing is left there is it a finding. So the quick
way can make the judge faster, never harsher. Between the machines of a guest and those of its functions `pvpci.traces.seam`
watches.

After a finding judging goes on. It may be that the line should not have been there, or that something before it is
missing: both are kept as possible, with nothing known of what the machine in question wrote.

What cannot be decided is said to be so: a guest whose beginning is not in the trace is judged from "anything is
possible"; that finds what breaks a rule wherever one starts, and the verdict without a finding is "undecided".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from pvpci.model import interrupts, op
from pvpci.traces.candidates import Candidates, WrongValue
from pvpci.traces.findings import Finding, explain
from pvpci.traces.format import Begin, Below, Function, Gone, Kept, Line, TraceError, Vectors
from pvpci.traces.quick import MISFIT, Quick
from pvpci.traces.quick import Function as QuickFunction
from pvpci.traces.seam import PERFORMS, Answer, Complaint, Seam
from pvpci.traces.subject import Subject, reference
from pvpci.traces.verdicts import CONFORMS, UNDECIDED, VIOLATES, Note, Verdict

__all__ = ["CONFORMS", "UNDECIDED", "VIOLATES", "Judge", "Note", "Verdict", "judge"]

#: After so many findings in one trace the rest is only counted.
MOST_FINDINGS: Final = 50
#: A host has a few hundred guests; a trace that speaks of more must not fill the memory.
MOST_GUESTS: Final = 4096
MOST_FUNCTIONS: Final = 32768
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
    (
        "interrupts",
        "LOOKING->OFF (not decoding)",
        "the frontend enabled MSI-X of a function that does not decode memory",
    ),
    ("interrupts", "LOOKING->OFF (entries)", "the frontend asked for entries that are not in the table, or for none"),
    ("interrupts", "MSI->MSI (MSI-X)", "the frontend enabled MSI-X over MSI"),
    ("interrupts", "MSIX->MSIX (MSI-X)", "the frontend enabled MSI-X again"),
    ("interrupts", "MSIX->QUIETING (disable MSI)", "the frontend turned MSI-X off as if it were MSI"),
)


_TELLS_OPTION: Final = frozenset({op.PERFORM_BLOCK.name, op.UNDO.name})


class _Court:
    """The two ways of judging by one subject."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.slow = Candidates(subject)
        quick = Quick(subject, [(machine, key) for machine, key, _ in REMARKS])
        self.events: dict[str, dict[str, tuple[list[QuickFunction | None], list[frozenset[str]]]]] = {}
        for (machine, event), functions in quick.functions.items():
            self.events.setdefault(machine, {})[event] = (functions, quick.reads[machine, event])
        self.settle = quick.settle
        self.place = {machine: part.attribute for machine, part in subject.parts.items()}


class _Guest:
    """What the judge knows of one guest's machines, or of those of one of its functions."""

    __slots__ = ("base", "court", "known_start", "lines", "single", "states", "whole")

    def __init__(self, court: _Court, state: Any, *, known_start: bool) -> None:
        self.court, self.known_start = court, known_start
        self.keep([state])

    def keep(self, states: list[Any]) -> None:
        """Go on from these candidates, without hidden steps taken."""
        self.states = states  #: all candidates, hidden steps not yet closed over; only while there is no `single`
        self.base = states  #: the candidates before `lines`
        self.lines: list[Line] = []
        self.single: Any = None  #: the one candidate, its obvious hidden steps taken
        self.whole = False  #: it has no gaps
        if len(states) == 1:
            single = self.court.slow.copy(states[0])
            self.court.settle(single)
            self.single, self.whole = single, not self.court.slow.has_gaps(single)

    def now(self) -> list[Any]:
        """All that it may be at, hidden steps closed over."""
        return [self.single] if self.single is not None else self.court.slow.closed(self.states)

    def doubt_option(self) -> None:
        """Whether several messages of MSI are allowed is not known any more."""
        for state in (self.single, *self.states, *self.base):
            if state is not None:
                state.allowed_multi_msi = None
        self.whole = False


class Judge:
    """Takes lines in order (`feed`), then gives its `verdict`. One judge is for one trace."""

    def __init__(self, subject: Subject | None = None, name: str = "trace") -> None:
        self.subject = subject or reference()
        self.name = name
        self._main = _Court(self.subject)
        courts = [self._main] + ([_Court(self.subject.each)] if self.subject.each is not None else [])
        self._each = courts[-1]
        self._courts = {machine: (court, events) for court in courts for machine, events in court.events.items()}
        self._guests: dict[str, _Guest] = {}
        self._functions: dict[tuple[str, str], _Guest] = {}
        self._seam = Seam()
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
        if not isinstance(line, Line):
            self._below(number, line)
            return
        found = self._courts.get(line.machine)
        if found is None:
            kind = line.kind if line.kind in self._strange or len(self._strange) < _MOST_KINDS else "(others)"
            self._strange[kind] = self._strange.get(kind, 0) + 1
            return
        self._judged += 1
        court, events = found
        if court is self._main:
            guest = self._guests.get(line.guest)
            if guest is None:
                guest = self._enter(number, line.guest, known_start=False)
            if line.event == "Done":
                self._done(number, line)
            elif line.asked is not None:
                if (effect := line.asked[0].effect) in PERFORMS:
                    self._seam.performs(line)
                if effect in _TELLS_OPTION and not guest.known_start:
                    guest.doubt_option()
        else:
            guest = self._functions.get((line.guest, line.function))
            if guest is None:
                guest = self._attach(number, line.guest, line.function, court.subject.unknown(), known_start=False)
            self._complain(number, line.guest, self._seam.step(line))
        state = guest.single
        pair = events.get(line.event)
        if state is not None and pair is not None:
            place = getattr(state, court.place[line.machine])
            function = None if place is None else pair[0][place]
            if function is not None and (guest.whole or self._knows(state, pair[1][place])):
                base = court.slow.copy(state) if len(guest.lines) >= _WINDOW else None
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

    def _below(self, number: int, line: Below) -> None:
        if type(line) is Begin:
            if line.guest in self._guests:
                self._note("the machines of this guest start again here", "", line.guest, number)
            self._enter(number, line.guest, known_start=True, multi_msi=line.multi_msi)
            self._functions = {key: one for key, one in self._functions.items() if key[0] != line.guest}
            self._seam.begin(line.guest)
        elif type(line) is Function and line.shared is not None:
            state = self._each.subject.initial()
            irq = line.identity.get("irq")
            state.fn_line = irq & 0xFFFFFFFF if isinstance(irq, int) else None
            state.fn_shared = int(line.shared)
            self._attach(number, line.guest, line.function, state, known_start=True)
            self._seam.attached(line)
        elif type(line) is Kept:
            self._kept(line)
        elif type(line) is Gone:
            self._gone(number, line)
        elif type(line) is Vectors:
            self._complain(number, line.guest, self._seam.handed_out(line))

    def _kept(self, line: Kept) -> None:
        machine = self._functions.get((line.guest, line.function))
        if machine is None or not machine.known_start:
            return
        state = self._each.slow.copy(machine.states[0])
        interrupts.lose(state, msix=line.msix, whole=line.whole, vectors=len(line.numbers))
        machine.keep([state])
        self._seam.kept(line)

    def _enter(self, number: int, name: str, *, known_start: bool, multi_msi: bool = False) -> _Guest:
        if len(self._guests) >= MOST_GUESTS and name not in self._guests:
            raise TraceError(self.name, number, f"is about more than {MOST_GUESTS} guests", "split the trace by guest")
        state = self.subject.initial() if known_start else self.subject.unknown()
        # Where the beginning is lost: as if it were off, until something is asked for that may say otherwise. Before that it
        # makes no difference; unknown, it would make each request slow to judge.
        state.allowed_multi_msi = int(multi_msi)
        guest = self._guests[name] = _Guest(self._main, state, known_start=known_start)
        return guest

    def _attach(self, number: int, name: str, function: str, state: Any, *, known_start: bool) -> _Guest:
        if len(self._functions) >= MOST_FUNCTIONS:
            what = f"is about more than {MOST_FUNCTIONS} functions at a time"
            raise TraceError(self.name, number, what, "split the trace by guest")
        made = self._functions[name, function] = _Guest(self._each, state, known_start=known_start)
        return made

    def _gone(self, number: int, line: Gone) -> None:
        self._seam.gone(line.guest, line.function)
        machine = self._functions.pop((line.guest, line.function), None)
        if machine is not None and (left := self._still(machine)):
            why = f"{line.function} goes while its interrupts are at {left}"
            sentence = "nothing of a function's interrupts survives its release"
            self._complain(number, line.guest, Complaint("I-49", sentence, why, line.function))

    def _still(self, machine: _Guest) -> str:
        """Where a function's interrupts must be, if they cannot be off; else empty."""
        part = self._each.subject.parts["interrupts"]
        numbers = {getattr(state, part.attribute) for state in machine.now()}
        if None in numbers or part.places.index(interrupts.At.OFF) in numbers:
            return ""
        return " or ".join(sorted(part.places[number].name for number in numbers))

    def _done(self, number: int, line: Line) -> None:
        function = self._seam.performed(line)
        if function:
            self._complain(number, line.guest, self._seam.done(line, self._answer(line.guest, function)))

    def _answer(self, guest: str, function: str) -> Answer | None:
        machine = self._functions.get((guest, function))
        if machine is None or machine.single is None:
            return None
        part, state = self._each.subject.parts["interrupts"], machine.single
        place = getattr(state, part.attribute)
        if place is None:
            return None
        at = part.places[place]
        return Answer(at.name if at in part.machine.resting else "", state.irq_err, state.irq_value)

    def _complain(self, number: int, guest: str, complaint: Complaint | None) -> None:
        if complaint is None:
            return
        answer = self._answer(guest, complaint.function)
        at = "gone, or not known" if answer is None else f"at {answer.at}" if answer.at else "being changed"
        self._add(
            Finding(
                number, guest, self.subject.party, "interrupts", complaint.rule, complaint.sentence, complaint.why,
                (f"the interrupts of {complaint.function} are {at}",), function=complaint.function,
            )
        )  # fmt: skip

    def _slowly(self, number: int, guest: _Guest, line: Line) -> None:
        slow = guest.court.slow
        try:
            states = guest.states if guest.single is None else [guest.single]
            outcome = slow.step(states, line)
            if not outcome.states and guest.single is not None:
                # Again with all hidden steps and not only those that can be taken: an explanation needs the others too.
                states = guest.base
                for earlier in guest.lines:
                    states = slow.step(states, earlier).states
                outcome = slow.step(states, line)
        except WrongValue as error:
            raise TraceError(self.name, number, str(error), "give each variable a value of its own sort") from None
        for view in {id(view): view for view in outcome.taken}.values():
            self._remember(number, line.guest, view.machine.name, view.row.key)
        if outcome.states:
            guest.keep(outcome.states)
            return
        self._add(explain(guest.court.subject, number, line, outcome))
        lost = [slow.gap(state, line.machine) for state in states]
        onward = slow.step(slow.unique(lost), line).states
        guest.keep(slow.unique([*states, *onward]))

    def _add(self, finding: Finding) -> None:
        if len(self._findings) >= MOST_FINDINGS:
            self._more += 1
        else:
            self._findings.append(finding)

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
        for (name, function), machine in self._functions.items():
            notes += self._end(name, machine, f" of {function}")
        for kind, times in sorted(self._strange.items()):
            notes.append(Note(f"lines of kind {kind!r} are not judged", times=times))
        if self._more:
            notes.append(Note("further findings are not shown", times=self._more))
        needs = [
            f"the beginning of guest {name}: a trace from `pvpci serve --trace`, which has a line of kind 'begin'"
            for name, guest in self._guests.items()
            if not guest.known_start
        ] + [
            f"the line of kind 'function' that says how {function} of guest {name} was attached"
            for (name, function), machine in self._functions.items()
            if not machine.known_start and name in self._guests and self._guests[name].known_start
        ]
        if not self._judged:
            needs.append(f"steps of {' or '.join(self.subject.parts)}: there are none in this trace")
        word = VIOLATES if self._findings else UNDECIDED if needs else CONFORMS
        return Verdict(word, tuple(self._findings), tuple(notes), tuple(needs), self._lines, self._judged)

    def _end(self, name: str, guest: _Guest, whose: str = "") -> Iterable[Note]:
        """Who still owes a step: the machines that are not at rest in any candidate."""
        states = guest.now()
        for part in guest.court.subject.parts.values():
            numbers = {getattr(state, part.attribute) for state in states}
            places = [part.places[number] for number in numbers if number is not None]
            if None in numbers or not places or any(place in part.machine.resting for place in places):
                continue
            events = {row.event.__name__ for row in part.machine.table if row.source in places}
            due = "a step of its own" if "GO" in events else f"{' or '.join(sorted(events))}"
            where = " or ".join(sorted(place.name for place in places))
            yield Note(
                f"ends while {part.machine.name}{whose} is at {where}, waiting for {due}", self.subject.party, name
            )


def judge(lines: Iterable[tuple[int, Line | Below]], subject: Subject | None = None, name: str = "trace") -> Verdict:
    """The verdict on `(line number, line)` pairs, as a :class:`pvpci.traces.format.Trace` gives them."""
    court = Judge(subject, name)
    feed = court.feed
    for number, line in lines:
        feed(number, line)
    return court.verdict()
