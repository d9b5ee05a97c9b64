# SPDX-License-Identifier: Apache-2.0
"""Regular expressions as automata, against Python's own."""

from __future__ import annotations

import re
from itertools import product

import pytest

from pvpci.model.kernel.regular import Regular, automaton, kind

A, B = kind("a"), kind("b")


@pytest.mark.parametrize(
    ("expression", "pattern"),
    [
        (A + B, "ab"), (A | B, "a|b"), (A.repeated, "a*"), ((A + B).at_least_once, "(ab)+"), (A.optional + B, "a?b"),
        ((A | B + A).repeated + B.optional, "(a|ba)*b?"), (A.repeated.repeated + B, "a*b"),
    ],
)  # fmt: skip
def test_an_automaton_accepts_what_the_expression_says(expression: Regular, pattern: str) -> None:
    start, step, ends = automaton(expression)
    for length in range(6):
        for text in product("ab", repeat=length):
            place: object = start
            for character in text:
                place = None if place is None else step(place, character)
            accepted = place is not None and ends(place)
            assert accepted == (re.fullmatch(pattern, "".join(text)) is not None), text
