# SPDX-License-Identifier: Apache-2.0
"""Proves the claims about configuration space, or shows what breaks in a dialect.

One task for each case of each profile: the request is run over formulas once, and each claim is one question about it. That
the case can happen at all is asked first, so that nothing is proved of requests that there are none of.

Where two profiles have the same rows, their programs are the same, and what is asked of them is asked once.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import z3

from pvpci.model.config.bugs import MACHINE, ConfigDialect, system_of
from pvpci.model.config.linux import LINUX_6_1_0, LINUX_6_1_63
from pvpci.model.config.profiles import STRICT, Profile
from pvpci.model.config.properties import PROPERTIES
from pvpci.model.kernel import claims as kernel
from pvpci.proofs.config import bars, capabilities, command, lives, requests
from pvpci.proofs.config.again import agrees
from pvpci.proofs.config.cases import alike, cases
from pvpci.proofs.config.claims import (
    AWAY,
    PAST,
    Asked,
    Claim,
    OtherClaim,
    ProgramClaim,
    Question,
    Ran,
    RequestClaim,
    StoryClaim,
    ask,
    ask_elsewhere,
)
from pvpci.proofs.config.show import counterexample
from pvpci.proofs.induction import smt2_text
from pvpci.proofs.judge import Done, Task
from pvpci.proofs.reach import Reached
from pvpci.proofs.report import Obligation, Verdict
from pvpci.proofs.translate import Formula

CLAIMS: Final[tuple[Claim, ...]] = (
    *requests.CLAIMS,
    *command.CLAIMS,
    *bars.CLAIMS,
    *capabilities.CLAIMS,
    *lives.CLAIMS,
)
TIMEOUT_MS: Final = 20_000
METHOD: Final = "for all values"
HAPPENS: Final = "it_can_happen"
Part = Callable[[], Iterator[Obligation]]


@dataclass(frozen=True)
class Named:
    name: str


@dataclass(frozen=True, eq=False)
class Configuration:
    """One profile, as something of which something is claimed."""

    profile: Profile
    #: As a system has them: all profiles together go by this name.
    machines: tuple[Named, ...] = (Named(MACHINE),)

    @property
    def name(self) -> str:
        return system_of(self.profile)

    @property
    def claims(self) -> tuple[kernel.Claim, ...]:
        """What is asked of this profile."""
        asked = dict.fromkeys(claim.id for claim in CLAIMS if is_asked(claim.id, self.profile.name))
        return tuple(kernel.Claim(PROPERTIES[id].sentence, id) for id in asked)


CONFIGURATIONS: Final = tuple(map(Configuration, (STRICT, LINUX_6_1_63, LINUX_6_1_0)))
#: Profiles that are another with a few rows changed.
_LIKE: Final = {LINUX_6_1_0.name: LINUX_6_1_63}


def is_asked(id: str, profile: str) -> bool:
    known = PROPERTIES[id]
    return (profile == STRICT.name or not known.strict) and profile not in dict(known.but)


def tasks(
    subject: Configuration,
    wanted: Callable[[kernel.Claim], bool] = lambda claim: True,
    *,
    among: Collection[object] = (),
    smt2: Path | None = None,
) -> list[Task]:
    """What is to be done to judge the wanted claims of a profile. `among`: the profiles that are judged with it."""
    ids = {claim.id for claim in subject.claims if wanted(claim)}
    chosen = [claim for claim in CLAIMS if claim.id in ids]
    like = _LIKE.get(subject.profile.name)
    judged = {one.profile for one in among if isinstance(one, Configuration)}
    judge = Judge(subject.profile, smt2)
    return [partial(_done, part) for part in judge.parts(chosen, like if like in judged else None)]


def _done(part: Part) -> Done:
    return list(part()), Reached()


class Judge:
    """One profile. `smt2`: where each question is written too."""

    def __init__(self, profile: Profile, smt2: Path | None = None) -> None:
        self.profile, self.smt2 = profile, smt2
        self.name = system_of(profile)

    def parts(self, claims: Sequence[Claim], like: Profile | None = None) -> Iterator[Part]:
        """Pieces that can be done side by side. `like`: a profile whose cases need not be judged again."""
        by_request = [claim for claim in claims if isinstance(claim, RequestClaim)]
        if by_request:
            yield from self._cases(by_request, like)
        for claim in claims:
            if isinstance(claim, ProgramClaim | StoryClaim):
                yield partial(self._of_program, claim)
            elif isinstance(claim, OtherClaim):
                yield partial(self._of_other, claim)

    def _cases(self, claims: Sequence[RequestClaim], like: Profile | None) -> Iterator[Part]:
        rules = self.profile.rules
        older = {case.name: case for case in cases(like)} if like is not None and like.rules == rules else {}
        same = [case for case in cases(self.profile) if case.name in older and alike(case, older[case.name])]
        for case in cases(self.profile):
            if case not in same:
                for is_read in (True, False):
                    yield partial(self._of_request, partial(ask, self.profile, case, is_read=is_read), claims)
        if like is not None and older:
            yield partial(self._as_there, system_of(like), claims)
            return
        for route in (AWAY,) if rules.bounded else (AWAY, PAST):
            for is_read in (True, False):
                yield partial(self._of_request, partial(ask_elsewhere, self.profile, route, is_read=is_read), claims)

    def _of_request(self, make: Callable[[], Asked], claims: Sequence[RequestClaim]) -> Iterator[Obligation]:
        asked = make()
        row = f"{'read' if asked.is_read else 'write'} {asked.route}"
        mine = [claim for claim in claims if claim.speaks(asked)]
        if mine:
            solver = _solver(asked.given)
            yield self._happens(solver, row)
            for claim in mine:
                yield self._answer(claim.id, solver, claim.holds(asked), row, asked)

    def _of_program(self, claim: ProgramClaim | StoryClaim) -> Iterator[Obligation]:
        ran = claim.run(self.profile)
        solver = _solver(ran.given)
        yield self._happens(solver, claim.which)
        yield self._answer(claim.id, solver, claim.holds(ran), claim.which, ran)

    def _of_other(self, claim: OtherClaim) -> Iterator[Obligation]:
        for one in claim.obligations(self.profile):
            question = one if isinstance(one, Question) else Question(*one)
            solver = _solver(question.given)
            if question.given:
                yield self._happens(solver, question.row)
            yield self._answer(claim.id, solver, question.holds, question.row, question)

    def _as_there(self, other: str, claims: Sequence[RequestClaim]) -> Iterator[Obligation]:
        for id in dict.fromkeys(claim.id for claim in claims):
            row, method = "all that has the same rows", f"as {other}"
            yield Obligation(self.name, MACHINE, id, PROPERTIES[id].sentence, row, "proved", method)

    def _happens(self, solver: Formula, row: str) -> Obligation:
        began = time.perf_counter()
        found = solver.check()
        verdict: Verdict = "proved" if found == z3.sat else "violated" if found == z3.unsat else "unknown"
        detail = "" if found == z3.sat else "no such request is possible, so nothing was shown of it"
        seconds = time.perf_counter() - began
        return Obligation(self.name, MACHINE, HAPPENS, HAPPENS, row, verdict, METHOD, seconds, detail)

    def _answer(self, id: str, solver: Formula, holds: Formula, row: str, of: Asked | Ran | Question) -> Obligation:
        began = time.perf_counter()
        fails = z3.simplify(z3.Not(holds))
        solver.push()
        solver.add(fails)
        if self.smt2 is not None:
            self._write(solver, f"{row} {id}")
        found = z3.unsat if z3.is_false(fails) else solver.check()
        verdict: Verdict = "proved" if found == z3.unsat else "unknown"
        detail = ""
        if found == z3.sat:
            model = _least(solver)
            verdict = "violated" if agrees(model, of) else "unknown"
            detail = ("" if verdict == "violated" else "what runs does otherwise:\n") + counterexample(model, of)
        elif found != z3.unsat:
            detail = f"the solver gave up: {solver.reason_unknown()}"
        solver.pop()
        seconds = time.perf_counter() - began
        return Obligation(self.name, MACHINE, id, PROPERTIES[id].sentence, row, verdict, METHOD, seconds, detail)

    def _write(self, solver: Formula, title: str) -> None:
        assert self.smt2 is not None
        name = re.sub(r"[^A-Za-z0-9_.-]+", "_", f"{self.name}_{title}")
        (self.smt2 / f"{name}.smt2").write_text(smt2_text(solver, title), encoding="utf-8")


def _solver(given: Sequence[Formula]) -> Formula:
    solver = z3.SolverFor("QF_BV")
    solver.set("timeout", TIMEOUT_MS)
    solver.add(*given)
    return solver


def _least(solver: Formula) -> Formula:
    """A model with as many zeros as can be had one after the other; most can be had together."""
    model = solver.model()
    small: list[Formula] = []
    asked: set[str] = set()
    # A model speaks only of what the solver had to decide; the next one may speak of more.
    while constants := sorted((each() for each in model.decls() if each.name() not in asked), key=str):
        asked |= {each.decl().name() for each in constants}
        chunks = [[z3.Not(each) if z3.is_bool(each) else each == 0 for each in constants]]
        while chunks:
            wishes = chunks.pop()
            if solver.check(*small, *wishes) == z3.sat:
                model = solver.model()
                small += wishes
            elif len(wishes) > 1:
                chunks += [wishes[len(wishes) // 2 :], wishes[: len(wishes) // 2]]
    return model


def broken(dialect: ConfigDialect) -> list[Obligation]:
    """For each property that the dialect is said to break one case in which it does; `unknown` if there is none."""
    began = time.perf_counter()
    judge = Judge(dialect.profile)
    found: dict[str, Obligation] = {}
    for part in judge.parts([claim for claim in CLAIMS if claim.id in dialect.breaks], dialect.base):
        for one in part():
            if one.verdict == "violated" and one.property in dialect.breaks:
                found.setdefault(one.property, one)
        if len(found) == len(dialect.breaks):
            break
    seconds = time.perf_counter() - began
    return [
        found.get(id) or Obligation(
            judge.name, MACHINE, id, PROPERTIES[id].sentence, "*", "unknown", METHOD, seconds, "no request breaks it"
        )
        for id in dialect.breaks
    ]  # fmt: skip
