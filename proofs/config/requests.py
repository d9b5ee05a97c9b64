# SPDX-License-Identifier: Apache-2.0
"""C-01 to C-13: how requests are handled, whatever the registers are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import combinations, product
from typing import Final

import z3

from pvpci.model.config import constants as pci
from pvpci.model.config.capabilities import REGISTERED
from pvpci.model.config.identity import Identity, Refused
from pvpci.model.config.lanes import REACH, WORD, lanes
from pvpci.model.config.profiles import Profile
from pvpci.model.config.programs import RAW, Field, Finish, Structure, local
from pvpci.model.config.rules import BROUGHT, LANES, in_order, writing
from pvpci.model.config.state import GUEST, Kind, host, known
from pvpci.model.config.table import fits, table
from pvpci.model.config.walk import Capability
from pvpci.model.kernel.terms import number
from pvpci.proofs.config.cases import MSI_FORMS, Case, cases, place_of, rows_of
from pvpci.proofs.config.claims import (
    AWAY,
    LIMIT,
    OFFSET,
    SIZE,
    Asked,
    Claim,
    OtherClaim,
    Question,
    RequestClaim,
    asked_lanes,
    is_accepted,
    of_linux,
    shift,
)
from pvpci.proofs.config.symbolic import World, execute
from pvpci.proofs.translate import Formula, value_in


def _nothing(asked: Asked) -> Formula:
    return z3.And(asked.untouched, asked.same((*GUEST, *host.variables)))


def _well_formed(asked: Asked) -> Formula:
    sized = z3.Or(SIZE == 1, SIZE == 2, SIZE == 4)
    placed = z3.And(z3.Implies(SIZE == 2, OFFSET & 1 == 0), z3.Implies(SIZE == 4, OFFSET & 3 == 0))
    return z3.And(sized, placed)


def _refused(asked: Asked, code: int = -2) -> Formula:
    return asked.err == z3.BitVecVal(code, 32)


def _outside(asked: Asked) -> Formula:
    end = z3.ZeroExt(1, OFFSET) + z3.ZeroExt(1, SIZE)
    return z3.Or(OFFSET < 0, z3.UGT(end, z3.ZeroExt(1, LIMIT)))


def _byte_of_its_row(asked: Asked) -> Formula:
    """The value, byte by byte, as the rows have it one by one."""
    assert asked.case is not None and asked.answer is not None
    parts = []
    for n in range(4):
        expected = asked.before.byte((asked.case.structure, asked.case.offset + n))
        for row in asked.case.rows:
            if row.lanes >> 8 * n & 0xFF:
                world = asked.before.copy()
                world.values[RAW[row.width].variable] = world.register(row.place)
                seen = world.evaluate(row.reads.value)
                place = 8 * n - row.shift
                expected = z3.Extract(place + 7, place, seen)
        got = z3.Extract(7, 0, z3.LShR(asked.answer, z3.BitVecVal(8 * n, 32) - shift()))
        parts.append(z3.Implies(asked.byte(n), got == expected))
    return z3.And(parts)


def _no_row(asked: Asked) -> Formula:
    assert asked.case is not None
    return asked.lanes & asked.case.covered == 0


def _cut(asked: Asked) -> Formula:
    assert asked.answer is not None
    return asked.answer & ~z3.LShR(asked.lanes, shift()) == 0


def _met(asked: Asked) -> Formula:
    assert asked.case is not None
    return asked.lanes & asked.case.covered != 0


def _uncovered_stay(asked: Asked) -> Formula:
    """No write to the dword has a byte that no row covers."""
    assert asked.case is not None
    free = z3.BitVecVal(WORD & ~asked.case.covered, 32)
    kept = []
    for one in asked.written:
        if one.place.structure is asked.case.structure and one.place.offset & ~3 == asked.case.offset:
            reached = z3.BitVecVal(lanes(one.place.offset, one.place.width), 32) if one.lanes is None else one.lanes
            kept.append(z3.Implies(one.when, reached & free == 0))
    return z3.Implies(_met(asked), z3.And(kept or [z3.BoolVal(True)]))


def _overlapping(asked: Asked) -> bool:
    return asked.case is not None and bool(_shared(asked.case))


def _shared(case: Case) -> int:
    """The lanes that more than one row covers."""
    once = twice = 0
    for row in case.rows:
        twice |= once & row.lanes
        once |= row.lanes
    return twice


def _last_is_read(asked: Asked) -> Formula:
    """Of what more than one row covers, the one that was registered last is read."""
    assert asked.case is not None
    shared = asked.lanes & _shared(asked.case)
    return z3.Implies(shared != 0, _byte_of_its_row(asked))


def _no_overlap(profile: Profile) -> Iterator[Question]:
    """Where added fields are checked, no two rows have a byte in common."""
    if profile.layout.quirks_checked:
        for case in cases(profile):
            yield Question(case.name, z3.BitVecVal(_shared(case), 32) == 0)


def _can_refuse(row: Field) -> bool:
    return bool(row.reads.refuses) or any(isinstance(step, Finish) for step in row.writes.steps)


def _several(asked: Asked) -> bool:
    return asked.case is not None and len(asked.case.rows) > 1 and any(map(_can_refuse, asked.case.rows))


def _first_refusal(asked: Asked) -> Formula:
    """What the rows up to any one refuse with is the answer, whatever rows come after."""
    assert asked.case is not None
    found = []
    rows = in_order(asked.case.rows, asked.profile.rules)
    sent = {LANES.variable: asked.lanes, BROUGHT.variable: asked.brought}
    for count, row in enumerate(rows, 1):
        if count < len(rows) and _can_refuse(row):
            program = writing(rows[:count], asked.profile.rules)
            alone = execute(program, asked.before.copy(), window=asked.case.window, sent=sent)
            found.append(z3.Implies(alone.err != 0, asked.err == alone.err))
    return z3.And(found or [z3.BoolVal(True)])


# Where a request can go


def _forms(profile: Profile) -> Iterator[tuple[Structure, int, tuple[Field, ...]]]:
    """Each capability with rows, with the flag word that decides which, and all its rows."""
    for structure in REGISTERED.values():
        forms = MSI_FORMS if structure is Structure.MSI and profile.layout.own_messages else (0,)
        yield from ((structure, flags, rows_of(structure, profile, flags)) for flags in forms)
    if profile.layout.chain:
        yield Structure.SHOWN, 0, rows_of(Structure.SHOWN, profile)


def _partition(profile: Profile) -> Iterator[Question]:
    """A request that is accepted stays inside one dword, which belongs to the header, to one capability, or to nobody."""
    dword = OFFSET & ~z3.BitVecVal(3, 32)
    here = (z3.Or(LIMIT == 256, LIMIT == REACH), is_accepted(profile), z3.ULT(OFFSET, REACH))
    yield Question("one dword", z3.And(dword == (OFFSET + SIZE - 1) & ~z3.BitVecVal(3, 32), asked_lanes() != 0), here)
    headers = [case for case in cases(profile) if case.structure is Structure.HEADER and not case.bridge]
    in_header = z3.PbEq([(dword == case.base(), 1) for case in _once(headers)], 1)
    nowhere = Case("no rows", Structure.SPACE, 0, ())
    outside = z3.substitute(nowhere.somewhere(), (place_of(Structure.SPACE), dword))
    yield Question("every dword has one case", z3.Xor(in_header, outside), here)
    if not of_linux(profile):
        yield _added_field(profile)
    for (one, flags, rows), (two, others, more) in combinations(_forms(profile), 2):
        if one is two:
            continue
        first, second = place_of(one), place_of(two)
        pairs = list(product(rows, more))
        meet = z3.Or([first + (x.offset & ~3) == second + (y.offset & ~3) for x, y in pairs])
        same = z3.Or([first + x.offset == second + y.offset for x, y in pairs])
        past = [at + row.offset + row.width > 256 for at, found in ((first, rows), (second, more)) for row in found]
        placed = tuple(Case("", structure, 0, ()).somewhere() for structure in (one, two))
        again = partial(_given_out, profile, {one: first, two: second}, flags | others)
        name = f"{one.name} beside {two.name}, {flags | others:03x}"
        yield Question(name, z3.Implies(meet, z3.Or(same, *past)), placed, again)


def _added_field(profile: Profile) -> Question:
    """A field that may be added lies in one dword."""
    offset, width = local("added.offset", 32), local("added.width", 32)
    world = World()
    at, size = world.evaluate(offset), world.evaluate(width)
    allowed = (offset < REACH) & width.among(1, 2, 4) & fits(offset, width, number(32, REACH), profile.layout)
    return Question("an added field", (at & 3) + size <= 4, (world.evaluate(allowed),))


def _given_out(profile: Profile, places: Mapping[Structure, Formula], flags: int, model: Formula) -> bool:
    """Such a function is not refused."""
    ids = {structure: id for id, structure in REGISTERED.items()} | {Structure.SHOWN: pci.CAP_ID_VNDR}
    found = [Capability(ids[structure], value_in(model, at), 0) for structure, at in places.items()]
    try:
        table(Identity(0, 0, 0, pci.CONVENTIONAL_SIZE, False, (), chain=found, msi_flags=flags), profile)
    except Refused:
        return False
    return True


def _once(found: Iterable[Case]) -> Iterator[Case]:
    """One case for each dword."""
    yield from {case.offset: case for case in found}.values()


CLAIMS: Final[tuple[Claim, ...]] = (
    RequestClaim(
        "C-01",
        lambda a: z3.Implies(z3.Not(_well_formed(a)), z3.And(_refused(a), _nothing(a))),
    ),
    RequestClaim("C-02", lambda a: z3.Implies(_outside(a), z3.And(_refused(a), _nothing(a)))),
    RequestClaim("C-03", _nothing, kind="read"),
    RequestClaim("C-04", lambda a: a.answer == 0, kind="read", about=lambda a: a.route == AWAY),
    RequestClaim("C-05", _byte_of_its_row, kind="read", about=lambda a: a.case is not None),
    RequestClaim("C-06", _cut, kind="read"),
    OtherClaim("C-07", _partition),
    RequestClaim(
        "C-08",
        lambda a: z3.Implies(
            z3.And(_no_row(a), z3.Not(a.was(known.permissive))),
            z3.And(a.err == 0, _nothing(a), a.told(Kind.WRITE_DROPPED)),
        ),
        kind="write",
        about=lambda a: a.case is not None,
    ),
    RequestClaim("C-09", _uncovered_stay, kind="write", about=lambda a: a.case is not None and bool(a.case.rows)),
    RequestClaim("C-10", _last_is_read, kind="read", about=_overlapping),
    OtherClaim("C-10", _no_overlap),
    RequestClaim("C-11", _first_refusal, kind="write", about=_several),
    RequestClaim("C-12", lambda a: z3.Implies(a.err != 0, _nothing(a))),
    RequestClaim("C-13", lambda a: z3.Or([a.err == z3.BitVecVal(code, 32) for code in (0, -1, -2, -3, -4, -5)])),
)
