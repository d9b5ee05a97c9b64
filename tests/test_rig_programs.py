# SPDX-License-Identifier: Apache-2.0
"""The rig's programs of configuration requests: reproducible, wide enough, and without what is excluded."""

from __future__ import annotations

import pytest
from tests.config_registers import express, golden
from tests.rig.frontend.operations import BATCH, Answer, Operation, answers, batches, operations, pack
from tests.rig.frontend.store import TEXT_LIMIT
from tests.rig.programs import EXCLUSIONS, FULL, LANES, Target, program

IMAGES = {"golden": bytes(golden().image), "express": bytes(express().image)}
images = pytest.mark.parametrize("name", IMAGES)


def made(name: str, seed: int = 1, length: int = 2000, permissive: bool = False) -> list[Operation]:
    return program(seed, Target(name, IMAGES[name], permissive), length)


@images
def test_a_seed_makes_one_program(name: str) -> None:
    assert made(name) == made(name)
    assert made(name) != made(name, seed=2)


@images
def test_it_is_as_long_as_was_asked_for_and_not_much_longer(name: str) -> None:
    assert 2000 <= len(made(name)) < 2100


@images
def test_every_way_to_read_and_to_write_each_dword_below_256(name: str) -> None:
    found = made(name, length=FULL)
    reads = {(asked.offset, asked.size) for asked in found if asked.value is None}
    writes = {(asked.offset, asked.size) for asked in found if asked.value is not None}
    every = {(dword + place, size) for dword in range(0, 256, 4) for place, size in LANES}

    assert every <= reads
    assert every <= writes


@images
def test_it_asks_for_what_is_refused_and_for_what_is_not_there(name: str) -> None:
    found = made(name, length=600)
    size = len(IMAGES[name])

    assert any(asked.size not in (1, 2, 4) for asked in found)
    assert any(asked.size in (2, 4) and asked.offset % asked.size for asked in found)
    assert any(asked.size == 4 and asked.offset == size for asked in found)


@images
@pytest.mark.parametrize("permissive", [False, True])
def test_nothing_excluded_is_made(name: str, permissive: bool) -> None:
    target = Target(name, IMAGES[name], permissive)
    found = [asked for seed in range(5) for asked in program(seed, target, 2000)]

    assert [asked for asked in found if any(no.holds(target, asked) for no in EXCLUSIONS)] == []


def test_the_reset_bit_is_excluded_only_where_it_would_reach_the_function() -> None:
    control = Operation(0xE8, 2, 0x8000)
    lower, other = Operation(0xE8, 1, 0x80), Operation(0xE8, 4, 0x7FFF)
    target = Target("express", IMAGES["express"], permissive=True)
    harmless = Target("express", IMAGES["express"])
    resets = EXCLUSIONS[1]

    assert [True, False, False] == [resets.holds(target, asked) for asked in (control, lower, other)]
    assert not resets.holds(harmless, control)


@images
def test_operations_survive_their_text(name: str) -> None:
    program = made(name)

    assert program == operations(pack(program))
    assert program == [asked for part in batches(program) for asked in part]
    # A node of dom0's takes 4096 bytes, path and all.
    assert max(len(pack(part)) for part in batches(program)) < 3800


def test_a_batch_of_answers_fits_into_a_guests_node() -> None:
    assert len(pack([Answer(-22, 0xFFFFFFFF)] * BATCH)) < TEXT_LIMIT - len('{"id":1700000000000000000,"results":[""]}')


def test_answers_survive_their_text() -> None:
    given = [Answer(0, 0xFFFFFFFF), Answer(-22, 0), None]

    assert given == answers(pack(given))
    assert "0.ffffffff -16.0 -" == pack(given)
