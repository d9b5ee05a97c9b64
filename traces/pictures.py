# SPDX-License-Identifier: Apache-2.0
"""A trace as a sequence of messages between the parties: as Mermaid, or as columns of plain text.

What is drawn follows from what lines hold, not from which machine they are of: what was found in a cell comes *from* its
owner, what was written goes *to* it, effects go to whoever carries them out. Requests that look alike follow each other
by the thousand, so a request that repeats the one before it is only counted, and the picture ends at a limit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from pvpci.traces.format import Begin, Below, Function, Gone, Hardware, Kept, Line, Value, Vectors

#: Who stands where, from left to right.
PARTIES: Final = ("guest", "page", "backend", "xenstore", "function", "hypervisor")
LIMIT: Final = 200  #: arrows in one picture
_OWNERS: Final = {"flags": "page", "page": "page", "nodes": "xenstore"}
_DOERS: Final = {
    "notify": "guest", "unmask": "guest", "unbind": "guest", "bind": "guest", "map": "page", "unmap": "page", "hand_out": "page",
    "perform": "function", "export": "function", "reconfigure": "function", "release": "function", "begin": "xenstore",
    "report": "xenstore", "look": "function", "switch": "function", "map_vector": "hypervisor", "unmap_vector": "hypervisor",
    "perform_block": "function", "open_block": "function", "map_block": "hypervisor",
}  # fmt: skip
_TELLERS: Final = {
    "Rang": "guest", "Done": "function", "Exported": "function", "Reconfigured": "function", "Released": "function",
    "FrontChanged": "xenstore", "BackChanged": "xenstore", "Mapped": "page", "Bound": "guest",
}  # fmt: skip
#: Of a function's own machine, whose vectors are not mapped by whom pages are.
_TELLERS_EACH: Final = {
    "Looked": "function", "Switched": "function", "Mapped": "hypervisor", "Unmapped": "hypervisor",
}  # fmt: skip
_STARTS: Final = ("Rang", "Turn", "BackChanged", "FrontChanged")


@dataclass(frozen=True)
class Arrow:
    """One message. With `source` and `target` the same it is something that a party says to itself."""

    source: str
    target: str
    text: str
    back: bool = False  #: what was found or came as a result


def arrows(line: Line | Below) -> Iterator[Arrow]:
    """The messages that a line shows."""
    if isinstance(line, Hardware):
        back = line.access == "read"
        text = f"{line.access} {line.offset:#05x}/{line.size} {'->' if back else ':='} {line.value:#x}"
        yield Arrow("backend", "function", text)
    elif isinstance(line, Function):
        yield Arrow("function", "backend", f"{line.function} attached at slot {line.slot}")
    elif isinstance(line, Gone):
        yield Arrow("backend", "function", f"{line.function} detached")
    elif isinstance(line, Kept):
        numbers = ", ".join(map(str, line.numbers)) or "no numbers"
        yield Arrow("backend", "backend", f"{line.function} taken up with {numbers}")
    elif isinstance(line, Vectors):
        yield Arrow("backend", "page", f"interrupts {', '.join(map(str, line.numbers))}")
    elif isinstance(line, Begin):
        yield Arrow("backend", "backend", "the machines start")
    elif line.event:
        yield from _of_step(line)


def _of_step(line: Line) -> Iterator[Arrow]:
    if line.event != "GO":
        words = f"{line.event}{_values(line.given)}"
        tellers = _TELLERS_EACH if line.function else _TELLERS
        yield Arrow(tellers.get(line.event, "backend"), "backend", words, back=line.event not in _STARTS)
    if line.found:
        yield Arrow(_owner(line.found), "backend", _found(line.found), back=True)
    if line.wrote:
        owner = _owner(line.wrote)
        yield Arrow("backend", owner, f"{'writes' if owner == 'xenstore' else line.kind}{_values(line.wrote)}")
    for asked in line.asked or ():
        yield Arrow("backend", _DOERS.get(asked.effect, "backend"), f"{asked.effect}{_values(asked.arguments)}")


def _owner(names: Iterable[str]) -> str:
    return next((_OWNERS[name.split(".")[0]] for name in names if name.split(".")[0] in _OWNERS), "page")


def _found(found: dict[str, Value]) -> str:
    """The telling part of a cell: of the store both states, of the flags those that are set."""
    if "nodes.own" in found:
        return f"finds own={found['nodes.own']} fe={found.get('nodes.fe', '?')}"
    if all(isinstance(value, bool) for value in found.values()):
        return "finds " + (" ".join(name.split(".")[1] for name, value in found.items() if value) or "no flag")
    short: dict[str, Value] = {name.split(".")[-1]: value for name, value in found.items()}
    shown: dict[str, Value] = {
        name: short[name] for name in ("cmd", "devfn", "offset", "size", "value") if name in short
    } or short
    return f"request{_values(shown)}"


def _values(values: dict[str, Value] | None) -> str:
    if not values:
        return ""
    parts = []
    for name, value in values.items():
        shown = str(value).lower() if isinstance(value, bool) else f"{value:#x}" if isinstance(value, int) else value
        parts.append(f"{name.split('.')[-1]}={shown}")
    return f" {' '.join(parts)}"


@dataclass(frozen=True)
class Scene:
    """A stretch of a trace from one event of the outside to the next; `times`: how many like it follow each other."""

    first: int  #: line of the file
    arrows: tuple[Arrow, ...]
    times: int = 1


def scenes(lines: Iterable[tuple[int, Line | Below]], guest: str = "", limit: int = LIMIT) -> tuple[list[Scene], int]:
    """Up to `limit` arrows, and how many lines were left out after them. `guest`: only this one's; else the first one's."""
    found: list[Scene] = []
    now: list[Arrow] = []
    first = shown = left = 0

    def end() -> None:
        nonlocal shown
        if not now:
            return
        if found and found[-1].arrows == tuple(now):
            found[-1] = Scene(found[-1].first, found[-1].arrows, found[-1].times + 1)
        else:
            found.append(Scene(first, tuple(now)))
            shown += len(now)
        now.clear()

    for number, line in lines:
        of = getattr(line, "guest", "")
        guest = guest or of
        if of != guest:
            continue
        if isinstance(line, Line) and line.event in _STARTS:
            end()
            if shown >= limit:
                left += 1
        elif shown >= limit and not now:
            left += 1
        if left:
            continue
        if not now:
            first = number
        if len(now) < limit:
            now.extend(arrows(line))
    end()
    return found, left


def mermaid(lines: Iterable[tuple[int, Line | Below]], guest: str = "", limit: int = LIMIT) -> str:
    """The sequence diagram as Mermaid."""
    found, left = scenes(lines, guest, limit)
    out = ["sequenceDiagram", *(f"    participant {party}" for party in PARTIES)]
    for scene in found:
        indent = "    "
        if scene.times > 1:
            out.append(f"{indent}loop {scene.times} times, from line {scene.first}")
            indent = "        "
        for arrow in scene.arrows:
            line = "-->>" if arrow.back else "->>"
            out.append(f"{indent}{arrow.source}{line}{arrow.target}: {_safe(arrow.text)}")
        if scene.times > 1:
            out.append("    end")
    if left:
        out.append(f"    Note over {PARTIES[0]},{PARTIES[-1]}: {left} more lines are not drawn")
    return "\n".join(out) + "\n"


def _safe(text: str) -> str:
    """Without what Mermaid takes for the end of a message or for an entity."""
    printable = "".join(c if c.isprintable() else "?" for c in text)
    return printable.replace("#", "#35;").replace(";", "#59;") if ";" in printable or "#" in printable else printable


_WIDTH: Final = 22


def plain(lines: Iterable[tuple[int, Line | Below]], guest: str = "", limit: int = LIMIT) -> str:
    """The same for a terminal: one column a party, one line a message, its words behind it."""
    found, left = scenes(lines, guest, limit)
    middle = [_WIDTH * index + _WIDTH // 2 for index in range(len(PARTIES))]
    out = ["".join(party.center(_WIDTH) for party in PARTIES).rstrip()]
    for scene in found:
        if scene.times > 1:
            out.append(f"-- {scene.times} times, from line {scene.first}:")
        for arrow in scene.arrows:
            out.append(_row(arrow, middle))
        if scene.times > 1:
            out.append("--")
    if left:
        out.append(f"{left} more lines are not drawn")
    return "\n".join(line.rstrip() for line in out) + "\n"


def _row(arrow: Arrow, middle: list[int]) -> str:
    cells = [" "] * (middle[-1] + 2)
    for place in middle:
        cells[place] = "|"
    one, two = middle[PARTIES.index(arrow.source)], middle[PARTIES.index(arrow.target)]
    if one == two:
        cells[one] = "*"
    else:
        low, high = min(one, two), max(one, two)
        for place in range(low + 1, high):
            cells[place] = "." if arrow.back else "-"
        cells[high - 1 if two > one else low + 1] = ">" if two > one else "<"
    text = "".join(c if c.isprintable() else "?" for c in arrow.text)
    return "".join(cells) + "  " + text


__all__ = ["LIMIT", "PARTIES", "Arrow", "Scene", "arrows", "mermaid", "plain", "scenes"]
