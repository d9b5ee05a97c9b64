# SPDX-License-Identifier: Apache-2.0
"""Bounded search by the solver, at full width: for what depends on values that nobody would think of sampling.

The depth grows by one until a violation is found, so what is found is shortest. Nothing found means nothing beyond that
depth, and the report says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import z3

from pvpci.model.kernel.claims import Always, Claim, EachStep
from pvpci.model.kernel.systems import Action
from pvpci.model.kernel.terms import Flag, Var
from pvpci.proofs.counterexample import Counterexample, Taken, confirm, replay
from pvpci.proofs.search import Slice
from pvpci.proofs.translate import Formula, Translator, fresh, in_range, literal, value_in


@dataclass
class Bounded:
    """`found`: shortest counterexample. `depth`: no shorter one exists. `gave_up`: the solver did, at `depth` + 1."""

    found: Counterexample | None = None
    depth: int = 0
    gave_up: bool = False
    reached: dict[Action, list[Taken]] = field(default_factory=dict)


class Unrolling:
    """The states of a path as unknowns, with which step leads from each to the next."""

    def __init__(self, view: Slice, timeout: int) -> None:
        self.view, self.translator = view, Translator()
        self.solver: Formula = z3.SolverFor("QF_BV")
        self.solver.set("timeout", timeout)
        initial = view.system.initial
        self.states: list[dict[Var, Formula]] = [{var: literal(var, initial[var]) for var in view.keep}]
        self.chosen: list[Formula] = []
        self.inputs: list[dict[Var, Formula]] = []
        self.width = max(1, (len(view.actions) - 1).bit_length())

    def takes(self, step: int, number: int) -> Formula:
        return self.chosen[step] == z3.BitVecVal(number, self.width)

    def extend(self) -> None:
        """One more step."""
        step, view = len(self.chosen), self.view
        now = self.states[-1]
        chosen = z3.BitVec(f"step#{step}", self.width)
        self.chosen.append(chosen)
        self.solver.add(z3.ULT(chosen, len(view.actions)) if len(view.actions) < 1 << self.width else z3.BoolVal(True))
        inputs = {var: self._fresh(var, step) for var in dict.fromkeys(v for a in view.actions for v in a.parameters)}
        self.inputs.append(inputs)
        seen = {**now, **inputs}
        following = dict(now)
        for number, action in enumerate(view.actions):
            here = self.takes(step, number)
            self.solver.add(z3.Implies(here, self.translator.at(action.guard, seen)))
            for var, term in action.updates.items():
                if var in following:
                    following[var] = z3.If(here, self.translator.at(term, seen), following[var])
        for var, formula in following.items():
            if formula is not now[var]:
                name = self._fresh(var, step + 1)
                self.solver.add(name == formula)
                following[var] = name
        self.states.append(following)

    def _fresh(self, var: Var, step: int) -> Formula:
        constant = fresh(var, f"{var.name}#{step}")
        bound = in_range(var, constant)
        if bound is not None:
            self.solver.add(bound)
        return constant

    def over(self, flag: Flag, step: int) -> Formula:
        """A flag of the step that leads from state `step` to the next."""
        values: dict[Var, Formula] = {**self.states[step], **self.inputs[step]}
        values.update(
            {v: self.states[step + 1][v.primed] for v in flag.variables() if v.primed in self.states[step + 1]}
        )
        return self.translator.at(flag, values)

    def path(self, model: Formula) -> list[Taken]:
        taken: list[Taken] = []
        for step, chosen in enumerate(self.chosen):
            action = self.view.actions[value_in(model, chosen)]
            inputs: Mapping[Var, int] = {var: value_in(model, self.inputs[step][var]) for var in action.parameters}
            taken.append((action, inputs))
        return taken


def violation(view: Slice, claim: Claim, *, depth: int = 20, timeout: int = 30_000) -> Bounded:
    """The shortest violation of an `Always` or `EachStep`, up to `depth` steps."""
    if not isinstance(claim, Always | EachStep):
        raise ValueError(f"{claim.name}: bounded search knows states and steps only")
    unrolled, result = Unrolling(view, timeout), Bounded()
    for step in range(depth + 1):
        if isinstance(claim, Always):
            goal = z3.Not(unrolled.translator.at(claim.holds, unrolled.states[step]))
        elif step == 0:
            unrolled.extend()
            continue
        else:
            goal = _bad_step(unrolled, claim, step - 1)
        answer, model = _ask(unrolled.solver, goal)
        if model is not None:
            path = unrolled.path(model)[:step]
            found = replay(view.system, path, claim.name)
            result.found = confirm(found, claim.holds, claim.given if isinstance(claim, EachStep) else None)
            return result
        if answer == z3.unknown:
            result.gave_up = True
            return result
        result.depth = step
        unrolled.extend()
    return result


def _bad_step(unrolled: Unrolling, claim: EachStep, step: int) -> Formula:
    """The last step violates it: one of the steps that it speaks of."""
    mine = [
        unrolled.takes(step, number)
        for number, action in enumerate(unrolled.view.actions)
        if not claim.party or claim.party == action.party
    ]
    return z3.And(z3.Or(mine), unrolled.over(claim.given, step), z3.Not(unrolled.over(claim.holds, step)))


def reach(view: Slice, wanted: Sequence[Action], *, depth: int = 30, timeout: int = 30_000) -> Bounded:
    """For each wanted action a shortest path that ends with it, as far as there is one of at most `depth` steps."""
    unrolled, result = Unrolling(view, timeout), Bounded()
    left = {action: number for number, action in enumerate(view.actions) if action in set(wanted)}
    for step in range(depth):
        unrolled.extend()
        while left:
            answer, model = _ask(unrolled.solver, z3.Or([unrolled.takes(step, number) for number in left.values()]))
            if model is None:
                result.gave_up = result.gave_up or answer == z3.unknown
                break
            path = unrolled.path(model)
            result.reached[path[-1][0]] = path
            del left[path[-1][0]]
        result.depth = step + 1
        if not left or result.gave_up:
            break
    return result


def _ask(solver: Formula, goal: Formula) -> tuple[Any, Formula | None]:
    solver.push()
    solver.add(goal)
    answer = solver.check()
    model = solver.model() if answer == z3.sat else None
    solver.pop()
    return answer, model
