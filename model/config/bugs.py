# SPDX-License-Identifier: Apache-2.0
"""What a bug of configuration space is: a profile with a few named things changed, and what that must break."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from pvpci.model.config.profiles import STRICT, Edit, Profile, on_rows, steps
from pvpci.model.config.profiles import dialect as changed
from pvpci.model.config.programs import Field, Program, Step, Store
from pvpci.model.kernel.terms import Bits

#: What all profiles go by, together.
MACHINE: Final = "config"


def system_of(profile: Profile) -> str:
    """What one of them goes by, where machines have systems."""
    return f"{MACHINE}-{profile.name}"


@dataclass(frozen=True, eq=False)
class ConfigDialect:
    """`base` with `edits`; `title` is the rule that is broken."""

    id: str
    title: str
    cite: str
    breaks: tuple[str, ...]
    edits: tuple[Edit, ...]
    base: Profile = STRICT
    machine: str = MACHINE

    @property
    def system(self) -> str:
        return system_of(self.base)

    @property
    def profile(self) -> Profile:
        return changed(self.base, f"{self.base.name} with {self.id}", *self.edits)


def after(row: str, *last: Step) -> Edit:
    """More steps after those of the row's writes."""
    return around(row, (), last)


def around(row: str, first: Program, last: Program) -> Edit:
    """More steps before and after them."""

    def more(field: Field) -> Field:
        return replace(field, writes=replace(field.writes, steps=(*first, *field.writes.steps, *last)))

    return on_rows(row, more)


def value(row: str, name: str, change: Callable[[Bits], Bits]) -> Edit:
    """Another value in that step."""

    def changed(step: Step) -> Step:
        assert isinstance(step, Store)
        return replace(step, value=change(step.value))

    return steps(row, name, changed)
