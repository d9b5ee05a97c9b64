# SPDX-License-Identifier: Apache-2.0
"""A hostile guest breaks nothing: no invariant, no service, no other guest, no memory."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from tests.backend_rig import EDU, GUEST, RTL, Rig, Served, box_only, events, guest_process, run_cli

from pvpci.impl.errors import UsageError
from pvpci.impl.host import Bdf, DomId, HostError

HONEST = DomId(8)
SETTLING = 10.0  #: seconds until the backend's memory has its size: the flight recorders are full
LARGEST = 48 << 20  #: bytes of resident memory in any case
#: Requests of the honest guest in any one second: a small part of what it gets alone, on a machine that does much else.
LEAST = 20


def supply(rig: Rig, bdf: Bdf) -> bool:
    """The patient toolstack of the hostile guest: a device again whenever it has ruined its own. True if it did that."""
    if any(held.bdf == str(bdf) for held in rig.dom0.account().held):
        return False
    try:
        rig.toolstack.destroy(GUEST)
        rig.toolstack.attach(GUEST, [bdf], wait=False)
    except (UsageError, HostError):
        return False  # it is being ruined already, or the guest has ended
    return True


def assault(folder: Path, seconds: float, seed: int, *options: str, bdf: Bdf = EDU) -> None:
    """The hostile guest for that long, an honest one all the time and a little longer."""
    with box_only() as rig, Served("--box", rig.box.path, *options, environment={"TMPDIR": str(folder)}) as backend:
        assert backend.wait_for("event=serving")
        rig.device(bdf)
        rig.device(RTL, domain=HONEST)
        honest = guest_process("frontend", rig.box.path, str(HONEST), "--seconds", str(seconds + 1), "--report", "1")
        hostile = guest_process("hostile", rig.box.path, str(GUEST), "--seconds", str(seconds), "--seed", str(seed))
        began, resident, early, largest = time.monotonic(), backend.resident(), 0, 0
        supplied = 0
        while hostile.poll() is None:
            time.sleep(0.1)
            supplied += supply(rig, bdf)
            resident = backend.resident()
            largest = max(largest, resident)
            if not early and time.monotonic() - began > SETTLING:
                early = resident
        did = json.loads(hostile.communicate(timeout=60)[0])
        said = events(honest.communicate(timeout=60)[0])
        rig.clean()
        alive = backend.process.poll() is None
        code = backend.end()
        account = rig.dom0.account()

    worked = [each for each in said if each["event"] == "worked"]
    assert not [line for line in backend.lines if "service of the guest ends" in line or "Traceback" in line]
    assert (True, 0, 0) == (alive, hostile.returncode, code)
    assert ((), 0, 0) == (account.leaks, account.watches, account.transactions)
    assert largest <= LARGEST
    assert not early or resident <= 1.1 * early, f"{early} bytes became {resident}"
    assert "closed" == said[-1]["event"], said[-1]
    assert len(worked) >= int(seconds)
    assert [] == [each for each in worked if each["wrong"] or each["requests"] < LEAST or each["worst_us"] > 1_000_000]
    # It was hostile indeed: connected, with requests and rings, and its device was ruined now and then.
    assert did["connected"] >= 1
    assert did["requests"] > 100 * seconds
    assert did["rings"] > 500 * seconds
    assert did["writes"] > 50 * seconds


@pytest.mark.timeout(180)
def test_a_minute_of_hostility(tmp_path: Path) -> None:
    assault(tmp_path, 60, 1, "--monitor")


def test_a_moment_of_hostility_with_another_seed(tmp_path: Path) -> None:
    assault(tmp_path, 5, 2, "--monitor")


def test_a_moment_of_hostility_without_the_monitor(tmp_path: Path) -> None:
    """Then requests take the fused path."""
    assault(tmp_path, 5, 3)


def test_a_moment_of_hostility_with_blocks_of_messages(tmp_path: Path) -> None:
    """A function with sixteen, and every property looked at in each step; what is recorded besides conforms."""
    trace = tmp_path / "blocks.jsonl"
    assault(tmp_path, 5, 5, "--monitor", "--multi-msi", "--trace", str(trace), bdf=Bdf(0, 0, 10, 0))
    checked = run_cli("check", str(trace))

    assert 0 == checked.returncode, checked.stdout
    assert b"map_block" in trace.read_bytes()


def test_a_moment_of_hostility_is_recorded_and_conforms(tmp_path: Path) -> None:
    trace = tmp_path / "hostile.jsonl"
    assault(tmp_path, 3, 4, "--trace", str(trace))
    checked = run_cli("check", str(trace))

    assert 0 == checked.returncode, checked.stdout
    assert "conforms" in checked.stdout
