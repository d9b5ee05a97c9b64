# SPDX-License-Identifier: Apache-2.0
"""The header's golden vectors: what Linux's own code answered on a modelled function, where `strict` answers the same.

Where it does not, the vector stands with our answer and the name of the rule that makes the difference.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.config_registers import MEM, UNSET, Range, express, golden, identity, virtual

from pvpci.model.config import constants as pci
from pvpci.model.config.identity import survey
from pvpci.model.config.state import Kind
from pvpci.model.config.strict import RULES
from pvpci.model.config.view import ConfigView
from pvpci.model.wire import Err


@pytest.mark.parametrize(
    ("offset", "size", "expected", "rule"),
    [
        (0x00, 4, 0x10D38086, ""),
        (0x00, 1, 0x86, "truncated"),
        (0x03, 1, 0x10, ""),
        (0x04, 4, 0x00100000, "command-starts-clear"),
        (0x04, 1, 0x00, "command-starts-clear"),
        (0x05, 1, 0x00, "command-starts-clear"),
        (0x06, 2, 0x0010, ""),
        (0x0C, 4, 0x80000000, ""),
        (0x3C, 4, 0x00000113, ""),
        (0x3C, 1, 0x13, ""),
        (0xC8, 4, 0x0622D001, ""),
        (0xCA, 2, 0x0622, ""),
        (0xD2, 1, 0x80, ""),
        (0x10, 1, 0x00, "truncated"),
        (0x11, 1, 0x00, "truncated"),
        (0x12, 1, 0xD0, "truncated"),
        (0x12, 2, 0xF7D0, ""),
        (0x13, 1, 0xF7, ""),
        (0x18, 4, 0x0000E001, ""),
        (0x1C, 4, 0xF000000C, ""),
        (0x20, 4, 0x00000002, ""),
        (0x24, 4, 0x00000000, ""),
        (0x30, 4, 0xF7DC0000, ""),
    ],
)
def test_reads(offset: int, size: int, expected: int, rule: str) -> None:
    registers = golden()
    view = ConfigView(identity(registers))

    assert rule == "" or rule in {known.name for known in RULES}
    assert (Err.SUCCESS, expected) == view.read(offset, size, registers)


@pytest.mark.parametrize(
    ("offset", "size"),
    [(0x01, 2), (0x02, 4), (0x00, 3), (0x00, 0), (0x00, 8), (0x1000, 4), (0x1000, 2), (0x1000, 1), (-4, 4), (0x100, 4)],
)
def test_requests_that_nobody_may_make(offset: int, size: int) -> None:
    registers = golden()
    view = ConfigView(identity(registers))
    registers.forget()

    assert (Err.INVALID_OFFSET, 0) == view.read(offset, size, registers)
    assert (Err.INVALID_OFFSET, 0xABCD) == view.write(offset, size, 0xABCD, registers)
    assert [] == registers.reads + registers.writes + view.warnings


def test_command_sequence() -> None:
    registers = golden()
    view = ConfigView(identity(registers))

    for offset, size, value, writes, command, seen in (
        (0x04, 2, 0x0000, [], 0x0103, 0x0000),
        (0x04, 2, 0x0003, [], 0x0103, 0x0003),
        (0x04, 2, 0x0007, [(0x04, 2, 0x0107), (0x0D, 1, 0x40)], 0x0107, 0x0007),
        (0x04, 2, 0x0407, [], 0x0107, 0x0407),
        (0x04, 2, 0xFFFF, [(0x0C, 1, 0x10), (0x04, 2, 0x0117)], 0x0117, 0x07FF),  # reserved 0, the rest as written
        (0x04, 2, 0x0547, [(0x04, 2, 0x0107)], 0x0107, 0x0547),
        (0x04, 1, 0x00, [(0x04, 2, 0x0103)], 0x0103, 0x0500),
        (0x05, 1, 0x04, [], 0x0103, 0x0400),
        (0x04, 4, 0xFFFF0006, [(0x04, 2, 0x0107)], 0x0107, 0x0006),
        (0x06, 2, 0xFFFF, [], 0x0107, 0x0006),
    ):
        registers.forget()

        assert (Err.SUCCESS, value) == view.write(offset, size, value, registers)
        assert writes == registers.writes
        assert command == registers.peek(0x04, 2)
        assert (Err.SUCCESS, seen) == view.read(0x04, 2, registers)

    assert (Err.SUCCESS, 0x00100006) == view.read(0x04, 4, registers)
    assert [Kind.WRITE_DROPPED] == [notice.kind for notice in view.warnings]


@pytest.mark.parametrize(
    ("writes", "read", "expected"),
    [
        ([(0x10, 4, 0xFFFFFFFF)], 0x10, 0xFFFE0000),
        ([(0x10, 4, 0xFFFFFFFF)], 0x14, 0xF7D20000),
        ([(0x10, 4, 0xFFFFFFFF), (0x10, 4, 0xF7D00000)], 0x10, 0xF7D00000),
        ([(0x10, 4, 0xFFFFFFF0)], 0x10, 0xFFFE0000),
        ([(0x10, 4, 0xFFFFFFFE)], 0x10, 0xFFFE0000),
        ([(0x10, 4, 0xFFFFFFEF)], 0x10, 0xF7D00000),
        ([(0x10, 4, 0xFFFFFFFF), (0x10, 4, 0x12340000)], 0x10, 0xF7D00000),
        ([(0x10, 4, 0xFFFFFFFF), (0x10, 1, 0x00)], 0x10, 0xF7D00000),
        ([(0x10, 1, 0xFF), (0x11, 1, 0xFF), (0x12, 1, 0xFF), (0x13, 1, 0xFF)], 0x10, 0xF7D00000),
        ([(0x18, 4, 0xFFFFFFFF)], 0x18, 0xFFFFFFE1),
        ([(0x18, 4, 0xFFFFFFFC)], 0x18, 0xFFFFFFE1),
        ([(0x18, 4, 0xFFFFFFFF), (0x18, 4, 0xFFFFFFF0)], 0x18, 0x0000E001),
        ([(0x1C, 4, 0xFFFFFFFF)], 0x1C, 0xF000000C),
        ([(0x1C, 4, 0xFFFFFFFF)], 0x20, 0x00000002),
        ([(0x20, 4, 0xFFFFFFFF)], 0x20, 0xFFFFFFFF),
        ([(0x20, 4, 0xFFFFFFFF), (0x20, 4, 0xFFFFFFF0)], 0x20, 0x00000002),
        ([(0x24, 4, 0xFFFFFFFF)], 0x24, 0x00000000),
        ([(0x30, 4, 0xFFFFF800)], 0x30, 0xFFFC0000),
        ([(0x30, 4, 0xFFFFFFFE)], 0x30, 0xFFFC0000),
        ([(0x30, 4, 0xFFFFF000)], 0x30, 0xF7DC0000),
        ([(0x30, 4, 0xF7DC0001)], 0x30, 0xF7DC0000),
    ],
)
def test_bars(writes: list[tuple[int, int, int]], read: int, expected: int) -> None:
    registers = golden()
    view = ConfigView(identity(registers))
    for offset, size, value in writes:
        assert (Err.SUCCESS, value) == view.write(offset, size, value, registers)

    assert (Err.SUCCESS, expected) == view.read(read, 4, registers)
    assert [] == registers.writes


def test_a_bar_that_the_function_has_lost_is_not_restored_by_the_guest() -> None:
    registers = golden()
    view = ConfigView(identity(registers))
    registers.poke(0x10, 4, 0)

    assert Err.SUCCESS == view.write(0x10, 4, 0xF7D00000, registers).err
    assert 0 == registers.peek(0x10, 4)
    assert 0xF7D00000 == view.read(0x10, 4, registers).value


def test_a_function_with_a_bar_without_address_is_not_enabled() -> None:
    registers = golden()
    registers.resources = (Range(0, 0x1FFFF, MEM | UNSET), *registers.resources[1:])
    view = ConfigView(identity(registers))

    assert Err.SUCCESS == view.write(0x04, 2, 0x0140, registers).err
    before = registers.image[:]
    assert (Err.OP_FAILED, 0x0002) == view.write(0x04, 2, 0x0002, registers)
    assert before == registers.image
    assert 0x0140 == view.read(0x04, 2, registers).value
    assert 0 == view.read(0x10, 4, registers).value
    view.write(0x10, 4, 0xFFFFFFFF, registers)
    assert 0 == view.read(0x10, 4, registers).value


def test_small_registers_are_kept_and_do_not_reach_the_function() -> None:
    registers = golden()
    view = ConfigView(identity(registers))
    registers.poke(0x0C, 2, 0x2008)

    assert 0x80002008 == view.read(0x0C, 4, registers).value
    assert Err.SUCCESS == view.write(0x0C, 4, 0x40FF2010, registers).err
    assert 0x80002010 == view.read(0x0C, 4, registers).value
    assert Err.SUCCESS == view.write(0x0F, 1, 0x40, registers).err
    assert Err.SUCCESS == view.write(0x0D, 1, 0x55, registers).err
    assert 0x80005510 == view.read(0x0C, 4, registers).value
    assert Err.SUCCESS == view.write(0x3C, 4, 0xFFFFFFFF, registers).err
    assert 0x000001FF == view.read(0x3C, 4, registers).value
    assert [] == registers.writes
    view.forget()
    assert 0x80002008 == view.read(0x0C, 4, registers).value
    assert 0x00000113 == view.read(0x3C, 4, registers).value


def test_decoding_that_was_lost_comes_back_with_the_next_write() -> None:
    registers = golden()
    view = ConfigView(identity(registers))
    view.write(0x04, 2, 0x0007, registers)
    registers.poke(0x04, 2, 0)

    assert 0x0003 == view.read(0x04, 2, registers).value
    view.write(0x04, 2, 0x0007, registers)
    assert 0x0007 == registers.peek(0x04, 2)


@pytest.mark.parametrize(
    ("pin", "msi", "msix", "expected"),
    [(1, 0x80, 0x0004, 0), (0, 0x80, 0x0004, 0x400), (1, 0x81, 0x0004, 0x400), (1, 0x80, 0x8004, 0x400)],
)
def test_enabling_frees_the_line_that_is_needed(pin: int, msi: int, msix: int, expected: int) -> None:
    registers = golden()
    registers.poke(0x3D, 1, pin)
    view = ConfigView(identity(registers))
    registers.poke(0x04, 2, 0x0400)
    registers.poke(0xD2, 2, msi)
    registers.poke(0xA2, 2, msix)
    view.write(0x04, 2, 0x0002, registers)

    assert expected | 0x0003 == registers.peek(0x04, 2)


def test_write_and_invalidate_stays_off_where_the_line_size_does_not_hold() -> None:
    registers = golden()
    registers.mask[0x0C] = 0
    view = ConfigView(identity(registers))
    registers.forget()

    for _ in range(3):
        assert Err.SUCCESS == view.write(0x04, 2, 0x0012, registers).err
        assert 0x0002 == view.read(0x04, 2, registers).value
    assert 0x0103 == registers.peek(0x04, 2)
    assert [Kind.MWI_REFUSED] == [notice.kind for notice in view.warnings]


@pytest.mark.parametrize(("line", "written"), [(0x10, False), (0x20, False), (0x00, True), (0x08, True), (0x18, True)])
def test_a_line_size_that_suits_the_host_is_left_alone(line: int, written: bool) -> None:
    registers = golden()
    view = ConfigView(identity(registers))
    registers.poke(0x0C, 1, line)
    view.write(0x04, 2, 0x0010, registers)

    assert 0x0113 == registers.peek(0x04, 2)
    assert ((0x0C, 1, 0x10) in registers.writes) == written


def test_a_line_disabled_behind_an_enabled_function_is_left_alone() -> None:
    registers = golden()
    view = ConfigView(identity(registers))
    view.write(0x04, 2, 0x0003, registers)
    registers.poke(0x04, 2, 0x0503)
    view.write(0x04, 2, 0x0003, registers)

    assert 0x0503 == registers.peek(0x04, 2)
    registers.poke(0x04, 2, 0x0500)
    view.write(0x04, 2, 0x0003, registers)
    assert 0x0103 == registers.peek(0x04, 2)


@pytest.mark.parametrize(("latency", "expected"), [(0, 0x40), (15, 0x40), (16, 16), (0xF8, 0xF8)])
@pytest.mark.parametrize("keeps_line", [True, False])
@pytest.mark.parametrize("value", [0x0004, 0x0014])
def test_a_new_master_gets_its_share_of_the_bus(latency: int, expected: int, keeps_line: bool, value: int) -> None:
    registers = golden()
    registers.mask[0x0C] = 0xFF if keeps_line else 0
    view = ConfigView(identity(registers))
    registers.poke(0x0D, 1, latency)
    view.write(0x04, 2, value, registers)

    assert 0x0103 | (value if keeps_line else 0x0004) == registers.peek(0x04, 2)
    assert expected == registers.peek(0x0D, 1)


def test_express_functions_keep_their_latency_timer_and_decode_what_they_have() -> None:
    registers = express()
    registers.poke(0x04, 2, 0)
    view = ConfigView(identity(registers))
    view.write(0x04, 2, 0x0005, registers)

    assert [(0x04, 2, 0x0006)] == registers.writes
    assert (0x0, 0x38) == (view.read(0x10, 4, registers).value & ~0xF, view.read(0x14, 4, registers).value)
    view.write(0x10, 4, 0xFFFFFFFF, registers)
    view.write(0x14, 4, 0xFFFFFFFF, registers)
    assert (0x4, 0xFFFFFFFE) == (view.read(0x10, 4, registers).value, view.read(0x14, 4, registers).value)


def test_a_virtual_function_shows_what_the_host_knows() -> None:
    registers = virtual()
    view = ConfigView(identity(registers))

    assert 0x10D38086 == view.read(0x00, 4, registers).value
    assert 0x38 == view.read(0x14, 4, registers).value
    assert 0x00 == view.read(0x3C, 1, registers).value
    assert Err.SUCCESS == view.write(0x04, 2, 0x0006, registers).err
    assert [(0x04, 2, 0x0004)] == registers.writes
    assert 0x0006 == view.read(0x04, 2, registers).value


def test_every_field_says_where_it_comes_from() -> None:
    registers = golden()
    rows = ConfigView(identity(registers)).table.rows

    assert 15 + 5 + 2 + 4 + 1 + 3 + 1 == len(rows)  # the header; the chain; VPD, PM, MSI and its own picture, MSI-X
    assert all(
        row.cite.startswith(("conf_space_header.c:", "conf_space_capability.c:", "no counterpart")) for row in rows
    )
    assert [0x00, 0x02, 0x04, 0x3C, 0x3D, 0x0C, 0x0D, 0x0F, 0x10] == [row.offset for row in rows[:9]]


def test_a_line_that_the_host_uses_too_is_not_the_guests() -> None:
    registers = golden()
    view = ConfigView(replace(survey(registers), line_shared=True))
    view.attach(registers)
    view.write(0x04, 2, 0x0003, registers)

    assert 0 == view.read(0x3D, 1, registers).value
    assert pci.COMMAND_INTX_DISABLE == registers.read(0x04, 2) & pci.COMMAND_INTX_DISABLE
    view.detach(registers)
    assert 0 == registers.read(0x04, 2) & pci.COMMAND_INTX_DISABLE
