# SPDX-License-Identifier: Apache-2.0
"""Each method of a cell is the one access that the row names, of the right bytes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fake_guest import GUEST
from tests.fake_host import EDU, FakeHost, FakePage, device

from pvpci.impl.cells import FlagsCell, RequestCell, StoreCell
from pvpci.impl.host import HostError
from pvpci.model import connection, op, wire
from pvpci.model.states import Xenbus

NAMES = ("cmd", "err", "domain", "bus", "devfn", "offset", "size", "value", "info")
MEMBERS = tuple(Xenbus)


@given(st.integers(0, 0xFFFFFFFF))
def test_flags_are_one_load_of_one_word(word: int) -> None:
    page, state = FakePage(), SimpleNamespace()
    page.data[:4] = word.to_bytes(4, "little")
    cell = FlagsCell()
    cell.page = page
    cell.load(state)

    assert (word & 1, word >> 1 & 1, word >> 2 & 1) == (state.flags_active, state.flags_handler, state.flags_aer)
    assert ["load 0"] == page.accesses


@given(st.integers(0, 0xFFFFFFFF))
def test_clearing_the_flag_is_locked_and_leaves_the_other_bits(word: int) -> None:
    page = FakePage()
    page.data[:4] = word.to_bytes(4, "little")
    cell = FlagsCell()
    cell.page = page

    assert cell.carry_out(SimpleNamespace(flags_active=0), op.MACHINE.row("STORED->CLEARED"))
    assert (word & 0xFFFFFFFE).to_bytes(4, "little") == bytes(page.data[:4])
    assert ["and 0"] == page.accesses


@given(st.binary(min_size=36, max_size=36))
def test_any_bytes_are_a_request(data: bytes) -> None:
    page, state = FakePage(), SimpleNamespace()
    page.data[4:40] = data
    cell = RequestCell()
    cell.page = page
    cell.load(state)

    assert list(wire.OP_WORDS.unpack(data)) == [getattr(state, f"page_{name}") for name in NAMES]
    assert ["copy 4+36"] == page.accesses


def test_the_answer_is_stored_word_by_word() -> None:
    page = FakePage()
    cell = RequestCell()
    cell.page = page
    state = SimpleNamespace(page_err=0xFFFFFFFE, page_value=0x12345678)
    cell.carry_out(state, op.MACHINE.row("MATCHED->ERR_STORED"))
    cell.carry_out(state, op.MACHINE.row("ERR_STORED->VALUE_STORED (differs)"))

    assert ["store 8", "store 32"] == page.accesses
    assert (b"\xfe\xff\xff\xff", b"\x78\x56\x34\x12") == (bytes(page.data[8:12]), bytes(page.data[32:36]))


def loaded(host: FakeHost, **front: str) -> SimpleNamespace:
    back, theirs = device(host, GUEST, EDU)
    for key, text in front.items():
        host.store.write(f"{theirs}/{key.replace('_', '-')}", text)
    state = SimpleNamespace()
    cell = StoreCell(host.store, back, theirs)
    cell.load(state)
    cell.leave()
    return state


def test_the_store_is_read_in_one_transaction() -> None:
    host = FakeHost()
    state = loaded(host, state="3", pci_op_ref="8", event_channel="4294967295", magic="7")

    assert (Xenbus.INITIALISING, Xenbus.INITIALISED) == (MEMBERS[state.nodes_own], MEMBERS[state.nodes_fe])
    assert (1, 1, 8, 0xFFFFFFFF, 1) == (
        state.nodes_online, state.nodes_sound, state.nodes_ref, state.nodes_port, state.nodes_listed,
    )  # fmt: skip
    assert 0 == host.store.open_transactions


@pytest.mark.parametrize(
    "keys",
    [
        {"pci_op_ref": "8", "event_channel": "4"},
        {"pci_op_ref": "8", "event_channel": "4", "magic": "8"},
        {"pci_op_ref": "-1", "event_channel": "4", "magic": "7"},
        {"pci_op_ref": "4294967296", "event_channel": "4", "magic": "7"},
        {"pci_op_ref": "8", "event_channel": "", "magic": "7"},
        {"pci_op_ref": "8", "event_channel": "1" * 2000, "magic": "7"},
        {"pci_op_ref": "0x8", "event_channel": "4", "magic": "7"},
        {"event_channel": "4", "magic": "7"},
    ],
)
def test_keys_that_are_not_sound(keys: dict[str, str]) -> None:
    assert 0 == loaded(FakeHost(), **keys).nodes_sound


@pytest.mark.parametrize(
    ("text", "state"), [("", "UNKNOWN"), ("4", "CONNECTED"), ("9", "ODD"), ("x", "ODD"), ("04", "CONNECTED")]
)
def test_a_state_is_whatever_the_guest_wrote(text: str, state: str) -> None:
    assert state == MEMBERS[loaded(FakeHost(), state=text).nodes_fe].name


def test_what_others_write_meanwhile_undoes_the_transaction() -> None:
    host = FakeHost()
    back, front = device(host, GUEST, EDU)
    cell, state = StoreCell(host.store, back, front), SimpleNamespace()
    row = connection.MACHINE.row("CONNECTING->HERE")
    cell.load(state)
    host.store.write(f"{front}/state", "5")
    state.nodes_own = MEMBERS.index(Xenbus.CONNECTED)
    overtaken = cell.carry_out(state, row)
    kept = host.store.read(f"{back}/state")
    cell.load(state)
    state.nodes_own = MEMBERS.index(Xenbus.CONNECTED)
    done = cell.carry_out(state, row)

    assert (False, "1", True, "4") == (overtaken, kept, done, host.store.read(f"{back}/state"))
    assert 0 == host.store.open_transactions


def test_a_store_that_fails_leaves_no_transaction() -> None:
    host = FakeHost()
    cell = StoreCell(host.store, "/local//bad", "/local/domain/7")
    with pytest.raises(HostError):
        cell.load(SimpleNamespace())

    assert 0 == host.store.open_transactions
