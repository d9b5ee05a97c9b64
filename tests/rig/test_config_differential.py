# SPDX-License-Identifier: Apache-2.0
"""The same requests get the same answers from Linux's backend and from ours, and leave the same function behind.

For each function one program of at least 2,000 reads and writes, made from a seed, is played by the scripted frontend
through both, in one boot and from the same state of the function. The profile that copies this Linux must not differ at
all; `strict` may where one of its rules says so. ``PVPCI_RIG_SEED=N`` plays another program.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict

import pytest
from tests.rig.backends import Backend, KernelBackend, OurBackend, write_report
from tests.rig.compare import Difference, Exactly, Judge, Strictly, differences
from tests.rig.differential import Played, Run
from tests.rig.machine import FUNCTIONS, NAMES, Guest, Machine
from tests.rig.programs import FULL

from pvpci.model.config.header import PROFILES

SEED = int(os.environ.get("PVPCI_RIG_SEED", "1"))
SHORT = 600
#: The profile that must not differ from the Linux that the rig runs.
EXACT = "linux-6.1.63"
COMPARED = (
    pytest.param(
        EXACT, marks=pytest.mark.skipif(EXACT not in PROFILES, reason=f"there is no profile {EXACT} in this version")
    ),
    "strict",
)
#: So many differences are shown when a test fails.
SHOWN = 12


def play(backend: Backend, domid: int, runs: Sequence[Run]) -> dict[str, Played]:
    """By function (BDF in dom0)."""
    with backend:
        script = f"python3 -S -m tests.rig.differential {domid} '{json.dumps([asdict(run) for run in runs])}'"
        lines = backend.machine.do(script, 600).splitlines()
    played = [Played.of_line(line) for line in lines]
    return {each.run.bdf: each for each in played}


def runs(length: int) -> list[Run]:
    return [Run(bdf, NAMES[bdf], SEED, length) for bdf in FUNCTIONS]


@pytest.fixture(scope="module")
def stage(machine: Machine) -> Iterator[int]:
    domid = machine.create(Guest("player", image="python"))
    yield domid
    machine.destroy("player")


@pytest.fixture(scope="module")
def linux(machine: Machine, stage: int) -> dict[str, Played]:
    return play(KernelBackend(machine), stage, runs(FULL))


@pytest.fixture(scope="module")
def ours(machine: Machine, stage: int) -> dict[str, dict[str, Played]]:
    """By profile and function."""
    found = {}
    for profile in PROFILES:
        backend = OurBackend(machine, f"differential-{profile}", ["--profile", profile], trace=False)
        found[profile] = play(backend, stage, runs(FULL))
    return found


def judge(profile: str, played: Played) -> Judge:
    return Strictly(played.run.target(played.before)) if profile == "strict" else Exactly()


def show(found: Sequence[Difference]) -> str:
    return "\n".join([f"{len(found)} differences", *map(str, found[:SHOWN])])


functions = pytest.mark.parametrize("bdf", FUNCTIONS, ids=NAMES.get)


@functions
def test_linux_repeats_itself(machine: Machine, stage: int, linux: dict[str, Played], bdf: str) -> None:
    """Otherwise the function would not be in the same state each time, and no comparison would mean anything."""
    run = Run(bdf, NAMES[bdf], SEED, SHORT)
    one, two = (play(KernelBackend(machine), stage, [run])[bdf] for _ in range(2))

    assert one.before == linux[bdf].before
    assert differences(one, two, Exactly()) == []


@functions
@pytest.mark.parametrize("profile", COMPARED)
def test_the_answers_and_the_function_are_the_same(
    machine: Machine, linux: dict[str, Played], ours: dict[str, dict[str, Played]], profile: str, bdf: str
) -> None:
    theirs, mine = linux[bdf], ours[profile][bdf]
    found = differences(theirs, mine, judge(profile, theirs))
    by_rule = Counter(rule for each in found for rule in each.rules)
    write_report(
        machine,
        f"differential-{profile}-{NAMES[bdf]}",
        {
            "run": asdict(theirs.run),
            "operations": len(theirs.program),
            "seconds": [theirs.seconds, mine.seconds],
            "rules": by_rule,
            "differences": [str(each) for each in found],
        },
    )
    unexplained = [each for each in found if not each.rules]

    assert FULL <= len(theirs.program)
    assert not unexplained, show(unexplained)
