# SPDX-License-Identifier: Apache-2.0
"""Recorded requests, served once more.

Each request that was copied goes through the request machine (the reference's, or a dialect's) and, for configuration
space, through a view that is made from what the trace says of the function. The hardware answers what it answered then;
the page says what it said then. What the machine asks of the hardware, answers and does besides is compared with what the
trace has. The judge asks whether the order of steps was right; this asks whether the *content* is what we would answer.

A function's view remembers (BAR sizing, COMMAND), so requests are served in order, from the attachment of the function
on. Where a trace does not say how a function was attached, its requests cannot be served again and are counted. What a request
does to a function's interrupts is served by `pvpci.traces.replay_interrupts`.

A trace without interrupts does not say either which functions a round of hot-plug took away: the first request after the round
that finds none is believed.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from pvpci.model import interrupts, op
from pvpci.model.config.view import ConfigView
from pvpci.model.kernel.compiled import attribute, group
from pvpci.model.kernel.records import GO
from pvpci.model.kernel.terms import Var
from pvpci.model.kernel.visible import parameter, visible
from pvpci.model.wire import Cmd, Err, signed
from pvpci.traces.differences import MOST, Difference, Report
from pvpci.traces.findings import describe
from pvpci.traces.format import Begin, Below, Function, Gone, Hardware, Kept, Line, TraceError, Value, Vectors
from pvpci.traces.functions import view_of
from pvpci.traces.recorder import line_of
from pvpci.traces.replay_interrupts import OPERATIONS, Interrupts, interrupts_of
from pvpci.traces.scripted import Ended, Scripted
from pvpci.traces.seam import EVENTS, PERFORMS
from pvpci.traces.subject import find_dialect

_WORD: Final = 0xFFFFFFFF
#: More steps than the longest request takes; a dialect that goes round for ever stops here.
_STEPS: Final = 64
_OVER: Final = ("Rang", "Turn", "Cut", "Elapsed")


@dataclass
class _Request:
    """What the trace has of one request."""

    line: int
    guest: str
    copy: dict[str, Value]
    look: dict[str, Value] | None = None
    given: dict[str, dict[str, Value]] = field(default_factory=dict)
    flags: dict[str, Value] | None = None
    hardware: list[Hardware] = field(default_factory=list)
    did: list[Line] = field(default_factory=list)
    answer: tuple[int, int] | None = None  #: what the function's interrupts say, when it is done
    block: bool = False  #: a block of messages was asked for
    over: bool = False  #: the flag was cleared or the answer dropped; what follows is the next one's


@dataclass
class _Attached:
    """A function of a guest. `script`: what was done to it outside of requests, until its first one."""

    function: str
    view: ConfigView
    interrupts: Interrupts | None
    script: list[Hardware] | None = field(default_factory=list)

    def begin(self) -> ConfigView:
        """The view as it was at the first request: some profiles remember what they found when they took the function."""
        if self.script is not None:
            with suppress(Ended):
                self.view.attach(Scripted(self.script))
            self.script = None
        return self.view


_Key = tuple[str, int, int, int]  #: a guest, and the domain, bus and devfn where it finds a function


def _number(var: Var, value: Value) -> int:
    """As machines hold it; members of a choice are named in a trace. ValueError if there is no such member."""
    if isinstance(value, str):
        return [member.name for member in var.sort.members].index(value)
    return int(value)


class Replay:
    """Takes lines in order (`feed`), then gives the `report`. KeyError if there is no such dialect."""

    def __init__(self, against: str = "reference", name: str = "trace") -> None:
        self.name = name
        self.report = Report(against)
        self.machine, self._interrupts = op.MACHINE, interrupts.MACHINE
        if against != "reference":
            dialect = find_dialect(against)
            if dialect.machine == op.MACHINE.name:
                self.machine = dialect.machine_of(op.MACHINE)
            if dialect.machine == interrupts.MACHINE.name:
                self._interrupts = dialect.machine_of(interrupts.MACHINE)
        self._group = group([self.machine])
        self._attributes = frozenset(self._group.names.values())
        self._stepper = self._group.steppers[self.machine.name]
        self._borders = {id(row): visible(self.machine, row) for row in self.machine.table}
        self._views: dict[_Key, _Attached] = {}
        self._open: dict[str, _Request] = {}
        self._functions: dict[tuple[str, str], Interrupts] = {}
        self._doing: dict[tuple[str, str], tuple[int, str]] = {}  #: operations on interrupts: line and name
        # Which functions go is said together with their interrupts. Elsewhere, after a round of hot-plug, the next request tells.
        self._doubtful: set[_Key] = set()
        self._multi_msi: dict[str, bool] = {}  #: guests that may have several messages, as far as that was said

    def feed(self, number: int, line: Line | Below) -> None:
        """The line at `number` of the file. Raises TraceError."""
        if isinstance(line, Function):
            self._close(line.guest)
            self._attach(number, line)
        elif isinstance(line, Begin):
            self._close(line.guest)
            self._multi_msi[line.guest] = line.multi_msi
            self._views = {key: view for key, view in self._views.items() if key[0] != line.guest}
            self._functions = {key: one for key, one in self._functions.items() if key[0] != line.guest}
            self._doubtful &= self._views.keys()
        elif isinstance(line, Gone):
            self._close(line.guest)
            self._detach(line.guest, line.function)
        elif isinstance(line, Hardware):
            self._access(line)
        elif isinstance(line, Kept):
            if (found := self._functions.get((line.guest, line.function))) is not None:
                found.kept(line)
        elif isinstance(line, Vectors):
            return  # whether they are the right ones is for the judge
        elif line.machine == self.machine.name:
            self._step(number, line)
        elif line.machine == self._interrupts.name:
            self._interrupt(number, line)
        else:
            self._connection(line)

    def _attach(self, number: int, line: Function) -> None:
        key = line.guest, line.domain, line.bus, line.slot << 3 | line.number
        self._detach(line.guest, line.function)
        view = view_of(line, self.name, number)
        made = interrupts_of(self._interrupts, line, view.identity.capabilities)
        self._views[key] = _Attached(line.function, view, made)
        self._doubtful.discard(key)
        if made is not None:
            self._functions[line.guest, line.function] = made

    def _detach(self, guest: str, function: str) -> None:
        if self._functions.pop((guest, function), None) is not None:
            self._views = {key: one for key, one in self._views.items() if (key[0], one.function) != (guest, function)}

    def _access(self, line: Hardware) -> None:
        found = self._functions.get((line.guest, line.function))
        if found is not None and found.reaches(line):
            return
        request = self._open.get(line.guest)
        # Once it is done, what reaches the function is the connection's doing: a reset, the release.
        if request is not None and not request.over and "done" not in request.given:
            request.hardware.append(line)
            return
        for key, attached in self._views.items():
            if (key[0], attached.function) == (line.guest, line.function) and attached.script is not None:
                attached.script.append(line)

    def _interrupt(self, number: int, line: Line) -> None:
        key = line.guest, line.function
        found = self._functions.get(key)
        if found is None:
            if line.event in OPERATIONS:
                self._skip("the trace does not say how the function was attached")
            return
        if line.event in OPERATIONS:
            self._doing[key] = number, line.event
            if found.lost:
                self._skip("an operation on its interrupts before it was another")
            else:
                self.report.operations += 1
        try:
            differs = found.step(line)
        except (LookupError, TypeError, ValueError):
            right = "see docs/reference/trace-format.md"
            raise TraceError(self.name, number, "this step has no values that are numbers", right) from None
        if differs is not None:
            began, event = self._doing.get(key, (number, line.event))
            self._differ(began, line.guest, f"{event} of {line.function}", *differs)

    def _connection(self, line: Line) -> None:
        asked = {one.effect for one in line.asked or ()}
        if not asked & {"renew", "reconfigure"}:
            return
        if (request := self._open.get(line.guest)) is not None and request.over:
            self._close(line.guest)
        for key in [key for key in self._views if key[0] == line.guest]:
            if "reconfigure" in asked:
                if self._views[key].interrupts is None:
                    self._doubtful.add(key)
            else:
                self._views[key].begin().forget()

    def finish(self) -> Report:
        """Serves what is still open."""
        for guest in list(self._open):
            self._close(guest, ended=True)
        return self.report

    def _step(self, number: int, line: Line) -> None:
        request = self._open.get(line.guest)
        copies = line.event == "GO" and any(name.startswith("page.") for name in line.found or ())
        if request is None or request.over or line.event in _OVER:
            if line.event in _OVER or (copies and request is not None):
                self._close(line.guest)
            if copies:
                self._open[line.guest] = _Request(number, line.guest, dict(line.found or {}))
            elif request is not None and line.event not in _OVER:
                self._also(request, line)
            return
        if copies and request.look is None and "clock" in request.given:
            request.look = line.found
        elif line.event != "GO":
            request.given[line.event.lower()] = line.given or {}
            if line.event == op.Done.__name__ and (attached := self._views.get(self._key(request))) is not None:
                request.answer = None if attached.interrupts is None else attached.interrupts.answer
        elif line.found:
            request.flags = line.found if "clock" in request.given and request.flags is None else request.flags
        self._also(request, line)

    def _also(self, request: _Request, line: Line) -> None:
        asked = {one.effect for one in line.asked or ()}
        if "unmask" in asked:
            request.over = True
            return
        request.block |= op.PERFORM_BLOCK.name in asked
        if line.wrote or asked - {"seek", "ask_clock"}:
            request.did.append(line)
        if "notify" in asked:
            request.over = True

    def _skip(self, why: str) -> None:
        self.report.skipped[why] = self.report.skipped.get(why, 0) + 1

    def _close(self, guest: str, *, ended: bool = False) -> None:
        request = self._open.pop(guest, None)
        if request is None:
            return
        if ended and not request.over:
            self._skip("the trace ends in the middle of the request")
            return
        try:
            self._compare(request)
        except TraceError:
            raise
        except (ArithmeticError, LookupError, TypeError, ValueError):
            right = "see docs/reference/trace-format.md"
            raise TraceError(self.name, request.line, "this request has values that are not numbers", right) from None

    def _key(self, request: _Request) -> _Key:
        domain, bus, devfn = (int(request.copy.get(f"page.{name}", 0)) for name in ("domain", "bus", "devfn"))
        return request.guest, domain, bus, devfn

    def _compare(self, request: _Request) -> None:
        known = request.given.get("found", {}).get("known")
        key = self._key(request)
        if key in self._doubtful and known is not None:
            self._doubtful.discard(key)
            if not known:
                del self._views[key]
        found = self._views.get(key)
        if found is None and known:
            self._skip("the trace does not say how the function was attached")
            return
        self.report.compared += 1
        self._serve(request, found, bool(known))

    def _serve(self, request: _Request, found: _Attached | None, known: bool) -> None:
        script = [one for one in request.hardware if found is not None and one.function == found.function]
        hardware = Scripted(script)
        did = self._run(request, None if found is None else found.begin(), known, hardware)
        # What an operation on interrupts did to a function whose interrupts are not followed, nobody can say.
        blind = request.copy.get("page.cmd") in EVENTS and request.answer is None
        if not blind and (differs := hardware.differs()) is not None:
            self._differ_request(request, *differs)
        before = [describe(line) for line in request.did]
        if did != before:
            pairs = [(one, two) for one, two in zip(before, did, strict=False) if one != two]
            longer = (before[len(did) :] or ["nothing"])[0], (did[len(before) :] or ["nothing"])[0]
            self._differ_request(request, *(pairs[0] if pairs else longer))

    def _differ_request(self, request: _Request, recorded: str, now: str) -> None:
        words = ", ".join(f"{name.split('.')[1]}={value}" for name, value in request.copy.items() if name != "page.err")
        self._differ(request.line, request.guest, words, recorded, now)

    def _differ(self, line: int, guest: str, what: str, recorded: str, now: str) -> None:
        self.report.add(Difference(line, guest, what, recorded, now))

    def _run(self, request: _Request, view: ConfigView | None, known: bool, hardware: Scripted) -> list[str]:
        """The machine from the copy on; what it did, in words."""
        state, stepper = self._group.state(), self._stepper
        # Where the beginning is missing, what was done says what was allowed.
        state.allowed_multi_msi = int(self._multi_msi.get(request.guest, request.block))
        setattr(state, stepper.place, self.machine.places.index(op.At.CLAIMED))
        event: type[Any] = GO
        given: tuple[int, ...] = ()
        did: list[str] = []
        flag = request.flags if request.flags is not None else {"flags.active": True}
        page, looked = request.copy, False
        for _ in range(_STEPS):
            step = stepper.steps.get((getattr(state, stepper.place), event))
            if step is None:
                break
            for cells in (page, flag):
                for name, value in cells.items():
                    if (known_as := name.replace(".", "_")) in self._attributes:
                        setattr(state, known_as, int(value))
            here = step.place
            index, arguments = step.choose(state, *given)
            if index < 0:
                return [*did, f"nothing: no row at {here.name} for what it found"]
            row = step.rows[index]
            border = self._borders[id(row)]
            if border.found and border.found[0].cell == "request" and not looked:
                looked, page = True, request.look or request.copy
            wrote = [getattr(state, attribute(var)) for var in border.wrote]
            if border.wrote or any(ask.effect.answer is None or ask.effect.name in PERFORMS for ask in row.asks):
                values = [*given, *(0 for _ in border.found), *wrote, *(a for one in arguments for a in one)]
                did.append(describe(line_of(0, 0, "", border, values)))
            event, given = GO, ()
            for ask, values_of in zip(row.asks, arguments, strict=True):
                if ask.effect.answer is not None:
                    event, given = self._answer(ask.effect.answer, values_of, request, view, known, hardware)
            if row.next in (op.At.TOLD, op.At.AGAIN, op.At.DROPPED):
                break
        return did

    def _answer(
        self, event: type[Any], arguments: tuple[int, ...], request: _Request, view: ConfigView | None, known: bool,
        hardware: Scripted,
    ) -> tuple[type[Any], tuple[int, ...]]:  # fmt: skip
        recorded = request.given.get(event.__name__.lower(), {})
        if event is op.Found and view is not None:
            return event, (1, view.reach)
        if event is not op.Done or view is None:
            return event, tuple(_number(var, recorded.get(parameter(var), 0)) for var in event.parameters.values())
        cmd, _, _, _, offset, size, value, *_ = arguments
        try:
            if cmd == Cmd.CONF_READ:
                err, result = view.read(signed(offset), signed(size), hardware)
            elif cmd == Cmd.CONF_WRITE:
                err, result = view.write(signed(offset), signed(size), value, hardware)
            else:
                told = tuple(int(recorded.get(parameter(var), 0)) for var in event.parameters.values())
                return event, request.answer or told
        except Ended:
            err, result = Err.OP_FAILED, 0
            if hardware.done == len(hardware.script) and recorded.get("err") == Err.OP_FAILED & _WORD:
                hardware.asked.pop()  # it did not answer then either, and only what it answers is recorded
        return event, (err & _WORD, result & _WORD)


def replay(lines: Iterable[tuple[int, Line | Below]], against: str = "reference", name: str = "trace") -> Report:
    """The report on `(line number, line)` pairs. Raises TraceError; KeyError if there is no such dialect."""
    again = Replay(against, name)
    for number, line in lines:
        again.feed(number, line)
    return again.finish()


__all__ = ["MOST", "Difference", "Replay", "Report", "replay", "view_of"]
