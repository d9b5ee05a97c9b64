# SPDX-License-Identifier: Apache-2.0
"""Composition: what a row does to the world, what is a parameter, and what it must not do twice."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests import proofs_toys as toys

from pvpci.model import op
from pvpci.model.kernel.records import GO, Effect
from pvpci.model.kernel.systems import Move, System, flags_of, value_of
from pvpci.model.kernel.tables import TableError
from pvpci.model.kernel.terms import ALWAYS, Bits
from pvpci.model.kernel.words import show
from pvpci.model.shared import channel, flags, link


def test_a_row_carries_its_event_its_effects_and_the_notes() -> None:
    system = System("op", (op.MACHINE,), hostile=frozenset({"flags", "request"}))
    by_name = {action.name: action for action in system.actions}
    rang = by_name["op IDLE --Rang--> TAKEN"]
    told = by_name["op CLEARED --GO--> TOLD"]

    assert show(rang.updates[channel.masked.variable]) == "true"
    assert show(rang.updates[op.seen.turns.variable]) == "0"
    assert "channel.pending" in show(rang.guard)
    assert show(told.updates[op.seen.rung.variable]) == "seen.rung + 1"


def test_hostile_cells_are_parameters_and_what_is_written_there_is_forgotten() -> None:
    system = System("op", (op.MACHINE,), hostile=frozenset({"flags", "request"}))
    by_name = {action.name: action for action in system.actions}
    claimed = by_name["op TAKEN --GO--> CLAIMED"]
    cleared = by_name["op STORED --GO--> CLEARED"]

    assert (flags.active.variable,) == claimed.parameters
    assert flags.active.variable not in cleared.updates
    assert not any(var.cell in system.hostile for var in system.variables)


def test_honest_cells_are_state() -> None:
    system = System("op", (op.MACHINE,))

    assert flags.active.variable in system.variables
    assert 0 == system.initial[flags.active.variable]


def test_initial_values_come_from_machines_and_systems_and_are_constants() -> None:
    made = replace(toys.mutex(), start=(toys.lock.count.becomes(2),))

    assert 2 == made.initial[toys.lock.count.variable]
    with pytest.raises(TableError, match="must start with a constant"):
        _ = replace(made, start=(toys.lock.count.becomes(toys.lock.count + 1),)).initial


def test_two_values_for_one_variable_in_one_step_are_refused() -> None:
    effect = Effect("both", {}, None, lambda: (toys.lock.count.becomes(3),))
    machine = toys.worker(toys.one, "one")
    changed = machine.with_table(lambda row: replace(row, asks=(effect(),)) if row.key == "WANTS->INSIDE" else row)

    with pytest.raises(TableError, match=r"one, WANTS->INSIDE: lock.count is given two values in one step"):
        _ = System("bad", (changed,)).actions


def test_ripples_follow_whoever_changes_the_variable() -> None:
    ripples = {toys.lock.taken.variable: (toys.lock.count.becomes(3),)}
    move = Move("steal", "thief", ALWAYS, (toys.lock.taken.becomes(True),), "toy")
    quiet = Move("wait", "thief", ALWAYS, (), "toy")
    system = System("rippling", (), (move, quiet), ripples=ripples)

    assert [["lock.count", "lock.taken"], []] == [sorted(v.name for v in action.updates) for action in system.actions]


def test_a_rows_own_value_wins_over_the_ripple() -> None:
    ripples = {toys.lock.taken.variable: (toys.lock.count.becomes(3),)}
    system = replace(toys.mutex(), ripples=ripples)
    enter = next(action for action in system.actions if action.name == "one WANTS --GO--> INSIDE")

    assert "lock.count + 1" == show(enter.updates[toys.lock.count.variable])


def test_lemmas_of_machines_carry_their_name() -> None:
    assert ["clerk: only small words are asked about"] == list(toys.hostile().lemmas)


def test_variables_of_claims_belong_to_the_state_but_primes_do_not() -> None:
    system = toys.mutex()

    assert {var.name for var in system.variables} == {"one.at", "two.at", "lock.taken", "lock.count"}
    assert all(var.primed is None for var in system.variables)


def test_flags_of_each_shape() -> None:
    shapes = [len(flags_of(claim)) for claim in toys.mutex().claims]

    assert [1, 2, 3, 3] == shapes


def test_value_of_takes_numbers() -> None:
    assert "INSIDE" == show(value_of(toys.one.at.variable, 2))
    assert 7 == value_of(Bits(4, "var", var=toys.clock.now.variable).variable, 7).number


def test_machines_are_found_by_name() -> None:
    assert "two" == toys.mutex().machine("two").name
    assert link.bound.variable.cell == ""
    assert GO.parameters == {}
