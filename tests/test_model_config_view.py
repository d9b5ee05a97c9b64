# SPDX-License-Identifier: Apache-2.0
"""What one guest after another sees of one function, and what reaches the function."""

from __future__ import annotations

import pytest
from tests.config_registers import Registers, express, golden, identity

from pvpci.model.config.compiled import dword
from pvpci.model.config.grants import GrantError, Grants, Quirk, parse
from pvpci.model.config.identity import Identity, Refused
from pvpci.model.config.state import GUEST, Kind, Notice
from pvpci.model.config.view import ConfigView, UnknownProfile
from pvpci.model.wire import Err


def remembered(view: ConfigView) -> list[int]:
    return [view.state[var] for var in GUEST]


class Broken(Exception):
    pass


class Failing(Registers):
    """Fails at the access with this number, counted from 1."""

    def __init__(self, sound: Registers, at: int) -> None:
        super().__init__(sound.image, sound.mask, sound.resources)
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
    view.forget()
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

    assert any(remembered(view))
    view.detach(registers)
    assert not any(remembered(view))
    assert [] == view.warnings


def test_what_was_granted_outlives_the_guests_kernel_and_not_the_guest() -> None:
    registers = golden()
    view = ConfigView(identity(registers), grants=Grants(permissive=True, interrupt_control=True))
    view.renew(registers)
    view.write(0x40, 4, 1, registers)

    assert 1 == registers.peek(0x40, 4)
    assert [Kind.WRITE_PERMITTED] == [notice.kind for notice in view.warnings]
    view.detach(registers)
    view.write(0x40, 4, 2, registers)
    assert 1 == registers.peek(0x40, 4)
    assert [Kind.WRITE_DROPPED] == [notice.kind for notice in view.warnings]


def test_detaching_stops_mastering_and_leaves_decoding() -> None:
    registers = golden()
    registers.poke(0x0C, 2, 0x4010)
    view = ConfigView(identity(registers))
    view.write(0x04, 2, 0x0017, registers)
    registers.forget()
    view.detach(registers)
    view.detach(registers)

    assert [(0x04, 2, 0x0103)] == registers.writes


@pytest.mark.parametrize(
    ("offset", "taken", "left", "expected"),
    [
        (0x04, 0x0103, 0x0517, 0x0103),  # what the guest freed, masked or started
        (0x04, 0x0107, 0x0107, 0x0103),  # what firmware left on
        (0x0C, 0x2010, 0x4010, 0x2010),
        (0xCC, 0x0000, 0x0103, 0x0000),  # awake, and without a way to wake the host
        (0xD2, 0x0080, 0x0081, 0x0080),
        (0xA2, 0x0004, 0xC004, 0x4004),
    ],
)
def test_detaching_gives_the_function_back_as_it_was_but_calm(
    offset: int, taken: int, left: int, expected: int
) -> None:
    registers = golden()
    registers.poke(offset, 2, taken)
    view = ConfigView(identity(registers))
    registers.poke(offset, 2, left)
    view.detach(registers)

    assert expected == registers.peek(offset, 2)


def test_a_function_left_asleep_is_awake_for_the_next_guest_and_has_its_header() -> None:
    registers = golden()
    view = ConfigView(identity(registers))
    assert Err.SUCCESS == view.write(0xCC, 2, 0x0003, registers).err
    pauses: list[int] = []
    view = ConfigView(identity(registers), pause=pauses.append)
    registers.image[0x10:0x28] = bytes(0x18)
    view.detach(registers)

    assert 0 == registers.peek(0xCC, 2) & 3
    assert [10_000] == pauses
    assert [0xF7D00000, 0xF7D20000, 0xE001, 0xF000000C, 2] == [registers.peek(at, 4) for at in range(0x10, 0x24, 4)]


def test_bytes_in_no_field_cost_one_access_of_the_same_size() -> None:
    registers = express()
    view = ConfigView(identity(registers), grants=Grants(extended=True))
    registers.forget()
    answers = [view.read(offset, size, registers) for offset, size in ((0x08, 4), (0x36, 1), (0xFFE, 2), (0x104, 4))]

    assert [(0x08, 4), (0x36, 1), (0xFFE, 2), (0x104, 4)] == registers.reads
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
    quirks = (Quirk(0x40, 2, 0xFFFF), Quirk(0x41, 1, 0xFF))
    view = ConfigView(identity(registers), "linux-6.1.63", Grants(quirks=quirks))

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
    before = remembered(view)
    with pytest.raises(Broken):
        view.write(0x04, 2, 0x0007, Failing(registers, at))

    assert before == remembered(view)
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
    with pytest.raises(GrantError, match="quirk=41:2:f: must be aligned"):
        ConfigView(identity(golden()), grants=parse("quirk=41:2:f"))
    with pytest.raises(GrantError, match="quirk=d4:4:ff: meets MSI_ADDRESS_LO at d4"):
        ConfigView(identity(golden()), grants=parse("quirk=d4:4:ff"))


def test_only_the_bits_of_an_added_field_are_the_guests() -> None:
    registers = golden()
    view = ConfigView(identity(registers), grants=parse("quirk=40:2:ff0"))
    view.write(0x40, 4, 0xFFFFFFFF, registers)
    view.write(0x41, 1, 0x00, registers)

    assert 0x443320F1 | 0x1 == registers.peek(0x40, 4)
    assert [] == view.warnings


def test_extended_space_is_there_for_those_who_were_granted_it() -> None:
    registers = express()
    plain, granted = (ConfigView(identity(registers), grants=Grants(extended=asked)) for asked in (False, True))

    assert ((-2, 0), (0, 0x03020100)) == (plain.read(0x100, 4, registers), granted.read(0x100, 4, registers))
    assert ((-2, 7), (0, 7)) == (plain.write(0x100, 4, 7, registers), granted.write(0x100, 4, 7, registers))
    assert 0x03020100 == registers.peek(0x100, 4)


def test_a_view_can_be_made_again_from_what_it_says_of_itself() -> None:
    view = ConfigView(identity(golden()), grants=parse("permissive=1,extended=1,quirk=40:2:ff"))

    assert "permissive=1,extended=1,quirk=40:2:ff" == view.described["grants"]
    assert view.grants == parse(view.described["grants"])


def test_functions_that_come_and_go_cost_no_memory() -> None:
    grants = parse("quirk=40:2:ff,quirk=44:1:f")
    ConfigView(identity(golden()), grants=grants)
    made = dword.cache_info().currsize
    for _ in range(3):
        ConfigView(identity(golden()), grants=grants)

    assert made == dword.cache_info().currsize
