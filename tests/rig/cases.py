# SPDX-License-Identifier: Apache-2.0
"""Situations in which today's backends differ from the rules, played by the scripted frontend.

Each case says what a backend that keeps the rule does (`reference`) and what Linux 6.1's xen-pciback was seen to do
(`linux`); where the two are equal, the case is there because it is easy to get wrong. `play` returns at least these
keys and may return more, for people.

Runs in dom0, where nothing but the standard library is needed: ``python3 -m tests.rig.cases DOMID [CASE ...]`` prints
one JSON line a case. The guest DOMID must run the scripted frontend; any backend may serve it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from tests.rig.dom0.toolstack import Stage

Outcome = dict[str, Any]

E1000E: Final = "0000:00:05.0"
EDU: Final = "0000:00:07.0"
RTL8139: Final = "0000:00:08.0"
COMMAND: Final = 4


@dataclass(frozen=True)
class Case:
    name: str
    rule: str
    play: Callable[[Stage], Outcome]
    reference: Outcome
    linux: Outcome


def frontend_says_connected(stage: Stage) -> Outcome:
    it = stage.instance(EDU)
    out: Outcome = {"4 at 3": it.do(("state", 4), ("stays", 0.7))[1][-1]}
    it.do(("make",), ("publish",), ("state", 3), ("wait", "4"))
    out["served afterwards"] = it.one("ask", "read") is not None
    it.do(("state", 6), ("wait", "6"))
    out["4 at 6"] = it.do(("state", 4), ("stays", 0.7))[1][-1]
    out["5, then 4"] = it.do(("state", 5), ("stays", 0.7), ("state", 4), ("stays", 0.7))[3][-1]
    return out


def offset_out_of_range(stage: Stage) -> Outcome:
    it = stage.instance(E1000E)
    it.one("connect")
    before = it.one("ask", "read", 0, COMMAND, 2)[1]
    # Now what the guest sees of COMMAND differs from what the function has.
    it.one("ask", "write", 0, COMMAND, 2, before ^ 0x40)
    below, beyond, seen = it.do(
        ("ask", "read", 0, COMMAND - 256, 2), ("ask", "read", 0, 4096, 4), ("ask", "read", 0, COMMAND, 2)
    )
    it.one("ask", "write", 0, COMMAND, 2, before)
    past = below[0] == 0 and below[1] != seen[1]
    return {"offset -252": below[0], "offset 4096": beyond[0], "past the overlay": past}


def command_of_the_last_guest(stage: Stage) -> Outcome:
    first = stage.instance(E1000E)
    first.one("connect")
    before = first.one("ask", "read", 0, COMMAND, 2)[1]
    first.one("ask", "write", 0, COMMAND, 2, before ^ 0x440)
    left = first.one("ask", "read", 0, COMMAND, 2)[1]
    stage.clear()
    second = stage.instance(E1000E)
    second.one("connect")
    found = second.one("ask", "read", 0, COMMAND, 2)[1]
    if found == left:
        second.one("ask", "write", 0, COMMAND, 2, before)
    return {"inherited": found == left != before, "before": hex(before), "left": hex(left), "found": hex(found)}


def request_overtakes_a_slow_one(stage: Stage) -> Outcome:
    it = stage.instance(E1000E)
    it.one("connect")
    # Linux answers a read of one byte with two where its own table has a field of two.
    at = it.one("ask", "read", 0, 0x34, 1)[1] & 0xFF
    while at and it.one("ask", "read", 0, at, 1)[1] & 0xFF != 1:
        at = it.one("ask", "read", 0, at + 1, 1)[1] & 0xFF
    seen = it.one("overtake", at + 4, 24)
    # RB-7 cannot close the few steps between the last look and the clearing of the flag. This guest withdraws after
    # milliseconds and may hit them once; one that waits its two seconds cannot. Linux has the whole dispatch open.
    return {"wrong answers": seen["mixed"] > seen["attempts"] // 8, "unanswered": seen["lost"], **seen}


def keys_of_two_generations(stage: Stage) -> Outcome:
    def attempt(later: int) -> list[list[int]] | None:
        """Which page is served with which port; None if the keys did not change as they should."""
        it = stage.instance(EDU)
        # A fresh channel rings once by itself: the pause keeps that ring out of what is seen.
        steps = (("make",), ("make",), ("publish", 0), ("swap", later), ("wait", "4", "5"), ("pause", 0.2), ("pairs",))
        *_, swapped, _own, _, pairs = it.do(*steps)
        sound = swapped == ["OK", "OK"] and stage.store.read(f"{it.frontend}/state") == "3"
        stage.clear(0.4)
        return pairs if sound else None

    # First where the backend reads the keys, then again and again around that.
    found = [(later, attempt(later)) for later in range(0, 16, 2)]
    edge = next((later for later, pairs in found if pairs == [[0, 0]]), 6)
    found += [(later, attempt(later)) for later in [*range(max(0, edge - 3), edge + 1)] * 4]
    counted = [pairs for _, pairs in found if pairs is not None]
    # One attach has one page and one port. A ring that the backend holds back may be answered while the next pair is tried,
    # so a pair of two generations counts only where no pair of one was served.
    torn = sum(bool(pairs) and all(page != port for page, port in pairs) for pairs in counted)
    return {
        "torn": torn > 0,
        "unserved": sum(not pairs for pairs in counted),
        "times": f"{torn} of {len(counted)}",
    }


def state_written_over_by_the_toolstack(stage: Stage) -> Outcome:
    it = stage.instance(EDU)
    it.one("connect")
    it.write("state", 7)
    out: Outcome = {"7, then 4 again": it.do(("state", 4), ("stays", 0.7))[1][-1]}
    it.do(("state", 7), ("wait", "8"))
    it.write("state", 7)
    out["7 over 8, then 7 again"] = it.do(("state", 7), ("wait", "8", {"limit": 2.0}))[1]
    out["then 4"] = it.do(("state", 4), ("wait", "4", {"limit": 2.0}))[1]
    out["served"] = it.one("ask", "read") is not None
    return out


def state_that_is_no_number(stage: Stage) -> Outcome:
    it = stage.instance(EDU)
    it.one("connect")
    own = it.do(("state", "abc"), ("stays", 1.5))[1][-1]
    return {"own": own, "served": it.one("ask", "read", {"limit": 1.0}) is not None}


def closed_and_back(stage: Stage) -> Outcome:
    it = stage.instance(EDU)
    it.one("connect")
    closed = it.do(("state", 6), ("wait", "6"))[1]
    back = it.do(("state", 1), ("wait", "3", "5", {"limit": 3.0}))[1]
    again = it.one("connect") if back == "3" else None
    return {
        "closed": closed,
        "back": back,
        "served again": again == "4" and it.one("ask", "read") is not None,
    }


def node_removed_while_connected(stage: Stage) -> Outcome:
    it = stage.instance(EDU)
    it.one("connect")
    it.remove()
    time.sleep(1.0)
    out = {"served": it.one("ask", "read", {"limit": 1.0}) is not None, "node": it.read("state")}
    second = stage.instance(EDU)
    return out | {"next one": second.one("connect"), "next one served": second.one("ask", "read") is not None}


def one_doorbell_for_many(stage: Stage) -> Outcome:
    it = stage.instance(RTL8139)
    it.one("connect")
    # On one processor the guest must run before the backend looks again, or it never finds a second request.
    weigh = f"xl sched-credit2 -s -r 0 && xl sched-credit2 -d {stage.domid} -w 65535"
    rest = f"xl sched-credit2 -s -r 1000; xl sched-credit2 -d {stage.domid} -w 256"
    subprocess.run(weigh, shell=True, check=True, capture_output=True)
    try:
        seen: Outcome = it.one("chain", 300)
    finally:
        subprocess.run(rest, shell=True, check=False, capture_output=True)
    return seen | {"fewer doorbells": seen["rung"] < seen["answered"]}


CASES: Final = (
    Case(
        "R05",
        "RB-1: frontend state 4 acts only on an attached page; it cannot bring the backend to Connected by itself",
        frontend_says_connected,
        {"4 at 3": "3", "served afterwards": True, "4 at 6": "6", "5, then 4": "6"},
        {"4 at 3": "4", "served afterwards": False, "4 at 6": "4", "5, then 4": "4"},
    ),
    Case(
        "R10",
        "RB-8: an offset outside of configuration space is refused with -2, before any overlay is looked up",
        offset_out_of_range,
        {"offset -252": -2, "offset 4096": -2, "past the overlay": False},
        {"offset -252": 0, "offset 4096": -22, "past the overlay": True},
    ),
    Case(
        "R11",
        "RB-11: what one guest left in its COMMAND is not seen by the next",
        command_of_the_last_guest,
        {"inherited": False},
        {"inherited": True},
    ),
    Case(
        "R15",
        "RB-7: an answer is dropped if its request was withdrawn; a later request gets its own answer",
        request_overtakes_a_slow_one,
        {"wrong answers": False, "unanswered": 0},
        {"wrong answers": True, "unanswered": 0},
    ),
    Case(
        "R25",
        "RB-2: page and port that are attached come from one generation of keys",
        keys_of_two_generations,
        {"torn": False, "unserved": 0},
        {"torn": True, "unserved": 0},
    ),
    Case(
        "R28",
        "RB-3: the stored state decides, also when the toolstack writes over what the backend wrote last",
        state_written_over_by_the_toolstack,
        {"7, then 4 again": "7", "7 over 8, then 7 again": "8", "then 4": "4", "served": True},
        {"7, then 4 again": "7", "7 over 8, then 7 again": "7", "then 4": "4", "served": True},
    ),
    Case(
        "no-number",
        "a frontend state that is no number changes nothing",
        state_that_is_no_number,
        {"own": "4", "served": True},
        {"own": "6", "served": False},
    ),
    Case(
        "closed-and-back",
        "RB-14: closed with online=1, a frontend that starts again at 1 is served again",
        closed_and_back,
        {"closed": "6", "back": "3", "served again": True},
        {"closed": "6", "back": "6", "served again": False},
    ),
    Case(
        "node-removed",
        "RB-19: removal of the backend's folder ends service and frees the function for the next",
        node_removed_while_connected,
        {"served": False, "node": None, "next one": "4", "next one served": True},
        {"served": False, "node": None, "next one": "4", "next one served": True},
    ),
    Case(
        "one-doorbell",
        "L-04: requests that come while one is served are found without another doorbell, each with its own answer",
        one_doorbell_for_many,
        {"answered": 300, "wrong": 0, "fewer doorbells": True},
        {"answered": 300, "wrong": 0, "fewer doorbells": True},
    ),
)


def main(domid: str, *names: str) -> None:
    stage = Stage(int(domid))
    for case in CASES:
        if names and case.name not in names:
            continue
        started = time.monotonic()
        line: Outcome = {"case": case.name}
        try:
            line["outcome"] = case.play(stage)
        except Exception:
            line["failed"] = traceback.format_exc(limit=-3)
        stage.clear()
        print(json.dumps(line | {"seconds": round(time.monotonic() - started, 1)}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
