# SPDX-License-Identifier: Apache-2.0
"""A frontend that connects properly and then does everything wrong, as fast as it can, for some seconds.

    hostile.py DEVID SECONDS SEED

It rewrites the header of the request, the flags, the doorbell and its xenstore keys in random order, with random and
with almost right values. Its report goes to `data/hostile-say`. Runs in a guest, and reaches only what a guest may
write.
"""

from __future__ import annotations

import json
import random
import sys
import time

from tests.rig.frontend.page import ACTIVE, OP_AT, Connection
from tests.rig.frontend.store import Refused, Store

STATES = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "-1", "abc", "", "4294967299", "4 ", "\x7f")
WORDS = (0, 1, 2, 3, 4, 7, 8, 0xF8, 0x100, 0xFFF, 0x1000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 129)


def rewrite(made: Connection, dice: random.Random) -> None:
    """One access to the page: a word of the header, a run of noise, or the flags."""
    kind = dice.randrange(8)
    if kind < 4:
        at = OP_AT + 4 * dice.randrange(9)
        made.page[at : at + 4] = dice.choice(WORDS).to_bytes(4, "little")
    elif kind == 4:
        at = dice.randrange(0, 600)
        made.page[at : at + 16] = dice.randbytes(16)
    elif kind == 5:
        made.fill("read", 0, dice.randrange(0, 256, 4))
        made.set_flags(ACTIVE)
    elif kind == 6:
        made.clear_flags(dice.randrange(1 << 32))
    else:
        made.set_flags(dice.choice((ACTIVE, 4, 7, dice.randrange(1 << 32))))


def main(devid: str, seconds: str, seed: str) -> None:
    store, dice, own = Store(), random.Random(int(seed)), f"device/pci/{devid}"
    made = Connection()
    store.write_all({f"{own}/pci-op-ref": made.ref, f"{own}/event-channel": made.port, f"{own}/magic": "7"})
    store.write(f"{own}/state", 3)
    report = {"page": 0, "rung": 0, "store": 0, "refused": 0, "connected": 0}
    backend = store.read(f"{own}/backend")
    report["connected"] = int(store.wait(f"{backend}/state", ("4",), 5)[0] == "4")
    end = time.monotonic() + float(seconds)
    # The first half leaves the store alone: most of what it says there ends the connection, and the page with it.
    half = end - float(seconds) / 2
    while (now := time.monotonic()) < end:
        for _ in range(32):
            rewrite(made, dice)
        report["page"] += 32
        made.kick()
        report["rung"] += 1
        if now > half:
            key = dice.choice(("state", "state", "state", "pci-op-ref", "event-channel", "magic"))
            text = dice.choice(STATES) if key == "state" else str(dice.choice(WORDS))
            try:
                store.write(f"{own}/{key}", text)
                report["store"] += 1
            except Refused:
                report["refused"] += 1
    store.write("data/hostile-say", json.dumps(report))


if __name__ == "__main__":
    main(*sys.argv[1:])
