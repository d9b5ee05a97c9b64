# SPDX-License-Identifier: Apache-2.0
"""How long a guest waits until messages are on, and off again, whoever serves it.

Runs in dom0, where nothing but the standard library is needed: ``python3 -S -m tests.rig.messages DOMID COUNT`` prints
microseconds by kind. The guest DOMID must run the scripted frontend, and have from libxl (for only then does the hypervisor map
anything for it) first a function with MSI and then one with MSI-X.

The steps of one message to the guest follow each other without a pause, so what is timed here is a message with COUNT times
on and off, less a message that does nothing.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from typing import Any, Final

from tests.rig.dom0.toolstack import Stage

DEVICE: Final = 0  #: libxl's only one
COMMAND, MEMORY = 4, 2
#: by kind: where the guest sees the function, and the two requests
PAIRS: Final = {
    "MSI": (0, ("enable_msi", 0), ("disable_msi", 0)),
    "MSI-X": (8, ("enable_msix", 8, 0, 4, 1), ("disable_msix", 8)),
}
PARTS: Final = 5


def timed(stage: Stage, *steps: tuple[Any, ...]) -> float:
    started = time.perf_counter()
    for answer in stage.ask(*((verb, DEVICE, *arguments) for verb, *arguments in steps)):
        if answer is not None and answer[0] != 0:
            raise AssertionError(f"answered {answer}")
    return time.perf_counter() - started


def measure(domid: int, count: int) -> dict[str, float]:
    """Microseconds of one on and off: the median of some parts."""
    stage = Stage(domid)
    own = stage.ask(("connect", DEVICE))[0]
    if own != "4":
        raise AssertionError(f"the backend came to state {own} instead of 4")
    found = {}
    for kind, (devfn, on, off) in PAIRS.items():
        timed(stage, ("ask", "write", devfn, COMMAND, 2, MEMORY))
        pair = (("ask", *on), ("ask", *off))
        timed(stage, *pair)
        parts = [timed(stage, *pair * count) - timed(stage, ("pause", 0)) for _ in range(PARTS)]
        found[kind] = round(1e6 * statistics.median(parts) / count, 1)
    return found


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]), int(sys.argv[2]))))
