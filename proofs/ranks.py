# SPDX-License-Identifier: Apache-2.0
"""Progress at full width, by a rank for each place.

Let the region be: not at the goal, inside what the promise is limited to, at a place that has a rank. Then

* what starts the promise lies in the region;
* no step raises the rank or leads out of the region, except to the goal or out of the limits;
* at each rank one fair party is able to move, and each of its moves there lowers the rank.

So the rank cannot stay the same for ever, and the goal follows. Whether the party can move is asked with the worst contents
of memory that others may rewrite, and the best of the answers that an event may bring.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from itertools import islice, product

import z3

from pvpci.model.kernel.claims import LeadsTo
from pvpci.model.kernel.systems import Action, System
from pvpci.model.kernel.tables import Machine
from pvpci.model.kernel.terms import Choice, Flag, Term, Var, any_of, constant, number, substitute
from pvpci.model.kernel.terms import choose as term_choose
from pvpci.proofs.induction import TIMEOUT
from pvpci.proofs.progress import is_of, moves
from pvpci.proofs.report import Obligation, Verdict
from pvpci.proofs.translate import Formula, Translator, new_solver, satisfiable

RANKED = "rank"
TRIED = 64  #: combinations of parameters that are tried to show that a step is possible


class Ranked:
    """The ranked proof of one promise."""

    def __init__(self, system: System, claim: LeadsTo, *, timeout: int = TIMEOUT) -> None:
        self.system, self.claim, self.timeout = system, claim, timeout
        self.machine = _machine_of(system, claim.rank)
        self.translator = Translator()
        self.actions = system.actions
        self.owed = claim.within & ~claim.goal
        width = max(claim.rank.values()).bit_length() + 1
        self.rank = number(width, 0)
        for place, rank in claim.rank.items():
            self.rank = term_choose(self._at(place), number(width, rank), self.rank)
        self.region = self.owed & any_of(map(self._at, claim.rank))
        formula = self.translator.formula
        self.known = [*self.translator.ranges(system.variables), *map(formula, system.lemmas.values())]

    def _at(self, place: Enum) -> Flag:
        at: Choice[Enum] = self.machine.at
        return at == place

    def obligations(self) -> Iterator[Obligation]:
        yield self._proved("start", [self.claim.start & self.owed & ~self.region])
        helpers: dict[int, str] = {}
        for rank in sorted(set(self.claim.rank.values())):
            places = [place for place, its in self.claim.rank.items() if its == rank]
            row = "able to move at " + ", ".join(place.name for place in places)
            found = None
            for party in self.claim.fair:
                found = self._able(party, self.region & any_of(map(self._at, places)), row)
                if found.verdict == "proved":
                    helpers[rank] = party
                    break
            if found is not None:
                yield found
        for action in self.actions:
            if moves(action):
                yield self._step(action, helpers)

    def _step(self, action: Action, helpers: Mapping[int, str]) -> Obligation:
        """What the step leaves of the region is the goal or no longer owed; inside, the rank does as it must."""
        helped = {rank for rank, party in helpers.items() if is_of(action, party)}
        must_fall = any_of(self._at(place) for place, rank in self.claim.rank.items() if rank in helped)
        after = dict(action.updates)
        owed, region, rank = (self._after(term, after) for term in (self.owed, self.region, self.rank))
        formula = self.translator.formula
        before = formula(self.rank)
        fine = z3.And(region, z3.If(formula(must_fall), z3.ULT(rank, before), z3.ULE(rank, before)))
        bad = z3.And(owed, z3.Not(fine))
        ranges = self.translator.ranges(action.parameters)
        return self._proved(action.name, [self.region, action.guard], [*ranges, bad], action.machine)

    def _after(self, term: Term, updates: Mapping[Var, Term]) -> Formula:
        return self.translator.formula(substitute(term, updates))

    def _able(self, party: str, where: Flag, row: str) -> Obligation:
        """Some step of the party is possible, whatever others' memory holds."""
        guards: list[Flag] = []
        for action in self.actions:
            if is_of(action, party) and moves(action):
                guards += _instances(self.system, action)
        loose = dict.fromkeys(v for guard in guards for v in guard.variables() if v.cell in self.system.hostile)
        return self._proved(row, [where, ~any_of(guards)], self.translator.ranges(loose))

    def _proved(
        self, row: str, terms: Sequence[Flag], more: Sequence[Formula] = (), machine: Machine | None = None
    ) -> Obligation:
        began = time.perf_counter()
        solver = new_solver(self.timeout)
        solver.add(self.known)
        solver.add([self.translator.formula(term) for term in terms])
        solver.add(list(more))
        found = satisfiable(solver)
        verdict: Verdict = "proved" if found is False else "unknown"
        detail = ""
        if verdict == "unknown":
            detail = f"not shown, for instance at\n{self._at_text(solver)}" if found else "the solver gave up"
        return Obligation(
            self.system.name, (machine or self.machine).name, self.claim.id, self.claim.name, row, verdict, RANKED,
            time.perf_counter() - began, detail,
        )  # fmt: skip

    def _at_text(self, solver: Formula) -> str:
        return "\n".join(f"{d.name()} = {solver.model()[d]}" for d in sorted(solver.model().decls(), key=str))


def _machine_of(system: System, rank: Mapping[Enum, int]) -> Machine:
    for machine in system.machines:
        if set(rank) <= set(machine.places):
            return machine
    raise ValueError(f"{system.name}: the ranks are not of places of one of its machines")


def _instances(system: System, action: Action) -> list[Flag]:
    """The guard with values for what an answer may bring; enough of them to show that the step is possible."""
    free = [v for v in action.parameters if v.cell not in system.hostile and v in set(action.guard.variables())]
    constants = [term for term in _subterms(action.guard) if term.op == "const"]
    choices = []
    for var in free:
        if var.sort.size <= 16:
            numbers = list(range(var.sort.size))
        else:
            numbers = [0, 1, (1 << var.sort.width) - 1, *(c.number for c in constants if c.sort == var.sort)]
        choices.append([constant(var.sort, var.sort.decode(n)) for n in dict.fromkeys(numbers)])
    return [
        substitute(action.guard, dict(zip(free, values, strict=True))) for values in islice(product(*choices), TRIED)
    ]


def _subterms(term: Term) -> Iterator[Term]:
    yield term
    for arg in term.args:
        yield from _subterms(arg)
