# SPDX-License-Identifier: Apache-2.0
"""Plays programs of configuration requests through whoever serves the guest, and looks at the function afterwards.

Runs in dom0: ``python3 -S -m tests.rig.differential DOMID RUNS`` with RUNS a JSON list of :class:`Run`; prints one
JSON line, a :class:`Played`, for each. The guest DOMID must run the scripted frontend. Every run starts from the same
state of the function, in a pair of folders of its own.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Self

from tests.rig.dom0.function import Function
from tests.rig.dom0.toolstack import Stage, options
from tests.rig.frontend.operations import Answer, Operation, answers, batches, operations, pack
from tests.rig.programs import Target, program


@dataclass(frozen=True)
class Run:
    bdf: str
    name: str
    seed: int
    length: int
    permissive: bool = False
    interrupt_control: bool = False

    def target(self, image: bytes) -> Target:
        return Target(self.name, image, self.permissive, self.interrupt_control)


@dataclass(frozen=True)
class Played:
    """One program and what came of it.

    `before` is the function's configuration space as dom0 reads it; `states` are the bytes of it that have changed since,
    by offset, after every `BATCH` operations and at the end.
    """

    run: Run
    program: Sequence[Operation]
    answers: Sequence[Answer | None]
    before: bytes
    states: Sequence[Mapping[int, int]]
    seconds: float

    def line(self) -> str:
        played = {"program": pack(self.program), "answers": pack(self.answers), "seconds": self.seconds}
        states = [[*changed.items()] for changed in self.states]
        return json.dumps({"run": asdict(self.run), "before": self.before.hex(), "states": states} | played)

    @classmethod
    def of_line(cls, line: str) -> Self:
        found = json.loads(line)
        asked, given = operations(found["program"]), answers(found["answers"])
        states = [dict(changed) for changed in found["states"]]
        return cls(Run(**found["run"]), asked, given, bytes.fromhex(found["before"]), states, found["seconds"])


def changes(before: bytes, after: bytes) -> dict[int, int]:
    return {place: now for place, (then, now) in enumerate(zip(before, after, strict=True)) if now != then}


def play(stage: Stage, run: Run) -> Played:
    started = time.monotonic()
    function = Function(run.bdf)
    before = function.settle()
    made = program(run.seed, run.target(before), run.length)
    # This one ends with the driver, the other with the guest: so one is set before the guest comes, the other after.
    if run.permissive:
        function.allow("permissive")
    it = stage.instance(run.bdf, opts=options(run.permissive, run.interrupt_control))
    try:
        if run.interrupt_control:
            function.allow("allow_interrupt_control")
        it.one("connect")
        given, states = list[Answer | None](), list[Mapping[int, int]]()
        for part in batches(made):
            given += answers(it.one("play", pack(part)))
            states.append(changes(before, function.image()))
    finally:
        stage.clear(0)
        function.wait_until_free(stage.domid, it.devid)
    return Played(run, made, given, before, states, round(time.monotonic() - started, 1))


def main(domid: str, runs: str) -> int:
    stage = Stage(int(domid))
    for each in json.loads(runs):
        print(play(stage, Run(**each)).line(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
