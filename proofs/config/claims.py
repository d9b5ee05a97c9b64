# SPDX-License-Identifier: Apache-2.0
"""What is claimed of configuration space, and how a claim is put to the solver.

A claim about requests is a formula over one request in one case (`Asked`): the state before and after, what was written to
the function and in which order, the answer. It must hold for every offset, size and value, whatever the registers hold,
whatever was remembered. A claim about a program (attach, detach, forget) is the same without a request. What is no such
formula (the walk of a capability list, which layouts there are) brings obligations of its own.

Which sentences there are, and which of them are asked of the reference only, stands in `model.config.properties`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Final

import z3

from pvpci.model.config.lanes import MASK, REACH
from pvpci.model.config.profiles import Profile
from pvpci.model.config.programs import Place, Program, Structure, local
from pvpci.model.config.rules import BROUGHT, LANES, VALUE, accepted, beyond, reading, refused, writing
from pvpci.model.config.state import BARS, Kind, bars, known
from pvpci.model.kernel.terms import Bits, Flag, Var
from pvpci.proofs.config.cases import Case
from pvpci.proofs.config.symbolic import World, Written, execute
from pvpci.proofs.translate import Formula

OFFSET: Final = z3.BitVec("offset", 32)
SIZE: Final = z3.BitVec("size", 32)
SENT: Final = z3.BitVec("sent", 32)
LIMIT: Final = z3.BitVec("limit", 32)  #: what the guest is shown of the function: 256 or 4096 bytes
_O, _S, _L = local("offset", 32), local("size", 32), local("limit", 32)
AWAY: Final = "turned away"
PAST: Final = "past the end"


def shift() -> Formula:
    """How far the request is up in its dword, in bits."""
    return (OFFSET & 3) << 3


def asked_lanes() -> Formula:
    mask = z3.If(SIZE == 1, z3.BitVecVal(0xFF, 32), z3.If(SIZE == 2, z3.BitVecVal(0xFFFF, 32), z3.BitVecVal(-1, 32)))
    return mask << shift()


class Changed:
    """The function and what is remembered, `before` and `after`."""

    before: World
    after: World

    def was(self, term: Bits | Flag) -> Formula:
        """A term before."""
        return self.before.evaluate(term)

    def now(self, term: Bits | Flag) -> Formula:
        return self.after.evaluate(term)

    def held(self, place: Place) -> Formula:
        """A register of the function before."""
        return self.before.register(place)

    def holds(self, place: Place) -> Formula:
        return self.after.register(place)

    @property
    def written(self) -> list[Written]:
        return self.after.written

    def same(self, variables: Iterable[Var]) -> Formula:
        """None of these variables changed."""
        changed = [(self.before.value(v), self.after.value(v)) for v in variables]
        return z3.And([old == new for old, new in changed if not old.eq(new)] or [z3.BoolVal(True)])


@dataclass
class Asked(Changed):
    """One request, before and after. `answer`: what a read is answered with, None for a write."""

    profile: Profile
    case: Case | None  #: None: turned away, or past the end
    route: str
    is_read: bool
    before: World
    after: World
    err: Formula
    answer: Formula | None
    given: tuple[Formula, ...]

    @cached_property
    def lanes(self) -> Formula:
        return asked_lanes()

    @cached_property
    def brought(self) -> Formula:
        return (SENT << shift()) & self.lanes

    def told(self, kind: Kind) -> Formula:
        return z3.Or([one.when for one in self.after.told if one.kind is kind] or [z3.BoolVal(False)])

    @cached_property
    def untouched(self) -> Formula:
        """Nothing was written to the function."""
        return z3.Not(z3.Or([one.when for one in self.written] or [z3.BoolVal(False)]))

    def byte(self, n: int) -> Formula:
        """Byte `n` of the dword is asked for."""
        return z3.Extract(8 * n, 8 * n, self.lanes) == 1


def ask(profile: Profile, case: Case, *, is_read: bool) -> Asked:
    """A request that meets this dword."""
    rules = profile.rules
    program = reading(case.rows, rules) if is_read else writing(case.rows, rules)
    here = (
        is_accepted(profile),
        z3.ULT(OFFSET, REACH),
        OFFSET & ~z3.BitVecVal(3, 32) == case.base(),
        case.somewhere(),
    )
    return _ask(profile, case, case.name, program, here, is_read=is_read)


def ask_elsewhere(profile: Profile, route: str, *, is_read: bool) -> Asked:
    """A request that is turned away, or that is past what the accessor reaches."""
    read, write = refused(profile.rules) if route == AWAY else beyond(profile.rules)
    here = (z3.Not(is_accepted(profile)),) if route == AWAY else (is_accepted(profile), z3.UGE(OFFSET, REACH))
    return _ask(profile, None, route, read if is_read else write, here, is_read=is_read)


def is_accepted(profile: Profile) -> Formula:
    world = World({_O.variable: OFFSET, _S.variable: SIZE, _L.variable: LIMIT})
    return world.evaluate(accepted(_O, _S, _L, profile.rules))


def _ask(
    profile: Profile, case: Case | None, route: str, program: Program, here: tuple[Formula, ...], *, is_read: bool
) -> Asked:
    before = World()
    after = World()
    brought = (SENT << shift()) & asked_lanes()
    sent = {LANES.variable: asked_lanes(), BROUGHT.variable: brought}
    run = execute(program, after, window=case.window if case else None, sent=sent)
    answer = after.value(VALUE.variable) if is_read else None
    given = (z3.Or(LIMIT == 256, LIMIT == REACH), *here, *_facts(profile, before), *_of_case(case, before))
    return Asked(profile, case, route, is_read, before, after, run.err, answer, given)


_PRESENT: Final = {
    Structure.VPD: known.vpd,
    Structure.PM: known.pm,
    Structure.MSI: known.msi,
    Structure.MSIX: known.msix,
}


def _of_case(case: Case | None, world: World) -> tuple[Formula, ...]:
    """A function that has such a dword has the capability, and that header."""
    if case is None:
        return ()
    if case.structure is Structure.HEADER:
        return (world.evaluate(known.bridge) == case.bridge,)
    return (world.evaluate(_PRESENT[case.structure]),) if case.structure in _PRESENT else ()


def known_facts(world: World, *, bridges: bool = True) -> tuple[Formula, ...]:
    """What the survey of a function guarantees of `state.known` and the BARs. `bridges`: they are given to guests."""
    line = world.evaluate(known.cache_line)
    facts = [line != 0, line & (line - 1) == 0, world.evaluate(known.decode) & ~z3.BitVecVal(3, 16) == 0]
    facts.append(z3.Not(world.evaluate(bars[BARS - 1].wide)))
    bridge = world.evaluate(known.bridge)
    facts += [z3.Implies(bridge, z3.Not(world.evaluate(bar.movable))) for bar in bars[2:BARS]]
    facts += [z3.Implies(bridge, z3.Not(world.evaluate(bar.wide))) for bar in bars[1:BARS]]
    if not bridges:
        facts.append(z3.Not(bridge))
    for below, bar in pairwise(bars[:BARS]):
        facts.append(z3.Implies(world.evaluate(below.wide), z3.Not(world.evaluate(bar.movable))))
        facts.append(z3.Implies(world.evaluate(below.wide), z3.Not(world.evaluate(bar.wide))))
    return tuple(facts)


def _facts(profile: Profile, world: World) -> tuple[Formula, ...]:
    return known_facts(world, bridges=profile.layout.bridges)


def of_linux(profile: Profile) -> bool:
    """One of Linux's profiles: there, what an administrator adds beside other rows is the administrator's affair."""
    return profile.name.startswith("linux")


@dataclass(frozen=True, eq=False)
class RequestClaim:
    """`holds` for every request of a kind in the cases that it is `about`."""

    id: str
    holds: Callable[[Asked], Formula]
    kind: str = "both"  #: "read", "write" or "both"
    about: Callable[[Asked], bool] = lambda asked: True

    def speaks(self, asked: Asked) -> bool:
        return self.kind in ("both", "read" if asked.is_read else "write") and self.about(asked)


@dataclass(frozen=True)
class Sent:
    """A write from the start of a dword, by a guest that knows where it is. `value`: 32 bits."""

    case: Case
    size: int
    value: Formula


@dataclass
class Ran(Changed):
    """Some of the profile's programs and some writes, one after the other, before and after. `err`: of the last one."""

    profile: Profile
    which: str
    parts: tuple[str | Sent, ...]
    before: World
    after: World
    err: Formula
    given: tuple[Formula, ...]


def run(profile: Profile, which: str, parts: Sequence[str | Sent]) -> Ran:
    """`parts`: programs by name, and writes. `which`: what it is called."""
    before, after = World(), World()
    given, err = list(_facts(profile, before)), z3.BitVecVal(0, 32)
    for part in parts:
        if isinstance(part, str):
            execute(getattr(profile, part), after)
            continue
        given += _of_case(part.case, before)
        lanes = z3.BitVecVal(MASK[part.size], 32)
        sent = {LANES.variable: lanes, BROUGHT.variable: part.value & lanes}
        err = execute(writing(part.case.rows, profile.rules), after, window=part.case.window, sent=sent).err
    return Ran(profile, which, tuple(parts), before, after, err, tuple(given))


@dataclass(frozen=True, eq=False)
class ProgramClaim:
    """`holds` for a program, whatever state it starts in. `which`: "attach", or several with "+" between."""

    id: str
    which: str
    holds: Callable[[Ran], Formula]

    def run(self, profile: Profile) -> Ran:
        return run(profile, self.which, self.which.split("+"))


@dataclass(frozen=True, eq=False)
class StoryClaim:
    """`holds` at the end of several writes, if `given` did before. A write is made with the profile, for its rows."""

    id: str
    which: str
    parts: Callable[[Profile], Sequence[str | Sent]]
    holds: Callable[[Ran], Formula]
    given: Callable[[Ran], Formula] = lambda ran: z3.BoolVal(True)

    def run(self, profile: Profile) -> Ran:
        ran = run(profile, self.which, self.parts(profile))
        return replace(ran, given=(*ran.given, self.given(ran)))


@dataclass(frozen=True, eq=False)
class Question:
    """`holds`, if what is `given` does, which must be possible. `again`: whether what runs agrees with a model.

    A pair of row and formula does for one without either.
    """

    row: str
    holds: Formula
    given: tuple[Formula, ...] = ()
    again: Callable[[Formula], bool] = lambda model: True


@dataclass(frozen=True, eq=False)
class OtherClaim:
    """Obligations of its own, each a formula that must hold whatever its unknowns are."""

    id: str
    obligations: Callable[[Profile], Iterable[Question | tuple[str, Formula]]]


Claim = RequestClaim | ProgramClaim | StoryClaim | OtherClaim
