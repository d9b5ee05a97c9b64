# SPDX-License-Identifier: Apache-2.0
"""Every row can be taken and every place entered: what cannot happen proves nothing, and is a mistake in the table.

A composition may leave rows unused, because the others in it behave. So a row is dead only if no system reaches it. Each
answer is a path that was run, not a formula that could be satisfied.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from pvpci.model.kernel.systems import System
from pvpci.model.kernel.tables import Row
from pvpci.proofs.bounded import reach as bounded_reach
from pvpci.proofs.counterexample import replay
from pvpci.proofs.report import Obligation, Verdict
from pvpci.proofs.search import Explored, explore, slice_of

REACHED: Final = "reached"
SHORT: Final = 60_000  #: states that are searched before the solver is asked
ROW, PLACE = "no_dead_rows", "every_place_is_entered"


@dataclass
class Reached:
    """By machine, the keys of rows that were taken, in how many steps, and the places that were entered."""

    rows: dict[tuple[str, str], int] = field(default_factory=dict)
    places: set[tuple[str, Enum]] = field(default_factory=set)
    met: set[tuple[str, str]] = field(default_factory=set)  #: claims about steps of which there are some

    def add(self, machine: str, key: str, steps: int, places: Iterable[Enum]) -> None:
        self.rows[machine, key] = min(steps, self.rows.get((machine, key), steps))
        self.places |= {(machine, place) for place in places}

    def merge(self, other: Reached) -> None:
        self.places |= other.places
        self.met |= other.met
        for pair, steps in other.rows.items():
            self.rows[pair] = min(steps, self.rows.get(pair, steps))


def note(result: Reached, explored: Explored) -> None:
    """Rows that a search took, each shown once by running the path again."""
    for number, step in sorted(explored.fired.items()):
        action = explored.space.actions[number]
        if action.machine is None or action.row is None or (action.machine.name, action.row.key) in result.rows:
            continue
        path = explored.path_through(step)
        replay(explored.view.system, path, ROW)
        result.add(action.machine.name, action.row.key, len(path), (action.row.source, action.row.next))


def reach(
    systems: Sequence[System],
    *,
    limit: int = 300_000,
    depth: int = 30,
    result: Reached | None = None,
    wanted: Collection[str] | None = None,
) -> Reached:
    """Search the systems until every row (of the `wanted` machines) was taken somewhere, the small systems first.

    What a short search does not find the solver looks for, at full width and up to `depth` steps, since samples may miss
    what a row asks for; then the search goes on to `limit` states.
    """
    result = result or Reached()
    ordered = sorted(systems, key=lambda system: len(system.actions))

    def searched(most: int) -> None:
        for system in ordered:
            if _left(system, result, wanted) and not (view := slice_of(system, ())).missing:
                note(result, explore(view, limit=most, until_fired=True))

    searched(SHORT)
    for system in ordered:
        if rows := _left(system, result, wanted):
            view = slice_of(system, ())
            missing = [action for action in view.actions if action.row in rows]
            for action, path in bounded_reach(view, missing, depth=depth).reached.items():
                if action.machine and action.row:
                    replay(system, path, ROW)
                    result.add(action.machine.name, action.row.key, len(path), (action.row.source, action.row.next))
    searched(limit)
    return result


def _left(system: System, result: Reached, wanted: Collection[str] | None) -> set[Row]:
    machines = [machine for machine in system.machines if wanted is None or machine.name in wanted]
    return {row for machine in machines for row in machine.table if (machine.name, row.key) not in result.rows}


def obligations(systems: Sequence[System], result: Reached, seconds: float = 0.0) -> list[Obligation]:
    """One for each row and each place of each machine that the systems contain."""
    made: list[Obligation] = []
    began = time.perf_counter()
    machines = {machine.name: machine for system in systems for machine in system.machines}
    for name, machine in machines.items():
        inside = [system.name for system in systems if any(one.name == name for one in system.machines)]
        for row in machine.table:
            steps = result.rows.get((name, row.key))
            verdict: Verdict = "violated" if steps is None else "proved"
            detail = (
                f"a dead row: no path was found to it in {', '.join(inside)}" if steps is None else f"in {steps} steps"
            )
            made.append(Obligation(inside[0], name, ROW, ROW, row.key, verdict, REACHED, 0.0, detail))
        entered = result.places | {(name, machine.places[0])}
        for place in machine.places:
            there = (name, place) in entered
            detail = "" if there else f"no path leads to it in {', '.join(inside)}"
            made.append(
                Obligation(
                    inside[0], name, PLACE, PLACE, place.name, "proved" if there else "violated", REACHED, 0.0, detail
                )
            )
    if made:
        share = (time.perf_counter() - began + seconds) / len(made)
        made = [Obligation(**{**vars(one), "seconds": share}) for one in made]
    return made
