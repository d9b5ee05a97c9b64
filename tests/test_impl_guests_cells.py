# SPDX-License-Identifier: Apache-2.0
"""The guest's cells write what the backend's cells read."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fake_guest import GUEST
from tests.fake_host import EDU, FakeHost, FakePage, device
from tests.fake_store import FakeStore

from pvpci.impl.cells import FlagsCell, RequestCell, StoreCell
from pvpci.impl.guests.cells import GuestFlags, GuestRequest, GuestStore
from pvpci.impl.host import GrantRef, Port
from pvpci.model import frontend, issue
from pvpci.model.states import Xenbus

WORDS = st.integers(0, 0xFFFFFFFF)
MEMBERS = tuple(Xenbus)


@given(WORDS, WORDS, WORDS, WORDS, WORDS)
def test_a_request_arrives_as_it_was_meant(cmd: int, offset: int, size: int, value: int, at: int) -> None:
    guest, backend, page = GuestRequest(), RequestCell(), FakePage()
    guest.page = backend.page = page
    guest.at = at
    asked = SimpleNamespace(page_cmd=cmd, page_offset=offset, page_size=size, page_value=value)
    guest.carry_out(asked, issue.IMPATIENT.row("IDLE->FILLED"))
    seen = SimpleNamespace()
    backend.load(seen)

    assert (cmd, offset, size, value, at) == (
        seen.page_cmd,
        seen.page_offset,
        seen.page_size,
        seen.page_value,
        seen.page_domain << 16 | seen.page_bus << 8 | seen.page_devfn,
    )
    assert seen.page_bus < 256 > seen.page_devfn


@pytest.mark.parametrize(("before", "row", "after"), [(6, "FILLED->SET", 7), (7, "LATE->IDLE", 6)])
def test_the_flag_is_changed_alone_and_locked(before: int, row: str, after: int) -> None:
    guest, backend, page = GuestFlags(), FlagsCell(), FakePage()
    guest.page = backend.page = page
    page.data[0] = before
    guest.carry_out(SimpleNamespace(flags_active=after & 1), issue.IMPATIENT.row(row))
    seen = SimpleNamespace()
    backend.load(seen)

    assert after == page.data[0]
    assert (after & 1, 1, 1) == (seen.flags_active, seen.flags_handler, seen.flags_aer)
    assert page.accesses[0] in ("or 0", "and 0")


def test_what_is_published_is_sound_to_the_backend_and_taken_back_whole() -> None:
    host = FakeHost()
    back, front = device(host, GUEST, EDU)
    guest, backend = GuestStore(FakeStore(host.service, GUEST), front), StoreCell(host.store, back, front)
    guest.life = GrantRef(17), Port(4)
    state = SimpleNamespace()
    guest.load(state)
    state.nodes_sound = 1
    published = guest.carry_out(state, frontend.IMPATIENT.row("ABSENT->PUBLISHED"))
    seen = SimpleNamespace()
    backend.load(seen)
    backend.leave()
    guest.load(state)
    state.nodes_sound, state.nodes_fe = 0, MEMBERS.index(Xenbus.INITIALISING)
    row = next(row for row in frontend.IMPATIENT.table if row.event is frontend.Restart and row.then)
    guest.carry_out(state, row)
    backend.load(state)
    backend.leave()

    assert (True, back) == (published, guest.back)
    assert (1, 17, 4) == (seen.nodes_sound, seen.nodes_ref, seen.nodes_port)
    assert (0, 0, 0) == (state.nodes_sound, state.nodes_ref, state.nodes_port)
    assert Xenbus.INITIALISING is guest.fe


def test_a_state_that_was_not_committed_was_not_said() -> None:
    host = FakeHost()
    _, front = device(host, GUEST, EDU)
    guest, state = GuestStore(FakeStore(host.service, GUEST), front), SimpleNamespace()
    guest.load(state)
    state.nodes_fe = MEMBERS.index(Xenbus.INITIALISED)
    host.store.write(f"{front}/state", "5")

    assert not guest.carry_out(state, frontend.IMPATIENT.row("PUBLISHED->HERE"))
    assert Xenbus.INITIALISING is guest.fe


def test_a_directory_that_is_not_there() -> None:
    host = FakeHost()
    host.service.introduce(GUEST)
    guest, state = GuestStore(FakeStore(host.service, GUEST), "/local/domain/7/device/pci/0"), SimpleNamespace()
    guest.load(state)
    guest.leave()

    assert (Xenbus.UNKNOWN, Xenbus.UNKNOWN, "") == (guest.fe, guest.own, guest.back)
