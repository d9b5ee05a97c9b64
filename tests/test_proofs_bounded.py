# SPDX-License-Identifier: Apache-2.0
"""The bounded search finds the same shortest counterexamples, and values that no sample would have."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests import proofs_toys as toys

from pvpci.model.kernel.claims import always, each_step
from pvpci.model.kernel.terms import after
from pvpci.proofs.bounded import reach, violation
from pvpci.proofs.search import slice_of


def test_the_shortest_counterexample_is_as_long_as_that_of_the_search() -> None:
    system = toys.mutex(looks=False)
    result = violation(slice_of(system, system.claims[:1]), system.claims[0], depth=8)

    assert result.found is not None
    assert (4, 3) == (result.found.steps, result.depth)


def test_nothing_found_means_nothing_up_to_that_depth() -> None:
    system = toys.mutex()
    result = violation(slice_of(system, system.claims[:1]), system.claims[0], depth=6)

    assert (None, 6, False) == (result.found, result.depth, result.gave_up)


def test_a_value_that_nobody_would_sample_is_found() -> None:
    system = replace(toys.hostile(), claims_of=lambda _: (always("not_that_one", "T", toys.desk.copy != 0xDEADBEEF),))
    result = violation(slice_of(system, system.claims), system.claims[0], depth=3)

    assert result.found is not None
    assert 0xDEADBEEF == result.found.stages[-1].state[toys.desk.copy.variable]
    assert 1 == result.found.steps


def test_a_step_is_found_too() -> None:
    claim = each_step(
        "answers_are_small",
        "T",
        after(toys.desk.answer) < 0x8000_0000,
        by="clerk",
        given=toys.desk.at == toys.Stage.ASKED,
    )
    result = violation(slice_of(toys.hostile(), [claim]), claim, depth=5)

    assert result.found is not None
    assert 3 == result.found.steps


def test_each_wanted_step_is_reached_by_a_path_that_ends_with_it() -> None:
    view = slice_of(toys.hostile(), ())
    result = reach(view, view.actions, depth=6)

    assert set(view.actions) == set(result.reached)
    assert all(path[-1][0] is action for action, path in result.reached.items())


def test_what_cannot_happen_is_not_reached() -> None:
    system = toys.mutex()
    never = replace(system.machines[0].table[1], when=toys.lock.taken & ~toys.lock.taken)
    machine = replace(system.machines[0], table=(system.machines[0].table[0], never, system.machines[0].table[2]))
    changed = replace(system, machines=(machine, system.machines[1]))
    view = slice_of(changed, ())
    result = reach(view, view.actions, depth=5)

    assert {"one WANTS --GO--> INSIDE", "one INSIDE --GO--> IDLE"} == {
        action.name for action in view.actions if action not in result.reached
    }


def test_promises_are_not_for_it() -> None:
    system = toys.mutex()
    with pytest.raises(ValueError, match="states and steps only"):
        violation(slice_of(system, system.claims), system.claims[2])
