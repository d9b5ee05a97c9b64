# SPDX-License-Identifier: Apache-2.0
"""The same requests get the same answers from Linux's backend and from ours, and leave the same function behind.

For each function one program of more than 2,000 reads and writes, made from a seed, is played by the scripted frontend
through both, in one boot and from the same state of the function. The profile that copies this Linux must not differ at
all; `strict` may where one of its rules says so. ``PVPCI_RIG_SEED=N`` plays other programs.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace

import pytest
from tests.rig.backends import Backend, KernelBackend, OurBackend, write_report
from tests.rig.compare import Difference, Exactly, Judge, Strictly, differences
from tests.rig.differential import Played, Run
from tests.rig.machine import FUNCTIONS, NAMES, Guest, Machine
from tests.rig.programs import FULL

SEED = int(os.environ.get("PVPCI_RIG_SEED", "1"))
#: All that knows what a register is for, and little else.
SHORT = 600
#: The profile that must not differ from the Linux that the rig runs.
EXACT = "linux-6.1.63"
#: So many differences are shown when a test fails.
SHOWN = 12

PLAIN = {bdf: Run(bdf, NAMES[bdf], SEED, FULL) for bdf in FUNCTIONS}
RUNS = {
    "plain": PLAIN,
    "permissive": {bdf: replace(run, length=SHORT, permissive=True) for bdf, run in PLAIN.items()},
    "interrupt-control": {bdf: replace(run, length=SHORT, interrupt_control=True) for bdf, run in PLAIN.items()},
}
EVERY = [run for runs in RUNS.values() for run in runs.values()]

functions = pytest.mark.parametrize("bdf", FUNCTIONS, ids=NAMES.get)


def play(backend: Backend, domid: int, runs: Sequence[Run]) -> dict[Run, Played]:
    """What was played stays in the machine's `out` folder, also if one of the runs fails."""
    machine = backend.machine
    kept = f"differential-{backend.name}-{time.monotonic_ns()}.answers"
    with backend:
        script = f"python3 -S -m tests.rig.differential {domid} '{json.dumps([asdict(run) for run in runs])}'"
        machine.do(f"{script} > /job/out/{kept}", 600)
    lines = (machine.out / kept).read_text().splitlines()
    return {each.run: each for each in map(Played.of_line, lines)}


@pytest.fixture(scope="module")
def stage(machine: Machine) -> Iterator[int]:
    domid = machine.create(Guest("player", image="python"))
    yield domid
    machine.destroy("player")


@pytest.fixture(scope="module")
def linux(machine: Machine, stage: int) -> dict[Run, Played]:
    return play(KernelBackend(machine), stage, EVERY)


@pytest.fixture(scope="module")
def exact(machine: Machine, stage: int, linux: dict[Run, Played]) -> dict[Run, Played]:
    backend = OurBackend(machine, "differential-exact", ["--profile", EXACT], trace=False)
    return play(backend, stage, EVERY)


@pytest.fixture(scope="module")
def strict(machine: Machine, stage: int, linux: dict[Run, Played]) -> dict[Run, Played]:
    return play(OurBackend(machine, "differential-strict", trace=False), stage, [*PLAIN.values()])


@pytest.fixture(scope="module")
def again(machine: Machine, stage: int, linux: dict[Run, Played]) -> dict[Run, Played]:
    return play(KernelBackend(machine), stage, [run for run in EVERY if run.length == SHORT])


def compare(machine: Machine, profile: str, linux: Played, ours: Played, judge: Judge) -> None:
    """Fails with the differences that no rule of the profile explains; the report has all."""
    found = differences(linux, ours, judge)
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
@pytest.mark.parametrize("mode", RUNS)
def test_the_profile_of_this_linux_differs_in_nothing(
    machine: Machine, linux: dict[Run, Played], exact: dict[Run, Played], mode: str, bdf: str
) -> None:
    run = RUNS[mode][bdf]

    assert run.length <= len(linux[run].program)
    compare(machine, EXACT, linux[run], exact[run], Exactly())


@functions
def test_strict_differs_only_where_a_rule_says_so(
    machine: Machine, linux: dict[Run, Played], strict: dict[Run, Played], bdf: str
) -> None:
    run = PLAIN[bdf]

    assert FULL <= len(linux[run].program)
    compare(machine, "strict", linux[run], strict[run], Strictly(run.target(linux[run].before)))


@functions
@pytest.mark.parametrize("mode", [mode for mode in RUNS if mode != "plain"])
def test_linux_repeats_itself(linux: dict[Run, Played], again: dict[Run, Played], mode: str, bdf: str) -> None:
    """After all that ours has done to the function. Otherwise no comparison would mean anything."""
    run = RUNS[mode][bdf]
    found = differences(linux[run], again[run], Exactly())

    assert not found, show(found)
