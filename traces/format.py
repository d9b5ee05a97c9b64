# SPDX-License-Identifier: Apache-2.0
"""The trace file: JSON Lines, one header, then one line a step.

A line says what crossed the border of a machine and nothing of what we think about it: no places, no rows. So a judge
cannot be led by the recorder, and a trace of an implementation without our machines has the same form. What a field is
for stands in ``docs/reference/trace-format.md``; `traces/schema.json` is generated from the types below.

Reading is total: whatever the bytes are, the outcome is lines or one :class:`TraceError`, in bounded memory. Lines of
an unknown `kind` are somebody else's and are passed on.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, BinaryIO, Final, Literal

import msgspec
from msgspec import Meta, Struct

from pvpci.model.wire import MAX_VECTORS

VERSION: Final = 1
FORMAT: Final = "pvpci-trace"
#: No step of ours needs a line of a tenth of this; more is not a trace, and must not fill the memory.
LONGEST_LINE: Final = 1 << 16
_CHUNK: Final = 1 << 20
BEGIN, HW, FUNCTION, GONE, KEPT, VECTORS = "begin", "hw", "function", "gone", "kept", "vectors"

Word = Annotated[int, Meta(ge=0, le=0xFFFFFFFF)]
Natural = Annotated[int, Meta(ge=0)]
#: Flags are true or false, numbers unsigned, choices the names of their members.
Value = bool | Word | str


class TraceError(ValueError):
    """A trace that cannot be read. `line` counts from 1, 0 is the whole file; `right` is what would be right there."""

    def __init__(self, name: str, line: int, what: str, right: str) -> None:
        super().__init__(name, line, what, right)
        self.name, self.line, self.what, self.right = name, line, what, right

    @property
    def where(self) -> str:
        return f"{self.name}:{self.line}" if self.line else self.name

    def __str__(self) -> str:
        return f"{self.where}: {self.what}; {self.right}"


class Header(Struct, kw_only=True):
    """The first line."""

    format: Literal["pvpci-trace"] = FORMAT
    version: Literal[1] = 1
    vantage: str  #: who looked: "backend", "model"
    source: dict[str, Any] = {}  #: the program that recorded, its host, the machines that it runs


class Asked(Struct, array_like=True):
    """One effect that was asked for: ``["notify"]`` or ``["seek", {"domain": 0, …}]``."""

    effect: str
    arguments: dict[str, Value] = {}


class Line(Struct, kw_only=True):
    """One step of a machine. Lines without `machine` are of one of the kinds below, or of somebody else."""

    seq: Natural
    t_ns: int  #: a monotonic clock; only differences mean anything
    kind: str  #: a word for people
    guest: str = ""  #: ``<domid>/<instance>``
    machine: str = ""
    function: str = ""  #: whose machine it is, where each function has one: ``DDDD:BB:SS.F``
    event: str = ""  #: "GO" if the machine moved by itself
    given: dict[str, Value] | None = None  #: the event's parameters
    found: dict[str, Value] | None = None  #: what was loaded from the one cell that was looked at
    wrote: dict[str, Value] | None = None
    asked: list[Asked] | None = None


class Begin(Struct, kw_only=True, tag_field="kind", tag=BEGIN):
    """The machines of this guest start here, in their first places. What follows without it started before."""

    seq: Natural
    t_ns: int
    guest: str
    multi_msi: bool = False  #: the guest may have several messages of MSI in one block


class Hardware(Struct, kw_only=True, tag_field="kind", tag=HW):
    """One configuration access of the real function, below the machines."""

    seq: Natural
    t_ns: int
    guest: str
    function: str  #: ``DDDD:BB:SS.F``
    access: Literal["read", "write"]
    offset: Word
    size: Literal[1, 2, 4]
    value: Word


class Function(Struct, kw_only=True, tag_field="kind", tag=FUNCTION):
    """A function was attached: all that its view of configuration space is made from."""

    seq: Natural
    t_ns: int
    guest: str
    function: str
    slot: Annotated[int, Meta(ge=0, le=31)]  #: where the guest finds it on that bus
    identity: dict[str, Any]
    number: Annotated[int, Meta(ge=0, le=7)] = 0  #: the function number that the guest finds it at
    profile: str = "strict"
    domain: Annotated[int, Meta(ge=0, le=0xFFFF)] = 0  #: the guest's bus
    bus: Annotated[int, Meta(ge=0, le=0xFF)] = 0
    shared: bool | None = None  #: a driver of the host is on its line; None if its interrupts are not recorded


class Gone(Struct, kw_only=True, tag_field="kind", tag=GONE):
    """A function was detached, and its machine ends."""

    seq: Natural
    t_ns: int
    guest: str
    function: str


class Kept(Struct, kw_only=True, tag_field="kind", tag=KEPT):
    """What a process that died had kept of a function's interrupts; its machine begins with that, and not turned off."""

    seq: Natural
    t_ns: int
    guest: str
    function: str
    msix: bool
    whole: bool  #: all that was asked for was mapped and on
    numbers: Annotated[list[Word], Meta(max_length=MAX_VECTORS)]


class Vectors(Struct, kw_only=True, tag_field="kind", tag=VECTORS):
    """The numbers that were stored into the page, in the order of the guest's list."""

    seq: Natural
    t_ns: int
    guest: str
    numbers: Annotated[list[Word], Meta(max_length=MAX_VECTORS)]


Below = Begin | Hardware | Function | Gone | Kept | Vectors
_HEADER: Final = msgspec.json.Decoder(Header)
_LINE: Final = msgspec.json.Decoder(Line)
_BELOW: Final[dict[str, msgspec.json.Decoder[Any]]] = {
    BEGIN: msgspec.json.Decoder(Begin), HW: msgspec.json.Decoder(Hardware), FUNCTION: msgspec.json.Decoder(Function),
    GONE: msgspec.json.Decoder(Gone), KEPT: msgspec.json.Decoder(Kept), VECTORS: msgspec.json.Decoder(Vectors),
}  # fmt: skip
_ENCODER: Final = msgspec.json.Encoder()
_RIGHT: Final = "record it again, or name a trace as `pvpci serve --trace` writes them"


def encode(item: Header | Line | Below) -> bytes:
    """One line of the file with its newline. The same item gives the same bytes."""
    if isinstance(item, Header):
        return _ENCODER.encode(item) + b"\n"
    if not isinstance(item, Line):
        plain: dict[str, object] = msgspec.to_builtins(item)
        if isinstance(item, Function):
            # As in every trace from before there was another bus, or a record of interrupts.
            if not item.domain and not item.bus:
                del plain["domain"], plain["bus"]
            if item.shared is None:
                del plain["shared"]
        if isinstance(item, Begin) and not item.multi_msi:
            del plain["multi_msi"]
        start = {name: plain.pop(name) for name in ("seq", "t_ns", "guest", "kind")}
        return _ENCODER.encode(start | plain) + b"\n"
    fields: dict[str, object] = {"seq": item.seq, "t_ns": item.t_ns}
    if item.guest:
        fields["guest"] = item.guest
    fields["kind"] = item.kind
    for name in ("machine", "function", "event", "given", "found", "wrote"):
        if content := getattr(item, name):
            fields[name] = content
    if item.asked:
        fields["asked"] = [[ask.effect, ask.arguments] if ask.arguments else [ask.effect] for ask in item.asked]
    return _ENCODER.encode(fields) + b"\n"


class Trace:
    """A trace that is being read. `header` is there at once; iterating gives `(line number, line)` once, in order."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self.name = name
        self._raw = enumerate(_split(file, name), 1)
        first = next(self._raw, None)
        if first is None:
            raise TraceError(name, 0, "is empty", _RIGHT)
        self.header = self._header(first[1])

    def _header(self, raw: bytes) -> Header:
        if _is_binary(raw):
            raise TraceError(self.name, 1, "is binary", "a trace is JSON Lines in UTF-8; unpack it first")
        try:
            start = msgspec.json.decode(raw)
        except (msgspec.DecodeError, RecursionError):
            raise TraceError(self.name, 1, "is not JSON", _RIGHT) from None
        if not isinstance(start, dict) or start.get("format") != FORMAT:
            raise TraceError(self.name, 1, f"is no header with format {FORMAT!r}", _RIGHT)
        if start.get("version") != VERSION:
            found = start.get("version")
            raise TraceError(self.name, 1, f"is of version {found!r}", f"this program reads version {VERSION}")
        try:
            return _HEADER.decode(raw)
        except msgspec.ValidationError as error:
            raise TraceError(self.name, 1, _plain(error), "see docs/reference/trace-format.md") from None

    def __iter__(self) -> Iterator[tuple[int, Line | Below]]:
        decode = _LINE.decode
        for number, raw in self._raw:
            try:
                line = decode(raw)
                if not line.machine and line.kind in _BELOW:
                    yield number, _BELOW[line.kind].decode(raw)
                else:
                    yield number, line
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise self._bad(number, raw, error) from None

    def _bad(self, number: int, raw: bytes, error: Exception) -> TraceError:
        if isinstance(error, RecursionError):
            return TraceError(self.name, number, "is nested too deeply", _RIGHT)
        if isinstance(error, msgspec.ValidationError):
            return TraceError(self.name, number, _plain(error), "see docs/reference/trace-format.md")
        if _is_binary(raw):
            return TraceError(self.name, number, "is binary", _RIGHT)
        if isinstance(raw, _Cut):
            return TraceError(self.name, number, "is cut off: the file is truncated", _RIGHT)
        return TraceError(self.name, number, "is not JSON" if raw else "is an empty line", _RIGHT)


def _is_binary(raw: bytes) -> bool:
    """No text: it holds a NUL, or bytes that are no UTF-8."""
    try:
        raw.decode()
    except UnicodeDecodeError:
        return True
    return b"\0" in raw


def _plain(error: Exception) -> str:
    text = str(error)
    return text[:1].lower() + text[1:]


class _Cut(bytes):
    """The last line of a file, if no newline ends it."""


def _split(file: BinaryIO, name: str) -> Iterator[bytes]:
    rest, number = b"", 0
    while chunk := file.read(_CHUNK):
        lines = (rest + chunk).split(b"\n")
        rest = lines.pop()
        for line in lines:
            number += 1
            if len(line) > LONGEST_LINE:
                raise _too_long(name, number)
            yield line
        if len(rest) > LONGEST_LINE:
            raise _too_long(name, number + 1)
    if rest:
        yield _Cut(rest)


def _too_long(name: str, number: int) -> TraceError:
    return TraceError(name, number, f"is longer than {LONGEST_LINE} bytes", _RIGHT)


def schema() -> dict[str, Any]:
    """The JSON schema of one line of a trace."""
    types = (Header, Begin, Hardware, Function, Gone, Kept, Vectors, Line)
    choices, parts = msgspec.json.schema_components(types, ref_template="#/$defs/{name}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "One line of a pvpci trace: the header is the first, lines of other kinds are ignored",
        "anyOf": list(choices),
        "$defs": parts,
    }


def schema_text() -> str:
    """`traces/schema.json`."""
    return msgspec.json.format(msgspec.json.encode(schema(), order="sorted"), indent=2).decode() + "\n"
