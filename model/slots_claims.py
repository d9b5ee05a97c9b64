# SPDX-License-Identifier: Apache-2.0
"""What is claimed of texts that name functions, and of the set of ids that they make.

The form of a text is compared with the grammar for all texts: characters count by kind, and every one is of one kind. Ranges
and look-ups hold for all numbers. The set of ids is proved for `TRACKED` entries: an entry is looked at by itself, and a law
speaks of one id and the one that is added.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any, Final

from pvpci.model.kernel.algorithms import Algorithm, Around, Known, Law, SameLanguage, Step
from pvpci.model.kernel.regular import automaton
from pvpci.model.kernel.terms import FLAG, Sort
from pvpci.model.kernel.values import V, every, no, same, some, wide
from pvpci.model.slots import (
    BEGIN,
    HIDE_BEGIN,
    HIDE_GRAMMAR,
    KINDS,
    SLOT_GRAMMAR,
    Pattern,
    Place,
    add_id,
    ends_hide,
    ends_slot,
    in_hide,
    in_range,
    in_slot,
    matches,
    remove_ids,
)  # fmt: skip
from pvpci.model.topology import ENTRY, FUNCTION, NOBODY, Entry, Function

TRACKED: Final = 3
PATTERN: Final = Pattern(Sort(32), Sort(32), Sort(32), Sort(32), FLAG, FLAG)
Go = Callable[[Place, str], Place | None]
Ends = Callable[[Place], bool]


def texts(hide: Go = in_hide, slot: Go = in_slot, ends: tuple[Ends, Ends] = (ends_hide, ends_slot)) -> Algorithm:
    """The two recognisers, and the ranges."""

    def fits(pattern: Pattern, _: object) -> V:
        """The numbers that count are those that are left of them in a function's address."""
        low = [
            wide(wide(number, width), 32) == number for number, width in zip(pattern[:4], (16, 8, 5, 3), strict=True)
        ]
        return in_range(pattern) == every(
            low[0], low[1], some(pattern.any_slot, low[2]), some(pattern.any_function, low[3])
        )

    return Algorithm(
        "texts", (), (), (),
        (
            SameLanguage("hide_is_read_as_it_is_written", "C-66", (HIDE_BEGIN, hide, ends[0]),
                         automaton(HIDE_GRAMMAR), KINDS),
            SameLanguage("a_slot_is_read_as_it_is_written", "C-66", (BEGIN, slot, ends[1]),
                         automaton(SLOT_GRAMMAR), KINDS),
            Law("what_is_in_range_is_an_address", "C-66", PATTERN, fits),
        ),
        says="all texts; all numbers of 32 bits",
    )  # fmt: skip


def _listed(ids: tuple[Entry, ...], function: Function) -> V:
    return some(*(every(entry.used, same(entry.at, function)) for entry in ids))


def _named(pattern: Pattern, function: Function) -> V:
    """The pattern is that function's address, written out."""
    return same(pattern[:4], tuple(wide(number, 32) for number in function))


def ids(match: Callable[[Pattern, Function], V] = matches, *, is_new: Callable[[V], V] = no) -> Algorithm:
    """The set, and the look-up."""

    def add(state: tuple[Entry, ...], pattern: Pattern) -> tuple[tuple[Entry, ...], V]:
        return add_id(state, pattern, is_new=is_new)

    def remove(state: tuple[Entry, ...], pattern: Pattern) -> tuple[tuple[Entry, ...], V]:
        return remove_ids(state, pattern, match)

    def once(_: object, state: Any) -> V:
        return every(*(some(no(a.used), no(same(a, b))) for a, b in combinations(state, 2)))

    def only_it(function: Function, around: Around) -> V:
        was, now = _listed(around.before, function), _listed(around.after, function)
        return now == some(was, every(around.answer, _named(around.taken, function)))

    def only_those(function: Function, around: Around) -> V:
        was, now = _listed(around.before, function), _listed(around.after, function)
        return now == every(was, no(_covers(around.taken, function)))

    return Algorithm(
        "ids", (ENTRY,) * TRACKED, (NOBODY,) * TRACKED, (Step("add", PATTERN, add), Step("remove", PATTERN, remove)),
        (
            Law("nothing_is_added_for_what_is_out_of_range", "C-66", (),
                lambda _, around: same(around.before, around.after),
                lambda _, around: every(_is_plain(around.taken), no(in_range(around.taken))), steps=("add",)),
            Law("an_id_is_there_once", "C-67", (), once),
            Law("what_is_added_is_the_id_and_no_other", "C-67", FUNCTION, only_it,
                lambda _, around: _is_plain(around.taken), steps=("add",)),
            Law("what_is_removed_is_all_that_match", "C-67", FUNCTION, only_those, steps=("remove",)),
            Law("a_look_up_compares_whole_numbers", "C-68", (PATTERN, FUNCTION),
                lambda about, _: match(*about) == _covers(*about)),
        ),
        {} if is_new is not no else {"an id is there once": Known(once)},
        says=f"sets with {TRACKED} arbitrary entries", called="ids",
    )  # fmt: skip


def _is_plain(pattern: Pattern) -> V:
    return every(no(pattern.any_slot), no(pattern.any_function))


def _covers(pattern: Pattern, function: Function) -> V:
    """Bit by bit: what is compared here shares nothing with how look-ups compare."""
    fields = zip(pattern[:4], function, (16, 8, 5, 3), (False, False, *pattern[4:]), strict=True)
    return every(*(
        some(skipped, every(wide(number >> width, 32) == 0, *(
            ((number >> place) & 1) == wide((mine >> place) & 1, 32) for place in range(width)
        )))
        for number, mine, width, skipped in fields
    ))  # fmt: skip


ALGORITHMS: Final = (texts(), ids())
