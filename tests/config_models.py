# SPDX-License-Identifier: Apache-2.0
"""Models with numbers that nobody solved for: any state, any registers, any masks."""

from __future__ import annotations

from functools import cache
from random import Random
from typing import Any

import z3

from pvpci.model.config.programs import Structure
from pvpci.model.config.state import RECORDS
from pvpci.proofs.config.symbolic import World, takes

#: Values that programs compare with come more often than others.
_OFTEN = (0, 1, 2, 3, 0x10, 0x40, 0x100, 0x400, 0x8000, 0xF, 0xFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFF0)
#: How far programs look into each structure, in bytes.
_REACH = {
    Structure.HEADER: 0x40,
    Structure.VPD: 8,
    Structure.PM: 8,
    Structure.MSI: 0x14,
    Structure.MSIX: 4,
    Structure.SHOWN: 4,
    Structure.SPACE: 4,
}


@cache
def _unknowns() -> list[tuple[Any, int]]:
    """Each with its width in bits, 0 for a flag."""
    world = World()
    found = [world.value(var) for record in RECORDS for var in record.variables]
    for structure, reach in _REACH.items():
        for at in range(reach):
            found += [world.byte((structure, at)), takes((structure, at))]
    found += [z3.BitVec(f"added.mask{8 * width}", 8 * width) for width in (1, 2, 4)]
    return [(each, 0 if z3.is_bool(each) else each.size()) for each in found]


def any_model(random: Random, fixed: dict[Any, int]) -> Any:
    """A model for everything that a request or a program can ask for; `fixed` has the values of some constants."""
    model = z3.Model()
    for each, width in _unknowns():
        value = random.choice(_OFTEN) if random.random() < 0.4 else random.getrandbits(width or 1)
        model.update_value(each, z3.BitVecVal(value, width) if width else z3.BoolVal(bool(value & 1)))
    for each, value in fixed.items():
        model.update_value(each, z3.BitVecVal(value, each.size()))
    return model
