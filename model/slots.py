# SPDX-License-Identifier: Apache-2.0
"""Texts that name functions to be set aside for guests: pciback's parameter `hide` and its attributes `new_slot` and others.

`hide` is a list of addresses in parentheses, a `slot` is one address without them. An address may lack its segment, and
``*`` stands for all functions of a slot or for all slots of a bus: all or nothing from the right. Numbers are what the
kernel's ``%x`` takes, so blanks may stand before a number but not after it, ``0x`` is a prefix that needs a digit, and a
number may have any length but counts modulo 2**32. What these rules accept may still be out of range: then, and for any
text that is not of this form, nothing of it is taken, not even what stood before the mistake.

The recogniser is a step from place to place over *kinds* of characters, so that it can be compared, for every text there
is, with the grammar as written (`HIDE_GRAMMAR`, `SLOT_GRAMMAR`). If a place is added, nothing else needs to be touched.

The ids that result are a set. A look-up compares every number as a whole: slot 20 (hexadecimal) is not slot 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from pvpci.model.kernel.regular import Regular, kind
from pvpci.model.kernel.values import V, every, no, pick, same, some, wide
from pvpci.model.topology import Entry, Function, first

#: A character of each kind; what is in no other kind is "other". Kinds are what a place looks at.
KINDS: Final = {
    "space": " ", "open": "(", "close": ")", "colon": ":", "dot": ".", "star": "*", "zero": "0", "x": "x", "digit": "1",
    "other": ",",
}  # fmt: skip
_KIND_OF: Final = {
    **dict.fromkeys(" \t\n\v\f\r", "space"), **dict.fromkeys("123456789abcdefABCDEF", "digit"), "0": "zero",
    **dict.fromkeys("xX", "x"), "(": "open", ")": "close", ":": "colon", ".": "dot", "*": "star",
}  # fmt: skip
WORD: Final = 0xFFFFFFFF


class Place(NamedTuple):
    """How far a text was read: which part it is in, and how much of a number was there."""

    part: str
    number: str = ""


class Pattern(NamedTuple):
    """One address. Numbers of 32 bits; `any_slot` and `any_function` say that a number does not count."""

    segment: V
    bus: V
    slot: V
    function: V
    any_slot: V = False
    any_function: V = False


class BadText(ValueError):
    """`position` is the place in the text, from 0, where it goes wrong; `what` says how."""

    def __init__(self, position: int, what: str) -> None:
        super().__init__(f"character {position + 1}: {what}")
        self.position, self.what = position, what


Step = Callable[[Place, str], Place | None]

_COMPLETE: Final = ("zero", "digits")
#: What follows a whole number, by the part that it ends; what a star in place of a number leads to.
_AFTER: Final = {
    ("first", "colon"): Place("second", "fresh"), ("second", "colon"): Place("third", "fresh"),
    ("second", "dot"): Place("function", "fresh"), ("third", "dot"): Place("function", "fresh"),
}  # fmt: skip
_STARS: Final = {"second": Place("all slots"), "third": Place("all slots"), "function": Place("whole")}
_NUMBER: Final = {
    ("fresh", "space"): "spaced", ("spaced", "space"): "spaced", ("fresh", "zero"): "zero", ("spaced", "zero"): "zero",
    ("fresh", "digit"): "digits", ("spaced", "digit"): "digits", ("zero", "x"): "prefix", ("zero", "zero"): "digits",
    ("zero", "digit"): "digits", ("prefix", "zero"): "digits", ("prefix", "digit"): "digits",
    ("digits", "zero"): "digits", ("digits", "digit"): "digits",
}  # fmt: skip


def in_address(place: Place, what: str) -> Place | None:
    """A step inside an address; None: it cannot go on like that."""
    if (place.number, what) in _NUMBER:
        return Place(place.part, _NUMBER[place.number, what])
    if place.number in _COMPLETE:
        return _AFTER.get((place.part, what))
    if place.number == "fresh" and what == "star":
        return _STARS.get(place.part)
    return {("all slots", "dot"): Place("all functions"), ("all functions", "star"): Place("whole")}.get(
        (place.part, what)
    )


def is_whole(place: Place) -> bool:
    """An address is complete."""
    return place.part == "whole" or (place.part == "function" and place.number in _COMPLETE)


BEGIN: Final = Place("first", "fresh")
HIDE_BEGIN: Final = Place("begin")


def in_hide(place: Place, what: str) -> Place | None:
    """A step in a list of addresses in parentheses."""
    if place.part in ("begin", "between", "after"):
        if what == "open":
            return BEGIN
        return Place("after" if place.part == "after" else "between") if what == "space" else None
    if is_whole(place) and what == "close":
        return Place("after")
    return in_address(place, what)


def ends_hide(place: Place) -> bool:
    return place.part in ("begin", "after")


def in_slot(place: Place, what: str) -> Place | None:
    """A step in a single address with blanks around it."""
    if (is_whole(place) or place.part == "end") and what == "space":
        return Place("end")
    return in_address(place, what)


def ends_slot(place: Place) -> bool:
    return is_whole(place) or place.part == "end"


def _grammar() -> tuple[Regular, Regular]:
    space, dot, colon, star = kind("space").repeated, kind("dot"), kind("colon"), kind("star")
    number = space + (kind("zero") + kind("x")).optional + (kind("zero") | kind("digit")).at_least_once
    three, two = number + colon + number + colon, number + colon
    end = (number + dot + number) | (number + dot + star) | (star + dot + star)
    address = (three + end) | (two + end)
    element = space + kind("open") + address + kind("close") + space
    return element.repeated, space + address + space


#: The grammars of `hide` (which may be empty) and of a slot, as they are documented.
HIDE_GRAMMAR, SLOT_GRAMMAR = _grammar()


def recognise(text: str, begin: Place, step: Step, ends: Callable[[Place], bool]) -> None:
    """Raises BadText for a text that is not of the form."""
    place = begin
    for position, character in enumerate(text):
        following = step(place, _KIND_OF.get(character, "other"))
        if following is None:
            raise BadText(position, f"{character!r} cannot stand here")
        place = following
    if not ends(place):
        raise BadText(len(text), "the text ends before an address does")


def _pattern(address: str) -> Pattern:
    """Of an address that was recognised: nothing is left to be checked."""
    *front, last = address.split(":")
    slot, function = last.split(".")
    segment, bus = ["0", *front][-2:]
    numbers = (0 if number.strip() == "*" else int(number, 16) & WORD for number in (segment, bus, slot, function))
    return Pattern(*numbers)._replace(any_slot=slot.strip() == "*", any_function=function.strip() == "*")


def read_hide(text: str) -> list[tuple[int, Pattern]]:
    """The addresses of a `hide` text, each with the position of its first character. Raises BadText; ranges are not judged."""
    recognise(text, HIDE_BEGIN, in_hide, ends_hide)
    starts = [at + 1 for at, character in enumerate(text) if character == "("]
    return [(at, _pattern(text[at : text.index(")", at)])) for at in starts]


def read_slot(text: str) -> Pattern:
    """The one address of a `slot` text, as `remove_slot` takes it. Raises BadText; ranges are not judged."""
    recognise(text, BEGIN, in_slot, ends_slot)
    return _pattern(text)


def in_range(pattern: Pattern) -> V:
    """It may name functions; numbers that do not count are not looked at."""
    return every(
        pattern.segment < 1 << 16, pattern.bus < 1 << 8, some(pattern.any_slot, pattern.slot < 32),
        some(pattern.any_function, pattern.function < 8),
    )  # fmt: skip


def matches(pattern: Pattern, function: Function) -> V:
    """Every number is compared as a whole, and slot and function apart."""
    return every(
        pattern.segment == wide(function.segment, 32), pattern.bus == wide(function.bus, 32),
        some(pattern.any_slot, pattern.slot == wide(function.slot, 32)),
        some(pattern.any_function, pattern.function == wide(function.function, 32)),
    )  # fmt: skip


def expand(pattern: Pattern) -> frozenset[Function]:
    """The functions that a pattern in range stands for: 1, 8 or 256."""
    slots = range(32) if pattern.any_slot else (pattern.slot,)
    functions = range(8) if pattern.any_function else (pattern.function,)
    return frozenset(Function(pattern.segment, pattern.bus, slot, one) for slot in slots for one in functions)


def hidden(text: str) -> frozenset[Function]:
    """The ids of a `hide` text. Raises BadText, and then there are none."""
    found: frozenset[Function] = frozenset()
    for position, pattern in read_hide(text):
        found |= _ids(pattern, position)
    return found


def added(text: str) -> frozenset[Function]:
    """The ids that a text written to `new_slot` adds. Raises BadText."""
    return _ids(read_slot(text), 0)


def _ids(pattern: Pattern, position: int) -> frozenset[Function]:
    if not in_range(pattern):
        limits = "segments end at ffff, buses at ff, slots at 1f, functions at 7"
        raise BadText(position, f"a number of the address is out of range: {limits}")
    return expand(pattern)


# The set of ids


def add_id(ids: tuple[Entry, ...], pattern: Pattern, *, is_new: Callable[[V], V] = no) -> tuple[tuple[Entry, ...], V]:
    """The ids with the one that the pattern names (without stars), and whether it was in range and there was room.

    `is_new`: what follows from whether it is there already.
    """
    function = Function(
        wide(pattern.segment, 16), wide(pattern.bus, 8), wide(pattern.slot, 5), wide(pattern.function, 3)
    )
    known = some(*(every(entry.used, same(entry.at, function)) for entry in ids))
    gaps = first([no(entry.used) for entry in ids])
    ok = every(in_range(pattern), some(known, *gaps))
    puts = every(ok, is_new(known))
    entry = Entry(True, function)
    return tuple(pick(every(puts, gap), entry, old) for gap, old in zip(gaps, ids, strict=True)), ok


def remove_ids(
    ids: tuple[Entry, ...], pattern: Pattern, match: Callable[[Pattern, Function], V] = matches
) -> tuple[tuple[Entry, ...], V]:
    """The ids without those that match, and whether any did."""
    hits = [every(entry.used, match(pattern, entry.at)) for entry in ids]
    gap = Entry(False, Function(0, 0, 0, 0))
    return tuple(pick(hit, gap, entry) for hit, entry in zip(hits, ids, strict=True)), some(*hits)
