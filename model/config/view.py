# SPDX-License-Identifier: Apache-2.0
"""One function's configuration space as one guest sees it.

A request is answered from the table where the table has fields, and from the function elsewhere. A write is done in
two steps: first every field that it meets says what it would do, reading the function but changing nothing; only if
none refuses is it done, field by field in the order of registration. So a refused request has no effect at all, and
its error is that of the first field that refused. A later field of one request sees what an earlier one changed on
our side, but not yet in the function; no two fields of one dword depend on each other through the function, and that
must stay so.

What the hardware raises passes through. Then nothing is remembered of the request, and as COMMAND asks the function
each time, the guest's next write finds whatever really happened.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from pvpci.model.config import constants as pci
from pvpci.model.config.fields import MASK, Effect, Field, Store, Table, lanes, merge, request_error, take
from pvpci.model.config.header import PROFILES, REAL
from pvpci.model.config.identity import HardwareAccess, Identity
from pvpci.model.config.state import Device, Facts, Kind, Notice
from pvpci.model.wire import Err


class Answer(NamedTuple):
    """What goes into ``op.err`` and ``op.value``."""

    err: Err
    value: int


class UnknownProfile(ValueError):
    """A profile that there is not."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no configuration space profile {name!r}; there is: {', '.join(PROFILES)}")


#: Shift, mask and lanes of a field in its dword, and what is seen of it.
_Seen = tuple[int, int, int, Callable[[Device, Facts, int], int]]


def _whole(fields: Sequence[Field]) -> tuple[bool, tuple[_Seen, ...]]:
    """What a read of a whole dword takes: whether the register is looked at, and the fields in order."""
    covered = 0
    for row in fields:
        covered |= row.lanes
    real = covered != MASK[4] or any(row.reads.real for row in fields)
    return real, tuple((row.shift, row.mask, row.lanes, row.reads.value) for row in fields)


class ConfigView:
    """Answers requests. Raises `Refused` or `UnknownProfile` when made, later only what the hardware raises.

    `warnings` gathers what people should be told: at most one notice of each kind between two resets. Whoever reports
    them may empty the list.
    """

    def __init__(self, identity: Identity, profile: str = "strict", table: Table | None = None) -> None:
        if profile not in PROFILES:
            raise UnknownProfile(profile)
        self.identity = identity
        self.facts = identity.facts()
        self.table = table or PROFILES[profile](self.facts)
        self.limit = identity.config_size
        self._dwords = {offset: _whole(self.table.by_dword.get(offset >> 2, ())) for offset in range(0, self.limit, 4)}
        self.device = Device()
        self.warnings: list[Notice] = []

    def reset(self) -> None:
        """Forget the guest. Does not touch the function; `quiesce` does."""
        self.device = Device()
        self.warnings = []

    def quiesce(self, hardware: HardwareAccess) -> None:
        """Stop what a guest can start: bus mastering, memory write and invalidate. For before and after each guest."""
        command = hardware.read(pci.COMMAND, 2)
        if command & REAL:
            hardware.write(pci.COMMAND, 2, command & ~REAL)

    def read_dword(self, offset: int, hardware: HardwareAccess) -> int | None:
        """The value of a whole aligned dword, as most reads want it; None where there is no such dword."""
        whole = self._dwords.get(offset)
        if whole is None:
            return None
        real, fields = whole
        value = raw = hardware.read(offset, 4) & MASK[4] if real else 0
        for shift, mask, places, seen in fields:
            value = value & ~places | seen(self.device, self.facts, raw >> shift & mask) << shift & places
        return value

    def read(self, offset: int, size: int, hardware: HardwareAccess) -> Answer:
        """The answer to a read: the value has no bit beyond `size` bytes, and is 0 for a request that is refused."""
        if size == 4 and (whole := self.read_dword(offset, hardware)) is not None:
            return Answer(Err.SUCCESS, whole)
        if request_error(offset, size, self.limit):
            return Answer(Err.INVALID_OFFSET, 0)
        if offset >> 2 not in self.table.by_dword:
            return Answer(Err.SUCCESS, hardware.read(offset, size) & MASK[size])
        asked, shift = lanes(offset, size), 8 * (offset & 3)
        covering = self.table.covering(offset, asked)
        uncovered = asked
        for row in covering:
            uncovered &= ~row.lanes
        raw = 0
        if uncovered or any(row.reads.real for row in covering):
            raw = hardware.read(offset, size) << shift
        value = raw
        for row in covering:
            seen = row.reads.value(self.device, self.facts, raw >> row.shift & row.mask)
            value = merge(value, seen << row.shift, row.lanes)
        return Answer(Err.SUCCESS, take(value, asked, shift))

    def write(self, offset: int, size: int, value: int, hardware: HardwareAccess) -> Answer:
        """The answer to a write: always the value as it was sent. Bits of it beyond `size` bytes are not looked at."""
        if request_error(offset, size, self.limit):
            return Answer(Err.INVALID_OFFSET, value)
        asked = lanes(offset, size)
        covering = self.table.covering(offset, asked)
        if not covering:
            self._notice(Kind.WRITE_DROPPED, offset, size, value)
            return Answer(Err.SUCCESS, value)
        over = value << 8 * (offset & 3)
        device, effects = self.device, list[Effect]()
        for row in covering:
            if row.writes.plan is None:
                continue
            partial = row.lanes & ~asked
            raw = 0
            if row.writes.real or (row.reads.real and partial):
                raw = hardware.read(row.offset, row.width) & row.mask
            now = row.reads.value(device, self.facts, raw) if partial else 0
            wanted = merge(now << row.shift, over, asked) >> row.shift & row.mask
            plan = row.writes.plan(device, self.facts, wanted, raw, hardware.read)
            if plan.error:
                return Answer(plan.error, value)
            device = plan.device
            effects += plan.effects
        told = self._perform(effects, hardware)
        self.device = device
        for kind in told:
            self._notice(kind, offset, size, value)
        return Answer(Err.SUCCESS, value)

    @staticmethod
    def _perform(effects: Sequence[Effect], hardware: HardwareAccess) -> list[Kind]:
        told: list[Kind] = []
        for effect in effects:
            stores: Sequence[Store]
            if isinstance(effect, Store):
                stores = (effect,)
            else:
                first = effect.first
                hardware.write(first.offset, first.width, first.value)
                if hardware.read(first.offset, first.width) == first.value:
                    stores = effect.held
                else:
                    stores = effect.lost
                    told.append(effect.notice)
            for store in stores:
                hardware.write(store.offset, store.width, store.value)
        return told

    def _notice(self, kind: Kind, offset: int, size: int, value: int) -> None:
        if kind not in self.device.noticed:
            self.device = replace(self.device, noticed=self.device.noticed | {kind})
            self.warnings.append(Notice(kind, offset, size, value))
