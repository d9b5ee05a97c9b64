# SPDX-License-Identifier: Apache-2.0
"""What a table must be, given what is known at each place.

Two rows of one place and event that can both be taken are an order that nobody wrote down; none that can be taken is an
event that is lost. A pair that is neither in the table nor ignored must be impossible: the event is not offered there, or
it is an answer and nobody asked. A decision, or a condition that lasts until somebody looks, cannot be lost.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from itertools import combinations
from typing import Final

import z3

from pvpci.model.kernel.records import GO, Event
from pvpci.model.kernel.systems import System, flags_of
from pvpci.model.kernel.tables import Machine, Row
from pvpci.model.kernel.terms import Flag, Var
from pvpci.proofs.induction import TIMEOUT
from pvpci.proofs.report import Obligation, Verdict
from pvpci.proofs.translate import Formula, Translator, new_solver, satisfiable

LINT: Final = "lint"
DISJOINT, COMPLETE, LIVE, ANSWERED, ASKED, WRITTEN, READ = (
    "guards_are_disjoint",
    "guards_are_complete",
    "no_row_is_contradicted",
    "every_pair_is_judged",
    "answers_are_awaited_where_they_were_asked_for",
    "every_variable_is_written",
    "every_variable_is_read",
)


class Linter:
    """The lints of one machine, in the context of what a system knows."""

    def __init__(self, system: System, machine: Machine, *, timeout: int = TIMEOUT) -> None:
        self.system, self.machine, self.witness = system, machine, ""
        self.replies = {ask.effect.answer for row in machine.table for ask in row.asks} - {None}
        self.translator = Translator()
        self.solver: Formula = new_solver(timeout)
        self.solver.add(self.translator.ranges(system.variables))
        self.solver.add([self.translator.formula(flag) for flag in system.lemmas.values()])
        parameters = [var for event in machine.events for var in event.parameters.values()]
        self.solver.add(self.translator.ranges(parameters))
        loose = {v for row in machine.table for v in row.when.variables() if v.cell in system.hostile}
        self.solver.add(self.translator.ranges(loose))

    def obligations(self, pairs: Iterable[tuple[Enum, type[Event]]] | None = None) -> Iterator[Obligation]:
        """All lints of the table, or only those of some pairs of place and event."""
        chosen = self.machine.pairs if pairs is None else dict.fromkeys(pairs)
        for place, event in chosen:
            rows = self.machine.pairs.get((place, event), ())
            yield from self.disjoint(place, event, rows)
            yield from self.live(place, event, rows)
            if rows:
                yield self.complete(place, event, rows)
        if pairs is None:
            yield from self.unlisted()
            yield from (self.answers(self.machine, row) for row in self.machine.table)

    def disjoint(self, place: Enum, event: type[Event], rows: Sequence[Row]) -> Iterator[Obligation]:
        if len(rows) == 1:
            yield self._made(DISJOINT, f"{place.name} on {event.__name__}", time.perf_counter(), False, "")
        for one, two in combinations(rows, 2):
            began = time.perf_counter()
            both = self._possible(self._here(place), event.offered, one.when, two.when)
            what = f"{one.key} and {two.key} can both be taken"
            yield self._made(DISJOINT, f"{one.key}, {two.key} on {event.__name__}", began, both, what)

    def live(self, place: Enum, event: type[Event], rows: Sequence[Row]) -> Iterator[Obligation]:
        for row in rows:
            began = time.perf_counter()
            can = self._possible(self._here(place), event.offered, row.when)
            dead = None if can is None else not can
            yield self._made(LIVE, row.key, began, dead, "a dead row: what is known contradicts its guard")

    def complete(self, place: Enum, event: type[Event], rows: Sequence[Row]) -> Obligation:
        began = time.perf_counter()
        gap = self._possible(self._here(place), event.offered, *(~row.when for row in rows))
        row = f"{place.name} on {event.__name__}"
        return self._made(COMPLETE, row, began, gap, f"no row takes {event.__name__} at {place.name} then")

    def unlisted(self) -> Iterator[Obligation]:
        """Pairs that stand neither in the table nor among the ignored: shown to be impossible, or a gap."""
        listed = {*self.machine.pairs, *((one.source, one.event) for one in self.machine.ignored)}
        for event in self.machine.events:
            for place in self.machine.places:
                if (place, event) in listed:
                    continue
                began = time.perf_counter()
                gap = self._can_come(place, event)
                what = f"{event.__name__} can come at {place.name}, which neither has a row for it nor ignores it"
                yield self._made(ANSWERED, f"{place.name} on {event.__name__}", began, gap, what)

    def _can_come(self, place: Enum, event: type[Event]) -> bool | None:
        if event is GO:
            return self._is_stuck(place)
        asked = [row for row in self.machine.table for ask in row.asks if ask.effect.answer is event]
        if asked and not any(row.next is place for row in asked):
            return False
        if not asked and not event.takes:
            return False  # a decision, or a condition that lasts: nothing is lost where the table does not look
        return self._possible(self._here(place), event.offered)

    def answers(self, machine: Machine, row: Row) -> Obligation:
        """Where the row leads, exactly the answers are awaited that it asked for, or that were awaited before it."""
        began = time.perf_counter()
        self.witness = ""
        asked = {ask.effect.answer for ask in row.asks if ask.effect.answer is not None}
        awaited = {one.event for one in machine.table if one.source is row.next} & self.replies
        before = {one.event for one in machine.table if one.source is row.source} & self.replies - {row.event}
        ignored = {one.event for one in machine.ignored if one.source is row.next}
        never, lost = awaited - asked - before, asked - awaited - ignored
        what = [f"{event.__name__} is awaited at {row.next.name}, but nobody asked for it" for event in never]
        what += [f"{event.__name__} was asked for, but {row.next.name} does not take it" for event in lost]
        return self._made(ASKED, row.key, began, bool(what), "; ".join(sorted(what)))

    def _is_stuck(self, place: Enum) -> bool:
        """No step of its own, no answer that it waits for, and no rest either."""
        return place not in self.machine.resting and not any(source is place for source, _ in self.machine.pairs)

    def _here(self, place: Enum) -> Flag:
        return self.machine.at == place

    def _possible(self, *flags: Flag) -> bool | None:
        self.solver.push()
        self.solver.add([self.translator.formula(flag) for flag in flags])
        found = satisfiable(self.solver)
        self.witness = self._text(flags) if found else ""
        self.solver.pop()
        return found

    def _text(self, flags: Sequence[Flag]) -> str:
        model = self.solver.model()
        names = {v.name for flag in flags for v in self.translator.variables(flag)}
        return ", ".join(f"{d.name()} = {model[d]}" for d in sorted(model.decls(), key=str) if d.name() in names)

    def _made(self, title: str, row: str, began: float, bad: bool | None, what: str) -> Obligation:
        verdict: Verdict = "unknown" if bad is None else "violated" if bad else "proved"
        detail = "" if bad is False else "the solver gave up" if bad is None else what
        if bad and self.witness:
            detail += f": {self.witness}"
        seconds = time.perf_counter() - began
        return Obligation(self.system.name, self.machine.name, title, title, row, verdict, LINT, seconds, detail)


def unwritten_and_unread(system: System) -> tuple[set[Var], set[Var]]:
    """State that no step changes, and state that no guard, value, effect or property looks at."""
    actions = system.actions
    written = {var for action in actions for var in action.updates}
    seen = {v.primed or v for flag in system.lemmas.values() for v in flag.variables()}
    seen |= {v.primed or v for claim in system.claims for flag in flags_of(claim) for v in flag.variables()}
    used: set[Var] = set()
    for action in actions:
        used |= action.reads | set(action.parameters)
        if action.row is not None:
            used |= action.row.reads
    state = {v for v in written | seen | used if v.cell not in system.hostile}
    parameters = {v for action in actions for v in action.parameters}
    started = {update.var for update in (*system.start, *(u for m in system.machines for u in m.start))}
    return state - written - parameters - started, state - used - seen


def variables(systems: Sequence[System]) -> Iterator[Obligation]:
    """A variable of a machine that is written, and one that is read, in at least one of the systems that have it."""
    verdicts: dict[tuple[str, str], bool] = {}
    owners: dict[str, tuple[System, str]] = {}
    for system in systems:
        never, ignored = unwritten_and_unread(system)
        for machine in system.machines:
            for var in (v for record in machine.records for v in record.variables):
                owners.setdefault(var.name, (system, machine.name))
                fixed = var.cell in system.hostile
                for lint, bad in ((WRITTEN, never), (READ, ignored)):
                    key = (lint, var.name)
                    verdicts[key] = (
                        verdicts.get(key, False) or fixed or (var not in bad and var in set(system.variables))
                    )
    for (lint, name), good in verdicts.items():
        system, machine_name = owners[name]
        what = "" if good else f"no step of any system {'writes' if lint == WRITTEN else 'or property reads'} {name}"
        yield Obligation(system.name, machine_name, lint, lint, name, "proved" if good else "violated", LINT, 0.0, what)


def contradiction(system: System) -> bool | None:
    """What is known cannot all be true at once; None if the solver gave up."""
    solver = new_solver(TIMEOUT)
    translator = Translator()
    solver.add(
        z3.And(
            [*translator.ranges(system.variables), *map(translator.formula, system.lemmas.values()), z3.BoolVal(True)]
        )
    )
    found = satisfiable(solver)
    return None if found is None else not found
