# SPDX-License-Identifier: Apache-2.0
"""One function's configuration space as one guest sees it.

The tables decide everything (`rules`, and the rows of the profile); here they are found by dword and run. What the
hardware raises passes through. Then nothing more of the request is done, and as the programs ask the function each time,
the guest's next write finds whatever really happened.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from operator import attrgetter
from typing import Any, NamedTuple

from pvpci.model.config import compiled
from pvpci.model.config.compiled import HardwareAccess, State
from pvpci.model.config.grants import NOTHING, Grants
from pvpci.model.config.identity import Identity
from pvpci.model.config.lanes import MASK, REACH, lanes
from pvpci.model.config.linux import PROFILES
from pvpci.model.config.profiles import Profile
from pvpci.model.config.programs import Program
from pvpci.model.config.rules import accepted
from pvpci.model.config.state import RECORDS, REMEMBERED, Kind, Notice
from pvpci.model.config.table import table
from pvpci.model.wire import Err


class Answer(NamedTuple):
    """What goes into ``op.err`` and ``op.value``, as they are on the wire: -5 to 0, or a profile of Linux's own number."""

    err: int
    value: int


class UnknownProfile(ValueError):
    """A profile that there is not."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no configuration space profile {name!r}; there is: {', '.join(PROFILES)}")


def profile_of(name: str) -> Profile:
    """Raises UnknownProfile."""
    if name not in PROFILES:
        raise UnknownProfile(name)
    return PROFILES[name]


_REMEMBERED = attrgetter(*(compiled.NAMES[var] for var in REMEMBERED))


class _Short:
    """A function whose accessor reaches further than the function does: nothing is there."""

    __slots__ = ("_hardware", "_limit")

    def __init__(self, hardware: HardwareAccess, limit: int) -> None:
        self._hardware, self._limit = hardware, limit

    def read(self, offset: int, size: int) -> int:
        return MASK[size] if offset >= self._limit else self._hardware.read(offset, size)

    def write(self, offset: int, size: int, value: int) -> None:
        if offset < self._limit:
            self._hardware.write(offset, size, value)


class ConfigView:
    """Answers requests. Raises `Refused`, `GrantError` or `UnknownProfile` when made, later only what the hardware raises.

    `grants` are for one attachment. `pause` is called with microseconds, where the specification demands that nothing
    touches the function. `warnings` gathers what people should be told: at most one
    notice of each kind between two guests. Whoever reports them may empty the list.
    """

    def __init__(
        self,
        identity: Identity,
        profile: str | Profile = "strict",
        grants: Grants = NOTHING,
        *,
        pause: Callable[[int], None] = lambda microseconds: None,
    ) -> None:
        self.profile = profile if isinstance(profile, Profile) else profile_of(profile)
        self.identity, self.grants = identity, grants
        if refused := identity.refusal(bridges=self.profile.layout.bridges):
            raise refused
        rules = self.rules = self.profile.rules
        self.table = table(identity, self.profile, grants.quirks)
        shown = grants.extended or self.profile.layout.extended
        self.limit = identity.config_size if shown else min(identity.config_size, 256)
        #: As `pvpci.model.op.Reach` counts: 256 bytes, 4096, any.
        self.reach = int(self.limit > 256) if rules.bounded else 2
        self.warnings: list[Notice] = []
        self._noticed: set[Kind] = set()
        self._request = (0, 0, 0)
        self.state = State(self._tell, self._tell_again, pause)
        facts = identity.facts() | {
            "known.permissive": int(grants.permissive),
            "known.interrupt_control": int(grants.interrupt_control),
            "known.added": int(bool(grants.quirks)),
        }
        for record in RECORDS:
            for var in record.variables:
                self.state[var] = facts.get(var.name, 0)
        for structure, base in self.table.bases.items():
            setattr(self.state, compiled.BASES[structure], base)
        self._run(self.profile.placing, _NOTHING)
        end = self.limit if rules.bounded else REACH
        self._none = compiled.dword((), rules)
        self._away = compiled.turned_away(rules)
        self._past = compiled.past_the_end(rules)
        self._dwords = {at: compiled.dword(rows, rules) for at, rows in self.table.by_dword.items() if at < end}
        self._whole = {at: self._dwords.get(at, self._none).whole for at in range(0, self.limit, 4)}

    @property
    def described(self) -> dict[str, Any]:
        """All that is needed to make the same view again: the identity, the grants, what is remembered of its guest."""
        remembered = self.remembered()
        return {
            **asdict(self.identity), "grants": str(self.grants), **({"remembered": remembered} if remembered else {}),
        }  # fmt: skip

    def snapshot(self) -> tuple[int, ...]:
        """All that is remembered of the guest, to compare."""
        found: tuple[int, ...] = _REMEMBERED(self.state)
        return found

    def remembered(self) -> dict[str, int]:
        """The same by name, without what is 0."""
        return {var.name: value for var, value in zip(REMEMBERED, self.snapshot(), strict=True) if value}

    def remember(self, values: Mapping[str, int]) -> None:
        """Instead of `attach`: the guest has the function already, and `values` is what was remembered of it.

        ValueError: a name or a value that this view does not know.
        """
        known = {var.name: var for var in REMEMBERED}
        for name, value in values.items():
            if name not in known or not 0 <= value < known[name].sort.size:
                raise ValueError(f"{name[:40]!a} = {value} is nothing that is remembered of a guest")
        for name, var in known.items():
            self.state[var] = values.get(name, 0)

    def attach(self, hardware: HardwareAccess) -> None:
        """Make the function ready for its guest, or for the next kernel of the same one."""
        self._run(self.profile.attach, hardware)

    def detach(self, hardware: HardwareAccess) -> None:
        """Stop what the guest started, put back what it changed, forget it. A reset by the host may follow."""
        self._run(self.profile.detach, hardware)
        self._forget(self.profile.forget)

    def renew(self, hardware: HardwareAccess) -> None:
        """The same for the next kernel of the same guest, which keeps its grants."""
        self._run(self.profile.detach, hardware)
        self.forget()

    def forget(self) -> None:
        """What `renew` does beside the hardware."""
        self._forget(self.profile.renew)

    def _forget(self, program: Program) -> None:
        self._run(program, _NOTHING)

    def _run(self, program: Program, hardware: HardwareAccess) -> None:
        self._request = (0, 0, 0)
        compiled.simple(program)(self.state, hardware)

    def read_dword(self, offset: int, hardware: HardwareAccess) -> int | None:
        """The value of a whole aligned dword, as most reads want it; None where `read` must be asked."""
        whole = self._whole.get(offset)
        return None if whole is None else whole(self.state, hardware, offset)

    def read(self, offset: int, size: int, hardware: HardwareAccess) -> Answer:
        """The answer to a read. `offset` and `size` as they are on the wire, signed 32 bits or unsigned."""
        if size == 4 and (dword := self.read_dword(offset, hardware)) is not None:
            return Answer(Err.SUCCESS, dword)
        made, hardware = self._find(offset, size, hardware)
        err, value = made.read(self.state, hardware, offset, size, _lanes(offset, size))
        return Answer(_signed(err), value)

    def write(self, offset: int, size: int, value: int, hardware: HardwareAccess) -> Answer:
        """The answer to a write: always the value as it was sent. Bits of it beyond `size` bytes are not looked at."""
        self._request = (offset, size, value)
        made, hardware = self._find(offset, size, hardware)
        return Answer(_signed(made.write(self.state, hardware, offset, size, value, _lanes(offset, size))), value)

    def _find(self, offset: int, size: int, hardware: HardwareAccess) -> tuple[compiled.Dword, HardwareAccess]:
        if not accepted(offset, size, self.limit, self.rules):
            return self._away, hardware
        if offset >= REACH:
            return self._past, hardware
        if offset >= self.identity.config_size:
            hardware = _Short(hardware, self.identity.config_size)
        return self._dwords.get(offset & ~3, self._none), hardware

    def _tell(self, kind: Kind) -> None:
        if kind not in self._noticed:
            self._noticed.add(kind)
            self.warnings.append(Notice(kind, *self._request))

    def _tell_again(self) -> None:
        self.warnings = []
        self._noticed = set()


class _Nothing:
    """For programs that only remember."""

    def read(self, offset: int, size: int) -> int:
        raise AssertionError("a program that only remembers asked for the function")

    def write(self, offset: int, size: int, value: int) -> None:
        raise AssertionError("a program that only remembers asked for the function")


_NOTHING = _Nothing()


def _lanes(offset: int, size: int) -> int:
    return lanes(offset, size) if size in MASK else 0


def _signed(err: int) -> int:
    return err - (1 << 32) if err >> 31 else err
