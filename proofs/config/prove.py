# SPDX-License-Identifier: Apache-2.0
"""Proves the claims about configuration space, or shows what breaks in a dialect.

One task for each case of each profile: the request is run over formulas once, and each claim is one question about it. That
the case can happen at all is asked first, so that nothing is proved of requests that there are none of.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final

import z3

from pvpci.model.config.dialects import ConfigDialect
from pvpci.model.config.linux import LINUX_6_1_0, LINUX_6_1_63
from pvpci.model.config.profiles import STRICT, Profile
from pvpci.model.config.properties import PROPERTIES
from pvpci.proofs.config import bars, command, requests
from pvpci.proofs.config.again import agrees
from pvpci.proofs.config.cases import Case, cases
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
from pvpci.proofs.reach import Reached
from pvpci.proofs.report import Obligation, Verdict
from pvpci.proofs.translate import Formula

Task = Callable[[], tuple[list[Obligation], Reached]]
CLAIMS: Final[tuple[Claim, ...]] = (*requests.CLAIMS, *command.CLAIMS, *bars.CLAIMS)
MACHINE: Final = "config"
TIMEOUT_MS: Final = 20_000
METHOD: Final = "for all values"
HAPPENS: Final = "it_can_happen"


def claims_of(profile: Profile) -> list[Claim]:
    """What is asked of this profile."""
    return [claim for claim in CLAIMS if is_asked(claim.id, profile.name)]


def is_asked(id: str, profile: str) -> bool:
    known = PROPERTIES[id]
    return (profile == STRICT.name or not known.strict) and profile not in dict(known.but)


def tasks(
    wanted: Callable[[str, str], bool], profiles: Sequence[Profile] = (STRICT, LINUX_6_1_63, LINUX_6_1_0)
) -> list[Task]:
    """`wanted`: by identifier and sentence of the property."""
    made: list[Task] = []
    for profile in profiles:
        chosen = [claim for claim in claims_of(profile) if wanted(claim.id, PROPERTIES[claim.id].sentence)]
        if chosen:
            made += [partial(_task, part, profile.name) for part in _parts(profile, chosen)]
    return made


def _task(part: Callable[[], Iterator[Obligation]], profile: str) -> tuple[list[Obligation], Reached]:
    del profile
    return list(part()), Reached()


def _parts(profile: Profile, claims: Sequence[Claim]) -> Iterator[Callable[[], Iterator[Obligation]]]:
    by_request = [claim for claim in claims if isinstance(claim, RequestClaim)]
    if by_request:
        for case in _new(profile):
            for is_read in (True, False):
                yield partial(_of_request, profile, partial(ask, profile, case, is_read=is_read), by_request)
        for route in (AWAY, PAST) if not profile.rules.bounded else (AWAY,):
            for is_read in (True, False):
                yield partial(_of_request, profile, partial(ask_elsewhere, profile, route, is_read=is_read), by_request)
    for claim in claims:
        if isinstance(claim, ProgramClaim | StoryClaim):
            yield partial(_of_program, profile, claim)
        elif isinstance(claim, OtherClaim):
            yield partial(_of_other, profile, claim)


def _new(profile: Profile) -> Iterator[Case]:
    """The cases of a profile; without those that it shares, row for row, with the one that it is a dialect of."""
    older = {case.name: case.rows for case in cases(LINUX_6_1_63)} if profile is LINUX_6_1_0 else {}
    for case in cases(profile):
        rows = older.get(case.name, ())
        if len(rows) != len(case.rows) or not all(one.alike(two) for one, two in zip(case.rows, rows, strict=True)):
            yield case


def _of_request(profile: Profile, make: Callable[[], Asked], claims: Sequence[RequestClaim]) -> Iterator[Obligation]:
    asked = make()
    row = f"{'read' if asked.is_read else 'write'} {asked.route}"
    mine = [claim for claim in claims if claim.speaks(asked)]
    if not mine:
        return
    solver = _solver(asked.given)
    yield _happens(profile, solver, row)
    for claim in mine:
        yield _answer(profile, claim.id, solver, claim.holds(asked), row, asked)


def _of_program(profile: Profile, claim: ProgramClaim | StoryClaim) -> Iterator[Obligation]:
    ran = claim.run(profile)
    solver = _solver(ran.given)
    yield _happens(profile, solver, claim.which)
    yield _answer(profile, claim.id, solver, claim.holds(ran), claim.which, ran)


def _of_other(profile: Profile, claim: OtherClaim) -> Iterator[Obligation]:
    for one in claim.obligations(profile):
        solver = _solver(one.given)
        if one.given:
            yield _happens(profile, solver, one.row)
        yield _answer(profile, claim.id, solver, one.holds, one.row, one)


def _solver(given: Sequence[Formula]) -> Formula:
    solver = z3.SolverFor("QF_BV")
    solver.set("timeout", TIMEOUT_MS)
    solver.add(*given)
    return solver


def _happens(profile: Profile, solver: Formula, row: str) -> Obligation:
    began = time.perf_counter()
    found = solver.check()
    verdict: Verdict = "proved" if found == z3.sat else "violated" if found == z3.unsat else "unknown"
    detail = "" if found == z3.sat else "no such request is possible, so nothing was shown of it"
    seconds = time.perf_counter() - began
    return Obligation(_system(profile), MACHINE, HAPPENS, HAPPENS, row, verdict, METHOD, seconds, detail)


def _answer(
    profile: Profile, id: str, solver: Formula, holds: Formula, row: str, of: Asked | Ran | Question
) -> Obligation:
    began = time.perf_counter()
    solver.push()
    fails = z3.simplify(z3.Not(holds))
    solver.add(fails)
    found = z3.unsat if z3.is_false(fails) else solver.check()
    detail = ""
    if found == z3.sat:
        model = solver.model()
        detail = counterexample(model, of)
        if not agrees(model, of):
            found, detail = z3.unknown, f"what runs does otherwise:\n{detail}"
    elif found != z3.unsat:
        detail = f"the solver gave up: {solver.reason_unknown()}"
    solver.pop()
    verdict: Verdict = "proved" if found == z3.unsat else "violated" if found == z3.sat else "unknown"
    seconds = time.perf_counter() - began
    sentence = PROPERTIES[id].sentence
    return Obligation(_system(profile), MACHINE, id, sentence, row, verdict, METHOD, seconds, detail)


def _system(profile: Profile) -> str:
    return f"configuration space, {profile.name}"


def broken(dialect: ConfigDialect) -> list[Obligation]:
    """For each property that the dialect is said to break one case in which it does; `unknown` if there is none."""
    return [_broken(dialect, id) for id in dialect.breaks]


def _broken(dialect: ConfigDialect, id: str) -> Obligation:
    profile = dialect.profile
    began = time.perf_counter()
    for part in _parts(profile, [claim for claim in CLAIMS if claim.id == id]):
        for one in part():
            if one.property == id and one.verdict == "violated":
                return one
    seconds = time.perf_counter() - began
    sentence = PROPERTIES[id].sentence
    what = "no request breaks it"
    return Obligation(_system(profile), MACHINE, id, sentence, "*", "unknown", METHOD, seconds, what)
