# SPDX-License-Identifier: Apache-2.0
"""What is written as an image reads back as it was."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvpci.impl.embedded.image import FORMAT, load
from pvpci.impl.embedded.image_file import rows, text_of


def test_rows_are_dwords_that_hold_something() -> None:
    content = bytes.fromhex("8680d310 07001000 00000000 00000002".replace(" ", "")) + bytes(12) + b"\1\0\0\0"

    assert {"000": "8680d31007001000", "00c": "00000002", "01c": "01000000"} == rows(content)


def test_a_repetition_is_a_range_and_ends_where_it_ends() -> None:
    content = bytes(12) + b"\xff" * 40 + b"\xfe" + bytes(11)

    assert {"00c-033": "ff", "034": "fe000000"} == rows(content)


def test_only_what_is_said_is_mentioned() -> None:
    said = bytearray(64)
    for at in (4, 5, 14, 15, 16, 17, 63):
        said[at] = 1

    assert {"004": "0000", "00e": "0000", "010": "0000", "03f": "00"} == rows(bytes(64), bytes(said))


lumpy = st.lists(st.tuples(st.sampled_from([0, 0xFF, 0x5A, 1]), st.integers(1, 40)), max_size=30).map(
    lambda lumps: b"".join(bytes([value]) * count for value, count in lumps)[:256].ljust(256, b"\0")
)


@given(registers=lumpy, power_on=lumpy, said=lumpy)
def test_what_is_written_reads_back(
    tmp_path_factory: pytest.TempPathFactory, registers: bytes, power_on: bytes, said: bytes
) -> None:
    file = {
        "format": FORMAT, "name": "any", "origin": "a test \u2713\n", "bdf": "0000:00:01.0", "size": 256, "irq": 0,
        "virtual": False, "reset": [], "resources": [{"index": 0, "start": "0", "size": 16, "flags": "200"}],
        "registers": rows(registers), "writable": rows(registers), "write_one_to_clear": {},
        "power_on": rows(power_on, said),
    }  # fmt: skip
    text = text_of(file)
    path = tmp_path_factory.mktemp("image") / "any.json"
    path.write_text(text)
    image = load(str(path))

    assert file == json.loads(text)
    assert registers == image.registers == image.writable
    expected = bytes(value if mentioned else 0 for value, mentioned in zip(power_on, said, strict=True))
    assert expected == image.power_on
    assert [bool(value) for value in said] == [bool(value) for value in image.resettable]
