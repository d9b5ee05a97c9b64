# SPDX-License-Identifier: Apache-2.0
"""C-01 to C-13: how requests are handled, whatever the registers are."""

from __future__ import annotations

from typing import Final

import z3

from pvpci.model.config.programs import RAW
from pvpci.model.config.state import GUEST, Kind, host, known
from pvpci.proofs.config.claims import AWAY, LIMIT, OFFSET, SIZE, Asked, Claim, RequestClaim, shift
from pvpci.proofs.translate import Formula


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


CLAIMS: Final[tuple[Claim, ...]] = (
    RequestClaim(
        "C-01",
        lambda a: z3.Implies(z3.Not(_well_formed(a)), z3.And(_refused(a), _nothing(a))),
    ),
    RequestClaim("C-02", lambda a: z3.Implies(_outside(a), z3.And(_refused(a), _nothing(a)))),
    RequestClaim("C-03", _nothing, kind="read"),
    RequestClaim("C-04", lambda a: a.answer == 0, kind="read", about=lambda a: a.route == AWAY),
    RequestClaim("C-05", _byte_of_its_row, kind="read", about=lambda a: a.case is not None),
    RequestClaim(
        "C-08",
        lambda a: z3.Implies(
            z3.And(_no_row(a), z3.Not(a.was(known.permissive))),
            z3.And(a.err == 0, _nothing(a), a.told(Kind.WRITE_DROPPED)),
        ),
        kind="write",
        about=lambda a: a.case is not None,
    ),
    RequestClaim("C-12", lambda a: z3.Implies(a.err != 0, _nothing(a))),
    RequestClaim("C-13", lambda a: z3.Or([a.err == z3.BitVecVal(code, 32) for code in (0, -1, -2, -3, -4, -5)])),
)
