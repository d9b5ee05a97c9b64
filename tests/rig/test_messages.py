# SPDX-License-Identifier: Apache-2.0
"""Messages are turned on and off many times, by one frontend, under either backend in one boot; how long it takes is kept."""

from __future__ import annotations

from tests.rig.backends import write_report
from tests.rig.machine import Machine
from tests.rig.measure import compare_messages


def test_messages_go_on_and_off_under_either_backend(machine: Machine) -> None:
    found = compare_messages(machine)
    write_report(machine, "messages", found)

    assert {"linux", "pvpci"} == found.keys()
    assert all(0 < us < 1e6 for kinds in found.values() for us in kinds.values()), found
