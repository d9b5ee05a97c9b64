# SPDX-License-Identifier: Apache-2.0
"""The executor over formulas does what the compiled programs do: same answer, same writes in their order, same memory."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest
import z3
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.config_models import any_model

from pvpci.model.config.linux import LINUX_6_1_0, LINUX_6_1_63, PROFILES
from pvpci.model.config.programs import Load, Place, Set, Step, Store, Structure, local
from pvpci.model.config.state import mine
from pvpci.model.config.steps import COMMAND
from pvpci.proofs.config.again import concrete, expected
from pvpci.proofs.config.cases import Case, alike, cases
from pvpci.proofs.config.claims import AWAY, LIMIT, OFFSET, PAST, SENT, SIZE, ask, ask_elsewhere, run
from pvpci.proofs.config.symbolic import World, execute, takes
from pvpci.proofs.translate import value_in

PLACE = 0x80
WHERE = tuple((at, size) for size in (1, 2, 4) for at in range(0, 4, size))


def distinct() -> Iterator[tuple[str, Case]]:
    """Each dword of each profile that has rows, and one that has none; once for profiles that do not differ there."""
    for name, profile in PROFILES.items():
        older = {case.name: case for case in cases(LINUX_6_1_63)} if profile is LINUX_6_1_0 else {}
        yield from (
            (name, case) for case in cases(profile) if not (case.name in older and alike(case, older[case.name]))
        )


CASES = list(distinct())


@pytest.mark.parametrize(("name", "case"), CASES, ids=[f"{name}: {case.name}" for name, case in CASES])
def test_a_request_is_answered_alike(name: str, case: Case) -> None:
    read, write = (ask(PROFILES[name], case, is_read=is_read) for is_read in (True, False))
    random = Random(case.name)
    base = case.offset if case.structure is Structure.HEADER else PLACE + case.offset
    for at, size in random.sample(WHERE, 1):
        place = {} if case.structure is Structure.HEADER else {z3.BitVec(f"at.{case.structure.name}", 32): PLACE}
        model = any_model(random, {OFFSET: base + at, SIZE: size, SENT: random.getrandbits(32), LIMIT: 4096, **place})
        for asked in (read, write):
            assert concrete(model, asked) == expected(model, asked), model


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(sorted(PROFILES)), st.integers(0, 0xFFFFFFFF), st.integers(0, 0xFFFFFFFF), st.booleans())
def test_what_is_turned_away_is_turned_away_alike(name: str, offset: int, size: int, is_read: bool) -> None:
    for route in (AWAY, PAST):
        asked = ask_elsewhere(PROFILES[name], route, is_read=is_read)
        model = z3.Model()
        for each, value in ((OFFSET, offset), (SIZE, size), (LIMIT, 256)):
            model.update_value(each, z3.BitVecVal(value, 32))
        if size in (1, 2, 4) or route == AWAY:
            assert concrete(model, asked) == expected(model, asked)


@pytest.mark.parametrize("which", ["attach", "detach", "forget", "detach+forget+attach"])
@pytest.mark.parametrize("name", PROFILES)
def test_a_program_does_alike(name: str, which: str) -> None:
    ran = run(PROFILES[name], which, which.split("+"))
    for seed in range(4):
        model = any_model(Random(seed), {})
        assert concrete(model, ran) == expected(model, ran)


def holds(world: World, place: Place, **bytes: int) -> int:
    model = z3.Model()
    for name, value in bytes.items():
        structure, _, at = name.partition("_")
        model.update_value(z3.BitVec(f"{structure}+{at}", 8), z3.BitVecVal(value, 8))
    for each in range(0x40):
        model.update_value(takes((place.structure, each)), z3.BitVecVal(0xF0, 8))
    return value_in(model, world.register(place))


def test_hardware_takes_what_it_likes_of_a_write() -> None:
    world = World()
    execute((Store(COMMAND, local("nothing", 16)),), world)

    assert 0x0B0C == holds(world, COMMAND, HEADER_04=0xAC, HEADER_05=0xFB)


def test_a_program_does_not_see_what_an_earlier_one_loaded() -> None:
    world, now = World(), local("now", 16)
    execute((Load(now, COMMAND), Set(mine.command.becomes(now))), world)
    execute((Set(mine.command.becomes(now)),), world)

    assert z3.is_true(z3.simplify(world.value(mine.command.variable) == 0))


def test_a_step_that_is_none_is_an_error() -> None:
    with pytest.raises(TypeError, match="no such step"):
        execute((Step(),), World())
