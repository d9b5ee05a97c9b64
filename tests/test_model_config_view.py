# SPDX-License-Identifier: Apache-2.0
"""What one guest after another sees of one function, and what reaches the function."""

from __future__ import annotations

import pytest
from tests.config_programs import RAW, written
from tests.config_registers import Registers, express, golden, identity

from pvpci.model.config.fields import Field, Table
from pvpci.model.config.identity import Identity, Refused
from pvpci.model.config.state import Device, Kind, Notice
from pvpci.model.config.view import ConfigView, UnknownProfile
from pvpci.model.wire import Err


class Broken(Exception):
    pass


class Failing(Registers):
    """Fails at the access with this number, counted from 1."""

    def __init__(self, sound: Registers, at: int) -> None:
        super().__init__(sound.image, sound.mask, sound.resources, sound.irq)
        self.left = at

    def _count(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise Broken

    def read(self, offset: int, size: int) -> int:
        self._count()
        return super().read(offset, size)

    def write(self, offset: int, size: int, value: int) -> None:
        self._count()
        super().write(offset, size, value)


def test_the_first_dropped_write_of_each_guest_is_told() -> None:
    registers = golden()
    view = ConfigView(identity(registers))
    for offset in (0x40, 0x44, 0x06):
        assert (Err.SUCCESS, 0xFFFF) == view.write(offset, 2, 0xFFFF, registers)

    assert [Notice(Kind.WRITE_DROPPED, 0x40, 2, 0xFFFF)] == view.warnings
    view.warnings.clear()
    view.write(0x44, 4, 1, registers)
    assert [] == view.warnings
    view.reset()
    view.write(0x44, 4, 1, registers)
    assert [Notice(Kind.WRITE_DROPPED, 0x44, 4, 1)] == view.warnings
    assert "offset 0x044, 4 bytes, value 0x1" in str(view.warnings[0])
    assert [] == registers.writes


def test_a_write_beside_a_field_is_dropped_without_a_word() -> None:
    registers = golden()
    view = ConfigView(identity(registers))
    view.write(0x3C, 4, 0xFFFFFFFF, registers)

    assert [] == view.warnings + registers.writes


def test_the_next_guest_starts_as_the_first_one_did() -> None:
    registers = golden()
    view = ConfigView(identity(registers))
    for offset in range(0, 0x40, 4):
        view.write(offset, 4, 0xFFFFFFFF, registers)

    assert Device() != view.device
    view.reset()
    assert Device() == view.device
    assert [] == view.warnings


def test_quiesce_stops_mastering_and_leaves_decoding() -> None:
    registers = golden()
    view = ConfigView(identity(registers))
    view.write(0x04, 2, 0x0017, registers)
    registers.forget()
    view.quiesce(registers)
    view.quiesce(registers)

    assert [(0x04, 2, 0x0103)] == registers.writes


def test_bytes_in_no_field_cost_one_access_of_the_same_size() -> None:
    registers = express()
    view = ConfigView(identity(registers))
    registers.forget()
    answers = [view.read(offset, size, registers) for offset, size in ((0x08, 4), (0x35, 1), (0xFFE, 2), (0x104, 4))]

    assert [(0x08, 4), (0x35, 1), (0xFFE, 2), (0x104, 4)] == registers.reads
    assert [(0, registers.peek(offset, size)) for offset, size in registers.reads] == answers


@pytest.mark.parametrize(
    ("offset", "size", "expected"), [(0x00, 4, 0), (0x10, 4, 0), (0x3C, 1, 0), (0x3C, 4, 1), (0x04, 4, 1)]
)
def test_bytes_that_we_know_cost_none(offset: int, size: int, expected: int) -> None:
    registers = golden()
    view = ConfigView(identity(registers))
    registers.forget()
    view.read(offset, size, registers)

    assert expected == len(registers.reads)


def test_a_host_that_answers_too_much_is_cut() -> None:
    class Wide(Registers):
        def read(self, offset: int, size: int) -> int:
            return -1

    sound = golden()
    view = ConfigView(identity(sound))
    wide = Wide(sound.image, sound.mask)

    assert 0xFF == view.read(0x08, 1, wide).value
    assert 0xFFFF0014 == view.read(0x04, 4, wide).value


def test_each_field_takes_its_own_bytes_of_a_request() -> None:
    registers = golden()
    plain = ConfigView(identity(registers))
    rows = (
        Field(0x40, 2, "FIRST", RAW, written(0x40, 2), "test"),
        Field(0x41, 1, "SECOND", RAW, written(0x41, 1), "test"),
    )
    view = ConfigView(identity(registers), table=Table(plain.table.rows + rows))

    assert (Err.SUCCESS, 0xAABBCCDD) == view.write(0x40, 4, 0xAABBCCDD, registers)
    assert [(0x40, 2, 0xCCDD), (0x41, 1, 0xCC)] == registers.writes
    registers.forget()
    assert Err.SUCCESS == view.write(0x40, 1, 0xEE, registers).err
    assert [(0x40, 2, 0xCCEE)] == registers.writes


def test_a_failing_read_is_passed_on() -> None:
    view = ConfigView(identity(golden()))

    with pytest.raises(Broken):
        view.read(0x08, 4, Failing(golden(), 1))


@pytest.mark.parametrize("at", range(1, 6))
def test_after_a_failing_write_the_guest_can_try_again(at: int) -> None:
    registers = golden()
    registers.poke(0x04, 2, 0x0400)
    view = ConfigView(identity(registers))
    before = view.device
    with pytest.raises(Broken):
        view.write(0x04, 2, 0x0007, Failing(registers, at))

    assert before == view.device
    assert (Err.SUCCESS, 0x0007) == view.write(0x04, 2, 0x0007, registers)
    assert 0x0007 == registers.peek(0x04, 2)
    assert 0x0007 == view.read(0x04, 2, registers).value


def test_values_wider_than_the_request_are_cut_and_echoed() -> None:
    registers = golden()
    view = ConfigView(identity(registers))

    assert (Err.SUCCESS, 0xABCDEF22) == view.write(0x3C, 1, 0xABCDEF22, registers)
    assert 0x122 == view.read(0x3C, 2, registers).value


def test_what_cannot_be_served_is_said_when_the_view_is_made() -> None:
    with pytest.raises(UnknownProfile, match=r"no configuration space profile 'lax'; there is: strict"):
        ConfigView(identity(golden()), profile="lax")
    with pytest.raises(Refused, match="is a bridge"):
        ConfigView(Identity(0x8086, 0x3420, 0, 4096, False, (), header_type=1))
