# SPDX-License-Identifier: Apache-2.0
"""A guest does not wait much longer for our backend than for Linux's.

The bound here is wide, for machines that do other work meanwhile. `pvpci bench` and the README give the figures.
"""

from __future__ import annotations

from tests.rig.backends import write_report
from tests.rig.machine import Machine
from tests.rig.measure import compare

BOUND = 3.0
RESIDENT_KIB = 48 * 1024


def test_a_read_takes_a_small_multiple_of_the_kernels_time(machine: Machine) -> None:
    found = compare(machine, 1500)
    write_report(machine, "round-trip", found)
    ratio, ours = found["ratio"], found["pvpci"]

    assert isinstance(ratio, dict)
    assert isinstance(ours, dict)
    assert ratio["median"] <= BOUND, found
    assert ours["resident"] <= RESIDENT_KIB, found
