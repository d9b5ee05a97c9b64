# SPDX-License-Identifier: Apache-2.0
"""Writing down what happens, at the price of one append a step.

Each guest has a recorder that is always on. In dom0 it is a flight recorder: it keeps the last steps and writes them out
when something went wrong. Then the line that says "the machines start here" has usually been forgotten, and a judge
knows from its absence that it looks at the middle of a life. With ``--trace FILE`` everything is kept until a
:class:`TraceWriter` has put it into the file.

What is kept is the step's border (a constant of the table) and plain numbers; of a straight run of steps, all borders at
once and each number once. Names and structure are made when somebody wants to read them.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from time import monotonic_ns
from typing import Any, BinaryIO, Final

from pvpci.model.kernel.terms import Sort, Var
from pvpci.model.kernel.visible import Visible, parameter
from pvpci.traces.format import (
    Asked,
    Begin,
    Below,
    Function,
    Gone,
    Hardware,
    Header,
    Kept,
    Line,
    Value,
    Vectors,
    encode,
)

#: Entries, three a request as the hot path has them: some 700 requests, less than a megabyte.
CAPACITY: Final = 2048
_Entry = tuple[int, Any, Any]


@dataclass(frozen=True, slots=True)
class Run:
    """Steps that followed each other at one time, and where their values are found in those of the entry.

    A place is (index, -1): that value; (index, n): element n of that value, a tuple; (-1, n): always the number n.
    """

    steps: tuple[tuple[Visible, tuple[tuple[int, int], ...]], ...]

    def each(self, values: Sequence[Any]) -> Iterator[tuple[Visible, tuple[int, ...]]]:
        """The steps, each with its own values."""
        for border, places in self.steps:
            yield border, tuple(_found(values, *place) for place in places)


def _found(values: Sequence[Any], index: int, element: int) -> int:
    if index < 0:
        return element
    value: int = values[index] if element < 0 else values[index][element]
    return value


def _steps(entries: Iterable[_Entry]) -> Iterator[_Entry]:
    """The entries with every run as the steps that it consists of."""
    for entry in entries:
        if isinstance(entry[1], Run):
            yield from ((entry[0], *step) for step in entry[1].each(entry[2]))
        else:
            yield entry


@dataclass(frozen=True, slots=True)
class _Of:
    """A step of the machine of one function."""

    function: str
    border: Visible


class OfFunction:
    """The recorder of one function of a guest: its steps stand among the guest's, with its name."""

    def __init__(self, recorder: Recorder, function: str) -> None:
        self._recorder, self._function = recorder, function

    def step(self, visible: Visible, values: tuple[int, ...]) -> None:
        """As `Recorder.step`."""
        self._recorder.append((monotonic_ns(), _Of(self._function, visible), values))

    def kept(self, numbers: Sequence[int], *, msix: bool, whole: bool) -> None:
        """Another process had the function, and died: its machine begins with what that had kept."""
        self._recorder.append((monotonic_ns(), Kept, (self._function, msix, whole, tuple(numbers))))

    def gone(self) -> None:
        """The function was detached: its machine ends."""
        self._recorder.append((monotonic_ns(), Gone, self._function))


class Recorder:
    """The recorder of one guest. `capacity`: entries that are kept (None: all, until they are drained).

    multi_msi: the guest may have several messages of MSI, which the judge must know from the start.
    An entry of `append` is a time in ns (monotonic), and a step's border with its values, or a `Run` with the values of all.
    """

    def __init__(self, guest: str, capacity: int | None = CAPACITY, *, multi_msi: bool = False) -> None:
        self.guest, self._multi_msi = guest, multi_msi
        self._entries: deque[_Entry] = deque(maxlen=capacity)
        self.append = self._entries.append
        self.begin()

    def __len__(self) -> int:
        return sum(1 for _ in _steps(self._entries))

    def begin(self) -> None:
        """The machines start anew here."""
        self.append((monotonic_ns(), None, self._multi_msi))

    def step(self, visible: Visible, values: tuple[int, ...]) -> None:
        """A step that is not hidden; `values` in the order given, found, wrote, arguments of the effects."""
        self.append((monotonic_ns(), visible, values))

    def hw(self, function: str, access: str, offset: int, size: int, value: int) -> None:
        """A configuration access of the real function; `access` is "read" or "write"."""
        self.append((monotonic_ns(), Hardware, (function, access, offset, size, value)))

    def function(
        self, function: str, slot: int, identity: object, *, number: int = 0, profile: str = "strict", domain: int = 0,
        bus: int = 0, shared: bool | None = None,
    ) -> None:  # fmt: skip
        """A function was attached. `identity`: a mapping or a dataclass of plain values; the others as in the line."""
        self.append(
            (monotonic_ns(), Function, (function, slot, _plain(identity), number, profile, domain, bus, shared))
        )

    def of(self, function: str) -> OfFunction:
        """The recorder of that function's own machine."""
        return OfFunction(self, function)

    def vectors(self, numbers: Sequence[int]) -> None:
        """Numbers of interrupts were stored into the page, these and in this order."""
        self.append((monotonic_ns(), Vectors, tuple(numbers)))

    def lines(self, first: int = 1) -> list[Line | Below]:
        """What is kept, numbered from `first`."""
        return [_line(seq, self.guest, entry) for seq, entry in enumerate(_steps(self._entries), first)]

    def drain(self) -> list[_Entry]:
        """What is kept, which then is forgotten; for :class:`TraceWriter`."""
        entries = list(_steps(self._entries))
        self._entries.clear()
        return entries

    def dump(self, file: BinaryIO, source: Mapping[str, object], vantage: str = "backend") -> int:
        """Write what is kept as a whole trace; how many lines it had."""
        file.write(encode(Header(vantage=vantage, source=dict(source))))
        lines = self.lines()
        for line in lines:
            file.write(encode(line))
        return len(lines)


class TraceWriter:
    """Writes a trace bit by bit. `drain` may be called as often as one likes; the file ends with a whole line after each."""

    def __init__(self, file: BinaryIO, source: Mapping[str, object], vantage: str = "backend") -> None:
        self.file, self.written = file, 0
        file.write(encode(Header(vantage=vantage, source=dict(source))))

    def drain(self, recorders: Iterable[Recorder]) -> int:
        """Move what the recorders hold into the file, in the order of time; how many lines that were."""
        before = self.written
        streams = [_owned(recorder) for recorder in recorders]
        parts = []
        for _, guest, entry in heapq.merge(*streams, key=lambda item: item[0]):
            self.written += 1
            parts.append(encode(_line(self.written, guest, entry)))
        if parts:
            self.file.write(b"".join(parts))
            self.file.flush()
        return self.written - before


def _owned(recorder: Recorder) -> Iterator[tuple[int, str, _Entry]]:
    return iter([(entry[0], recorder.guest, entry) for entry in recorder.drain()])


def shown(sort: Sort, value: int) -> Value:
    """A machine's integer as a trace has it."""
    if sort.members:
        return sort.members[value].name
    return value if sort.width else bool(value)


def _take(variables: Sequence[Var], values: Iterator[int], name: Any) -> dict[str, Value] | None:
    return {name(var): shown(var.sort, next(values)) for var in variables} or None


def _line(seq: int, guest: str, entry: _Entry) -> Line | Below:
    t_ns, what, values = entry
    if what is None:
        return Begin(seq=seq, t_ns=t_ns, guest=guest, multi_msi=values)
    if what is Hardware:
        function, access, offset, size, value = values
        return Hardware(
            seq=seq, t_ns=t_ns, guest=guest, function=function, access=access, offset=offset, size=size, value=value
        )
    if what is Function:
        function, slot, identity, number, profile, domain, bus, shared = values
        return Function(
            seq=seq, t_ns=t_ns, guest=guest, function=function, slot=slot, identity=identity, number=number,
            profile=profile, domain=domain, bus=bus, shared=shared,
        )  # fmt: skip
    if what is Gone:
        return Gone(seq=seq, t_ns=t_ns, guest=guest, function=values)
    if what is Kept:
        function, msix, whole, numbers = values
        return Kept(seq=seq, t_ns=t_ns, guest=guest, function=function, msix=msix, whole=whole, numbers=list(numbers))
    if what is Vectors:
        return Vectors(seq=seq, t_ns=t_ns, guest=guest, numbers=list(values))
    if isinstance(what, _Of):
        return line_of(seq, t_ns, guest, what.border, values, what.function)
    return line_of(seq, t_ns, guest, what, values)


def line_of(seq: int, t_ns: int, guest: str, visible: Visible, values: Sequence[int], function: str = "") -> Line:
    """The line of one step."""
    rest = iter(values)
    given = _take(visible.given, rest, parameter)
    found = _take(visible.found, rest, lambda var: var.name)
    wrote = _take(visible.wrote, rest, lambda var: var.name)
    sorts = iter(visible.sorts)
    asked = [
        Asked(name, {key: shown(next(sorts), next(rest)) for key in parameters}) for name, parameters in visible.asks
    ]
    return Line(
        seq=seq, t_ns=t_ns, guest=guest, kind=visible.kind, machine=visible.machine, function=function, event=visible.event,
        given=given, found=found, wrote=wrote, asked=asked or None,
    )  # fmt: skip


def _plain(value: object) -> Any:
    """Dataclasses as mappings, enumerations by name, keys as text: what JSON has."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
