# SPDX-License-Identifier: Apache-2.0
"""Recorded requests, served once more.

Each request that was copied goes through the request machine (the reference's, or a dialect's) and, for configuration
space, through a view that is made from what the trace says of the function. The hardware answers what it answered then;
the page says what it said then. What the machine asks of the hardware, answers and does besides is compared with what the
trace has. The judge asks whether the order of steps was right; this asks whether the *content* is what we would answer.

A function's view remembers (BAR sizing, COMMAND), so requests are served in order, from the attachment of the function
on. Where a trace does not say how a function was attached, its requests cannot be served again and are counted. Which functions a
round of hot-plug took away it does not say either: the first request after the round that finds none is believed.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from pvpci.model import op
from pvpci.model.config.view import ConfigView
from pvpci.model.kernel.compiled import attribute, group
from pvpci.model.kernel.records import GO
from pvpci.model.kernel.tables import Machine
from pvpci.model.kernel.terms import Var
from pvpci.model.kernel.visible import parameter, visible
from pvpci.model.wire import Cmd, Err, signed
from pvpci.traces.findings import describe
from pvpci.traces.format import Begin, Below, Function, Hardware, Line, TraceError, Value
from pvpci.traces.functions import view_of
from pvpci.traces.recorder import line_of
from pvpci.traces.subject import find_dialect

_WORD: Final = 0xFFFFFFFF
#: After so many differences the rest is only counted.
MOST: Final = 100
#: More steps than the longest request takes; a dialect that goes round for ever stops here.
_STEPS: Final = 64
_OVER: Final = ("Rang", "Turn", "Cut", "Elapsed")


@dataclass(frozen=True)
class Difference:
    """One thing that is not as it was recorded. `line`: where the request was copied."""

    line: int
    guest: str
    request: str
    recorded: str
    now: str


@dataclass
class Report:
    """`compared`: requests that were served again; `skipped`: why others were not, with how many."""

    against: str
    compared: int = 0
    differences: list[Difference] = field(default_factory=list)
    more: int = 0  #: differences that are only counted
    skipped: dict[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return {
            "against": self.against,
            "verdict": "violates" if self.differences else "conforms" if self.compared else "undecided",
            "compared": self.compared,
            "differences": [
                {"line": d.line, "guest": d.guest, "request": d.request, "recorded": d.recorded, "now": d.now}
                for d in self.differences
            ],
            "more": self.more,
            "skipped": dict(sorted(self.skipped.items())),
        }


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
    over: bool = False  #: the flag was cleared or the answer dropped; what follows is the next one's


@dataclass
class _Attached:
    """A function of a guest. `script`: what was done to it outside of requests, until its first one."""

    function: str
    view: ConfigView
    script: list[Hardware] | None = field(default_factory=list)

    def begin(self) -> ConfigView:
        """The view as it was at the first request: some profiles remember what they found when they took the function."""
        if self.script is not None:
            with suppress(_Ended):
                self.view.attach(_Scripted(self.script))
            self.script = None
        return self.view


class _Ended(Exception):
    """The trace has no more accesses of the hardware."""


class _Scripted:
    """The hardware as it was."""

    def __init__(self, script: list[Hardware]) -> None:
        self.script, self.done = script, 0
        self.asked: list[str] = []

    def _next(self, access: str, offset: int, size: int) -> Hardware:
        if self.done >= len(self.script):
            raise _Ended
        found = self.script[self.done]
        self.done += 1
        if (found.access, found.offset, found.size) != (access, offset, size):
            raise _Ended
        return found

    def read(self, offset: int, size: int) -> int:
        self.asked.append(f"read {offset:#x}/{size}")
        return self._next("read", offset, size).value

    def write(self, offset: int, size: int, value: int) -> None:
        self.asked.append(f"write {offset:#x}/{size} {value:#x}")
        self._next("write", offset, size)


def _access(line: Hardware) -> str:
    return f"{line.access} {line.offset:#x}/{line.size}" + (f" {line.value:#x}" if line.access == "write" else "")


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
        self.machine: Machine = op.MACHINE
        if against != "reference":
            dialect = find_dialect(against)
            if dialect.machine == op.MACHINE.name:
                self.machine = dialect.machine_of(op.MACHINE)
        self._group = group([self.machine])
        self._attributes = frozenset(self._group.names.values())
        self._stepper = self._group.steppers[self.machine.name]
        self._borders = {id(row): visible(self.machine, row) for row in self.machine.table}
        self._views: dict[_Key, _Attached] = {}
        self._open: dict[str, _Request] = {}
        # A trace says which functions come, not which go. After a round of hot-plug, the next request tells.
        self._doubtful: set[_Key] = set()

    def feed(self, number: int, line: Line | Below) -> None:
        """The line at `number` of the file. Raises TraceError."""
        if isinstance(line, Function):
            self._close(line.guest)
            key = line.guest, line.domain, line.bus, line.slot << 3 | line.number
            self._views[key] = _Attached(line.function, view_of(line, self.name, number))
            self._doubtful.discard(key)
        elif isinstance(line, Begin):
            self._close(line.guest)
            self._views = {key: view for key, view in self._views.items() if key[0] != line.guest}
            self._doubtful &= self._views.keys()
        elif isinstance(line, Hardware):
            request = self._open.get(line.guest)
            # Once it is done, what reaches the function is the connection's doing: a reset, the release.
            if request is not None and not request.over and "done" not in request.given:
                request.hardware.append(line)
                return
            for key, attached in self._views.items():
                if (key[0], attached.function) == (line.guest, line.function) and attached.script is not None:
                    attached.script.append(line)
        elif line.machine == self.machine.name:
            self._step(number, line)
        else:
            self._connection(line)

    def _connection(self, line: Line) -> None:
        asked = {one.effect for one in line.asked or ()}
        if not asked & {"renew", "reconfigure"}:
            return
        if (request := self._open.get(line.guest)) is not None and request.over:
            self._close(line.guest)
        for key in [key for key in self._views if key[0] == line.guest]:
            if "reconfigure" in asked:
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
        elif line.found:
            request.flags = line.found if "clock" in request.given and request.flags is None else request.flags
        self._also(request, line)

    def _also(self, request: _Request, line: Line) -> None:
        asked = {one.effect for one in line.asked or ()}
        if "unmask" in asked:
            request.over = True
            return
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
            self._compare(guest, request)
        except TraceError:
            raise
        except (ArithmeticError, LookupError, TypeError, ValueError):
            right = "see docs/reference/trace-format.md"
            raise TraceError(self.name, request.line, "this request has values that are not numbers", right) from None

    def _compare(self, guest: str, request: _Request) -> None:
        domain, bus, devfn = (int(request.copy.get(f"page.{name}", 0)) for name in ("domain", "bus", "devfn"))
        known = request.given.get("found", {}).get("known")
        key = guest, domain, bus, devfn
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
        hardware = _Scripted(script)
        did = self._run(request, None if found is None else found.begin(), known, hardware)
        then = [_access(one) for one in script]
        if hardware.asked != then:
            recorded, now = (", ".join(accesses) or "nothing" for accesses in (then, hardware.asked))
            self._differ(request, f"hardware: {recorded}", f"hardware: {now}")
        before = [describe(line) for line in request.did]
        if did != before:
            pairs = [(one, two) for one, two in zip(before, did, strict=False) if one != two]
            longer = (before[len(did) :] or ["nothing"])[0], (did[len(before) :] or ["nothing"])[0]
            self._differ(request, *(pairs[0] if pairs else longer))

    def _differ(self, request: _Request, recorded: str, now: str) -> None:
        if len(self.report.differences) >= MOST:
            self.report.more += 1
            return
        words = ", ".join(f"{name.split('.')[1]}={value}" for name, value in request.copy.items() if name != "page.err")
        self.report.differences.append(Difference(request.line, request.guest, words, recorded, now))

    def _run(self, request: _Request, view: ConfigView | None, known: bool, hardware: _Scripted) -> list[str]:
        """The machine from the copy on; what it did, in words."""
        state, stepper = self._group.state(), self._stepper
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
            if border.wrote or any(ask.effect.answer is None or ask.effect is op.PERFORM for ask in row.asks):
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
        hardware: _Scripted,
    ) -> tuple[type[Any], tuple[int, ...]]:  # fmt: skip
        recorded = request.given.get(event.__name__.lower(), {})
        if event is op.Found and view is not None:
            return event, (1, view.reach)
        if event is not op.Done or view is None:
            return event, tuple(_number(var, recorded.get(parameter(var), 0)) for var in event.parameters.values())
        cmd, _, _, _, offset, size, value = arguments
        try:
            if cmd == Cmd.CONF_READ:
                err, result = view.read(signed(offset), signed(size), hardware)
            elif cmd == Cmd.CONF_WRITE:
                err, result = view.write(signed(offset), signed(size), value, hardware)
            else:
                return event, tuple(int(recorded.get(parameter(var), 0)) for var in event.parameters.values())
        except _Ended:
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


__all__ = ["Difference", "Replay", "Report", "replay", "view_of"]
