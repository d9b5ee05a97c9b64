# SPDX-License-Identifier: Apache-2.0
"""A profile: everything that decides what a guest sees of its functions' configuration space.

`strict` is the reference and stands here, put together from the tables. Every other profile, and every bug, is a dialect
of it: the same profile with a few named things changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from pvpci.model.config import capabilities, header, power
from pvpci.model.config import constants as pci
from pvpci.model.config.placing import PLACING
from pvpci.model.config.programs import (
    Field,
    Load,
    Program,
    Reads,
    Set,
    Step,
    Store,
    Structure,
    TableError,
    TellAgain,
    Writes,
    but,
    guarded,
    local,
)
from pvpci.model.config.rules import Rules
from pvpci.model.config.state import GUEST, known
from pvpci.model.config.steps import CACHE_AND_LATENCY, COMMAND
from pvpci.model.config.walk import WALK, Walk
from pvpci.model.kernel.terms import Term, Update, constant

#: Steps of `forget` that take back what was granted.
GRANTS: Final = ("permissive", "interrupt control", "added fields")


@dataclass(frozen=True)
class Layout:
    """Which fields there are, apart from the rows: each is what the reference does."""

    chain: bool = True  #: capabilities that are not shown are unlinked
    own_messages: bool = True  #: address, data and mask of MSI are the guest's own picture
    extended: bool = False  #: the space past 256 bytes is shown to everybody, and not only where it was asked for
    bridges: bool = False  #: functions with a type-1 header, and bridges by class, are given to guests
    quirks_checked: bool = True  #: an added field may not meet a row, and its mask is enforced
    quirks_fit: bool = True  #: an added field is aligned, and inside the function
    first_stays: bool = True  #: a field is not added where a row starts
    headers_stay: bool = True  #: identifier and pointer of a capability are never written
    walk: Walk = WALK  #: how the list of capabilities is followed


@dataclass(frozen=True, eq=False)
class Profile:
    """`structures`: the rows of each, offsets relative to it. The programs: `placing` for what follows from the host's
    resources, `attach` before the first request of a guest, `detach` after the last, `forget` for what is remembered of
    it, and what it was granted."""

    name: str
    normal: tuple[Field, ...]
    bridge: tuple[Field, ...]
    structures: Mapping[Structure, tuple[Field, ...]]
    placing: Program
    attach: Program
    detach: Program
    forget: Program
    rules: Rules
    layout: Layout

    @property
    def renew(self) -> Program:
        """`forget` for the next kernel of the same guest, which keeps what it was granted."""
        return tuple(step for step in self.forget if step.name not in GRANTS)

    def row(self, name: str) -> Field:
        """The row of that name. TableError if there is none."""
        for rows in (self.normal, self.bridge, *self.structures.values()):
            for row in rows:
                if row.name == name:
                    return row
        raise TableError(f"profile {self.name} has no row {name}")


Edit = Callable[[Profile], Profile]


def dialect(base: Profile, name: str, *edits: Edit) -> Profile:
    """The same profile, changed."""
    found = replace(base, name=name)
    for edit in edits:
        found = edit(found)
    return found


def on_rows(name: str, change: Callable[[Field], Field | None]) -> Edit:
    """Change every row of that name, or take it out (None). TableError if there is none."""

    def edit(profile: Profile) -> Profile:
        profile.row(name)

        def changed(rows: Sequence[Field]) -> tuple[Field, ...]:
            return tuple(new for row in rows if (new := change(row) if row.name == name else row) is not None)

        return replace(
            profile,
            normal=changed(profile.normal),
            bridge=changed(profile.bridge),
            structures={structure: changed(rows) for structure, rows in profile.structures.items()},
        )

    return edit


def reads(name: str, what: Reads) -> Edit:
    return on_rows(name, lambda row: replace(row, reads=what))


def writes(name: str, what: Writes) -> Edit:
    return on_rows(name, lambda row: replace(row, writes=what))


def without(name: str) -> Edit:
    """No such row."""
    return on_rows(name, lambda row: None)


def steps(row: str, name: str, change: Callable[[Step], Step | None]) -> Edit:
    """Change the step of that name in the writes of a row, or take it out. TableError if there is not exactly one."""

    def edited(field: Field) -> Field:
        return replace(field, writes=replace(field.writes, steps=_changed(field.writes.steps, row, name, change)))

    return on_rows(row, edited)


def _changed(steps: Program, where: str, name: str, change: Callable[[Step], Step | None]) -> Program:
    if sum(step.name == name for step in steps) != 1:
        raise TableError(f"{where} has not exactly one step {name}")
    return tuple(new for step in steps if (new := change(step) if step.name == name else step) is not None)


def skip(row: str, name: str) -> Edit:
    """Leave out the step of that name."""
    return steps(row, name, lambda step: None)


def in_program(which: str, name: str, change: Callable[[Step], Step | None]) -> Edit:
    """Change the steps of that name in one of the programs, or take them out. TableError if there is none."""

    def edit(profile: Profile) -> Profile:
        present: Program = getattr(profile, which)
        if not any(step.name == name for step in present):
            raise TableError(f"{which} has no step {name}")
        found = tuple(new for step in present if (new := change(step) if step.name == name else step) is not None)
        return program(which, found)(profile)

    return edit


def program(which: str, steps: Program) -> Edit:
    """Another one of the programs."""
    changes: dict[str, Any] = {which: steps}
    return lambda profile: replace(profile, **changes)


def rule(**changes: Any) -> Edit:
    return lambda profile: replace(profile, rules=replace(profile.rules, **changes))


def layout(**changes: Any) -> Edit:
    return lambda profile: replace(profile, layout=replace(profile.layout, **changes))


def _calm() -> Program:
    """Stop what a guest can start: messages, bus mastering, memory write and invalidate."""
    now = local("now", 16)
    real = pci.COMMAND_MASTER | pci.COMMAND_INVALIDATE
    return (
        *capabilities.silence(),
        Load(now, COMMAND),
        Store(COMMAND, but(now, real), when=(now & real) != 0, name="calm"),
    )


def _hush() -> Program:
    """A line that a driver of the host is on is not the function's to pull."""
    now = local("now", 16)
    quiet = pci.COMMAND_INTX_DISABLE
    return guarded(
        (Load(now, COMMAND), Store(COMMAND, now | quiet, when=(now & quiet) == 0, name="hush")), known.line_shared
    )


def _restore() -> Program:
    """The header as it was when the function was taken, but calm."""
    command, latency = local("command", 16), local("latency", 16)
    real = pci.COMMAND_MASTER | pci.COMMAND_INVALIDATE
    return (
        Load(command, COMMAND),
        Store(
            COMMAND, but(known.command_taken, real), when=command != (but(known.command_taken, real)), name="restore"
        ),
        Load(latency, CACHE_AND_LATENCY),
        Store(CACHE_AND_LATENCY, known.latency_taken, when=latency != known.latency_taken, name="restore"),
    )


def _forget() -> Program:
    """What the guest wrote is nobody's business, and what it was granted nobody's right."""
    mine = (
        Set(Update(var, _zero(var.sort)), name="virtual command" if var.name == "mine.command" else "forget")
        for var in GUEST
    )
    return (
        *mine,
        Set(known.permissive.becomes(False), name="permissive"),
        Set(known.interrupt_control.becomes(False), name="interrupt control"),
        Set(known.added.becomes(False), name="added fields"),
        TellAgain(name="told"),
    )


def _zero(sort: Any) -> Term:
    return constant(sort, 0 if sort.width else False)


STRICT: Final = Profile(
    "strict",
    header.NORMAL,
    header.BRIDGE,
    {
        Structure.VPD: capabilities.VPD_ROWS,
        Structure.PM: power.ROWS,
        Structure.MSI: capabilities.MSI_ROWS,
        Structure.MSIX: capabilities.MSIX_ROWS,
    },
    placing=PLACING,
    attach=(*power.quiet(), *_calm(), *_hush()),
    # Calm first: what wakes up with MASTER on may reach memory at once.
    detach=(*_calm(), *power.awake(), *_restore()),
    forget=_forget(),
    rules=Rules(),
    layout=Layout(),
)
