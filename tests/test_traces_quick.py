# SPDX-License-Identifier: Apache-2.0
"""The fast way may only ever say "fits" where the complete way finds the same."""

from __future__ import annotations

import random
from typing import Any

import pytest
from tests.doctor import again
from tests.trace_world import World, life

from pvpci.traces.candidates import Candidates, WrongValue
from pvpci.traces.format import Line
from pvpci.traces.judge import REMARKS
from pvpci.traces.quick import FITS, MISFIT, Quick
from pvpci.traces.subject import Subject, dialect_names, reference, subject

SUBJECT = reference()
QUICK, SLOW = Quick(SUBJECT, [(machine, key) for machine, key, _ in REMARKS]), Candidates(SUBJECT)


def take(quick: Quick, state: Any, line: Line) -> int:
    functions = quick.functions.get((line.machine, line.event))
    function = functions[getattr(state, quick.subject.parts[line.machine].attribute)] if functions else None
    try:
        return function(state, line) if function is not None else MISFIT
    except (KeyError, TypeError):
        return MISFIT


def steps(lines: list[Any]) -> list[Line]:
    """Those of the guest's machines; a function's are another subject."""
    return [line for line in lines if isinstance(line, Line) and not line.function]


def changed(line: Line, chance: random.Random, lines: list[Line]) -> Line:
    new: Any = again(line)
    part = chance.choice(["given", "found", "wrote", "asked", "event", "other"])
    if part == "other":
        return chance.choice(lines)
    if part == "event":
        new.event = chance.choice(["GO", "Rang", "Done", "Found", "Turn"])
        return new  # type: ignore[no-any-return]
    values = (
        new.asked[0].arguments if part == "asked" and new.asked else getattr(new, part) if part != "asked" else None
    )
    if not values:
        setattr(new, part, None if part == "asked" else {"page.err": 0})
        return new  # type: ignore[no-any-return]
    name = chance.choice(list(values))
    values[name] = chance.choice([True, False, 0, 1, 2, 0xFFFFFFFF, "CLOSING", "", "CONNECTED"])
    return new  # type: ignore[no-any-return]


def test_a_life_is_taken_by_the_fast_way_alone_but_for_the_close() -> None:
    state = SUBJECT.initial()
    missed = []
    for line in steps(life()):
        if take(QUICK, state, line) == MISFIT:
            missed.append(line.event)
            (state,) = SLOW.step([state], line).states

    assert ["AtRest", "GO"] == missed


@pytest.mark.parametrize("seed", range(4))
def test_what_the_fast_way_takes_the_complete_way_takes_to_the_same_state(seed: int) -> None:
    chance = random.Random(seed)
    lines = steps(life())
    state, fits = SUBJECT.initial(), 0
    for line in lines:
        for _ in range(6):
            tried, other = SLOW.copy(state), changed(line, chance, lines)
            code = take(QUICK, tried, other)
            try:
                after = SLOW.step([state], other).states
            except WrongValue:
                after = []
            if code == MISFIT:
                assert SLOW.key(state) == SLOW.key(tried)
            else:
                fits += 1
                assert SLOW.key(tried) in {SLOW.key(one) for one in SLOW.closed(after)}
        states = SLOW.step([state], line).states
        state = states[0]
        QUICK.settle(state)

    assert fits > 10


def test_what_the_fast_way_refuses_of_a_known_state_the_complete_way_refuses() -> None:
    # But for hidden steps that are not taken at once, and ignored events: a close.
    chance = random.Random(5)
    lines = [line for line in steps(life()) if line.machine == "op"]
    state = SUBJECT.initial()
    state.link_bound = state.link_mapped = 1
    for line in lines:
        for _ in range(6):
            other = changed(line, chance, lines)
            if other.event == "Turn":
                continue
            try:
                after = SLOW.step([state], other).states
            except WrongValue:
                after = []
            assert bool(after) == bool(take(QUICK, SLOW.copy(state), other))
        assert take(QUICK, state, line) >= FITS


def test_hidden_steps_that_others_could_notice_are_not_taken_at_once() -> None:
    taken = {name: {part.places[at].name for at in QUICK.eager[name]} for name, part in SUBJECT.parts.items()}

    assert {"connection": set(), "op": {"NOTHING", "FOUND", "ERR_STORED", "VALUE_STORED", "TOLD", "DROPPED"}} == taken


def test_a_remarkable_row_is_told_from_others() -> None:
    world = World()
    world.connect()
    world.request(offset=3)
    state, codes = SUBJECT.initial(), []
    for line in steps(world.lines()):
        codes.append(take(QUICK, state, line))
    told = [REMARKS[code - FITS - 1][1] for code in codes if code > FITS]

    assert ["FOUND->ANSWERED (bad read)"] == told


@pytest.mark.parametrize("name", dialect_names())
def test_every_dialect_can_be_judged_the_fast_way(name: str) -> None:
    of = subject(name)
    quick = Quick(of)

    assert isinstance(of, Subject)
    assert {(machine, event) for machine, part in of.parts.items() for event in part.events} == set(quick.functions)
