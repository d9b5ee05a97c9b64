# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvpci.traces.dumps import Dump, DumpError, full, read

SPACE = bytes(range(256)) * 16


def rows(space: bytes) -> str:
    return "".join(f"{at:02x}: {space[at : at + 16].hex(' ')}\n" for at in range(0, len(space), 16))


def test_all_functions_of_a_machine() -> None:
    text = f"00:05.0 Ethernet controller: Some Corp. Thing\n{rows(SPACE)}\n0001:02:00.1 0108: 8086:1234\n{rows(SPACE[:256])}\n"

    assert (Dump("0000:00:05.0", SPACE), Dump("0001:02:00.1", SPACE[:256])) == read(text.encode(), "x")


def test_the_words_of_lspci_vv_are_passed_over() -> None:
    text = (
        f"00:05.0 Ethernet\n\tCapabilities: [c8] Power Management version 2\n\t\tDevSta: 00: 01\n{rows(SPACE[:256])}\n"
    )

    assert (Dump("0000:00:05.0", SPACE[:256]),) == read(text.encode(), "x")


def test_rows_alone_are_a_dump_without_an_address() -> None:
    assert (Dump("", SPACE[:64]),) == read(rows(SPACE[:64]).encode(), "x")
    assert (Dump("", SPACE[:64]), Dump("", SPACE[:64])) == read((rows(SPACE[:64]) * 2).encode(), "x")


@pytest.mark.parametrize("size", [64, 256, 4096])
def test_the_bytes_of_sysfs(size: int) -> None:
    assert (Dump("", SPACE[:size]),) == read(SPACE[:size], "x")
    assert (Dump("", b"\xff" * size),) == read(b"\xff" * size, "x")


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "x: is empty"),
        (b"\0" * 100, "x: is binary and of 100 bytes, not of 64, 256, 4096"),
        (b"00:05.0 Ethernet\n", "x: has no line of a dump (`00: 86 80 …`)"),
        (b"00: 01 02\n10: 03\n", "x:2: the row of 0x10 follows 0x02 bytes"),
        ("Prüfung".encode(), "x: has no line of a dump (`00: 86 80 …`)"),
    ],
)
def test_what_is_no_dump(data: bytes, what: str) -> None:
    with pytest.raises(DumpError) as caught:
        read(data, "x")

    assert what == str(caught.value)


def test_addresses_in_full() -> None:
    assert ["0000:00:1f.0", "0001:00:1f.0"] == [full("00:1F.0"), full("0001:00:1f.0")]


@given(st.binary(max_size=400) | st.text(alphabet="0123456789abcdef:. \n\t", max_size=400).map(str.encode))
def test_any_bytes_are_dumps_or_an_error(data: bytes) -> None:
    try:
        found = read(data, "x")
    except DumpError as error:
        assert error.right
    else:
        assert all(dump.space for dump in found)
