# SPDX-License-Identifier: Apache-2.0
"""Properties. Four shapes hide behind "it always holds that":

* of a **state** (`always`): no state that can be reached violates it;
* of a **step** (`each_step`): before, after (`terms.after`) and who moved;
* of the **table** (`by_construction`): the order and the reach of effects, read off the rows themselves;
* of **progress** (`leads_to`): what starts also ends, if the parties named are not stopped for ever.

Each carries the identifier of the protocol notes and a name that is a sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from pvpci.model.kernel.tables import Machine
from pvpci.model.kernel.terms import ALWAYS, Flag


@dataclass(frozen=True, eq=False)
class Claim:
    """What all shapes share."""

    name: str
    id: str


@dataclass(frozen=True, eq=False)
class Always(Claim):
    holds: Flag


@dataclass(frozen=True, eq=False)
class EachStep(Claim):
    """After any step of `party` (any party if empty) taken where `given` holds, `holds`; it may use `after`."""

    holds: Flag
    party: str = ""
    given: Flag = ALWAYS


@dataclass(frozen=True, eq=False)
class ByConstruction(Claim):
    """`complaints` reads the tables of the system and returns one sentence for each row that breaks the property."""

    machine: str
    complaints: Callable[[Machine], Sequence[tuple[str, str]]]


@dataclass(frozen=True, eq=False)
class LeadsTo(Claim):
    """Whenever `start` holds, `goal` follows, as long as the `fair` parties keep moving.

    `within`: only behaviours that stay in it are owed anything. `rank`: for each place, how far the goal is at most; given,
    progress is also proved at full width by the rank going down with each step of the fair party.
    """

    start: Flag
    goal: Flag
    fair: tuple[str, ...]
    within: Flag = ALWAYS
    rank: Mapping[Enum, int] = field(default_factory=dict)


def always(name: str, id: str, holds: Flag) -> Always:
    return Always(name, id, holds)


def each_step(name: str, id: str, holds: Flag, *, by: str = "", given: Flag = ALWAYS) -> EachStep:
    return EachStep(name, id, holds, by, given)


def by_construction(
    name: str, id: str, machine: str, complaints: Callable[[Machine], Sequence[tuple[str, str]]]
) -> ByConstruction:
    return ByConstruction(name, id, machine, complaints)


def leads_to(
    name: str,
    id: str,
    start: Flag,
    goal: Flag,
    *,
    fair: tuple[str, ...],
    within: Flag = ALWAYS,
    rank: Mapping[Enum, int] | None = None,
) -> LeadsTo:
    return LeadsTo(name, id, start, goal, fair, within, rank or {})
