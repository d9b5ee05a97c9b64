# SPDX-License-Identifier: Apache-2.0
"""The properties of the protocol notes, evaluated on the running state after each step.

The proofs say that they hold of the tables; this says that they hold of this run, on this machine, with this guest.
What the monitor needs beyond what runs are the ghosts, which then run too, and the event channel as the table
believes it to be.
"""

from __future__ import annotations

from typing import Any, Final

from pvpci.impl.engine import Monitor
from pvpci.model import connection, op, op_claims
from pvpci.model.kernel.claims import Always
from pvpci.model.kernel.compiled import attribute, source
from pvpci.model.kernel.records import Record
from pvpci.model.shared import channel

EXTRA: Final[tuple[Record, ...]] = (op.seen, channel)


def monitor() -> Monitor:
    """A function from the state and the machine that moved to the first property that is broken, or None."""
    claims = {
        f"{claim.id} {claim.name}": claim.holds for claim in op_claims.claims(op.MACHINE) if isinstance(claim, Always)
    }
    known = {
        f"outline: {name}": flag for machine in (op.MACHINE, connection.MACHINE) for name, flag in machine.known.items()
    }
    lines = ["def check(s):"]
    names = list(claims) + list(known)
    for index, flag in enumerate([*claims.values(), *known.values()]):
        lines.append(f"    if not {source(flag, lambda var: f's.{attribute(var)}')}: return {index}")
    lines.append("    return -1")
    space: dict[str, Any] = {}
    exec(compile("\n".join(lines), "<monitor>", "exec"), space)
    check = space["check"]

    def watch(state: Any, machine: str) -> str | None:
        del machine
        index = check(state)
        return None if index < 0 else names[index]

    return watch


__all__ = ["EXTRA", "monitor"]
