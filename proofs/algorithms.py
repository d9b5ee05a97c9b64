# SPDX-License-Identifier: Apache-2.0
"""Proofs about functions that run as they are proved (`model.kernel.algorithms`), and what breaks in a dialect of one.

What is known of a state is shown at the start and after each step; a law of a state follows from it, a law of a step from
it and the step. Nothing is proved from a contradiction, and no law of what never happens: that each law speaks of something
is an obligation too.

A counterexample starts at the start and is shortest. It is run again with numbers before it is shown, and its numbers are
made as small as the solver lets us.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import z3

from pvpci.model.kernel.algorithms import Algorithm, Around, Law, SameLanguage, Step
from pvpci.model.kernel.claims import Claim
from pvpci.model.kernel.terms import Term
from pvpci.model.kernel.values import Tree, V, filled, flag, leaves, names, terms, unknowns
from pvpci.model.kernel.words import value as word
from pvpci.proofs.counterexample import NotRepeated
from pvpci.proofs.induction import INDUCTION, INITIAL, KNOWN, TIMEOUT, WITNESS
from pvpci.proofs.languages import compare
from pvpci.proofs.report import Obligation, Verdict
from pvpci.proofs.translate import Formula, Translator, new_solver, satisfiable, value_in

DEPTH: Final = 6  #: steps that are looked ahead for what a dialect breaks
SPEAKS: Final = "a law that speaks of something"
VALID: Final = "all values"


Wanted = Callable[[Claim], bool]


def tasks(algorithm: Algorithm, wanted: Wanted = lambda _: True) -> list[Callable[[], list[Obligation]]]:
    """What is to be done to judge the wanted laws and all that is known, in pieces that can be done side by side."""
    steps = [partial(_of_step, algorithm, step.name, wanted) for step in algorithm.steps]
    return [*steps, lambda: list(Judge(algorithm).of_states(wanted))]


def _of_step(algorithm: Algorithm, name: str, wanted: Wanted) -> list[Obligation]:
    return list(Judge(algorithm).of_step(algorithm.step(name), wanted))


def judge(algorithm: Algorithm, wanted: Wanted = lambda _: True) -> list[Obligation]:
    """All obligations of the wanted laws, and of what is known."""
    return [one for task in tasks(algorithm, wanted) for one in task()]


class Judge:
    """One algorithm over one arbitrary state."""

    def __init__(self, algorithm: Algorithm, *, timeout: int = TIMEOUT) -> None:
        self.algorithm, self.timeout, self.translator = algorithm, timeout, Translator()
        self.state = unknowns(algorithm.shape, "")

    def of_states(self, wanted: Wanted) -> Iterator[Obligation]:
        """That what is known holds at the start, and the laws of states, of values and of languages."""
        start = terms(self.algorithm.shape, self.algorithm.start)
        for name, known in self.algorithm.known.items():
            began, thing = time.perf_counter(), unknowns(known.about, "about")
            found = self._refute([z3.Not(self._formula(known.holds(thing, start)))])
            yield self._made(KNOWN, name, "init", found, INITIAL, began)
        for law in self.algorithm.claims:
            if isinstance(law, SameLanguage) and wanted(law):
                yield language(self.algorithm, law)
            elif isinstance(law, Law) and not law.steps and wanted(law):
                method = INDUCTION if self.algorithm.known else VALID
                yield from self._law(law, self.state, "*", method)

    def of_step(self, step: Step, wanted: Wanted) -> Iterator[Obligation]:
        """That what is known holds after the step, and the laws of it."""
        taken = unknowns(step.takes, "taken")
        around = Around(self.state, taken, *step.does(self.state, taken))
        for name, known in self.algorithm.known.items():
            began, thing = time.perf_counter(), unknowns(known.about, "about")
            goal = z3.Not(self._formula(known.holds(thing, around.after)))
            found = self._refute([*self._known(thing, taken), goal])
            yield self._made(KNOWN, name, step.name, found, INDUCTION, began)
        for law in self.algorithm.claims:
            if isinstance(law, Law) and step.name in law.steps and wanted(law):
                yield from self._law(law, around, step.name, INDUCTION)

    def _known(self, *things: Tree) -> list[Formula]:
        """What is known, of each of these and of what they contain."""
        found = [
            known.holds(thing, self.state)
            for known in self.algorithm.known.values()
            for thing in (_parts(things, type(known.about)) if known.about else [()])
        ]
        return [self._formula(one) for one in found]

    def _law(self, law: Law, seen: Any, row: str, method: str) -> Iterator[Obligation]:
        began, about = time.perf_counter(), unknowns(law.about, "about")
        given, holds = self._formula(law.given(about, seen)), self._formula(law.holds(about, seen))
        things = (about, law.besides(about, seen), seen.taken if isinstance(seen, Around) else ())
        known = self._known(*things)
        yield self._made(law.id, law.name, row, self._refute([*known, given, z3.Not(holds)]), method, began)
        began = time.perf_counter()
        can = _must(self._possible([*known, given]))
        yield self._made(SPEAKS, SPEAKS, f"{law.name}, {row}", can, WITNESS, began)

    def _formula(self, value: V) -> Formula:
        return self.translator.formula(flag(value))

    def _refute(self, goal: Iterable[Formula]) -> Verdict:
        found = self._possible(goal)
        # A state that may not be reachable is no bug.
        return "proved" if found is False else "unknown"

    def _possible(self, goal: Iterable[Formula]) -> bool | None:
        solver = new_solver(self.timeout)
        solver.add(list(goal))
        return satisfiable(solver)

    def _made(self, id: str, name: str, row: str, verdict: Verdict, method: str, began: float) -> Obligation:
        detail = {
            "proved": "", "violated": "there is nothing of which it speaks",
            "unknown": "it does not follow from what is known, or the solver gave up",
        }[verdict]  # fmt: skip
        seconds, own = time.perf_counter() - began, self.algorithm.name
        return Obligation(own, own, name if id == KNOWN else id, name, row, verdict, method, seconds, detail)


def _parts(tree: Tree, kind: type) -> Iterator[Tree]:
    """The parts of that kind."""
    if isinstance(tree, kind):
        yield tree
    if isinstance(tree, tuple):
        for part in tree:
            yield from _parts(part, kind)


def _must(found: bool | None) -> Verdict:
    return "unknown" if found is None else "proved" if found else "violated"


def language(algorithm: Algorithm, claim: SameLanguage) -> Obligation:
    """The two recognisers side by side, through every pair of places that one text can lead them to."""
    began = time.perf_counter()
    found = compare(claim)
    verdict: Verdict = "proved" if found.text is None else "violated"
    detail, trace = "", ()
    if found.text is not None:
        takes, refuses = ("runs", "is written") if found.runs else ("is written", "runs")
        detail = f"{found.text!r} is accepted by what {takes} and refused by what {refuses}"
        trace = tuple(
            {"seq": number, "kind": "step", "party": "text", "action": character, "parameters": {}, "changed": {}}
            for number, character in enumerate(found.text, 1)
        )  # type: ignore[assignment]
    seconds = time.perf_counter() - began
    method = f"automata, {found.pairs} pairs of places"
    name = algorithm.name
    return Obligation(name, name, claim.id, claim.name, "*", verdict, method, seconds, detail, trace)


# What a dialect breaks


@dataclass(frozen=True)
class Taken:
    """One step of a path: which, and what was chosen."""

    step: int
    values: Tree


def violation(algorithm: Algorithm, claims: Sequence[Claim], depth: int = DEPTH) -> Obligation | None:
    """A shortest way from the start to where one of them does not hold; None if there is none within `depth` steps."""
    began = time.perf_counter()
    for claim in claims:
        if isinstance(claim, SameLanguage) and (found := language(algorithm, claim)).verdict == "violated":
            return found
    search = _Search(algorithm)
    laws = [claim for claim in claims if isinstance(claim, Law)]
    for steps in range(depth + 1 if laws else 0):
        for law in laws:
            if (way := search.at(steps, law)) is not None:
                return _shown(algorithm, law, *way, time.perf_counter() - began)
    return None


class _Search:
    """Paths of a growing number of steps, each with an unknown choice of step and all its unknowns."""

    def __init__(self, algorithm: Algorithm) -> None:
        self.algorithm, self.translator = algorithm, Translator()
        self.states = [terms(algorithm.shape, algorithm.start)]
        self.chosen: list[Formula] = []
        self.taken: list[list[Tree]] = []
        self.around: list[list[Around]] = []
        self.path: list[Formula] = []

    def at(self, steps: int, law: Law) -> tuple[list[Taken], Tree] | None:
        """What breaks the law after so many steps, or with the last of them."""
        while len(self.chosen) < steps:
            self._extend()
        about = unknowns(law.about, "about")
        if law.steps and not steps:
            return None
        solver = new_solver(TIMEOUT)
        solver.add(self.path)
        if not law.steps:
            solver.add(self._broken(law, about, self.states[steps]))
        else:
            steps_of = enumerate(zip(self.algorithm.steps, self.around[-1], strict=True))
            solver.add(z3.Or([
                z3.And(self.chosen[-1] == number, self._broken(law, about, around))
                for number, (step, around) in steps_of
                if step.name in law.steps
            ]))  # fmt: skip
        return self._least(solver, about) if satisfiable(solver) else None

    def _broken(self, law: Law, about: Tree, seen: Any) -> Formula:
        formula = self.translator.formula
        return z3.And(formula(flag(law.given(about, seen))), z3.Not(formula(flag(law.holds(about, seen)))))

    def _extend(self) -> None:
        number, before = len(self.chosen), self.states[-1]
        choice = z3.Int(f"step#{number}")
        self.chosen.append(choice)
        after = unknowns(self.algorithm.shape, f"after{number}")
        self.path.append(z3.And(choice >= 0, choice < len(self.algorithm.steps)))
        taken, arounds = [], []
        for place, step in enumerate(self.algorithm.steps):
            values = unknowns(step.takes, f"{step.name}{number}")
            following, answer = step.does(before, values)
            following = terms(self.algorithm.shape, following)
            equal = [
                self.translator.formula(one) == self.translator.formula(two)
                for one, two in zip(leaves(after), leaves(following), strict=True)
            ]
            self.path.append(z3.Implies(choice == place, z3.And(equal)))
            taken.append(values)
            arounds.append(Around(before, values, following, answer))
        self.states.append(after)
        self.taken.append(taken)
        self.around.append(arounds)

    def _least(self, solver: Formula, about: Tree) -> tuple[list[Taken], Tree]:
        """The model with numbers as small as they can be made one by one."""
        model = solver.model()
        choices = [value_in(model, choice) for choice in self.chosen]
        solver.add([choice == number for choice, number in zip(self.chosen, choices, strict=True)])
        mine = [taken[number] for taken, number in zip(self.taken, choices, strict=True)]
        for term in leaves((*mine, about)):
            constant = self.translator.formula(term)
            if not term.sort.width:
                solver.add(z3.Not(constant) if _may(solver, z3.Not(constant)) else constant)
                continue
            low, high = 0, value_in(model, constant)
            while low < high:
                middle = (low + high) // 2
                if _may(solver, z3.ULE(constant, middle)):
                    high = middle
                else:
                    low = middle + 1
            solver.add(constant == low)
            satisfiable(solver)
            model = solver.model()
        satisfiable(solver)
        model = solver.model()
        values = [self._values(model, tree) for tree in mine]
        path = [Taken(number, tree) for number, tree in zip(choices, values, strict=True)]
        return path, self._values(model, about)

    def _values(self, model: Formula, tree: Tree) -> Tree:
        def number(term: Term) -> int | bool:
            value = value_in(model, self.translator.formula(term))
            return value if term.sort.width else bool(value)

        return filled(tree, [number(term) for term in leaves(tree)])


def _may(solver: Formula, goal: Formula) -> bool:
    solver.push()
    solver.add(goal)
    found = satisfiable(solver)
    solver.pop()
    return bool(found)


def _shown(algorithm: Algorithm, law: Law, path: Sequence[Taken], about: Tree, seconds: float) -> Obligation:
    """The path run with numbers, as it is shown."""
    state = algorithm.start
    lines, trace = [_line(0, algorithm, None, state, "all is 0")], [_entry(0, algorithm, None, None, None, state)]
    around: Any = state
    for number, taken in enumerate(path, 1):
        step = algorithm.steps[taken.step]
        before = state
        state, answer = step.does(before, taken.values)
        around = Around(before, taken.values, state, answer)
        lines.append(f"    {step.party}: {step.name}" + _given(step.takes, taken.values, "taken"))
        lines.append(_line(number, algorithm, before, state, "nothing changes"))
        trace.append(_entry(number, algorithm, step, taken.values, before, state))
    seen = around if law.steps else state
    if not law.given(about, seen) or law.holds(about, seen):
        raise NotRepeated(f"{algorithm.name}: {law.name} is not violated when the steps are run")
    if law.about:
        lines.append(f"    {law.name} does not hold{_given(law.about, about, 'about')}")
    row = algorithm.steps[path[-1].step].name if path else "init"
    method = f"bounded, {len(path)} steps"
    own, detail = algorithm.name, "\n".join(lines)
    return Obligation(own, own, law.id, law.name, row, "violated", method, seconds, detail, tuple(trace))


def _given(shape: Tree, values: Tree, name: str) -> str:
    return " with " + ", ".join(f"{label} = {text}" for label, text in _texts(shape, values, name)) if shape else ""


def _texts(shape: Tree, values: Tree, name: str = "") -> Iterator[tuple[str, str]]:
    for label, sort, number in zip(names(shape, name), leaves(shape), leaves(values), strict=True):
        yield label, word(sort, int(number))


def _changed(algorithm: Algorithm, before: Tree | None, after: Tree) -> dict[str, str]:
    now = dict(_texts(algorithm.shape, after, algorithm.called))
    old = dict.fromkeys(now) if before is None else dict(_texts(algorithm.shape, before, algorithm.called))
    nothing = ("0", "false") if before is None else ()
    return {label: text for label, text in now.items() if old[label] != text and text not in nothing}


def _line(number: int, algorithm: Algorithm, before: Tree | None, after: Tree, nothing: str) -> str:
    changed = ", ".join(f"{label} = {text}" for label, text in _changed(algorithm, before, after).items())
    return f"{number:3d} {changed or nothing}"


def _entry(
    number: int, algorithm: Algorithm, step: Any, taken: Tree | None, before: Tree | None, after: Tree
) -> dict[str, Any]:
    entry: dict[str, Any] = {"seq": number, "kind": "state" if step is None else "step"}
    if step is not None:
        entry |= {"party": step.party, "action": step.name, "parameters": dict(_texts(step.takes, taken, "taken"))}
    return {**entry, "changed": _changed(algorithm, before, after)}
