# SPDX-License-Identifier: Apache-2.0
"""What was recorded on real Xen is accepted, doctored copies of it are not, and its requests replay.

Judged, on this side, are the traces of all other tests of this run. A file may hold several guests; copies are made of
one guest's lines, because the doctors look for the first line of a kind.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from tests.backend_rig import run_cli
from tests.doctor import DOCTORS, Doctored, Lines, Unfit
from tests.rig.backends import OurBackend, write_report
from tests.rig.machine import EDU, Guest, Machine

from pvpci.traces.format import Header, Trace, encode

#: At least so many doctors must find something to harm.
FITTING: Final = 12
#: Lines of one guest that a doctor is shown; a longer life than this says nothing new.
LONGEST: Final = 50_000


@dataclass(frozen=True)
class Copies:
    """By doctor: the doctored copy and its file."""

    made: dict[str, tuple[Doctored, Path]]
    unfit: dict[str, str]


def record(machine: Machine) -> None:
    """One short life, for when no other test of this run has left a trace."""
    with OurBackend(machine, "traced", ["--monitor"]):
        machine.create(Guest("traced", pci=(EDU,)))
        machine.guest("traced", "modprobe xen-pcifront; sleep 2; setpci -s 0:0.0 0.l COMMAND=0002")
        machine.destroy("traced")


@pytest.fixture(scope="module")
def traces(machine: Machine) -> list[Path]:
    def found() -> list[Path]:
        fresh = (path for path in machine.out.glob("*.jsonl") if path.stat().st_mtime >= machine.started)
        return sorted(fresh, key=lambda path: path.stat().st_size)

    if not found():
        record(machine)
    return found()


def of_one_guest(path: Path) -> list[Lines]:
    guests: dict[str, Lines] = {}
    with path.open("rb") as file:
        for _, line in Trace(file, path.name):
            guests.setdefault(line.guest, []).append(line)
    return [lines for lines in guests.values() if len(lines) <= LONGEST]


@pytest.fixture(scope="module")
def copies(traces: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Copies:
    folder = tmp_path_factory.mktemp("doctored")
    lives = sorted((life for path in traces for life in of_one_guest(path)), key=len)
    made: dict[str, tuple[Doctored, Path]] = {}
    unfit: dict[str, str] = {}
    for doctor in DOCTORS:
        for life in lives:
            try:
                copy = doctor(life)
            except Unfit as why:
                unfit[doctor.name] = str(why)
                continue
            path = folder / f"{doctor.name}.jsonl"
            header = Header(vantage="backend", source={"program": "pvpci", "host": "xen", "doctored": doctor.name})
            path.write_bytes(b"".join(map(encode, (header, *copy.lines))))
            made[doctor.name] = copy, path
            unfit.pop(doctor.name, None)
            break
    return Copies(made, unfit)


def test_what_ours_did_on_real_xen_conforms(machine: Machine, traces: list[Path]) -> None:
    done = run_cli("check", "--json", *map(str, traces))
    verdicts = [json.loads(line) for line in done.stdout.splitlines()]
    write_report(machine, "verdicts", verdicts)

    assert {"conforms"} == {verdict["verdict"] for verdict in verdicts}, done.stdout[:4000]
    assert (0, len(traces)) == (done.returncode, len(verdicts)), done.stderr


def test_doctored_copies_are_rejected_with_party_rule_and_line(copies: Copies) -> None:
    assert len(copies.made) >= FITTING, copies.unfit

    wrong = {}
    for name, (copy, path) in copies.made.items():
        done = run_cli("check", str(path))
        first = "".join(done.stdout.splitlines()[1:2])
        expected = f"  line {copy.line}: the backend breaks {copy.rule}, guest "
        if done.returncode != 1 or not first.startswith(expected):
            wrong[name] = (expected, done.returncode, done.stdout[:600], done.stderr)
    assert {} == wrong


def test_the_requests_replay_as_they_were(machine: Machine, traces: list[Path]) -> None:
    reports = []
    for path in traces:
        done = run_cli("replay", "--json", str(path))
        assert done.stdout, done.stderr
        reports.append(json.loads(done.stdout))
    write_report(machine, "replay", reports)

    assert [] == [report for report in reports if report["differences"]], reports
    assert sum(report["compared"] for report in reports) > 0
