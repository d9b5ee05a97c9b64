# SPDX-License-Identifier: Apache-2.0
"""What is kept for the next process, and what it makes of texts that it does not understand."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fake_host import EDU, RTL, FakeHost, device

from pvpci.impl.host import HostError
from pvpci.impl.interrupts import Vectors
from pvpci.impl.kept import Kept, note, sweep

NOTE = note("strict", "extended=1", 0x103, 0x10, False, {"mine.command": 2}, Vectors("msix", True, (55, 54)))


def made() -> tuple[FakeHost, str, Kept]:
    host = FakeHost()
    back, _ = device(host, 7, EDU)
    return host, back, kept_of(host, back)


def kept_of(host: FakeHost, back: str) -> Kept:
    return Kept(host.as_host.store, back, host.notes)


def place(host: FakeHost) -> Path:
    return host.notes / "pci/7/0/0000-00-07-0"


def test_what_is_kept_is_found_by_the_next_one() -> None:
    host, back, kept = made()
    none = kept.keys(), kept.function(EDU)
    kept.keep_keys(8, 4294967295)
    kept.keep_function(EDU, NOTE)
    other = kept_of(host, back)

    assert (None, None) == none
    assert ((8, 4294967295), NOTE) == (other.keys(), other.function(EDU))
    assert Vectors("msix", True, (55, 54)) == NOTE.vectors


def test_what_is_forgotten_is_not_there() -> None:
    host, back, kept = made()
    kept.keep_keys()
    kept.keep_function(EDU, NOTE)
    kept.forget_function(EDU)
    one = kept.function(EDU), kept.keys()
    kept.forget()

    assert (None, (0, 0), None) == (*one, kept.keys())
    assert "pvpci" not in host.store.directory(back)


def test_a_directory_that_is_gone_is_not_made_again() -> None:
    host, back, kept = made()
    host.store.remove(back)
    kept.keep_keys(8, 3)

    assert None is host.store.read(back)
    assert 0 == host.store.open_transactions


def test_the_guest_may_read_and_not_write() -> None:
    host, back, kept = made()
    kept.keep_keys(8, 3)
    guest = type(host.store)(host.service, 7)

    assert "1 8 3" == guest.read(f"{back}/pvpci")
    with pytest.raises(HostError):
        guest.write(f"{back}/pvpci", "1 9 9")


def test_others_who_write_all_the_time_are_an_error() -> None:
    host, _, kept = made()
    host.store.overtake = 3
    kept.keep_keys(8, 3)
    host.store.overtake = 1000
    with pytest.raises(HostError, match="overtaken"):
        kept.keep_keys(9, 3)

    assert ((8, 3), 0) == (kept.keys(), host.store.open_transactions)


@pytest.mark.parametrize("text", ["", "1", "1 8", "2 8 3", "1 8 3 4", "1 x 3", "1 8 -3", "1 8 4294967296", "1  8 3"])
def test_keys_that_are_none(text: str) -> None:
    host, back, kept = made()
    host.store.write(f"{back}/pvpci", text)

    assert kept.keys() is None


@given(text=st.binary(max_size=80))
def test_a_note_that_is_none(text: bytes) -> None:
    host, _, kept = made()
    kept.keep_function(EDU, NOTE)
    place(host).write_bytes(text)

    assert kept.function(EDU) is None


@pytest.mark.parametrize(
    ("old", "new"),
    [('"version":1', '"version":2'), ("[55,54]", "[0]"), ("[55,54]", "[65536]"), ('"msix"', '"intx"'), ("259", "-1")],
)
def test_a_note_of_another_kind_is_none(old: str, new: str) -> None:
    host, _, kept = made()
    kept.keep_function(EDU, NOTE)
    text = place(host).read_text()
    place(host).write_text(text.replace(old, new))

    assert old in text
    assert kept.function(EDU) is None


def test_the_numbers_of_a_guest_are_those_of_all_its_devices() -> None:
    host, _, kept = made()
    other, _ = device(host, 7, RTL, device=1)
    second = kept_of(host, other)
    for one, bdf, pirqs in ((kept, EDU, (55, 54)), (second, RTL, (53,))):
        one.keep_keys()
        one.keep_function(bdf, note("strict", "", 0, 0, False, {}, Vectors("msix", True, pirqs)))

    assert {55, 54, 53} == kept.numbers() == second.numbers()


def test_numbers_of_which_others_may_have_some_are_not_known() -> None:
    host, _, kept = made()
    kept.keep_keys()
    alone = kept.numbers()
    host.store.write("/local/domain/0/backend/upci/7/0/state", "4")
    with_class = kept.numbers()
    host.store.remove("/local/domain/0/backend/upci")
    device(host, 7, RTL, device=1)
    with_device = kept.numbers()
    host.store.remove("/local/domain/0/backend/pci/7/1")
    kept.keep_function(EDU, NOTE)
    place(host).write_text("{}")

    assert (set(), None, None, None) == (alone, with_class, with_device, kept.numbers())


def test_a_new_device_has_nothing_of_one_that_had_its_name() -> None:
    host, back, kept = made()
    kept.begin()
    kept.keep_function(EDU, NOTE)
    host.store.remove(back)
    device(host, 7, EDU)
    before = kept.keys()
    kept.begin()

    assert (None, (0, 0), None) == (before, kept.keys(), kept.function(EDU))


def test_what_nobody_has_any_more_is_swept_away() -> None:
    host, _, kept = made()
    other, _ = device(host, 7, RTL, device=1)
    second = kept_of(host, other)
    for one, bdf in ((kept, EDU), (second, RTL)):
        one.begin()
        one.keep_function(bdf, NOTE)
    base = "/local/domain/0/backend/pci"
    none = sweep(host.as_host.store, base, host.notes)
    host.store.remove(other)
    once = sweep(host.as_host.store, base, host.notes)

    assert (0, 1) == (none, once)
    assert (NOTE, None) == (kept.function(EDU), second.function(RTL))


def test_a_folder_that_cannot_be_written_is_said() -> None:
    host, _, kept = made()
    host.notes.write_text("no folder")
    try:
        with pytest.raises(HostError, match=r"0000-00-07-0: Not a directory"):
            kept.keep_function(EDU, NOTE)
    finally:
        host.notes.unlink()
