# SPDX-License-Identifier: Apache-2.0
"""Each property can fail: for each there is a broken engine or table, and the property notices.

Many of these were once, or are still, the behaviour of a real backend.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import cast

import pytest
from tests.config_checks import CHECKS
from tests.config_programs import WORLDS, make, random_program, run
from tests.config_registers import identity

from pvpci.model.config import view as engine
from pvpci.model.config.fields import Field, Plan, Reader, Reads, Store, Table, Writes, lanes, request_error
from pvpci.model.config.header import REAL, write_command
from pvpci.model.config.identity import HardwareAccess, Identity
from pvpci.model.config.state import Bar, Device, Facts
from pvpci.model.config.view import Answer, ConfigView
from pvpci.model.wire import Err

Planner = Callable[[Device, Facts, int, int, Reader], Plan]


def with_row(name: str, change: Callable[[Field], Field]) -> Callable[[Identity], ConfigView]:
    """The view with one row of its table changed."""

    def built(known: Identity) -> ConfigView:
        rows = make(known).table.rows
        assert any(row.name == name for row in rows)
        return ConfigView(known, table=Table(change(row) if row.name == name else row for row in rows))

    return built


def command(plan: Planner) -> Callable[[Identity], ConfigView]:
    return with_row("COMMAND", lambda row: replace(row, writes=Writes("broken", plan, real=True)))


def written(name: str, plan: Planner) -> Callable[[Identity], ConfigView]:
    return with_row(name, lambda row: replace(row, writes=Writes("broken", plan, real=True)))


def with_bars(change: Callable[[int, Bar], Bar]) -> Callable[[Identity], ConfigView]:
    def built(known: Identity) -> ConfigView:
        found = make(known)
        found.facts = replace(found.facts, bars=tuple(change(n, bar) for n, bar in enumerate(found.facts.bars)))
        return found

    return built


def of(kind: type[ConfigView]) -> Callable[[Identity], ConfigView]:
    return lambda known: kind(known, table=make(known).table)


class ReadsEndSizing(ConfigView):
    def read(self, offset: int, size: int, hardware: HardwareAccess) -> Answer:
        answer = super().read(offset, size, hardware)
        self.device = replace(self.device, sizing=0)
        return answer


class StaleValue(ConfigView):
    def read(self, offset: int, size: int, hardware: HardwareAccess) -> Answer:
        answer = super().read(offset, size, hardware)
        return answer if not answer.err else Answer(answer.err, 0xDEAD)


class StrictlyInside(Table):
    """The overlap test of the first pciback: a field strictly inside a request is not seen."""

    def covering(self, offset: int, asked: int) -> tuple[Field, ...]:
        return tuple(row for row in super().covering(offset, asked) if not 0 < row.shift < 24 or row.lanes & ~asked)


class SecondField(Table):
    def covering(self, offset: int, asked: int) -> tuple[Field, ...]:
        return super().covering(offset, asked) + super().covering(offset + 4, asked)


class FallThrough(ConfigView):
    def write(self, offset: int, size: int, value: int, hardware: HardwareAccess) -> Answer:
        answer = super().write(offset, size, value, hardware)
        if not answer.err and not self.table.covering(offset, lanes(offset, size)):
            hardware.write(offset, size, value & (1 << 8 * size) - 1)
        return answer


class WritesTheRest(ConfigView):
    def write(self, offset: int, size: int, value: int, hardware: HardwareAccess) -> Answer:
        answer = super().write(offset, size, value, hardware)
        met = self.table.covering(offset, lanes(offset, size)) if not answer.err else ()
        for place in range(size) if met else ():
            if not any(row.offset <= offset + place < row.offset + row.width for row in met):
                hardware.write(offset + place, 1, value >> 8 * place & 0xFF)
        return answer


class Hasty(ConfigView):
    """Linux's way: each field acts at once, and the last result is the answer."""

    def write(self, offset: int, size: int, value: int, hardware: HardwareAccess) -> Answer:
        if request_error(offset, size, self.limit):
            return Answer(Err.INVALID_OFFSET, value)
        whole, err = self.table, Err.SUCCESS
        try:
            for row in whole.covering(offset, lanes(offset, size)):
                self.table = Table([row])
                err = super().write(offset, size, value, hardware).err
        finally:
            self.table = whole
        return Answer(err, value)


class KeepsCommand(ConfigView):
    def reset(self) -> None:
        kept = self.device.command
        super().reset()
        self.device = Device(command=kept)


class KeepsSizing(ConfigView):
    def reset(self) -> None:
        kept = self.device.sizing
        super().reset()
        self.device = Device(sizing=kept)


def by_offset(known: Identity) -> ConfigView:
    found = make(known)
    found.table = Table(sorted(found.table.rows, key=lambda row: row.offset))
    return found


def table_of(kind: type[Table]) -> Callable[[Identity], ConfigView]:
    return lambda known: ConfigView(known, table=kind(make(known).table.rows))


def errno(device: Device, facts: Facts, wanted: int, raw: int, read: Reader) -> Plan:
    return Plan(device, error=cast(Err, -22)) if wanted & 2 else Plan(device)


def raw_command(device: Device, facts: Facts, wanted: int, raw: int, read: Reader) -> Plan:
    return Plan(write_command(device, facts, wanted, raw, read).device, (Store(0x04, 2, wanted),))


def passes(bits: int) -> Planner:
    """COMMAND as it should be, but some more bits reach the function."""

    def plan(device: Device, facts: Facts, wanted: int, raw: int, read: Reader) -> Plan:
        done = write_command(device, facts, wanted, raw, read)
        return replace(done, effects=(*done.effects, Store(0x04, 2, read(0x04, 2) & ~bits | wanted & bits)))

    return plan


def forgets_disabling(device: Device, facts: Facts, wanted: int, raw: int, read: Reader) -> Plan:
    done = write_command(device, facts, wanted, raw, read)
    return replace(done, device=replace(done.device, command=done.device.command | device.command & 3))


def enables_always(device: Device, facts: Facts, wanted: int, raw: int, read: Reader) -> Plan:
    return write_command(replace(device, command=0), facts, wanted, raw, read)


def never_stops_mastering(device: Device, facts: Facts, wanted: int, raw: int, read: Reader) -> Plan:
    return write_command(device, facts, wanted | raw & 4, raw, read)


def sets_line_always(device: Device, facts: Facts, wanted: int, raw: int, read: Reader) -> Plan:
    done = write_command(device, facts, wanted, raw, read)
    return replace(done, effects=(*done.effects, *([Store(0x0C, 1, 16)] if wanted & 0x10 else [])))


def frees_the_line_always(device: Device, facts: Facts, wanted: int, raw: int, read: Reader) -> Plan:
    return write_command(device, replace(facts, pin=1, msi=0, msix=0), wanted, raw, read)


def echoes_reserved(device: Device, facts: Facts, wanted: int, raw: int, read: Reader) -> Plan:
    done = write_command(device, facts, wanted, raw, read)
    return replace(done, device=replace(done.device, command=wanted & ~REAL))


def trusts_its_memory(device: Device, facts: Facts, wanted: int, raw: int, read: Reader) -> Plan:
    known = replace(facts, decode=0) if device.command & 3 else facts
    return write_command(device, known, wanted, raw, read)


def raw_bar(device: Device, facts: Facts, wanted: int, raw: int, read: Reader) -> Plan:
    return Plan(device, (Store(0x10, 4, wanted),))


def sizes_in_hardware(device: Device, facts: Facts, wanted: int, raw: int, read: Reader) -> Plan:
    return Plan(device, (Store(0x10, 4, 0xFFFFFFFF), Store(0x10, 4, raw)))


def all_together(device: Device, facts: Facts, wanted: int, raw: int, read: Reader) -> Plan:
    return Plan(replace(device, sizing=0x7F if wanted | 0xF == 0xFFFFFFFF else 0))


def switches_the_rom(device: Device, facts: Facts, wanted: int, raw: int, read: Reader) -> Plan:
    return Plan(device, (Store(0x30, 4, raw & ~1 | wanted & 1),))


def remembers(known: Identity) -> ConfigView:
    """A BAR that answers with what was written."""
    kept = [0]

    def plan(device: Device, facts: Facts, wanted: int, raw: int, read: Reader) -> Plan:
        kept[0] = wanted
        return Plan(device)

    reads, writes = Reads("broken", lambda device, facts, raw: kept[0]), Writes("broken", plan)
    return with_row("BAR0", lambda row: replace(row, reads=reads, writes=writes))(known)


MUTANTS: dict[str, tuple[str, Callable[[Identity], ConfigView]]] = {
    "reads end sizing": ("C-03", of(ReadsEndSizing)),
    "a stale value with an error": ("C-04", of(StaleValue)),
    "a field strictly inside a request is missed": ("C-05", table_of(StrictlyInside)),
    "a write without a field falls through": ("C-08", of(FallThrough)),
    "the rest of a write is written": ("C-09", of(WritesTheRest)),
    "fields are sorted": ("C-10", by_offset),
    "the last error is answered": ("C-11", of(Hasty)),
    "fields act at once": ("C-12", of(Hasty)),
    "the host's number is answered": ("C-13", written("STERN", errno)),
    "COMMAND is written as it comes": ("C-15", command(raw_command)),
    "INTX_DISABLE reaches the function": ("C-16", command(passes(0x400))),
    "SPECIAL reaches the function": ("C-17", command(passes(0x008))),
    "COMMAND reads real decoding": (
        "C-19",
        with_row(
            "COMMAND",
            lambda row: replace(row, reads=replace(row.reads, value=lambda d, f, raw: raw & 0x17 | d.command & 0x7E8)),
        ),
    ),
    "disabling is forgotten": ("C-20", command(forgets_disabling)),
    "every write enables": ("C-21", command(enables_always)),
    "mastering is never stopped": ("C-22", command(never_stops_mastering)),
    "the line size is written each time": ("C-23", command(sets_line_always)),
    "the line is freed whoever uses it": ("C-24", command(frees_the_line_always)),
    "the virtual COMMAND survives its guest": ("C-26", of(KeepsCommand)),
    "reserved bits are echoed": (
        "C-27",
        with_row(
            "COMMAND",
            lambda row: replace(
                row,
                reads=replace(row.reads, value=lambda d, f, raw: raw & REAL | d.command),
                writes=Writes("broken", echoes_reserved, real=True),
            ),
        ),
    ),
    "lost decoding is not noticed": ("C-28", command(trusts_its_memory)),
    "a BAR can be moved": ("C-29", written("BAR0", raw_bar)),
    "a BAR remembers": ("C-30", remembers),
    "only exactly all ones ask for the size": ("C-31", with_bars(lambda n, bar: replace(bar, ignored=0))),
    "the size is read, not its mask": (
        "C-32",
        with_bars(lambda n, bar: replace(bar, length=-bar.length & 0xFFFFFFFF)),
    ),
    "a BAR that is not there has a size": (
        "C-33",
        with_bars(lambda n, bar: bar if bar.length else replace(bar, length=0xFFFFF000)),
    ),
    "one flag for all BARs": ("C-34", written("BAR0", all_together)),
    "sizing is tried on the function": ("C-35", written("BAR0", sizes_in_hardware)),
    "the ROM can be switched on": ("C-36", written("ROM_ADDRESS", switches_the_rom)),
    "both halves have the mask of the lower": (
        "C-37",
        with_bars(lambda n, bar: replace(bar, ignored=bar.ignored or 0xF)),
    ),
    "sizing survives its guest": ("C-38", of(KeepsSizing)),
}

#: Broken arithmetic: the name of a function of the engine, and what stands in its place.
ENGINES: dict[str, tuple[str, str, Callable[..., object]]] = {
    "misaligned requests are served": (
        "C-01",
        "request_error",
        lambda offset, size, limit: size not in (1, 2, 4) or not 0 <= offset <= limit - size,
    ),
    "nobody looks where the function ends": (
        "C-02",
        "request_error",
        lambda offset, size, limit: size not in (1, 2, 4) or offset % size != 0,
    ),
    "values are not cut": ("C-06", "take", lambda dword, asked, shift: dword >> shift),
    "merging keeps what was under": ("C-05", "merge", lambda under, over, mask: under | over & mask),
}


def noticed(prop: str, build: Callable[[Identity], ConfigView]) -> bool:
    holds = CHECKS[prop]
    for world in WORLDS:
        for seed in range(40):
            for step in run(world, random_program(Random(seed), 100), build, exacting=False):
                if not holds(step):
                    return True
    return False


@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_view_is_noticed(name: str) -> None:
    prop, build = MUTANTS[name]

    assert noticed(prop, build)


@pytest.mark.parametrize("name", ENGINES)
def test_broken_arithmetic_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    prop, function, instead = ENGINES[name]
    monkeypatch.setattr(engine, function, instead)

    assert noticed(prop, make)


def test_c07_a_table_that_looks_further_is_noticed() -> None:
    table = SecondField(make(identity(WORLDS["golden"]())).table.rows)
    met = table.covering(0x10, lanes(0x10, 4))

    assert {0x10 >> 2} != {row.offset >> 2 for row in met}


def test_every_property_has_a_mutant() -> None:
    broken = {prop for prop, _ in MUTANTS.values()} | {prop for prop, _, _ in ENGINES.values()}

    assert set(CHECKS) == broken
