# SPDX-License-Identifier: Apache-2.0
"""Requests about message interrupts as a frontend makes them: one, or without pause while a function comes or goes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

from tests.rig.frontend.page import Connection
from tests.rig.frontend.store import Store

#: What a frontend answers when its backend says that functions come or go, and when that is done.
REPLIES: Final = {"7": "7", "8": "4"}
DONE: Final = "4"
#: How long it goes on when the change is over, in seconds.
AFTERWARDS: Final = 0.3
NO_ANSWER: Final = None


def interrupt(
    made: Connection, command: str, devfn: int, entries: Sequence[int], count: int | None
) -> tuple[int | None, int, list[int]]:
    """err, value, and what then stands in the list of vectors. `count`: what is said to be in the list, if that differs."""
    made.fill_entries(entries)
    given = made.ask(command, devfn, 0, 4, len(entries) if count is None else count)
    return (NO_ANSWER, 0, []) if given is None else (*given, made.vectors(len(entries)))


def storm(made: Connection, nodes: tuple[str, str], devfn: int | None, limit: float) -> dict[str, Any]:
    """Enable MSI, disable it if that worked, and again; nothing at all if `devfn` is None.

    `nodes` are the frontend's state and the backend's: where the backend says that functions come or go, the frontend plays
    its part in that. It ends a little after the backend is connected again, or after `limit` seconds. In what is returned,
    `runs` has for each run of equal answers the error, how many, and the milliseconds at which it began.
    """
    own, backend = nodes
    # A client of its own, with a watch: while the store is slow it must go on asking the backend.
    store = Store()
    started = time.monotonic()
    end = started + limit
    runs: list[list[int | None]] = []
    pirqs: set[int] = set()
    states = [DONE]
    store.watch(backend)
    while time.monotonic() < end:
        if devfn is None:
            time.sleep(0.01)
        else:
            given = made.ask("enable_msi", devfn)
            err = given[0] if given else NO_ANSWER
            if runs and runs[-1][0] == err:
                runs[-1][1] = (runs[-1][1] or 0) + 1
            else:
                runs.append([err, 1, round(1000 * (time.monotonic() - started))])
            if given and err == 0:
                pirqs.add(given[1])
                made.ask("disable_msi", devfn)
        if store.changed(0) is None:
            continue
        state = store.read(backend) or "gone"
        if state != states[-1]:
            states.append(state)
            if state in REPLIES:
                store.write(own, REPLIES[state])
            if state == DONE:
                end = min(end, time.monotonic() + AFTERWARDS)
    store.close()
    return {"runs": runs, "pirqs": sorted(pirqs), "states": states}
