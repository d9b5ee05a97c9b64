# SPDX-License-Identifier: Apache-2.0
"""What runs is what the programs say: each compiled dword against a walk over the same steps."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.config_interpreter import Interpreter
from tests.config_registers import Registers
from tests.recorded import MD1, OPERATIONS, Function, device

from pvpci.model.config import compiled
from pvpci.model.config.compiled import State
from pvpci.model.config.grants import GrantError, Quirk
from pvpci.model.config.identity import survey
from pvpci.model.config.lanes import ASKED, WORD, first
from pvpci.model.config.linux import PROFILES
from pvpci.model.config.profiles import Profile
from pvpci.model.config.programs import Field, Program
from pvpci.model.config.rules import ALL_LANES, reading, writing
from pvpci.model.config.state import RECORDS, Kind
from pvpci.model.config.table import Table, table
from pvpci.model.kernel.terms import Var

VARIABLES: tuple[Var, ...] = tuple(var for record in RECORDS for var in record.variables)
LANES = [lanes for lanes in ASKED if lanes != 0xFFFF00]
NAMES = (*OPERATIONS, MD1)
#: Beside and over fields, misaligned, past 256 bytes.
QUIRKS = (
    (),
    (Quirk(0xF0, 2, 0x0FF0), Quirk(0xF2, 1, 0x81)),
    (Quirk(0x05, 1, 0xFF), Quirk(0x40, 2, 0xFFFF), Quirk(0x41, 1, 0xFF), Quirk(0x43, 4, WORD), Quirk(0x1F0, 4, WORD)),
)


class Pair:
    """The same function and the same memory twice, one for what runs and one for what is meant."""

    def __init__(self, dice: Random, size: int, found: Table) -> None:
        memory, mask = dice.randbytes(size), dice.randbytes(size)
        self.run, self.meant = (Registers(bytearray(memory), bytearray(mask), exacting=False) for _ in range(2))
        self.told, self.paused = list[Kind](), list[int]()
        self.state = State(self.told.append, self.told.clear, self.paused.append)
        values = {var: dice.getrandbits(var.sort.width or 1) for var in VARIABLES}
        for var, value in values.items():
            self.state[var] = value
        for structure, base in found.bases.items():
            setattr(self.state, compiled.BASES[structure], base)
        self.interpreter = Interpreter(self.meant, dict(values), found.bases)

    def check(self, what: object, meant: object, run: object) -> None:
        assert meant == run, what
        assert self.meant.reads == self.run.reads, what
        assert self.meant.writes == self.run.writes, what
        assert self.meant.image == self.run.image, what
        assert {var: self.interpreter.values[var] for var in VARIABLES} == {
            var: self.state[var] for var in VARIABLES
        }, what
        assert (self.interpreter.told, self.interpreter.paused) == (self.told, self.paused), what


def tables(name: str, profile: Profile, quirks: tuple[Quirk, ...]) -> Table | None:
    try:
        return table(survey(Function(device(name)), bridges=True), profile, quirks)
    except GrantError:
        return None


@pytest.mark.parametrize("quirks", QUIRKS, ids=["plain", "added", "odd"])
@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
@pytest.mark.parametrize("name", NAMES)
def test_each_dword_runs_as_its_program_says(name: str, profile: Profile, quirks: tuple[Quirk, ...]) -> None:
    found, dice = tables(name, profile, quirks), Random(f"{name} {profile.name} {quirks}")
    if found is None:
        assert profile.layout.quirks_checked
        return
    for dword, rows in (*found.by_dword.items(), (0x100, ())):
        for lanes in LANES:
            one_request(dice, found, profile, dword, rows, lanes)


def one_request(dice: Random, found: Table, profile: Profile, dword: int, rows: tuple[Field, ...], lanes: int) -> None:
    made, rules = compiled.dword(rows, profile.rules), profile.rules
    offset, size, value = dword + first(lanes) // 8, ASKED[lanes], dice.choice((0, WORD, dice.getrandbits(32)))
    pair = Pair(dice, 4096, found)
    run = made.read(pair.state, pair.run, offset, size, lanes)
    pair.check((dword, lanes, "read"), pair.interpreter.read(reading(rows, rules), offset, size, lanes), run)
    # What is remembered is likely to matter if the write nearly is what the function holds.
    value ^= dice.choice((0, pair.run.peek(offset, size)))
    pair = Pair(dice, 4096, found)
    written = made.write(pair.state, pair.run, offset, size, value, lanes)
    meant = pair.interpreter.write(writing(rows, rules), offset, size, value, lanes)
    pair.check((dword, lanes, value, "write"), meant, written)
    if lanes == WORD and made.whole is not None:
        pair = Pair(dice, 4096, found)
        whole = made.whole(pair.state, pair.run, offset)
        pair.check((dword, "whole"), pair.interpreter.read(reading(rows, rules, ALL_LANES), offset, 4, WORD)[1], whole)


@settings(max_examples=30)
@given(st.integers(), st.sampled_from(NAMES), st.sampled_from([*PROFILES.values()]))
def test_what_no_request_starts_runs_as_its_program_says(seed: int, name: str, profile: Profile) -> None:
    dice, found = Random(seed), tables(name, profile, ())
    assert found is not None
    programs: tuple[Program, ...] = (profile.attach, profile.detach, profile.forget, profile.renew)
    for number, program in enumerate(programs):
        pair = Pair(dice, 4096, found)
        run = compiled.plain(program)(pair.state, pair.run)
        pair.check(number, pair.interpreter.run(program) or 0, run)
