# SPDX-License-Identifier: Apache-2.0
"""The same requests get the same answers from Linux's backend and from ours, and leave the same function behind.

For each function one program of more than 2,000 reads and writes, made from a seed, is played by the scripted frontend
through both, in one boot and from the same state of the function. The profile that copies this Linux must not differ at
all; `strict` may where one of its rules says so. ``PVPCI_RIG_SEED=N`` plays other programs.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace

import pytest
from tests.rig.backends import Backend, KernelBackend, OurBackend, write_report
from tests.rig.compare import Difference, Exactly, Judge, Strictly, differences
from tests.rig.differential import Played, Run
from tests.rig.machine import FUNCTIONS, NAMES, Guest, Machine
from tests.rig.programs import FULL

from pvpci.model.config.header import PROFILES

SEED = int(os.environ.get("PVPCI_RIG_SEED", "1"))
#: All that knows what a register is for, and little else.
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

PLAIN = {bdf: Run(bdf, NAMES[bdf], SEED, FULL) for bdf in FUNCTIONS}
PERMISSIVE = {bdf: replace(run, length=SHORT, permissive=True) for bdf, run in PLAIN.items()}
CONTROLLING = {bdf: replace(run, length=SHORT, interrupt_control=True) for bdf, run in PLAIN.items()}

functions = pytest.mark.parametrize("bdf", FUNCTIONS, ids=NAMES.get)


def play(backend: Backend, domid: int, runs: Sequence[Run]) -> dict[Run, Played]:
    with backend:
        script = f"python3 -S -m tests.rig.differential {domid} '{json.dumps([asdict(run) for run in runs])}'"
        lines = backend.machine.do(script, 600).splitlines()
    return {each.run: each for each in map(Played.of_line, lines)}


@pytest.fixture(scope="module")
def stage(machine: Machine) -> Iterator[int]:
    domid = machine.create(Guest("player", image="python"))
    yield domid
    machine.destroy("player")


@pytest.fixture(scope="module")
def linux(machine: Machine, stage: int) -> dict[Run, Played]:
    return play(KernelBackend(machine), stage, [*PLAIN.values(), *PERMISSIVE.values(), *CONTROLLING.values()])


@pytest.fixture(scope="module")
def ours(machine: Machine, stage: int, linux: dict[Run, Played]) -> dict[str, dict[Run, Played]]:
    """By profile."""
    found = {}
    for profile in PROFILES:
        backend = OurBackend(machine, f"differential-{profile}", ["--profile", profile], trace=False)
        found[profile] = play(backend, stage, [*PLAIN.values()])
    return found


@pytest.fixture(scope="module")
def again(
    machine: Machine, stage: int, linux: dict[Run, Played], ours: dict[str, dict[Run, Played]]
) -> dict[Run, Played]:
    """Linux once more, after whatever ours has done to the functions."""
    return play(KernelBackend(machine), stage, [*PERMISSIVE.values(), *CONTROLLING.values()])


def judge(profile: str, played: Played) -> Judge:
    return Strictly(played.run.target(played.before)) if profile == "strict" else Exactly()


def compare(machine: Machine, profile: str, linux: Played, ours: Played) -> None:
    """Fails with the differences that no rule of the profile explains; the report has all."""
    found = differences(linux, ours, judge(profile, linux))
    write_report(
        machine,
        f"differential-{profile}-{linux.run.name}-{linux.run.target(linux.before).mode}",
        {
            "run": asdict(linux.run),
            "operations": len(linux.program),
            "seconds": [linux.seconds, ours.seconds],
            "rules": Counter(rule for each in found for rule in each.rules),
            "differences": [str(each) for each in found],
        },
    )
    unexplained = [each for each in found if not each.rules]

    assert not unexplained, show(unexplained)


def show(found: Sequence[Difference]) -> str:
    return "\n".join([f"{len(found)} differences", *map(str, found[:SHOWN])])


@functions
@pytest.mark.parametrize("profile", COMPARED)
def test_the_answers_and_the_function_are_the_same(
    machine: Machine, linux: dict[Run, Played], ours: dict[str, dict[Run, Played]], profile: str, bdf: str
) -> None:
    run = PLAIN[bdf]

    assert FULL <= len(linux[run].program)
    compare(machine, profile, linux[run], ours[profile][run])


@functions
@pytest.mark.parametrize("runs", [PERMISSIVE, CONTROLLING], ids=["permissive", "interrupt-control"])
def test_linux_repeats_itself(
    linux: dict[Run, Played], again: dict[Run, Played], runs: dict[str, Run], bdf: str
) -> None:
    """Otherwise the function would not be in the same state each time, and no comparison would mean anything."""
    found = differences(linux[runs[bdf]], again[runs[bdf]], Exactly())

    assert not found, show(found)
