# SPDX-License-Identifier: Apache-2.0
"""Automatic mutation of rows: would anybody notice?

Each row is changed in every small way that a mistake would: a conjunct of its guard forgotten, an update or an effect lost,
another destination. Each mutant is judged by the cheapest means first: the checks of the table itself, the lints, what holds
by construction, induction over the changed step alone, then search with the promises. What nothing notices is *left*: either
harmless, or a property that is missing. Left mutants are a list to think about, not a failure.

A mutant that breaks a lemma counts as noticed, because the proofs do not go through any more; whether it is a bug is
another question, which dialects answer.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Final

from pvpci.model.kernel.claims import Always, ByConstruction, Claim, EachStep, LeadsTo
from pvpci.model.kernel.systems import Action, System
from pvpci.model.kernel.tables import Machine, Row, TableError
from pvpci.model.kernel.terms import ALWAYS, Flag, all_of
from pvpci.model.kernel.words import show, show_update
from pvpci.proofs.induction import KNOWN, Induction
from pvpci.proofs.judge import by_construction, is_searched
from pvpci.proofs.lints import ASKED, Linter
from pvpci.proofs.progress import Graph, broken_promise
from pvpci.proofs.report import Obligation
from pvpci.proofs.search import explore, slice_of

SEARCHED: Final = 400_000  #: states; a mutant that needs more to be noticed is left
DESTINATIONS: Final = 2  #: other places that each row is sent to


@dataclass(frozen=True, eq=False)
class Mutant:
    """One row of a machine, changed."""

    machine: Machine
    row: Row  #: as it was
    kind: str
    what: str
    changed: Row


@dataclass(frozen=True)
class Outcome:
    machine: str
    row: str
    kind: str
    what: str
    means: str  #: how it was noticed; empty if it is left
    by: str  #: which property, lemma or lint
    seconds: float


@dataclass(frozen=True)
class Mutations:
    outcomes: tuple[Outcome, ...]
    seconds: float

    def __add__(self, other: Mutations) -> Mutations:
        return Mutations((*self.outcomes, *other.outcomes), self.seconds + other.seconds)

    @property
    def left(self) -> tuple[Outcome, ...]:
        return tuple(one for one in self.outcomes if not one.means)

    def text_json(self) -> str:
        counts = Counter(one.means or "left" for one in self.outcomes)
        data = {"mutants": [vars(one) for one in self.outcomes], "counts": counts, "seconds": round(self.seconds, 3)}
        return json.dumps(data, ensure_ascii=False, indent=1)

    def lines(self) -> Iterator[str]:
        for one in self.outcomes:
            yield f"{one.machine} {one.row}: {one.what}: " + (
                f"noticed by {one.by} ({one.means})" if one.means else "LEFT"
            )
        counts = Counter(one.means for one in self.outcomes if one.means)
        yield ""
        yield ", ".join(f"{number} by {means}" for means, number in counts.most_common()) or "nothing was noticed"
        yield f"{len(self.outcomes)} mutants, {len(self.left)} left, {self.seconds:.1f} s"


def mutants(machine: Machine) -> Iterator[Mutant]:
    """Every small change of every row, in the order of the table."""
    for row in machine.table:
        for conjunct, others in _without_one(_conjuncts(row.when)):
            yield Mutant(machine, row, "guard", f"no longer asks {show(conjunct)}", replace(row, when=all_of(others)))
        for lost in row.then:
            then = tuple(update for update in row.then if update is not lost)
            yield Mutant(machine, row, "update", f"loses {show_update(lost)}", replace(row, then=then))
        for ask in row.asks:
            asks = tuple(one for one in row.asks if one is not ask)
            yield Mutant(machine, row, "effect", f"loses {ask!r}", replace(row, asks=asks))
        for place in _elsewhere(machine, row):
            yield Mutant(machine, row, "destination", f"leads to {place.name}", replace(row, next=place))


def _conjuncts(flag: Flag) -> list[Flag]:
    if flag.op == "and":
        return [*_conjuncts(flag.args[0]), *_conjuncts(flag.args[1])]  # type: ignore[arg-type]
    return [] if flag is ALWAYS else [flag]


def _without_one(flags: Sequence[Flag]) -> Iterator[tuple[Flag, list[Flag]]]:
    for index, flag in enumerate(flags):
        yield flag, [*flags[:index], *flags[index + 1 :]]


def _elsewhere(machine: Machine, row: Row) -> Sequence[Any]:
    """Where its neighbours lead, where it came from, and where the way goes on: mistakes that a hand makes."""
    near = [one.next for one in machine.table if one.source is row.source]
    on = [one.next for one in machine.table if one.source is row.next]
    return [place for place in dict.fromkeys(chain(near, on, [row.source])) if place is not row.next][:DESTINATIONS]


class Judge:
    """Judges mutants of one machine in the systems that contain it; the reference is translated once for each."""

    def __init__(self, systems: Sequence[System], machine: Machine) -> None:
        self.machine = machine
        mine = [system for system in systems if any(one is machine for one in system.machines)]
        self.proved = [Induction(system) for system in mine if not is_searched(system)][:1]
        self.searched = [system for system in mine if is_searched(system)]
        context = max(mine, key=lambda system: len(system.lemmas))
        self.linter = Linter(context, machine)
        self.already = {one.row + one.title for one in self._lint(machine, list(machine.pairs))}
        self.known = [
            (system, found) for system in self.searched if (found := _search(system, everything=True)) is not None
        ]

    def judge(self, mutant: Mutant) -> Outcome:
        began = time.perf_counter()
        means, by = self._noticed(mutant)
        seconds = time.perf_counter() - began
        return Outcome(self.machine.name, mutant.row.key, mutant.kind, mutant.what, means, by, seconds)

    def _noticed(self, mutant: Mutant) -> tuple[str, str]:
        try:
            changed = _with(self.machine, mutant.row, mutant.changed)
            systems = [self._system(engine.system, changed) for engine in self.proved]
            actions = [_action(system, changed, mutant) for system in systems]
        except TableError as error:
            return "table", str(error)
        row = changed.table[self.machine.table.index(mutant.row)]
        if self.linter.answers(changed, row).verdict != "proved":
            return "lint", ASKED
        for one in self._lint(changed, [(mutant.row.source, mutant.row.event)]):
            if one.row + one.title not in self.already:
                return "lint", one.title
        for engine, system, action in zip(self.proved, systems, actions, strict=True):
            claims = system.claims
            for claim in claims:
                if isinstance(claim, ByConstruction) and (found := _violated(by_construction(system, claim))):
                    return "construction", f"{found.property} {found.title}"
            shaped = [claim for claim in claims if isinstance(claim, Always | EachStep)]
            if found := _violated(engine.obligations(shaped, [action])):
                kind = "lemma" if any(found.title == lemma.name for lemma in engine.lemmas) else "induction"
                return kind, found.title if kind == "lemma" else f"{found.property} {found.title}"
        for reference, known in self.known:
            for name in _search(self._system(reference, changed), everything=bool(known)) or ():
                if name not in known:
                    return "search", name
        return "", ""

    def _lint(self, machine: Machine, pairs: Sequence[tuple[Any, Any]]) -> list[Obligation]:
        found: list[Obligation] = []
        for place, event in pairs:
            rows = machine.pairs.get((place, event), ())
            found += [*self.linter.disjoint(place, event, rows), *self.linter.live(place, event, rows)]
            found += [self.linter.complete(place, event, rows)] if rows else []
        return [one for one in found if one.verdict != "proved"]

    def _system(self, system: System, changed: Machine) -> System:
        return replace(system, machines=tuple(changed if m is self.machine else m for m in system.machines))


def _title(claim: Claim) -> str:
    return f"{claim.id} {claim.name}"


def _search(system: System, *, everything: bool) -> list[str] | None:
    """Titles of what is violated, `everything` or the first; None if the search was cut short without a finding."""
    claims = [claim for claim in system.claims if not isinstance(claim, ByConstruction)]
    promises = [claim for claim in claims if isinstance(claim, LeadsTo)]
    view = slice_of(system, claims, cone=not promises)
    explored = explore(view, claims, limit=SEARCHED, first=not everything, edges=bool(promises))
    found = [_title(claim) for claim in explored.violations]
    if not explored.complete:
        return found or None
    if promises and (everything or not found):
        graph = Graph.of(explored)
        for promise in promises:
            if broken_promise(graph, promise) is not None:
                found.append(_title(promise))
                if not everything:
                    break
    return found


def _with(machine: Machine, row: Row, changed: Row) -> Machine:
    try:
        return machine.with_table(lambda one: changed if one is row else one)
    except TableError as error:
        if "need a name" not in str(error):
            raise
        return machine.with_table(lambda one: replace(changed, name=f"{changed.name}, changed") if one is row else one)


def _action(system: System, changed: Machine, mutant: Mutant) -> Action:
    number = mutant.machine.table.index(mutant.row)
    return next(
        action for action in system.actions if action.machine is changed and action.row is changed.table[number]
    )


def _violated(obligations: Iterator[Obligation]) -> Obligation | None:
    return next((one for one in obligations if one.verdict != "proved"), None)


def mutations(systems: Sequence[System], machines: Sequence[str] = ()) -> Mutations:
    """All mutants of all machines of the systems (or of the named ones), judged."""
    began = time.perf_counter()
    found: dict[str, Machine] = {}
    for system in systems:
        for machine in system.machines:
            found.setdefault(machine.name, machine)
    outcomes = []
    for name, machine in found.items():
        if not machines or name in machines:
            judge = Judge(systems, machine)
            outcomes += [judge.judge(mutant) for mutant in mutants(machine)]
    return Mutations(tuple(outcomes), time.perf_counter() - began)


__all__ = ["KNOWN", "Judge", "Mutant", "Mutations", "Outcome", "mutants", "mutations"]
