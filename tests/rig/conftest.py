# SPDX-License-Identifier: Apache-2.0
"""One boot of real Xen for all tests of this folder.

What the rig produced (serial log, daemon logs, traces, reports) stays in $PVPCI_RIG_OUT if that is set; otherwise it is
kept only when booting failed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.rig.build import RigUnavailable, images
from tests.rig.machine import Machine

HERE = Path(__file__).parent
#: Seconds for one test, building and booting included. Emulation on a busy machine is slow.
LIMIT = 1200


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.rig)
            item.add_marker(pytest.mark.timeout(LIMIT))


@pytest.fixture(scope="session")
def machine() -> Iterator[Machine]:
    """dom0 answers, and xen-pciback's PCI half holds the functions."""
    try:
        built = images()
    except RigUnavailable as reason:
        pytest.skip(str(reason))
    kept = os.environ.get("PVPCI_RIG_OUT")
    with Machine(Path(kept).resolve() if kept else None, built=built) as booted:
        booted.seize()
        yield booted
