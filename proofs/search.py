# SPDX-License-Identifier: Apache-2.0
"""Breadth-first search: every state that can be reached, and the shortest way to one that should not be.

Slice first. What explodes is not interleavings but stale copies, so variables that no guard and no property can see, even
through others, are dropped before the search. For one property more can go: steps that change nothing it depends on.

A search that was not cut short is a proof. If some parameter was only tried with sample values, it is one for these values,
and says so.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from pvpci.model.kernel.claims import Always, Claim, EachStep
from pvpci.model.kernel.compiled import State, Successors, source, successors
from pvpci.model.kernel.systems import Action, System, flags_of
from pvpci.model.kernel.terms import Flag, Var
from pvpci.proofs.counterexample import Taken
from pvpci.proofs.report import EXHAUSTIVE, SAMPLED

LIMIT = 2_000_000  #: states; some 400 bytes each
SMALL = 16  #: sorts with at most so many values are tried with all of them


@dataclass(frozen=True)
class Slice:
    """The part of a system that some properties depend on."""

    system: System
    actions: tuple[Action, ...]
    keep: tuple[Var, ...]

    @property
    def sampled(self) -> tuple[Var, ...]:
        """Parameters that matter and are not tried with all their values."""
        kept = set(self.keep)
        found: dict[Var, None] = {}
        for action in self.actions:
            used = set(action.guard.variables())
            used.update(v for var, term in action.updates.items() if var in kept for v in term.variables())
            found.update(dict.fromkeys(v for v in action.parameters if v in used and not whole(self.system, v)))
        return tuple(found)

    @property
    def missing(self) -> tuple[Var, ...]:
        """Parameters for which the system does not say which values to try."""
        return tuple(var for var in self.sampled if var not in self.system.samples)

    @property
    def method(self) -> str:
        return SAMPLED if self.sampled else EXHAUSTIVE


def whole(system: System, var: Var) -> bool:
    """All values of the variable are tried."""
    samples = system.samples.get(var)
    return var.sort.size <= SMALL if samples is None else len(set(samples)) == var.sort.size


def slice_of(system: System, claims: Iterable[Claim], *, cone: bool = False) -> Slice:
    """What the claims depend on. With `cone` only steps that can change any of it; without, every step stays.

    Progress and reachability want every step: which are possible is what they ask.
    """
    actions = system.actions
    claims = tuple(claims)
    taken: dict[Action, None] = {} if cone else dict.fromkeys(actions)
    for claim in claims:
        if isinstance(claim, EachStep):
            taken.update(dict.fromkeys(a for a in actions if not claim.party or a.party == claim.party))
    kept = {v.primed or v for claim in claims for flag in flags_of(claim) for v in flag.variables()}
    before = (-1, -1)
    while before != (len(kept), len(taken)):
        before = (len(kept), len(taken))
        for action in actions:
            mine = [term for var, term in action.updates.items() if var in kept]
            if mine or action in taken:
                taken[action] = None
                seen = {v for term in (action.guard, *mine) for v in term.variables()}
                kept |= seen - set(action.parameters)
    known = system.variables
    ordered = tuple(a for a in actions if a in taken)
    state = {v for a in actions for v in (*a.updates, *a.reads)} | {a.machine.at.variable for a in actions if a.machine}
    return Slice(system, ordered, tuple(v for v in known if v in kept and (v in state or v.cell not in system.hostile)))


Came = tuple[int, int, tuple[int, ...]]  #: the number of the state before, the number of the action, its parameters


@dataclass
class Explored:
    """What a search saw. States are numbered in the order in which they were found, the first one is 0."""

    view: Slice
    space: Successors
    complete: bool = False
    transitions: int = 0
    index: dict[State, int] = field(default_factory=dict)
    came: list[Came | None] = field(default_factory=list)  #: by number of the state: how it was found first
    violations: dict[Claim, tuple[int, Came | None]] = field(default_factory=dict)  #: the state, or the step from it
    fired: dict[int, Came] = field(default_factory=dict)  #: by number of the action: where it was taken first
    met: set[Claim] = field(default_factory=set)  #: claims about steps of which some step was one that they speak of
    edges: list[array[int]] = field(default_factory=list)  #: by number of the state; see `unpack`

    @property
    def states(self) -> int:
        return len(self.index)

    def path(self, claim: Claim) -> list[Taken]:
        """The steps to the violation of the claim."""
        state, step = self.violations[claim]
        return self.path_to(state) if step is None else self.path_through(step)

    def path_through(self, step: Came) -> list[Taken]:
        state, number, inputs = step
        action = self.space.actions[number]
        return [*self.path_to(state), (action, dict(zip(action.parameters, inputs, strict=True)))]

    def path_to(self, state: int) -> list[Taken]:
        step = self.came[state]
        steps: list[Taken] = []
        while step is not None:
            state, number, inputs = step
            action = self.space.actions[number]
            steps.append((action, dict(zip(action.parameters, inputs, strict=True))))
            step = self.came[state]
        return steps[::-1]


#: an edge is one number: the action's number above, the number of the state it leads to below
STATE_BITS: Final = 40
STATE_MASK: Final = (1 << STATE_BITS) - 1


def unpack(packed: int) -> tuple[int, int]:
    """The number of the action and of the state it leads to."""
    return packed >> STATE_BITS, packed & STATE_MASK


def explore(
    view: Slice,
    claims: Sequence[Claim] = (),
    *,
    limit: int = LIMIT,
    edges: bool = False,
    first: bool = False,
    until_fired: bool = False,
) -> Explored:
    """Search; check every `Always` and `EachStep`. Stops early at the `first` violation, or once every action was taken.

    `edges`: keep them all, for progress. ValueError if the system does not say which values of a parameter to try.
    """
    space = successors(view.system, keep=view.keep, only=view.actions)
    result = Explored(view, space)
    always = [c for c in claims if isinstance(c, Always)]
    states = [(claim, _test([source_of(view, space, [claim.holds], None)], "s")) for claim in always]
    good = _test([source_of(view, space, [claim.holds], None) for claim in always], "s")
    steps = _step_tests(view, space, [c for c in claims if isinstance(c, EachStep)])
    unmet = _unmet(view, space, [c for c in claims if isinstance(c, EachStep)])
    index, came, violations, fired, follow = result.index, result.came, result.violations, result.fired, space.follow

    def judge(state: State, number: int) -> None:
        for claim, holds in states:
            if claim not in violations and not holds(state):
                violations[claim] = (number, None)

    index[space.initial] = 0
    came.append(None)
    judge(space.initial, 0)
    layer = [space.initial]
    while layer and not (first and violations) and len(index) < limit:
        if until_fired and len(fired) == len(space.actions):
            break
        following: list[State] = []
        for state in layer:
            if len(came) >= limit:
                following.append(state)  # something is left to do
                break
            here = index[state]
            found = follow(state)
            result.transitions += len(found)
            for number, inputs, after in found:
                if number not in fired:
                    fired[number] = (here, number, inputs)
                if number in unmet:
                    for claim, speaks in unmet[number]:
                        if claim not in result.met and speaks(state, inputs, after):
                            result.met.add(claim)
                    unmet[number] = [pair for pair in unmet[number] if pair[0] not in result.met]
                    if not unmet[number]:
                        del unmet[number]
                if number in steps and not steps[number][0](state, inputs, after):
                    for claim, step_holds in steps[number][1]:
                        if claim not in violations and not step_holds(state, inputs, after):
                            violations[claim] = (here, (here, number, inputs))
                if after not in index:
                    index[after] = len(came)
                    came.append((here, number, inputs))
                    following.append(after)
                    if not good(after):
                        judge(after, index[after])
            if edges:
                result.edges.append(array("Q", [number << STATE_BITS | index[after] for number, _, after in found]))
        layer = following
    result.complete = not layer
    return result


def _test(texts: Sequence[str], arguments: str) -> Callable[..., bool]:
    return eval(f"lambda {arguments}: bool({' and '.join(texts) or 'True'})")  # type: ignore[no-any-return]


def source_of(view: Slice, space: Successors, flags: Sequence[Flag], action: Action | None) -> str:
    """Python for "given all but the last, the last": over the state `s`, and for a step its inputs `p` and what follows `n`.

    What is no part of the state (memory that somebody else may rewrite at any time) may be anything.
    """
    index = {var: i for i, var in enumerate(space.order)}
    inputs = {var: i for i, var in enumerate(action.parameters)} if action else {}
    loose: dict[Var, str] = {}

    def name(var: Var) -> str:
        if var.primed is not None and var.primed in index:
            return f"n[{index[var.primed]}]"
        if var in inputs:
            return f"p[{inputs[var]}]"
        if var in index:
            return f"s[{index[var]}]"
        return loose.setdefault(var, f"h{len(loose)}")

    text = source(flags[-1], name)
    for flag in flags[:-1]:
        text = f"(not {source(flag, name)} or {text})"
    ranges = " ".join(f"for {local} in {_tried(view.system, var.primed or var)!r}" for var, local in loose.items())
    return f"all({text} {ranges})" if ranges else text


def _tried(system: System, var: Var) -> tuple[int, ...]:
    if var in system.samples:
        return tuple(system.samples[var])
    if var.sort.size > SMALL:
        raise ValueError(f"{system.name}: say which values of {var.name} ({var.sort}) a search should try")
    return tuple(range(var.sort.size))


StepTest = Callable[[State, tuple[int, ...], State], bool]


def _step_tests(
    view: Slice, space: Successors, claims: Sequence[EachStep]
) -> dict[int, tuple[StepTest, list[tuple[EachStep, StepTest]]]]:
    """By number of the action: one test of all claims at once, and one for each."""
    tests: dict[int, tuple[StepTest, list[tuple[EachStep, StepTest]]]] = {}
    for number, action in enumerate(space.actions):
        about = [claim for claim in claims if not claim.party or claim.party == action.party]
        texts = [source_of(view, space, [claim.given, claim.holds], action) for claim in about]
        if about:
            each = [(claim, _test([text], "s, p, n")) for claim, text in zip(about, texts, strict=True)]
            tests[number] = (_test(texts, "s, p, n"), each)
    return tests


def _unmet(view: Slice, space: Successors, claims: Sequence[EachStep]) -> dict[int, list[tuple[EachStep, StepTest]]]:
    """By number of the action: what tells whether a step is one that a claim speaks of."""
    tests: dict[int, list[tuple[EachStep, StepTest]]] = {}
    for number, action in enumerate(space.actions):
        about = [claim for claim in claims if not claim.party or claim.party == action.party]
        if about:
            tests[number] = [(c, _test([source_of(view, space, [c.given], action)], "s, p, n")) for c in about]
    return tests
