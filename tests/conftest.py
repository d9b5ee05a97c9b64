# SPDX-License-Identifier: Apache-2.0
"""What all tests share: repeatable random examples, and the slow half of the suite at its end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

RIG = Path(__file__).parent / "rig"

# The same examples on each run: a suite that fails must fail again when somebody looks. To hunt for new examples, set
# HYPOTHESIS_PROFILE=hunt. Deadlines are off since a busy machine is not a failure.
settings.register_profile(
    "ci", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("hunt", deadline=None, max_examples=2000, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if RIG in item.path.parents:
            item.add_marker(pytest.mark.rig)
    # Minutes of booting come after the seconds that may already say what is wrong. The sort keeps the order within.
    items.sort(key=lambda item: item.get_closest_marker("rig") is not None)
