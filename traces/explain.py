# SPDX-License-Identifier: Apache-2.0
"""What a number, a line or a whole log means, put together from the tables.

Each answer says what is known, what to do next, and what is missing to know more; "cannot be decided from this" is one of
the answers. Nothing here judges: whether a rule was broken is for the judge, who has a trace.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from pvpci.model.config.locate import Located, Place, locate
from pvpci.model.config.registers import Remedy
from pvpci.model.numbers import Reading, Where, decided, parse, readings
from pvpci.model.wire import signed
from pvpci.traces import messages
from pvpci.traces.dumps import Dump, full
from pvpci.traces.messages import Match

#: Explanations that are kept of one log; lines beyond are counted.
MOST: Final = 200

_ADVICE: Final[Mapping[Remedy, str]] = {
    Remedy.NOTHING: "nothing to do",
    Remedy.HOST: "nothing, as a rule; if it is needed, set it in dom0 (`setpci`, or an option of the kernel)",
    Remedy.QUIRK: "nothing while the device works; if not, open this register:",
    Remedy.UNKNOWN: "nothing while the device works; if not, try the register alone, then `permissive=1` for the function:",
    Remedy.SERVED: "this offset and this notice do not fit each other: is the dump of the same function?",
}
_ONCE: Final = (
    "said once for each function until it is unbound; the guest was told success, and later writes are dropped silently"
)


@dataclass(frozen=True, slots=True)
class Number:
    """An error number and all that it can be. `certain`: the readings agree on what it is."""

    given: str
    value: int
    readings: tuple[Reading, ...]
    certain: bool
    needs: str  #: what would decide it, or empty


@dataclass(frozen=True, slots=True)
class Write:
    """A guest's write that was dropped. `value` is known in pvpci's own line only; `stands`: the register's bytes in the dump."""

    offset: int
    size: int
    value: int | None
    found: Located
    stands: int | None
    advice: tuple[str, ...]  #: of each place of `found`
    quirk: str  #: what opens the register, or empty


@dataclass(slots=True)
class Line:
    """A line that is known. `device` is empty where it names none. `first` and `times`: its number, how often it came."""

    match: Match
    device: str
    means: str
    next: str
    number: Number | None = None
    write: Write | None = None
    first: int = 1
    times: int = 1


@dataclass(slots=True)
class Log:
    """A whole log: each known line once. `unknown` lines are in no table, `beyond` are known but were too many."""

    known: list[Line] = field(default_factory=list)
    lines: int = 0
    unknown: int = 0
    beyond: int = 0


class Unfit(Exception):
    """The dump at hand is not of the function that the line is about; the text says what it is of."""


def number(text: str, where: Sequence[Where] = ()) -> Number | None:
    """What the number can be, at these places or anywhere; None if the text is no number."""
    value = parse(text)
    if value is None:
        return None
    found = tuple(reading for place in where for reading in readings(value, place)) if where else readings(value)
    if named := [reading for reading in found if reading.name == text.removeprefix("-")]:
        found = tuple(named)
    certain = decided(found)
    return Number(text, value, found, certain, "" if certain else _needed(found, bool(where)))


def _needed(found: tuple[Reading, ...], placed: bool) -> str:
    if not found:
        return "the line that it was printed in, and the program and version that printed it"
    if not placed:
        return "the whole line that it was printed in: the place tells most of these apart"
    causes = {reading.next for reading in found if reading.next}
    return (
        "; ".join(sorted(causes)) or "dom0's log of the same moment: the place of the number does not tell these apart"
    )


def line(text: str, dumps: Sequence[Dump] = ()) -> Line | None:
    """What the line means; None if it is not known. Raises Unfit."""
    found = messages.match(text)
    if found is None:
        return None
    if found.message.id == messages.NOTICE:
        return _notice(found, dumps)
    device = full(found.device) if found.device else ""
    explained = Line(found, device, found.says(found.message.means), found.says(found.message.next))
    if found.message.id == "hide":
        explained.next += _nearest(found.groups["rest"])
    if (printed := found.groups.get("number")) is not None and found.message.places:
        explained.number = number(_hexadecimal(found, printed), found.message.places)
    return explained


def _hexadecimal(found: Match, printed: str) -> str:
    # These lines print with %x, so that digits alone are hexadecimal too.
    return f"0x{printed}" if " get err " in found.message.has + " " else printed


def _notice(found: Match, dumps: Sequence[Dump]) -> Line:
    device = full(found.device) if found.device else ""
    offset, size = signed(int(found.groups["offset"], 16) & 0xFFFFFFFF), int(found.groups["size"])
    if int(found.groups["offset"], 16) >> 32:
        offset = int(found.groups["offset"], 16)
    value = int(found.groups["value"], 16) if "value" in found.groups else None
    space = _chosen(device, dumps)
    where = locate(offset, size, space)
    stands = (
        int.from_bytes(space[offset : offset + size], "little")
        if size > 0 and 0 <= offset <= len(space) - size
        else None
    )
    quirk = ""
    if any(place.remedy in (Remedy.QUIRK, Remedy.UNKNOWN) for place in where.places) and offset % size == 0:
        quirk = (
            f"echo {device or 'BDF'}-{offset:x}:{size}:{(1 << 8 * size) - 1:x} > /sys/bus/pci/drivers/pciback/quirks"
            if size in (1, 2, 4) else ""
        )  # fmt: skip
    write = Write(offset, size, value, where, stands, tuple(_ADVICE[place.remedy] for place in where.places), quirk)
    return Line(found, device, _ONCE, "", write=write)


def _chosen(device: str, dumps: Sequence[Dump]) -> bytes:
    """The space to decide by; no bytes if there is none. Raises Unfit."""
    if not dumps:
        return b""
    for dump in dumps:
        if device and dump.device == device:
            return dump.space
    if len(dumps) == 1 and not (device and dumps[0].device):
        return dumps[0].space
    if not device:
        raise Unfit(f"the dump has {len(dumps)} functions and the line names none")
    has = dumps[0].device if len(dumps) == 1 else f"{len(dumps)} others"
    raise Unfit(f"the line is about {device}, and the dump has {has}")


def _nearest(rest: str) -> str:
    """For one element that does not parse, the form that it was probably meant in."""
    element = re.match(r"[\s,;]*\(?\s*([0-9a-fA-F]{1,4}(?:[:.,-][0-9a-fA-F]{1,4}){2,3})\s*\)?", rest)
    if element is None:
        return ""
    parts = [int(part, 16) for part in re.split(r"[:.,-]", element[1])]
    segment, bus, slot, function = parts if len(parts) == 4 else (0, *parts)
    if bus > 0xFF or slot > 0x1F or function > 7:
        return ""
    return f"; perhaps ({segment:04x}:{bus:02x}:{slot:02x}.{function:x}) was meant"


def log(lines: Iterable[str], dumps: Sequence[Dump] = ()) -> Log:
    """All lines of a log, each kind once for each function and number, in the order of their first."""
    made = Log()
    seen: dict[tuple[object, ...], Line] = {}
    for made.lines, text in enumerate(lines, 1):
        found = messages.match(text)
        if found is None:
            made.unknown += bool(text.strip()) and not messages.continues(text)
            continue
        key = (found.message.id, found.message.by, found.device, *sorted(found.groups.items()))
        if key in seen:
            seen[key].times += 1
        elif len(seen) == MOST:
            made.beyond += 1
        else:
            try:
                explained = line(text, dumps)
            except Unfit:
                explained = line(text)
            if explained is not None:
                explained.first = made.lines
                seen[key] = explained
    made.known = list(seen.values())
    return made


def touched(write: Write) -> Iterator[tuple[Place, str]]:
    """Each place that the write touches, with what to do about it."""
    return zip(write.found.places, write.advice, strict=True)
