# SPDX-License-Identifier: Apache-2.0
"""Interrupts of good traces made bad: vectors that leak, bits that come too early, answers that are not what happened."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from tests.doctoring import Doctor, Lines, Unfit, again, at, fields, kind

from pvpci.traces.format import Gone, Line, Vectors


def _given(lines: Lines, index: int) -> dict[str, Any]:
    return fields(lines[index], "given")


def _step(name: str, **given: object) -> Callable[[Line], bool]:
    """A step of a function's machine."""
    return lambda line: bool(line.function) and line.event == name and given.items() <= (line.given or {}).items()


def _then(lines: Lines, first: Callable[[Line], bool], then: Callable[[Line], bool]) -> int:
    """The first step that passes `then` in an operation that begins with `first` and comes that far."""
    start = at(lines, first)
    while True:
        end = at(lines, kind("done"), start)
        try:
            if (found := at(lines, then, start)) < end:
                return found
        except Unfit:
            pass
        start = at(lines, first, end)


def _asks(effect: str) -> Callable[[Line], bool]:
    return lambda line: any(one.effect == effect for one in line.asked or ())


def _early_bits(lines: Lines) -> int:
    good = lines[_then(lines, _step("EnableMsix"), lambda line: _step("Mapped")(line) and _asks("switch")(line))]
    where = _then(lines, _step("EnableMsix"), lambda line: _step("Mapped", ok=True)(line) and _asks("map_vector")(line))
    lines[where].asked = again(good).asked  # type: ignore[union-attr]
    return where


def _no_unmap(lines: Lines) -> int:
    where = _then(lines, _step("DisableMsi"), lambda line: _step("Unmapped")(line) and _asks("unmap_vector")(line))
    lines[where].asked = None  # type: ignore[union-attr]
    return where


def _not_silent(lines: Lines) -> int:
    start = at(lines, lambda line: _step("DisableMsi")(line) and _asks("switch")(line))
    unmap = lines[at(lines, lambda line: _step("Switched")(line) and _asks("unmap_vector")(line), start)]
    lines[start].asked = again(unmap).asked  # type: ignore[union-attr]
    return start


def _success(lines: Lines) -> int:
    refused = at(lines, _step("Mapped", ok=False))
    where = at(lines, kind("done"), refused)
    _given(lines, where).update(err=0, value=0)
    return where


def _over_msi(lines: Lines) -> int:
    where = at(lines, lambda line: _step("EnableMsix")(line) and not line.asked)
    asked = again(lines[at(lines, lambda line: _step("EnableMsix")(line) and _asks("look")(line))]).asked  # type: ignore[union-attr]
    lines[where].asked = asked  # type: ignore[union-attr]
    fields(lines[where], "asked")["count"] = _given(lines, where)["count"]
    return where


def _for_dom0(lines: Lines) -> int:
    where = at(lines, lambda line: bool(line.function) and _asks("map_vector")(line))
    fields(lines[where], "asked")["guests"] = False
    return where


def _never_mapped(lines: Lines) -> int:
    where = next((i for i, line in enumerate(lines) if isinstance(line, Vectors)), len(lines))
    if where == len(lines):
        raise Unfit("the trace has no vectors")
    numbers: list[int] = lines[where].numbers  # type: ignore[union-attr]
    numbers[-1] += 100
    return where


def _fewer(lines: Lines) -> int:
    where = at(lines, lambda line: _step("EnableMsix")(line) and _asks("look")(line) and _given_of(line)["count"] > 1)
    _given(lines, where)["count"] -= 1
    fields(lines[where], "asked")["count"] -= 1
    return where


def _given_of(line: Line) -> dict[str, Any]:
    return line.given or {}


def _no_number(lines: Lines) -> int:
    where = at(lines, _step("Mapped", ok=True))
    _given(lines, where)["pirq"] = 0x10000
    return where


def _not_decoding(lines: Lines) -> int:
    where = _then(lines, _step("EnableMsix"), lambda line: _step("Looked")(line) and _asks("switch")(line))
    _given(lines, where)["decodes"] = False
    return where


def _left_behind(lines: Lines) -> int:
    where = at(lines, lambda line: _step("Mapped", ok=False)(line) and _asks("switch")(line))
    lines[where].asked = None  # type: ignore[union-attr]
    return where


def _loud_line(lines: Lines) -> int:
    def quiets(line: Line) -> bool:
        return bool(line.function) and any(one.arguments.get("line") == "QUIET" for one in line.asked or ())

    where = at(lines, quiets)
    fields(lines[where], "asked")["line"] = "LEAVE"
    return where


def _survives(lines: Lines) -> int:
    gone = next((i for i, line in enumerate(lines) if isinstance(line, Gone)), len(lines))
    if gone == len(lines):
        raise Unfit("no function goes in the trace")
    steps = [(i, line) for i, line in enumerate(lines) if isinstance(line, Line) and line.function]
    off = [i for i, line in steps if _step("Switched", ok=True)(line) and _asks("unmap_vector")(line)]
    if not off:
        raise Unfit("nothing is turned off in the trace")
    begun = max(i for i, line in steps if i < off[-1] and line.event in ("DisableMsi", "DisableMsix", "Reset"))
    lines.insert(begun, again(lines[gone]))
    return begun


INTERRUPT_DOCTORS: Final = (
    Doctor("enable-bits-before-the-last-vector", "I-47", _early_bits),
    Doctor("vector-handed-out-that-was-never-mapped", "I-47", _never_mapped),
    Doctor("fewer-vectors-mapped-than-asked-for", "I-47", _fewer),
    Doctor("vector-not-given-back", "I-49", _no_unmap),
    Doctor("given-back-while-the-bits-are-on", "I-49", _not_silent),
    Doctor("function-gone-with-vectors-mapped", "I-49", _survives),
    Doctor("success-answered-after-a-refusal", "D-05", _success),
    Doctor("msix-over-msi", "I-42", _over_msi),
    Doctor("vector-mapped-for-the-host", "I-48", _for_dom0),
    Doctor("vector-that-does-not-fit", "I-50", _no_number),
    Doctor("table-filled-without-decoding", "I-45", _not_decoding),
    Doctor("failed-enable-leaves-vectors", "I-52", _left_behind),
    Doctor("line-open-while-messages-are-on", "I-43", _loud_line),
)
