# SPDX-License-Identifier: Apache-2.0
"""Search finds every state, the shortest counterexample, and says when it was cut short or only tried samples."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

import pytest
from tests import proofs_toys as toys

from pvpci.model.kernel.claims import always, each_step
from pvpci.model.kernel.compiled import evaluate
from pvpci.model.kernel.systems import System
from pvpci.model.kernel.terms import Var, after
from pvpci.proofs.judge import counterexample, is_searched, judge
from pvpci.proofs.report import EXHAUSTIVE, SAMPLED
from pvpci.proofs.search import explore, slice_of, unpack


def plain_search(system: System, parameters: dict[Var, range]) -> tuple[set[tuple[int, ...]], int]:
    """States and transitions by evaluating terms one by one: slow, and sharing nothing with the compiled search."""
    order = system.variables
    start = tuple(system.initial[var] for var in order)
    seen, waiting, transitions = {start}, deque([start]), 0
    while waiting:
        state = waiting.popleft()
        for action in system.actions:
            choices: list[dict[Var, int]] = [{}]
            for var in action.parameters:
                choices = [{**one, var: n} for one in choices for n in parameters[var]]
            for inputs in choices:
                values = {**dict(zip(order, state, strict=True)), **inputs}
                if not evaluate(action.guard, values):
                    continue
                transitions += 1
                new = {var: evaluate(term, values) for var, term in action.updates.items()}
                following = tuple(new.get(var, values[var]) for var in order)
                if following not in seen:
                    seen.add(following)
                    waiting.append(following)
    return seen, transitions


@pytest.mark.parametrize("system", [toys.mutex(), toys.mutex(looks=False), toys.mutex(leaves=False)])
def test_as_many_states_and_transitions_as_a_plain_search(system: System) -> None:
    states, transitions = plain_search(system, {})
    found = explore(slice_of(system, system.claims))

    assert (len(states), transitions, True) == (found.states, found.transitions, found.complete)


def test_parameters_are_tried_with_all_their_values() -> None:
    system = toys.ticking()
    states, transitions = plain_search(system, {toys.Tick.parameters["by"]: range(4)})
    everything = replace(system, claims_of=lambda _: (always("x", "T", toys.clock.now >= toys.clock.spare),))
    found = explore(slice_of(everything, everything.claims))

    assert (len(states), transitions) == (found.states, found.transitions)


def test_what_nobody_sees_is_sliced_away() -> None:
    view = slice_of(toys.ticking(), toys.ticking().claims)

    assert ["clock.now"] == [var.name for var in view.keep]
    assert explore(view).states < plain_search(toys.ticking(), {toys.Tick.parameters["by"]: range(4)})[0].__len__()


def test_the_cone_leaves_out_steps_that_change_nothing_it_depends_on() -> None:
    system = toys.mutex()
    local = always("t", "T", toys.one.at != toys.Spot.WANTS)
    other = always("t", "T", toys.clock.now == 0)

    assert len(slice_of(system, [local], cone=True).actions) == len(system.actions)
    assert () == slice_of(system, [other], cone=True).actions
    assert 1 == explore(slice_of(system, [other], cone=True), [other]).states


def test_the_shortest_counterexample_is_found() -> None:
    system = toys.mutex(looks=False)
    claim = system.claims[0]
    found = explore(slice_of(system, [claim]), [claim], first=True)

    assert 4 == counterexample(found, claim).steps


def test_a_step_is_judged_with_what_was_before_and_after() -> None:
    system = toys.ticking()
    small = each_step("by_less_than_three", "T", after(toys.clock.now) - toys.clock.now < 3, by="time")
    others = each_step("of_somebody_else", "T", after(toys.clock.now) == toys.clock.now, by="nobody")
    found = explore(slice_of(system, [small, others]), [small, others])

    assert [small] == list(found.violations)
    assert 1 == counterexample(found, small).steps


def test_a_search_that_is_cut_short_proves_nothing() -> None:
    obligations, _ = judge(toys.mutex(), limit=3)

    assert {"unknown"} == {one.verdict for one in obligations}
    assert "cut short" in obligations[0].detail


def test_samples_are_called_samples() -> None:
    by = toys.Tick.parameters["by"]
    some = replace(toys.ticking(), samples={by: (0, 1)})
    every = replace(toys.ticking(), samples={by: (0, 1, 2, 3)})

    assert SAMPLED == slice_of(some, some.claims).method
    assert EXHAUSTIVE == slice_of(every, every.claims).method
    assert ["proved"] == [one.verdict for one in judge(some)[0]]
    assert ["violated"] == [one.verdict for one in judge(every)[0]]


def test_memory_that_may_hold_anything_is_not_decided_by_samples() -> None:
    word = toys.shared.word.variable
    sampled = replace(toys.hostile(), samples={word: (0, 5)})

    assert not is_searched(toys.hostile())
    assert not is_searched(sampled)
    assert is_searched(toys.mutex())


def test_claims_about_memory_that_may_hold_anything_are_asked_for_all_of_it() -> None:
    sampled = replace(toys.hostile(), samples={toys.shared.word.variable: (0, 5), toys.Said.parameters["value"]: (0,)})
    wrong = always("never_five", "T", toys.shared.word != 5)
    right = always("zero_or_five", "T", (toys.shared.word == 0) | (toys.shared.word == 5))
    found = explore(slice_of(sampled, [wrong, right]), [wrong, right])

    assert [wrong] == list(found.violations)


def test_edges_are_kept_when_asked_for() -> None:
    found = explore(slice_of(toys.mutex(), ()), edges=True)

    assert found.transitions == sum(map(len, found.edges))
    assert {0} <= {unpack(edge)[0] for edge in found.edges[0]}
