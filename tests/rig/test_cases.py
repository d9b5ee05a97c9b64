# SPDX-License-Identifier: Apache-2.0
"""The cases, played against Linux's backend and against ours in one boot, by the same frontend in the same guest."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest
from tests.rig import table
from tests.rig.backends import Backend, KernelBackend, OurBackend, write_report
from tests.rig.cases import CASES, Case, Outcome
from tests.rig.machine import Guest, Machine

Played = dict[str, dict[str, Outcome]]


def play(backend: Backend, domid: int) -> dict[str, Outcome]:
    """Case name -> outcome, or {"failed": text}."""
    with backend:
        out = backend.machine.do(f"python3 -S -m tests.rig.cases {domid}", 600)
    lines = [json.loads(line) for line in out.splitlines()]
    return {line["case"]: line.get("outcome", {"failed": line.get("failed")}) for line in lines}


@pytest.fixture(scope="module")
def played(machine: Machine) -> Iterator[Played]:
    domid = machine.create(Guest("stage", image="python"))
    ours = OurBackend(machine, "cases", ["--monitor"])
    result = {backend.name: play(backend, domid) for backend in (KernelBackend(machine), ours)}
    machine.destroy("stage")
    write_report(machine, "cases", {case.name: {"rule": case.rule} | both(result, case.name) for case in CASES})
    if os.environ.get("PVPCI_RIG_RECORD"):
        xen, linux = machine.do("xl info xen_version; uname -r").split()
        table.OBSERVED.write_text(table.observed({"Xen": xen, "Linux": linux}, result))
    yield result


def both(played: Played, name: str) -> dict[str, Outcome]:
    return {backend: outcomes[name] for backend, outcomes in played.items()}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_linux_does_what_was_recorded(played: Played, case: Case) -> None:
    outcome = played[KernelBackend.name][case.name]

    assert case.linux == {key: outcome.get(key) for key in case.linux}, outcome


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_ours_keeps_the_rule(played: Played, case: Case) -> None:
    outcome = played[OurBackend.name][case.name]

    assert case.reference == {key: outcome.get(key) for key in case.reference}, outcome
