# SPDX-License-Identifier: Apache-2.0
"""Two recognisers side by side."""

from __future__ import annotations

import pytest

from pvpci.model.kernel.algorithms import SameLanguage
from pvpci.model.kernel.regular import Regular, automaton, kind
from pvpci.proofs.languages import Compared, compare

A, B = kind("a"), kind("b")


def claim(one: Regular, two: Regular) -> SameLanguage:
    return SameLanguage("alike", "T", automaton(one), automaton(two), {"a": "A", "b": "B"})


def test_alike() -> None:
    assert compare(claim((A | B).repeated, (A.repeated + B.repeated).repeated)).text is None
    assert compare(claim(A + A.repeated, A.at_least_once)).text is None


@pytest.mark.parametrize(
    ("one", "two", "text", "runs"),
    [
        (A.repeated, A.at_least_once, "", True), (A + B, A + A, "AA", False), (A, A + A + A | A, "AAA", False),
        ((A + B).repeated, (A + B + A).repeated, "AB", True),
    ],
)  # fmt: skip
def test_the_shortest_difference_is_found(one: Regular, two: Regular, text: str, runs: bool) -> None:
    found = compare(claim(one, two))

    assert (text, runs) == (found.text, found.runs)
    assert isinstance(found, Compared)
    assert found.pairs > 0


def test_what_has_no_end_is_refused() -> None:
    endless = (0, lambda place, name: place + 1, lambda place: False)
    with pytest.raises(ValueError, match="more than 100000 pairs"):
        compare(SameLanguage("endless", "T", endless, endless, {"a": "A"}))
