# SPDX-License-Identifier: Apache-2.0
"""Proofs without a bound: whatever holds before a step holds after it.

Everything that is known of the machines (their `known`, the proof outline) is assumed before the step and itself shown to
hold after it, so what is known is proved by mutual induction and a property rests on it. One obligation per property per
step. "Cannot be shown" comes with a counterexample to induction: a state that satisfies all that is known, from where one
step breaks the property. Whether that state can be reached is not said, so this is never called a bug.

A contradictory set of lemmas is inductive and proves everything. So each step must be possible under what is known, and so
must each place of each machine: these are obligations too.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import z3

from pvpci.model.kernel.claims import Always, Claim, EachStep
from pvpci.model.kernel.compiled import evaluate
from pvpci.model.kernel.systems import Action, System
from pvpci.model.kernel.terms import Flag, Var
from pvpci.proofs.counterexample import NotRepeated, as_dicts, confirm, replay, show
from pvpci.proofs.report import Obligation, Verdict
from pvpci.proofs.translate import Formula, Translator, literal, new_solver, satisfiable, value_in

INDUCTION: Final = "induction"
FRAME: Final = "frame"
INITIAL: Final = "initial state"
WITNESS: Final = "witness"
KNOWN: Final = "known"  #: the identifier of lemmas
TIMEOUT: Final = 20_000  #: milliseconds for one obligation; a time-out is a failure


class Induction:
    """One system, its steps translated once."""

    def __init__(self, system: System, *, timeout: int = TIMEOUT, smt2: Path | None = None) -> None:
        self.system, self.timeout, self.smt2 = system, timeout, smt2
        self.translator = Translator()
        self.actions = system.actions
        self.lemmas = [Always(name, KNOWN, flag) for name, flag in system.lemmas.items()]
        self.variables = system.variables
        formula = self.translator.formula
        self.hypotheses = [*self.translator.ranges(self.variables), *(formula(lemma.holds) for lemma in self.lemmas)]
        self._files = 0

    def obligations(
        self, claims: Sequence[Claim] | None = None, actions: Sequence[Action] | None = None, *, lemmas: bool = True
    ) -> Iterator[Obligation]:
        """All obligations of the claims (and of the lemmas) for the initial state and each step."""
        chosen = self.system.claims if claims is None else claims
        states = [*(self.lemmas if lemmas else ()), *(claim for claim in chosen if isinstance(claim, Always))]
        steps = [claim for claim in chosen if isinstance(claim, EachStep)]
        if actions is None:
            yield from self._initial(states)
        for action in self.actions if actions is None else actions:
            yield from self._step(action, states, steps)

    def _initial(self, claims: Sequence[Always]) -> Iterator[Obligation]:
        values = self.system.initial
        solver = new_solver(self.timeout)
        solver.add([self.translator.constant(var) == literal(var, number) for var, number in values.items()])
        for claim in claims:
            began = time.perf_counter()
            unknowns = [var for var in self.translator.variables(claim.holds) if var not in values]
            verdict, _ = self._refute(
                solver, [*self.translator.ranges(unknowns), z3.Not(self.translator.formula(claim.holds))]
            )
            detail = show(replay(self.system, [], claim.name)) if verdict == "violated" else ""
            yield self._made(claim, None, verdict, INITIAL, began, detail)

    def _step(self, action: Action, states: Sequence[Always], steps: Sequence[EachStep]) -> Iterator[Obligation]:
        translator = self.translator
        solver = new_solver(self.timeout)
        solver.add(self.hypotheses)
        solver.add(translator.ranges(action.parameters))
        solver.add(translator.formula(action.guard))
        lemmas = set(self.lemmas)
        for claim in states:
            began = time.perf_counter()
            if not any(var in action.updates for var in translator.variables(claim.holds)):
                yield self._made(claim, action, "proved", FRAME, began)
                continue
            negation = z3.Not(translator.after(claim.holds, action.updates))
            own = [] if claim in lemmas else [translator.formula(claim.holds)]
            yield self._judged(solver, claim, action, [*own, *self._loose(claim.holds), negation], began)
        for step in steps:
            if step.party and step.party != action.party:
                continue
            began = time.perf_counter()
            if self._cannot_mean(step.given, action):
                yield self._made(step, action, "proved", FRAME, began)
                continue
            free = {
                v.primed for v in translator.variables(step.holds) if v.primed and v.primed.cell in self.system.hostile
            }
            given = translator.over(step.given, action.updates, free)
            negation = z3.Not(translator.over(step.holds, action.updates, free))
            loose = [*self._loose(step.holds), *self._loose(step.given)]
            yield self._judged(solver, step, action, [given, *loose, negation], began)

    def _cannot_mean(self, given: Flag, action: Action) -> bool:
        """One conjunct of `given` says "x changes" (x != x'), and the step does not change x."""
        waiting = [given]
        while waiting:
            term = waiting.pop()
            if term.op == "and":
                waiting += term.args  # type: ignore[arg-type]
            elif term.op == "not" and term.args[0].op == "eq":
                one, two = (side.var for side in term.args[0].args)
                for old, new in ((one, two), (two, one)):
                    if old and new and new.primed is old and old not in action.updates and not self._hostile(old):
                        return True
        return False

    def _hostile(self, var: Var) -> bool:
        return var.cell in self.system.hostile

    def _loose(self, flag: Flag) -> list[Formula]:
        """The ranges of what is no part of the state."""
        state = set(self.variables)
        return self.translator.ranges(v for v in self.translator.variables(flag) if v not in state)

    def _judged(
        self, solver: Formula, claim: Always | EachStep, action: Action, goal: list[Formula], began: float
    ) -> Obligation:
        verdict, model = self._refute(solver, goal, f"{claim.id} {claim.name} at {action.name}")
        if model is None:
            detail = "the solver gave up" if verdict == "unknown" else ""
            return self._made(claim, action, verdict, INDUCTION, began, detail)
        detail, trace = self._explain(claim, action, model)
        return self._made(claim, action, "unknown", INDUCTION, began, detail, trace)

    def _refute(self, solver: Formula, goal: Iterable[Formula], title: str = "") -> tuple[Verdict, Formula | None]:
        solver.push()
        solver.add(list(goal))
        if self.smt2 is not None:
            self._write(solver, title)
        found = satisfiable(solver)
        model = solver.model() if found else None
        solver.pop()
        return ("proved" if found is False else "violated" if found else "unknown"), model

    def _write(self, solver: Formula, title: str) -> None:
        assert self.smt2 is not None
        self._files += 1
        name = re.sub(r"[^A-Za-z0-9_-]+", "_", f"{self.system.name}_{self._files:05d}_{title}")[:120]
        (self.smt2 / f"{name}.smt2").write_text(smt2_text(solver, title), encoding="utf-8")

    def _explain(
        self, claim: Always | EachStep, action: Action, model: Formula
    ) -> tuple[str, tuple[dict[str, object], ...]]:
        constant = self.translator.constant
        start = {var: value_in(model, constant(var)) for var in self.variables}
        inputs = {var: value_in(model, constant(var)) for var in action.parameters}
        for lemma in self.lemmas:
            if not evaluate(lemma.holds, {**start, **_missing(lemma.holds, start, model, self.translator)}):
                raise NotRepeated(
                    f"{self.system.name}: the start of a counterexample to induction violates {lemma.name}"
                )
        found = replay(self.system, [(action, inputs)], claim.name, start=start)
        if not any(self._hostile(v.primed or v) for v in claim.holds.variables()):
            confirm(found, claim.holds, claim.given if isinstance(claim, EachStep) else None)
        return show(found, [v for v in claim.holds.variables() if v.primed is None]), as_dicts(found)

    def _made(
        self,
        claim: Claim,
        action: Action | None,
        verdict: Verdict,
        method: str,
        began: float,
        detail: str = "",
        trace: tuple[dict[str, object], ...] = (),
    ) -> Obligation:
        machine = action.machine.name if action and action.machine else self.system.name
        row = action.name if action else "init"
        id = claim.name if claim.id == KNOWN else claim.id
        seconds = time.perf_counter() - began
        return Obligation(self.system.name, machine, id, claim.name, row, verdict, method, seconds, detail, trace)

    def witnesses(self) -> Iterator[Obligation]:
        """Nothing is proved from a contradiction: each place of each machine and each step is possible under what is known."""
        solver = new_solver(self.timeout)
        solver.add(self.hypotheses)
        for machine in self.system.machines:
            for place in machine.places:
                flag = machine.at == place
                yield self._witness(
                    solver, machine.name, "a place that is possible", place.name, [self.translator.formula(flag)]
                )
        for action in self.actions:
            name = action.machine.name if action.machine else self.system.name
            goal = [*self.translator.ranges(action.parameters), self.translator.formula(action.guard)]
            yield self._witness(solver, name, "a step that is possible", action.name, goal)

    def speaks(self, claim: EachStep) -> bool:
        """Under what is known there can be a step that the claim speaks of."""
        for action in self.actions:
            if (not claim.party or claim.party == action.party) and not self._cannot_mean(claim.given, action):
                solver = new_solver(self.timeout)
                solver.add(self.hypotheses)
                solver.add([*self.translator.ranges(action.parameters), *self._loose(claim.given)])
                solver.add(self.translator.formula(action.guard), self.translator.over(claim.given, action.updates))
                if satisfiable(solver):
                    return True
        return False

    def _witness(self, solver: Formula, machine: str, title: str, row: str, goal: Sequence[Formula]) -> Obligation:
        began = time.perf_counter()
        solver.push()
        solver.add(list(goal))
        found = satisfiable(solver)
        solver.pop()
        verdict: Verdict = "proved" if found else "violated" if found is False else "unknown"
        detail = "" if found else "what is known contradicts it, so nothing that is proved of it means anything"
        return Obligation(
            self.system.name, machine, title, title, row, verdict, WITNESS, time.perf_counter() - began, detail
        )


def _missing(flag: Flag, state: Mapping[Var, int], model: Formula, translator: Translator) -> dict[Var, int]:
    return {v: value_in(model, translator.constant(v)) for v in flag.variables() if v not in state}


def smt2_text(solver: Formula, title: str) -> str:
    """The question as SMT-LIB text that other solvers read too: the answer must be `unsat`."""
    text = solver.to_smt2()
    text = re.sub(r"\(and ([A-Za-z0-9_.!|'#]+)\)", r"\1", text)  # a conjunction of one; not everybody takes it
    return f"; {title}\n(set-info :status unsat)\n{_without_status(text)}"


def _without_status(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.startswith("(set-info :status")) + "\n"
