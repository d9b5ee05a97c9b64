# SPDX-License-Identifier: Apache-2.0
"""Automatic mutation of configuration space: each step of each program is forgotten once. Would any property notice?

Steps that only name a value for later ones are left out: without them the others read 0, which is no mistake that a hand
makes. Like every list of mutants this is one to think about (`proofs.mutate`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from pvpci.model.config.bugs import MACHINE
from pvpci.model.config.profiles import STRICT, Edit, Profile, dialect, on_rows, program
from pvpci.model.config.programs import Field, Load, Program, Set, Step, Store, Tell, TellAgain, Wait
from pvpci.proofs.config.claims import OtherClaim, RequestClaim
from pvpci.proofs.config.prove import CLAIMS, METHOD, Judge, is_asked
from pvpci.proofs.config.symbolic import is_given
from pvpci.proofs.mutate import Mutations, Outcome

PROGRAMS: Final = ("attach", "detach", "forget")


@dataclass(frozen=True)
class Mutant:
    """`where` without one step."""

    where: str
    what: str
    edit: Edit


def mutants(profile: Profile) -> Iterator[Mutant]:
    """In the order of the tables, then of the programs."""
    seen: set[str] = set()
    for row in (*profile.normal, *(row for rows in profile.structures.values() for row in rows)):
        if row.name not in seen:
            seen.add(row.name)
            yield from (_of_row(row, number, step) for number, step in _forgettable(row.writes.steps))
    for which in PROGRAMS:
        present: Program = getattr(profile, which)
        for number, step in _forgettable(present):
            yield Mutant(which, f"forgets {_says(step)}", program(which, _without(present, number)))


def _of_row(row: Field, number: int, step: Step) -> Mutant:
    def without(field: Field) -> Field:
        return replace(field, writes=replace(field.writes, steps=_without(field.writes.steps, number)))

    return Mutant(row.name, f"forgets {_says(step)}", on_rows(row.name, without))


def _without(steps: Program, number: int) -> Program:
    return (*steps[:number], *steps[number + 1 :])


def _forgettable(steps: Program) -> Iterator[tuple[int, Step]]:
    for number, step in enumerate(steps):
        if not isinstance(step, Load) and not (isinstance(step, Set) and not is_given(step.update.var)):
            yield number, step


def _says(step: Step) -> str:
    match step:
        case Store():
            what = f"to write {step.at}"
        case Set():
            what = f"to set {step.update.var}"
        case Tell():
            what = f"to tell {step.kind.name}"
        case TellAgain():
            what = "that people were told"
        case Wait():
            what = f"to wait {step.microseconds} us"
        case _:
            what = "to end"
    return f"{what} ({step.name})" if step.name else what


def mutations(profile: Profile = STRICT) -> Mutations:
    """Each mutant with the first property that notices."""
    began = time.perf_counter()
    outcomes = [judge(profile, mutant) for mutant in mutants(profile)]
    return Mutations(tuple(outcomes), time.perf_counter() - began)


def judge(profile: Profile, mutant: Mutant) -> Outcome:
    """The first property that notices, if any does."""
    began = time.perf_counter()
    changed = dialect(profile, f"{profile.name} where {mutant.where} {mutant.what}", mutant.edit)
    # What is asked of layouts and places does not depend on steps.
    claims = [claim for claim in CLAIMS if is_asked(claim.id, profile.name) and not isinstance(claim, OtherClaim)]
    if mutant.where in PROGRAMS:
        claims = [claim for claim in claims if not isinstance(claim, RequestClaim)]
    found = (one for part in Judge(changed).parts(claims, profile) for one in part() if one.verdict == "violated")
    first = next(found, None)
    means, by = (METHOD, f"{first.property} {first.title}") if first else ("", "")
    return Outcome(MACHINE, mutant.where, "step", mutant.what, means, by, time.perf_counter() - began)
