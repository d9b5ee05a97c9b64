# SPDX-License-Identifier: Apache-2.0
"""Algorithms are proved as they run, and each of their dialects breaks what it says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pvpci.model.dialects import VARIANTS
from pvpci.model.kernel.algorithms import Algorithm, Known, Law, Step, Variant
from pvpci.model.kernel.terms import Sort
from pvpci.model.kernel.values import no, pick
from pvpci.proofs.algorithms import judge, tasks, violation
from pvpci.proofs.prove import break_dialect, prove, select
from pvpci.proofs.report import EXHAUSTIVE
from pvpci.proofs.systems import ALGORITHMS, SUBJECTS

#: How far the shortest counterexample goes; None for a text.
STEPS = {
    "CM07": 1, "CM22": 1, "CM23": 0, "CM24": 1, "CM25": 0, "CM27": None, "CM28": None, "CM29": 2, "CM30": 0, "CM31": 1,
    "CM32": 3, "CM33": 2, "CM34": 3, "CM38": 2, "XC55": 1, "XC57": 2, "XC58": 3, "XC59": 2, "XC63": 2,
}  # fmt: skip
TEXTS = {"CM27": "'(0:*.*'", "CM28": "'0:*.*('"}


def counter(limit: int = 5, *laws: Law) -> Algorithm:
    """Counts up to a limit and begins again."""

    def up(count: object, by_two: object) -> tuple[object, object]:
        return pick(count == limit, 0, count + 1), by_two  # type: ignore[operator]

    return Algorithm(
        "counter", Sort(8), 0, (Step("up", Sort(1), up),), laws, {"small": Known(lambda _, count: count <= limit)}
    )


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda one: one.name)
def test_everything_is_proved(algorithm: Algorithm) -> None:
    found = judge(algorithm)

    assert [] == [one for one in found if one.verdict != "proved"]
    assert {claim.name for claim in algorithm.claims} <= {one.title for one in found}
    assert EXHAUSTIVE not in {one.method for one in found}


@pytest.mark.parametrize("dialect", VARIANTS, ids=lambda one: one.id)
def test_a_dialect_breaks_what_it_says(dialect: Variant) -> None:
    report = break_dialect(SUBJECTS, dialect)
    (found,) = report.obligations

    assert ("violated", dialect.breaks, dialect.machine) == (found.verdict, (found.property,), found.system)
    if dialect.id in TEXTS:
        assert found.detail.startswith(TEXTS[dialect.id])
    else:
        assert STEPS[dialect.id] == len(found.trace) - 1


def test_each_law_is_broken_by_somebody() -> None:
    claimed = {claim.id for algorithm in ALGORITHMS for claim in algorithm.claims}

    assert claimed == {name for dialect in VARIANTS for name in dialect.breaks}
    assert set(STEPS) == {dialect.id for dialect in VARIANTS}


def test_what_does_not_follow_is_unknown_and_never_a_bug() -> None:
    loose = replace(counter(5, Law("never 9", "T", (), lambda _, count: no(count == 9))), known={})
    (unknown,) = (one for one in judge(loose) if one.property == "T")
    (proved,) = (one for one in judge(replace(loose, known=counter().known)) if one.property == "T")

    assert ("unknown", "proved") == (unknown.verdict, proved.verdict)


def test_a_law_of_nothing_is_a_violation() -> None:
    empty = counter(5, Law("empty", "T", (), lambda _, count: True, lambda _, count: count == 77))

    assert ["there is nothing of which it speaks"] == [one.detail for one in judge(empty) if one.verdict == "violated"]


def test_a_counterexample_is_shortest_and_small() -> None:
    law = Law("below 3", "T", Sort(8), lambda about, count: no(count == 3), lambda about, count: about > 6)
    found = violation(counter(5, law), [law])

    assert found is not None
    assert (3, "violated", "bounded, 3 steps") == (len(found.trace) - 1, found.verdict, found.method)
    assert "below 3 does not hold with about = 7" in found.detail
    assert violation(counter(2, law), [law]) is None


def test_pieces_can_be_done_side_by_side_and_one_property_alone() -> None:
    chosen = select(SUBJECTS, ["ids", "rounds"])
    one = prove(chosen, property="c-68", processes=1)
    both = [prove(chosen, processes=count) for count in (1, 2)]

    assert {"C-68"} == {each.property for each in one.obligations if each.property.startswith(("C-", "D-"))}
    assert one.good
    assert both[0].count("proved") == both[1].count("proved") == len(both[0].obligations)
    assert 3 == len(tasks(chosen[0]))  # type: ignore[arg-type]
