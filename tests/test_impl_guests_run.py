# SPDX-License-Identifier: Apache-2.0
"""A guest that dies at any step of its life leaves nothing behind, and the next one is served."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from tests.backend_rig import EDU, GUEST, RTL, Rig, events, guest_process, rig, until

#: Each step of the handshake; then some of the scan, of the sizing, of the work, and of the end.
STEPS = [*range(1, 16), 17, 19, 21, 150, 700, 1290, 1300, 1320, 1340, 1360, 1380, 1400]


@pytest.fixture(scope="module")
def served() -> Iterator[Rig]:
    with rig() as made:
        yield made


def live(backend: Rig, *arguments: str) -> tuple[int, list[dict[str, object]]]:
    process = guest_process("frontend", backend.box.path, str(GUEST), *arguments)
    output, _ = process.communicate(timeout=60)
    return process.returncode, events(output)


@pytest.mark.parametrize("step", STEPS)
def test_death_at_a_step(served: Rig, step: int) -> None:
    served.device(EDU)
    code, _ = live(served, "--seconds", "0.01", "--die-at", str(step))
    forgotten = until(lambda: served.settled() and served.state() in ("6", None))
    served.clean()

    assert (-signal.SIGKILL, True) == (code, forgotten)
    assert () == served.dom0.account().leaks
    assert until(lambda: served.dom0.account().transactions == 0)


def test_the_next_guest_is_served_after_all_that(served: Rig) -> None:
    served.device(EDU, RTL)
    code, said = live(served, "--seconds", "0.05")
    served.clean()

    assert 0 == code
    assert ["connected", "scanned", "sized", "sized", "worked", "closed"] == [each["event"] for each in said]
    assert 0 == said[4]["wrong"]
    # The last step at which a guest was killed above was one of a life like this.
    assert int(str(said[5]["steps"])) > STEPS[-1]
    assert () == served.dom0.account().leaks


def test_a_guest_whose_backend_is_not_there_says_so(served: Rig) -> None:
    served.dom0.create_domain(GUEST)
    code, said = live(served, "--patience", "0.2")

    assert (1, "failed") == (code, said[-1]["event"])
    assert "the frontend is in UNKNOWN" in str(said[-1]["why"])


def test_a_guest_without_a_domain_says_so(served: Rig) -> None:
    process = guest_process("run", served.box.path, "99")
    output, _ = process.communicate(timeout=60)

    assert (1, "domain 99 does not exist") == (process.returncode, events(output)[0]["why"])
