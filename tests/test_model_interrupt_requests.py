# SPDX-License-Identifier: Apache-2.0
"""What is claimed of the two machines together rests on each bond between them, and is about something."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from pvpci.model import op
from pvpci.model.interrupt_requests import BONDS, between
from pvpci.model.interrupts import At, EnableMsix, EnableMultiMsi, Reset, irq, world
from pvpci.model.kernel.claims import always
from pvpci.model.kernel.records import Event
from pvpci.model.kernel.systems import Bond
from pvpci.model.kernel.terms import ALWAYS, Flag
from pvpci.model.shared import channel, link, page
from pvpci.proofs.induction import Induction
from pvpci.proofs.search import explore, slice_of
from pvpci.proofs.systems import INTERRUPT_REQUESTS

BEGINS = between.begun.becomes(True)


@pytest.mark.parametrize(
    "bonds",
    [
        {EnableMsix: Bond((op.my.at == op.At.ASKED) & (op.copy.cmd == 4) & ~between.begun, (BEGINS,))},
        {EnableMultiMsi: Bond((op.my.at == op.At.ASKED) & (op.copy.cmd == 10) & ~between.begun, (BEGINS,))},
        {op.Done: Bond(between.begun & irq.at.among(At.OFF, At.MSI, At.MSIX, At.STUCK), BONDS[op.Done].then)},
        {op.Done: Bond(ALWAYS, BONDS[op.Done].then)},
        {Reset: Bond(ALWAYS)},
    ],
    ids=["another count", "another block", "another answer", "done before it is", "reset meanwhile"],
)
def test_each_bond_is_needed(bonds: Mapping[type[Event], Bond]) -> None:
    broken = replace(INTERRUPT_REQUESTS, bonds={**BONDS, **bonds})
    actions = [one for one in broken.actions if one.row is not None and one.row.event in bonds]
    verdicts = {one.verdict for one in Induction(broken).obligations(actions=actions)}

    assert verdicts - {"proved"}


#: A guest that asks for one thing, at once; nobody else moves.
NARROW = replace(
    INTERRUPT_REQUESTS,
    moves=(),
    start=(
        link.mapped.becomes(True), link.bound.becomes(True), channel.pending.becomes(True), world.owned.becomes(True),
        op.allowed.multi_msi.becomes(True),
    ),
)  # fmt: skip


@pytest.mark.parametrize(
    ("cmd", "count", "happens"),
    [
        (4, 2, (op.seen.handed == 2) & (world.mapped == 2)),
        (4, 2, (op.answer.err != 0) & (irq.at == At.OFF)),
        (2, 0, (op.answer.value == 55) & (world.mapped == 1)),
        (10, 0, (op.answer.value == 55) & (world.mapped == 1) & (world.block == 4) & (op.copy.info == 3)),
        (10, 0, (op.answer.err != 0) & (irq.at == At.OFF)),
    ],
    ids=["two vectors", "a failure", "one number", "a block", "no block"],
)
def test_what_is_spoken_of_happens(cmd: int, count: int, happens: Flag) -> None:
    asked = {
        page.cmd.variable: (cmd,),
        page.value.variable: (count,),
        page.offset.variable: (0,),
        page.size.variable: (4,),
    }
    system = replace(NARROW, samples={**NARROW.samples, **asked})
    claim = always("never", "", ~((op.my.at == op.At.CLEARED) & happens))
    found = explore(slice_of(system, [claim], cone=True), [claim], limit=100_000, first=True)

    assert claim in found.violations
