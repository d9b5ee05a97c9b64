# SPDX-License-Identifier: Apache-2.0
"""Which engine decides what about one system, and its verdicts.

A system whose parameters are few enough to be tried is searched: that is a proof, or one over the sampled values. Against
memory that may hold anything the state alone is not finite enough, and induction at full width decides. Rows are read for
what holds by construction. Promises are judged on the explicit graph, or by their ranks where they have some.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Final

from pvpci.model.kernel.claims import Always, ByConstruction, Claim, EachStep, LeadsTo
from pvpci.model.kernel.systems import System
from pvpci.proofs.counterexample import Counterexample, as_dicts, borders, confirm, replay, show
from pvpci.proofs.induction import KNOWN, Induction
from pvpci.proofs.progress import Graph, begins_somewhere, broken_promise
from pvpci.proofs.ranks import Ranked
from pvpci.proofs.reach import Reached, note
from pvpci.proofs.report import Obligation, Verdict, every_claim_has_one
from pvpci.proofs.search import LIMIT, Explored, explore, slice_of

CONSTRUCTION: Final = "by construction"
Wanted = Callable[[Claim], bool]
Done = tuple[list[Obligation], Reached]
Task = Callable[[], Done]


def is_searched(system: System) -> bool:
    """Search decides: nobody's memory is arbitrary and every parameter has values to try, or all values are tried."""
    if system.inductive:
        return False
    view = slice_of(system, system.claims)
    return not view.missing and (not system.hostile or not view.sampled)


def lemmas_of(system: System) -> tuple[Always, ...]:
    return tuple(Always(name, KNOWN, flag) for name, flag in system.lemmas.items())


def identifier(claim: Claim) -> str:
    """Lemmas have no identifier but their name."""
    return claim.name if claim.id == KNOWN else claim.id


def tasks(
    system: System,
    wanted: Wanted = lambda _: True,
    *,
    limit: int = LIMIT,
    smt2: Path | None = None,
    elsewhere: Collection[str] = (),
) -> list[Task]:
    """What is to be done to judge the wanted claims of a system, in pieces that can be done side by side.

    `elsewhere`: machines whose lemmas another system proves by induction; a search does not rest on them.
    """
    claims = [claim for claim in system.claims if wanted(claim)]
    promises = [claim for claim in claims if isinstance(claim, LeadsTo)]
    others = [claim for claim in claims if isinstance(claim, Always | EachStep)]
    rows = [claim for claim in claims if isinstance(claim, ByConstruction)]
    made: list[Task] = []
    if is_searched(system):
        mine = [lemma for lemma in lemmas_of(system) if lemma.name.split(":")[0] not in elsewhere]
        # One search for all: it visits hardly more states than that for the most demanding of them.
        if found := [*mine, *others, *promises]:
            made.append(_search_task(system, found, limit))
    else:
        made += [_search_task(system, [promise], limit) for promise in promises]

        def induction() -> Done:
            engine = Induction(system, smt2=smt2)
            steps = [claim for claim in others if isinstance(claim, EachStep) and engine.speaks(claim)]
            met = Reached(met={(identifier(claim), claim.name) for claim in steps})
            return [*engine.obligations(others), *engine.witnesses()], met

        if others or not promises:
            made.append(induction)
    made.append(lambda: ([one for claim in rows for one in by_construction(system, claim)], Reached()))
    return made


def _search_task(system: System, claims: Sequence[Claim], limit: int) -> Task:
    def search() -> Done:
        reached = Reached()
        if is_searched(system):
            return list(searched(system, claims, limit, reached)), reached
        return list(promised(system, [claim for claim in claims if isinstance(claim, LeadsTo)], limit)), reached

    return search


def judge(
    system: System, wanted: Wanted = lambda _: True, *, limit: int = LIMIT, elsewhere: Collection[str] = ()
) -> tuple[list[Obligation], Reached]:
    """All obligations of the wanted claims, and what was reached on the way (if the system is searched)."""
    reached = Reached()
    found: list[Obligation] = []
    for task in tasks(system, wanted, limit=limit, elsewhere=elsewhere):
        obligations, more = task()
        found += obligations
        reached.merge(more)
    claims = [(identifier(claim), claim.name) for claim in system.claims if wanted(claim)]
    return [*found, *every_claim_has_one(found, system.name, claims)], reached


def by_construction(system: System, claim: ByConstruction) -> Iterator[Obligation]:
    """The rows of the machine that the claim is about, read."""
    machines = [machine for machine in system.machines if machine.name == claim.machine]
    for machine in machines:
        began = time.perf_counter()
        complaints: dict[str, list[str]] = {}
        for key, sentence in claim.complaints(machine):
            complaints.setdefault(key, []).append(sentence)
        seconds = (time.perf_counter() - began) / max(1, len(machine.table))
        for key in dict.fromkeys([*(row.key for row in machine.table), *complaints]):
            bad = complaints.get(key)
            verdict: Verdict = "violated" if bad else "proved"
            detail = f"{key} {'; '.join(bad)}" if bad else ""
            yield Obligation(
                system.name, machine.name, claim.id, claim.name, key, verdict, CONSTRUCTION, seconds, detail
            )


def searched(
    system: System, claims: Sequence[Claim], limit: int, reached: Reached | None = None
) -> Iterator[Obligation]:
    """One search for all of them: states, steps, promises, and which rows are taken."""
    began = time.perf_counter()
    promises = [claim for claim in claims if isinstance(claim, LeadsTo)]
    others = [claim for claim in claims if not isinstance(claim, LeadsTo)]
    view = slice_of(system, claims, cone=not promises)
    explored = explore(view, others, limit=limit, edges=bool(promises))
    if reached is not None:
        note(reached, explored)
        reached.met |= {(identifier(claim), claim.name) for claim in explored.met}
    share = (time.perf_counter() - began) / max(1, len(claims))
    for claim in others:
        yield _of_search(system, explored, claim, share)
    graph = Graph.of(explored) if promises and explored.complete else None
    for promise in promises:
        if graph is None:
            yield _made(system, promise, "unknown", view.method, share, _cut_short(explored))
        else:
            yield of_graph(graph, promise)


def promised(system: System, promises: Sequence[LeadsTo], limit: int) -> Iterator[Obligation]:
    """Promises where induction decides the rest: by rank if there is one, else over the samples, each with its own slice."""
    for promise in promises:
        if promise.rank:
            yield from Ranked(system, promise).obligations()
            continue
        view = slice_of(system, [promise])
        if view.missing:
            names = ", ".join(var.name for var in view.missing)
            what = f"it has no ranks, and nothing says which values of {names} to try"
            yield _made(system, promise, "unknown", "none", 0.0, what)
            continue
        yield from searched(system, [promise], limit)


def _of_search(system: System, explored: Explored, claim: Claim, seconds: float) -> Obligation:
    if claim in explored.violations:
        found = counterexample(explored, claim)
        return violated(system, claim, found, explored.view.method, seconds)
    if isinstance(claim, EachStep) and not any(
        not claim.party or a.party == claim.party for a in explored.view.actions
    ):
        return _made(system, claim, "unknown", explored.view.method, seconds, f"no step is of the party {claim.party}")
    if not explored.complete:
        return _made(system, claim, "unknown", explored.view.method, seconds, _cut_short(explored))
    return _made(system, claim, "proved", explored.view.method, seconds)


def counterexample(explored: Explored, claim: Claim) -> Counterexample:
    """The shortest way to the violation, run again."""
    found = replay(explored.view.system, explored.path(claim), claim.name)
    if not isinstance(claim, Always | EachStep):
        raise ValueError(f"{claim.name}: not of a state or a step")
    hostile = explored.view.system.hostile
    if any(v.cell in hostile for v in claim.holds.variables() if v.primed or v not in found.stages[-1].inputs):
        return found  # it speaks of values that may be anything; there is no one value to run it with
    return confirm(found, claim.holds, claim.given if isinstance(claim, EachStep) else None)


def of_graph(graph: Graph, promise: LeadsTo) -> Obligation:
    began = time.perf_counter()
    view = graph.explored.view
    found = broken_promise(graph, promise)
    seconds = time.perf_counter() - began
    if found is not None:
        return violated(view.system, promise, found, view.method, seconds)
    if not begins_somewhere(graph, promise.start):
        return _made(
            view.system, promise, "unknown", view.method, seconds, "what it promises never starts, so nothing was shown"
        )
    return _made(view.system, promise, "proved", view.method, seconds)


def violated(system: System, claim: Claim, found: Counterexample, method: str, seconds: float) -> Obligation:
    """What the counterexample shows; `unknown` if the running machine would not go that way, because rows overlap."""
    last = found.stages[-1].action
    row = "init" if last is None else last.name
    verdict: Verdict = "unknown" if found.overlaps else "violated"
    machine = last.machine.name if last and last.machine else system.name
    return Obligation(
        system.name,
        machine,
        identifier(claim),
        claim.name,
        row,
        verdict,
        method,
        seconds,
        show(found),
        as_dicts(found),
        borders(found),
    )


def _made(system: System, claim: Claim, verdict: Verdict, method: str, seconds: float, detail: str = "") -> Obligation:
    return Obligation(system.name, system.name, identifier(claim), claim.name, "*", verdict, method, seconds, detail)


def _cut_short(explored: Explored) -> str:
    return f"the search was cut short at {explored.states:,} states"
