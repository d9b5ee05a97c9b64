# SPDX-License-Identifier: Apache-2.0
"""What is shown was run before it is shown; what cannot be repeated is our own bug, and said so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests import proofs_toys as toys

from pvpci.model.dialects import DIALECTS
from pvpci.model.kernel.dialects import by_id
from pvpci.model.kernel.systems import Action, System
from pvpci.proofs.counterexample import NotRepeated, as_dicts, borders, confirm, replay, show
from pvpci.proofs.judge import judge
from pvpci.proofs.prove import break_dialect
from pvpci.proofs.systems import SYSTEMS


def named(system: System, *names: str) -> list[tuple[Action, dict[Any, int]]]:
    by_name = {action.name: action for action in system.actions}
    return [(by_name[name], {}) for name in names]


WAY = ("one IDLE --GO--> WANTS", "one WANTS --GO--> INSIDE")


def test_states_are_numbered_and_show_only_what_changed() -> None:
    found = replay(toys.mutex(), named(toys.mutex(), *WAY), "toy")
    expected = [
        "  0 all is 0",
        "    one: one IDLE --GO--> WANTS",
        "  1 one.at = WANTS",
        "    one: one WANTS --GO--> INSIDE",
        "  2 one.at = INSIDE, lock.taken = true, lock.count = 1",
    ]

    assert expected == show(found).splitlines()


def test_a_step_whose_guard_does_not_hold_is_not_repeated() -> None:
    with pytest.raises(NotRepeated, match="step 1, one WANTS --GO--> INSIDE: its guard does not hold"):
        replay(toys.mutex(), named(toys.mutex(), WAY[1]), "toy")


def test_the_end_must_violate_what_it_is_said_to_violate() -> None:
    found = replay(toys.mutex(), named(toys.mutex(), *WAY), "toy")

    assert found is confirm(found, ~toys.lock.taken)
    with pytest.raises(NotRepeated, match="toy is not violated when the steps are run"):
        confirm(found, toys.lock.taken)
    with pytest.raises(NotRepeated, match="not one that it speaks of"):
        confirm(found, ~toys.lock.taken, given=toys.lock.taken)


def test_the_running_machine_must_do_the_same() -> None:
    # An action that claims to be a row, with another value than the row's.
    system = toys.mutex()
    ((first, _), (enter, _)) = named(system, *WAY)
    lying = replace(enter, updates={**enter.updates, toys.lock.taken.variable: toys.lock.taken})

    with pytest.raises(NotRepeated, match=r"the running machine gives lock\.taken another value"):
        replay(system, [(first, {}), (lying, {})], "toy")


def test_a_way_that_the_running_machine_would_not_go_is_no_violation() -> None:
    system = toys.mutex()
    row = system.machines[0].row("IDLE->WANTS")
    shadowed = replace(row, then=(toys.lock.count.becomes(3),), name="shadowed")
    machine = replace(system.machines[0], table=(*system.machines[0].table, shadowed))
    obligations, _ = judge(replace(system, machines=(machine, system.machines[1])))
    found = next(one for one in obligations if one.title == "counted")

    assert "unknown" == found.verdict
    assert "although IDLE->WANTS can be taken there too" in found.detail


def test_a_loop_says_where_it_goes_back_to() -> None:
    path = named(toys.mutex(), *WAY, "one INSIDE --GO--> IDLE")

    assert show(replay(toys.mutex(), path, "toy", loop=0)).endswith("and again from 0, for ever")
    assert show(replay(toys.mutex(), path, "toy", loop=3)).endswith("nobody who is fair can move")


def test_saved_steps_are_in_the_words_of_the_model() -> None:
    lines = as_dicts(replay(toys.mutex(), named(toys.mutex(), WAY[0]), "toy"))

    assert ["state", "step"] == [line["kind"] for line in lines]
    assert {
        "seq": 1,
        "kind": "step",
        "party": "one",
        "action": WAY[0],
        "parameters": {},
        "changed": {"one.at": "WANTS"},
    } == lines[1]


def test_what_a_recorder_would_have_kept_has_a_value_for_each_name() -> None:
    (broken,) = break_dialect(SYSTEMS, by_id(DIALECTS, "R10")).obligations

    assert ["rang", "flags", "request", "seek", "found", "perform"] == [border.kind for border, _ in broken.borders][
        -6:
    ]
    for border, values in broken.borders:
        asked = sum(len(arguments) for _, arguments in border.asks)
        assert len(border.given) + len(border.found) + len(border.wrote) + asked == len(values)


def test_hidden_steps_and_those_of_others_are_in_no_record() -> None:
    assert () == borders(replay(toys.mutex(), named(toys.mutex(), *WAY), "toy"), "one")
    assert () == borders(replay(toys.mutex(), named(toys.mutex(), *WAY), "toy"))


def test_one_to_induction_says_so() -> None:
    start = {**toys.mutex().initial, toys.lock.count.variable: 3}
    found = replay(toys.mutex(), named(toys.mutex(), WAY[0]), "toy", start=start)

    assert show(found).startswith("a counterexample to induction: the first state need not be reachable")
