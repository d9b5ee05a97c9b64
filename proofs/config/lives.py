# SPDX-License-Identifier: Apache-2.0
"""C-52 to C-54, C-64 and C-65: what an administrator adds, and what is left when a guest is gone.

That a function is given back as it was taken is shown in two parts. A guest's writes reach only registers of a short list
(whatever it writes, one write at a time), and `detach` puts back each of them, whatever it holds by then, but for those
that mean nothing to the next guest.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import z3

from pvpci.model.config import constants as pci
from pvpci.model.config.capabilities import MSI, MSIX
from pvpci.model.config.lanes import REACH
from pvpci.model.config.profiles import Profile
from pvpci.model.config.programs import Place, Structure, local
from pvpci.model.config.state import GUEST, ROM, bars, known
from pvpci.model.config.steps import CACHE_AND_LATENCY, COMMAND, INTERRUPT_LINE, PMCSR, bar_place
from pvpci.model.config.table import fits, kept_out
from pvpci.proofs.config.bars import added, bytes_written
from pvpci.proofs.config.capabilities import bar_kept, each, mask
from pvpci.proofs.config.cases import added_mask
from pvpci.proofs.config.claims import Asked, Claim, OtherClaim, ProgramClaim, Question, Ran, RequestClaim
from pvpci.proofs.config.symbolic import World
from pvpci.proofs.translate import Formula

_OFFSET, _WIDTH = local("added.offset", 32), local("added.width", 32)
_AT, _BREADTH = local("row.offset", 32), local("row.width", 32)
_SIZE: Final = local("function.size", 32)


def _added_anywhere() -> tuple[Formula, ...]:
    """An added field and a row, anywhere."""
    world = World()
    offset, width, at, breadth, size = (world.evaluate(one) for one in (_OFFSET, _WIDTH, _AT, _BREADTH, _SIZE))
    sized = [z3.Or([one == number for number in (1, 2, 4)]) for one in (width, breadth)]
    return (*sized, z3.ULT(offset, REACH), z3.ULT(at, REACH), z3.Or(size == 256, size == REACH))


def _first_stays(profile: Profile) -> Iterator[Question]:
    world = World()
    out = world.evaluate(kept_out(_OFFSET, _WIDTH, _AT, _BREADTH, profile.layout))
    starts = world.evaluate(_OFFSET == _AT)
    yield Question("a field where a row starts", out, (*_added_anywhere(), starts))


def _nothing_in_common(profile: Profile) -> Iterator[Question]:
    world, byte = World(), z3.BitVec("byte", 32)
    offset, width, at, breadth, size = (world.evaluate(one) for one in (_OFFSET, _WIDTH, _AT, _BREADTH, _SIZE))
    joins = z3.Not(world.evaluate(kept_out(_OFFSET, _WIDTH, _AT, _BREADTH, profile.layout)))
    apart = z3.Not(z3.And(z3.ULT(byte - offset, width), z3.ULT(byte - at, breadth)))
    yield Question("a byte of both", apart, (*_added_anywhere(), joins))
    allowed = world.evaluate(fits(_OFFSET, _WIDTH, _SIZE, profile.layout))
    whole = z3.And(z3.URem(offset, width) == 0, z3.ULE(offset + width, size))
    yield Question("whole, and inside", whole, (*_added_anywhere(), allowed))


def _mask_counts(asked: Asked) -> Formula:
    assert asked.case is not None
    kept = []
    for row in asked.case.rows:
        if row.name.startswith("ADDED"):
            bits = asked.was(added_mask(row.width))
            kept.append(each(asked, row.place, lambda held, value, bits=bits: (held ^ value) & ~bits == 0))
    return z3.And(kept)


def _not_without_leave(asked: Asked) -> Formula:
    writes = [one.when for one in asked.written if one.name == "added"]
    return z3.Or(asked.was(known.added), z3.Not(z3.Or(writes or [z3.BoolVal(False)])))


# What a guest can reach, and what becomes of it


def _bytes(*places: Place) -> set[tuple[Structure, int]]:
    return {(place.structure, place.offset + n) for place in places for n in range(place.width)}


#: Put back when the guest is gone. Of PMCSR that is the state, for DATA_SEL only says what PM_DATA shows; of messages
#: ENABLE, for whoever sets them up sets MASKALL too.
RESTORED: Final = _bytes(COMMAND, CACHE_AND_LATENCY, PMCSR, MSI.flags, MSIX.flags)
#: What is written to them is what they have: C-29 for BARs, here for the line, which only waking up writes.
UNCHANGED: Final = _bytes(INTERRUPT_LINE, *map(bar_place, range(ROM + 1)))
#: Left as they are: where the card's data was last looked up, which the next guest sets before it reads.
VOLATILE: Final = _bytes(Place(Structure.VPD, pci.VPD_ADDR, 2))


def _within_reach(asked: Asked) -> Formula:
    """What an administrator added is the administrator's affair, and so is permissive mode."""
    stray = [
        when
        for when, structure, offset, _ in bytes_written(asked)
        if (structure, offset) not in RESTORED | UNCHANGED | VOLATILE
    ]
    line = each(asked, INTERRUPT_LINE, lambda held, value: value == asked.held(INTERRUPT_LINE))
    plain = z3.Not(asked.was(known.permissive))
    return z3.Implies(plain, z3.And(line, z3.Not(z3.Or(stray or [z3.BoolVal(False)]))))


def _as_taken(ran: Ran) -> Formula:
    real = z3.BitVecVal(pci.COMMAND_MASTER | pci.COMMAND_INVALIDATE, 16)
    parts = [
        each(ran, COMMAND, lambda held, value: value & ~held & real == 0),
        (ran.holds(COMMAND) ^ (ran.was(known.command_taken) & ~real)) & mask(COMMAND) == 0,
        (ran.holds(CACHE_AND_LATENCY) ^ ran.was(known.latency_taken)) & mask(CACHE_AND_LATENCY) == 0,
        z3.Implies(ran.was(known.pm), ran.holds(PMCSR) & mask(PMCSR) & pci.PM_CTRL_STATE == 0),
        *(bar_kept(ran, place) for place in range(len(bars))),
    ]
    for one in (MSI, MSIX):
        parts.append(z3.Implies(ran.was(one.present), ran.holds(one.flags) & mask(one.flags) & one.enable == 0))
    stray = [
        when for when, structure, offset, _ in bytes_written(ran) if (structure, offset) not in RESTORED | UNCHANGED
    ]
    return z3.And(*parts, z3.Not(z3.Or(stray or [z3.BoolVal(False)])))


def _nothing_remembered(ran: Ran) -> Formula:
    zero = [z3.Not(ran.after.value(var)) if not var.sort.width else ran.after.value(var) == 0 for var in GUEST]
    return z3.And(*zero, z3.Not(ran.now(known.permissive)), ran.after.told_again)


CLAIMS: Final[tuple[Claim, ...]] = (
    OtherClaim("C-52", _first_stays),
    OtherClaim("C-53", _nothing_in_common),
    RequestClaim("C-53", _mask_counts, kind="write", about=added),
    ProgramClaim("C-54", "detach+forget", lambda ran: z3.Not(ran.now(known.added))),
    RequestClaim("C-54", _not_without_leave, kind="write", about=added),
    RequestClaim("C-64", _within_reach, kind="write", about=lambda a: not added(a)),
    ProgramClaim("C-64", "detach", _as_taken),
    ProgramClaim("C-65", "detach+forget", _nothing_remembered),
)
