# SPDX-License-Identifier: Apache-2.0
"""Registers react as recorded hardware did, and as the specifications say where nothing was recorded."""

from __future__ import annotations

import errno
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.recorded import DATA, OPERATIONS, device, dword, programs, put

from pvpci.impl.embedded.registers import BehindXen, Registers
from pvpci.impl.host import HostError


def width(fields: str, at: int, operation: dict[str, Any]) -> int:
    """The bytes of a recorded bus write, whose size was not written down: of its field, or of the request if raw."""
    for field in fields.split():
        start, size = field.split("/")
        if int(start, 16) == at:
            return int(size)
    assert at == operation["o"]
    return int(operation["s"])


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_recorded_bus_write_has_the_recorded_effect(name: str) -> None:
    image, fields = device(name), json.loads((DATA / "field-lists.json").read_text())[name]
    compared = 0
    for program, operations in programs(name):
        memory = bytearray(image.registers)
        for at, value in program["base"]:
            put(memory, int(at, 16), value)
        registers = Registers(image, memory)
        for operation in operations:
            expected, aligned = bytearray(memory), operation["o"] & ~3
            if "hb" in operation:
                assert operation["hb"] == dword(memory, aligned), (program["prog"], operation)
            for at, value in operation.get("hw", ()):
                registers.write(int(at, 16), width(fields, int(at, 16), operation), int(value, 16))
            if "ha" in operation:
                put(expected, aligned, operation["ha"])
            for at, _, after in operation.get("hx", ()):
                put(expected, int(at, 16), after)

            assert expected == memory, (program["prog"], operation)
            compared += 1

    assert OPERATIONS[name] == compared


def made(**changes: Any) -> tuple[Registers, bytearray]:
    """The planted edu (VPD at 60, power management at 70 with D1 and D2, MSI at 40), changed as one likes."""
    image = replace(device("edu-vpd"), **changes)
    memory = bytearray(image.registers)
    return Registers(image, memory), memory


def with_bytes(content: bytes, changes: dict[int, str]) -> bytes:
    found = bytearray(content)
    for at, digits in changes.items():
        piece = bytes.fromhex(digits)
        found[at : at + len(piece)] = piece
    return bytes(found)


EDU = device("edu-vpd")
#: COMMAND, cache line, latency, BAR 0 and the interrupt line.
FRESH = {
    "power_on": with_bytes(bytes(256), {}),
    "resettable": with_bytes(bytes(256), {0x04: "ffff", 0x0C: "ffff", 0x10: "ffffffff", 0x3C: "ff"}),
}


def header(memory: bytearray) -> str:
    return f"{memory[4:6].hex()} {memory[0xC:0xE].hex()} {memory[0x10:0x14].hex()} {memory[0x3C:0x3D].hex()}"


RECORDED, LOST = "0301 0000 00000080 0b", "0000 0000 00000000 00"


def test_leaving_d3hot_puts_the_power_on_values_back() -> None:
    it, memory = made(keeps_d3hot=False, **FRESH)
    it.write(0x74, 2, 3)
    asleep = header(memory)
    it.write(0x74, 2, 0)

    assert (RECORDED, LOST) == (asleep, header(memory))
    assert 0 == it.read(0x74, 2) & 3


@pytest.mark.parametrize("left", [1, 2])
def test_leaving_a_lighter_state_loses_nothing(left: int) -> None:
    it, memory = made(keeps_d3hot=False, **FRESH)
    it.write(0x74, 1, left)
    it.write(0x74, 1, 0)

    assert RECORDED == header(memory)


def test_a_function_may_keep_everything_in_d3hot() -> None:
    says_so = with_bytes(EDU.registers, {0x74: "08"})
    for it, memory in (made(keeps_d3hot=True, **FRESH), made(keeps_d3hot=False, registers=says_so, **FRESH)):
        it.write(0x74, 2, 3)
        it.write(0x74, 2, 0)

        assert RECORDED == header(memory)


def test_a_state_that_is_not_supported_is_not_entered() -> None:
    it, _ = made(registers=with_bytes(EDU.registers, {0x72: "0300"}), keeps_d3hot=False)
    for asked, entered in ((1, 0), (2, 0), (3, 3), (2, 3), (0, 0)):
        it.write(0x74, 2, asked | 0x200)

        assert entered | 0x200 == it.read(0x74, 2)


EXPRESS = {0x34: "80", 0x80: "1000 0200 00000010 0000"}
FEATURES = {0x34: "80", 0x80: "130006020000"}


@pytest.mark.parametrize(
    ("chain", "offset", "size", "value", "expected"),
    [
        (EXPRESS, 0x88, 2, 0x8000, LOST),
        (EXPRESS, 0x88, 4, 0x8000, LOST),
        (EXPRESS, 0x89, 1, 0x80, LOST),
        (EXPRESS, 0x88, 1, 0x80, RECORDED),
        (EXPRESS, 0x88, 2, 0x7FFF, RECORDED),
        ({**EXPRESS, 0x84: "00000000"}, 0x88, 2, 0x8000, RECORDED),
        (FEATURES, 0x84, 1, 1, LOST),
        (FEATURES, 0x84, 2, 1, LOST),
        (FEATURES, 0x84, 1, 2, RECORDED),
        ({**FEATURES, 0x83: "01"}, 0x84, 1, 1, RECORDED),
    ],
)
def test_initiating_a_function_level_reset(
    chain: dict[int, str], offset: int, size: int, value: int, expected: str
) -> None:
    writable = with_bytes(EDU.writable, {0x80: "00" * 16, 0x88: "ffff"})
    it, memory = made(registers=with_bytes(EDU.registers, {**chain}), writable=writable, **FRESH)
    it.write(offset, size, value)

    assert expected == header(memory)
    assert 0 == it.read(0x88, 2) & 0x8000 or expected == RECORDED


def test_msi_is_enabled_with_no_more_vectors_than_there_are() -> None:
    it, _ = made(registers=with_bytes(EDU.registers, {0x42: "8400"}))
    found = []
    for value in (0x00F4, 0x00F5, 0x0031, 0x0011):
        it.write(0x42, 2, value)
        found.append(it.read(0x42, 2))

    # Two bits of four vectors: 2 is what is left of 7 and of 3.
    assert [0x00F4, 0x00A5, 0x00A5, 0x0095] == found


def test_product_data_is_there_when_the_flag_is() -> None:
    it, _ = made(vpd=bytes(range(16)) + b"\x77")
    found = []
    for address in (4, 0x0D, 16, 0x7FFC):
        it.write(0x62, 2, address)
        found.append((it.read(0x62, 2), it.read(0x64, 4)))
    it.write(0x64, 4, 0x11223344)
    it.write(0x62, 2, 0x8004)

    assert [(0x8004, 0x07060504), (0x800D, 0x0F0E0D0C), (0x8010, 0x77), (0xFFFC, 0)] == found
    assert 4 == it.read(0x62, 2)


def test_product_data_waits_for_the_upper_byte_and_may_never_come() -> None:
    it, _ = made(vpd=b"\x01\x02\x03\x04")
    it.write(0x62, 1, 0)
    half = it.read(0x62, 2)
    silent, _ = made()
    silent.write(0x62, 2, 0)

    assert half & 0x8000 == EDU.registers[0x63] << 8 & 0x8000
    assert 0 == silent.read(0x62, 2)


def test_a_self_test_ends_with_its_code() -> None:
    registers = with_bytes(EDU.registers, {0x0F: "8f"})
    tested, _ = made(registers=registers, bist=3)
    tested.write(0x0F, 1, 0x40)
    endless, _ = made(registers=registers)
    endless.write(0x0C, 4, 0xC0000000)
    incapable, _ = made(bist=3)
    incapable.write(0x0F, 1, 0x40)

    assert (0x83, 0xC0, 0x40) == (tested.read(0x0F, 1), endless.read(0x0F, 1), incapable.read(0x0F, 1))


def test_outside_there_is_nobody() -> None:
    it, memory = made()
    before = bytes(memory)
    for offset in (-4, 256, 4096, 1 << 40):
        it.write(offset, 4, 0)

        assert 0xFFFFFFFF == it.read(offset, 4)
    assert before == memory


chains = st.dictionaries(st.integers(0, 252), st.binary(min_size=1, max_size=4).map(bytes.hex), max_size=12)
accesses = st.lists(
    st.tuples(st.integers(-8, 300), st.sampled_from((1, 2, 4)), st.integers(0, 0xFFFFFFFF)), max_size=20
)


@given(chains, accesses, st.binary(max_size=64), st.integers(0, 15))
def test_whatever_the_registers_hold_nothing_breaks(
    changes: dict[int, str], writes: list[tuple[int, int, int]], vpd: bytes, bist: int
) -> None:
    registers = with_bytes(EDU.registers, changes)[:256]
    it, memory = made(registers=registers, vpd=vpd, bist=bist, writable=b"\xff" * 256, keeps_d3hot=False, **FRESH)
    for offset, size, value in writes:
        it.write(offset - offset % size, size, value)

        assert 256 == len(memory)
        assert 0 <= it.read(offset - offset % size, size) < 1 << 8 * size


def behind(name: str) -> tuple[BehindXen, Registers]:
    image = device(name)
    registers = Registers(image, bytearray(image.registers))
    return BehindXen(registers, registers.capabilities.get(0x11), image.size), registers


@pytest.mark.parametrize(
    ("offset", "size", "arrives"),
    [
        (0xA2, 2, True),
        (0xA2, 1, False),
        (0xA3, 1, False),
        (0xA0, 4, False),
        (0xA0, 2, False),
        (0xA4, 4, False),
        (0xAB, 1, False),
        (0xAC, 4, True),
        (0x9C, 4, True),
    ],
)
def test_the_hypervisor_drops_what_is_not_the_msix_control_word(offset: int, size: int, arrives: bool) -> None:
    image = replace(device("e1000e"), writable=b"\xff" * 4096)
    registers = Registers(image, bytearray(image.registers))
    it = BehindXen(registers, 0xA0, 4096)
    before = registers.read(offset, size)
    it.write(offset, size, before ^ 0xFF)

    assert arrives == (before != registers.read(offset, size))


def test_beyond_a_conventional_function_and_beyond_everything() -> None:
    it, _ = behind("edu")
    it.write(0x100, 4, 0)
    ones = (it.read(0x100, 4), it.read(0xFFE, 2), it.read(0xFF, 1))
    refused = []
    for access in (lambda: it.read(4096, 1), lambda: it.write(4096, 4, 0), lambda: it.read(-4, 4)):
        with pytest.raises(HostError) as caught:
            access()
        refused.append(caught.value.errno)

    assert (0xFFFFFFFF, 0xFFFF, 0) == ones
    assert [errno.EINVAL] * 3 == refused
