# SPDX-License-Identifier: Apache-2.0
"""Proves the systems, or shows what breaks in a dialect: what `pvpci prove` does, for programs.

Everything that a system claims is judged, and besides: every table is disjoint and complete, every row can be taken, every
variable is used, and nothing is proved from a contradiction. `unknown` and time-outs count as failures, and so does a
property about which there was nothing to show.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from pvpci.model.config.bugs import ConfigDialect
from pvpci.model.kernel.algorithms import Algorithm, Variant
from pvpci.model.kernel.claims import Always, ByConstruction, Claim, EachStep, LeadsTo
from pvpci.model.kernel.dialects import Dialect
from pvpci.model.kernel.systems import System
from pvpci.proofs import algorithms, lints, reach
from pvpci.proofs.bounded import violation as bounded_violation
from pvpci.proofs.config import prove as configuration
from pvpci.proofs.config.prove import Configuration
from pvpci.proofs.judge import (
    Done,
    Task,
    by_construction,
    counterexample,
    identifier,
    is_searched,
    lemmas_of,
    of_graph,
    tasks,
    violated,
)
from pvpci.proofs.progress import Graph
from pvpci.proofs.report import Obligation, Report, Verdict, every_claim_has_one
from pvpci.proofs.search import explore, slice_of

#: how many states are searched for what a dialect breaks: few first, since most is found near the start
DIALECT_LIMITS: Final = (20_000, 150_000, 1_500_000)
DIALECT_DEPTH: Final = 24  #: steps that the solver looks ahead where a search found nothing


Subject = System | Algorithm | Configuration


class NotKnown(ValueError):
    """There is no such machine, system or property; the message lists what there is."""


def select(systems: Sequence[Subject], names: Iterable[str]) -> list[Subject]:
    """The systems with these names, or that contain machines with these names; all if none is given."""
    wanted = list(names)
    known = sorted({s.name for s in systems} | {m.name for s in systems for m in s.machines})
    for name in wanted:
        if name not in known:
            raise NotKnown(f"no system or machine {name!r}; known are {', '.join(known)}")
    if not wanted:
        return list(systems)
    by_name = {system.name for system in systems}
    return [
        system
        for system in systems
        if system.name in wanted or any(m.name in wanted and m.name not in by_name for m in system.machines)
    ]


def is_about(claim: Claim, property: str) -> bool:
    """The property is named by its identifier or its name, whatever the case."""
    return property.lower() in (claim.id.lower(), claim.name.lower())


def prove(
    systems: Sequence[Subject],
    *,
    among: Sequence[Subject] = (),
    property: str = "",
    smt2: Path | None = None,
    processes: int | None = None,
    tables: bool = True,
) -> Report:
    """Judge everything about the systems; with `property` only that, and the lemmas that it rests on.

    `among`: all the systems there are; a row that these do not reach may be reached there. `tables`: judge the tables too.
    """
    began = time.perf_counter()
    if property and not any(is_about(claim, property) for system in systems for claim in system.claims):
        known = ", ".join(sorted({claim.id for system in systems for claim in system.claims}))
        raise NotKnown(f"no property {property!r}; known are {known}")

    def wanted(claim: Claim) -> bool:
        return not property or is_about(claim, property)

    chosen = [system for system in systems if any(map(wanted, system.claims)) or not property]
    tabled, all_tabled = _systems(chosen), _systems(among or chosen)
    inductive = {m.name for s in _systems(among or systems) if not is_searched(s) for m in s.machines}
    jobs: list[Task] = []
    for system in chosen:
        if isinstance(system, System):
            jobs += tasks(system, wanted, smt2=smt2, elsewhere=inductive)
        elif isinstance(system, Configuration):
            jobs += configuration.tasks(system, wanted, among=chosen, smt2=smt2)
        else:
            jobs += [partial(_unreached, task) for task in algorithms.tasks(system, wanted)]
    if tables and not property:
        jobs += [_linting(system, name) for name, system in _contexts(tabled).items()]
        if tabled:
            jobs.append(lambda: (list(lints.variables(all_tabled)), reach.Reached()))
    obligations: list[Obligation] = []
    reached = reach.Reached()
    for found, more in side_by_side(jobs, processes):
        obligations += found
        reached.merge(more)
    for system in chosen:
        mine = [one for one in obligations if one.system == system.name]
        obligations += every_claim_has_one(
            mine, system.name, [(identifier(c), c.name) for c in system.claims if wanted(c)]
        )
    if tables and not property:
        start = time.perf_counter()
        others = [system for system in _systems(among) if system not in tabled]
        reach.reach([*tabled, *others], result=reached, wanted={m.name for s in tabled for m in s.machines})
        obligations += reach.obligations(tabled, reached, time.perf_counter() - start)
        if set(chosen) >= set(among):
            obligations += _spoken(tabled, reached)
    return Report(tuple(obligations), time.perf_counter() - began)


def _systems(subjects: Iterable[Subject]) -> list[System]:
    return [one for one in subjects if isinstance(one, System)]


def _unreached(task: Callable[[], list[Obligation]]) -> Done:
    return task(), reach.Reached()


SPEAKS: Final = "some_step_is_one_that_it_speaks_of"


def _spoken(systems: Sequence[System], reached: reach.Reached) -> Iterator[Obligation]:
    """A claim about steps of which there are none, in any system, is true of nothing."""
    claims = {
        (identifier(claim), claim.name): system
        for system in systems
        for claim in system.claims
        if isinstance(claim, EachStep)
    }
    for pair, system in claims.items():
        met = pair in reached.met
        detail = "" if met else f"no step of any system is one that {pair[1]} ({pair[0]}) speaks of"
        verdict: Verdict = "proved" if met else "violated"
        yield Obligation(
            system.name, system.name, SPEAKS, SPEAKS, f"{pair[0]} {pair[1]}", verdict, reach.REACHED, 0.0, detail
        )


def _contexts(systems: Sequence[System]) -> dict[str, System]:
    """For each machine the system that says most of what is known when its table is looked at."""
    found: dict[str, System] = {}
    for system in systems:
        for machine in system.machines:
            if machine.name not in found or len(system.lemmas) > len(found[machine.name].lemmas):
                found[machine.name] = system
    return found


def _linting(system: System, machine: str) -> Task:
    return lambda: (list(lints.Linter(system, system.machine(machine)).obligations()), reach.Reached())


_jobs: list[Task] = []


def _job(number: int) -> Done:
    return _jobs[number]()


def side_by_side(jobs: Sequence[Task], processes: int | None = None) -> Iterable[Done]:
    """The jobs side by side, in forked processes: terms are compared by identity, so they cannot be sent anywhere."""
    count = min(processes or os.cpu_count() or 1, len(jobs))
    if count < 2 or "fork" not in multiprocessing.get_all_start_methods():
        return [job() for job in jobs]
    global _jobs
    _jobs = list(jobs)
    try:
        with ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("fork")) as pool:
            return list(pool.map(_job, range(len(jobs))))
    finally:
        _jobs = []


def break_dialect(systems: Sequence[Subject], dialect: Dialect | Variant | ConfigDialect) -> Report:
    """For each property that the dialect is said to break the shortest violation; `unknown` if there is none."""
    began = time.perf_counter()
    if isinstance(dialect, ConfigDialect):
        return Report(tuple(configuration.broken(dialect)), time.perf_counter() - began)
    if isinstance(dialect, Variant):
        return Report(tuple(_broken_algorithm(dialect, name) for name in dialect.breaks), time.perf_counter() - began)
    names = [dialect.system] if dialect.system else [dialect.machine]
    chosen = _systems(select(systems, names))
    changed = [dialect.system_of(s) for s in chosen if any(m.name == dialect.machine for m in s.machines)]
    if not changed:
        raise NotKnown(f"dialect {dialect.id}: no system {dialect.system!r} contains {dialect.machine}")
    return Report(tuple(_broken(changed, dialect, name) for name in dialect.breaks), time.perf_counter() - began)


def _broken_algorithm(dialect: Variant, property: str) -> Obligation:
    began, algorithm = time.perf_counter(), dialect.made()
    about = [claim for claim in algorithm.claims if is_about(claim, property)]
    found = algorithms.violation(algorithm, about)
    seconds = time.perf_counter() - began
    if found is not None:
        return replace(found, seconds=seconds)
    what = f"no violation was found of {'; '.join(claim.name for claim in about)}"
    own = algorithm.name
    return Obligation(own, own, property, property, "*", "unknown", "bounded", seconds, what)


def _broken(systems: Sequence[System], dialect: Dialect, property: str) -> Obligation:
    began = time.perf_counter()
    searches = [partial(_by_search, limit=limit) for limit in DIALECT_LIMITS]
    attempts: list[Callable[[System, Claim], Obligation | None]] = [_by_reading, *searches, _by_solver]
    named = [(s, claim) for s in systems for claim in (*s.claims, *lemmas_of(s)) if is_about(claim, property)]
    for attempt in attempts:
        found = [one for system, claim in named if (one := attempt(system, claim)) is not None]
        if found:
            shortest = min(found, key=lambda one: len(one.trace))
            return replace(shortest, seconds=time.perf_counter() - began)
    tried = [f"{system.name}: {claim.name}" for system, claim in named]
    what = f"no violation was found of {'; '.join(tried)}" if tried else "no system with this machine claims it"
    return Obligation(
        systems[0].name,
        dialect.machine,
        property,
        property,
        "*",
        "unknown",
        "search",
        time.perf_counter() - began,
        what,
    )


def _by_reading(system: System, claim: Claim) -> Obligation | None:
    if not isinstance(claim, ByConstruction):
        return None
    return next((one for one in by_construction(system, claim) if one.verdict == "violated"), None)


def _by_search(system: System, claim: Claim, *, limit: int) -> Obligation | None:
    if isinstance(claim, ByConstruction):
        return None
    promise = isinstance(claim, LeadsTo)
    view = slice_of(system, [claim], cone=not promise)
    if view.missing:
        return None
    began = time.perf_counter()
    explored = explore(view, [claim], limit=limit, first=True, edges=promise)
    if isinstance(claim, LeadsTo):
        if not explored.complete:
            return None
        found = of_graph(Graph.of(explored), claim)
        return found if found.trace else None
    if claim not in explored.violations:
        return None
    return violated(system, claim, counterexample(explored, claim), view.method, time.perf_counter() - began)


def _by_solver(system: System, claim: Claim) -> Obligation | None:
    if not isinstance(claim, Always | EachStep):
        return None
    began = time.perf_counter()
    result = bounded_violation(slice_of(system, [claim], cone=True), claim, depth=DIALECT_DEPTH, timeout=10_000)
    if result.found is None:
        return None
    return violated(system, claim, result.found, f"bounded, {result.found.steps} steps", time.perf_counter() - began)
