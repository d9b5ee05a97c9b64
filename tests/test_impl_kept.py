# SPDX-License-Identifier: Apache-2.0
"""What is kept for the next process, and what it makes of texts that it does not understand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fake_host import EDU, RTL, FakeHost, device

from pvpci.impl.host import HostError
from pvpci.impl.interrupts import Vectors
from pvpci.impl.kept import Kept, note

NOTE = note("strict", "extended=1", 0x103, 0x10, False, {"mine.command": 2}, Vectors("msix", True, (55, 54)))
PLACE = "pvpci/0000-00-07-0"


def made() -> tuple[FakeHost, str, Kept]:
    host = FakeHost()
    back, _ = device(host, 7, EDU)
    return host, back, Kept(host.as_host.store, back)


def test_what_is_kept_is_found_by_the_next_one() -> None:
    host, back, kept = made()
    none = kept.keys(), kept.function(EDU)
    kept.keep_keys(8, 4294967295)
    kept.keep_function(EDU, NOTE)
    other = Kept(host.as_host.store, back)

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
    kept.keep_function(EDU, NOTE)

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


@given(text=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=80))
def test_a_note_that_is_none(text: str) -> None:
    host, back, kept = made()
    host.store.write(f"{back}/{PLACE}", text)

    assert kept.function(EDU) is None


@pytest.mark.parametrize(
    ("old", "new"),
    [('"version":1', '"version":2'), ("[55,54]", "[0]"), ("[55,54]", "[65536]"), ('"msix"', '"intx"'), ("259", "-1")],
)
def test_a_note_of_another_kind_is_none(old: str, new: str) -> None:
    host, back, kept = made()
    kept.keep_function(EDU, NOTE)
    text = host.store.read(f"{back}/{PLACE}") or ""
    host.store.write(f"{back}/{PLACE}", text.replace(old, new))

    assert old in text
    assert kept.function(EDU) is None


def test_the_numbers_of_a_guest_are_those_of_all_its_devices() -> None:
    host, _, kept = made()
    other, _ = device(host, 7, RTL, device=1)
    second = Kept(host.as_host.store, other)
    for one, bdf, pirqs in ((kept, EDU, (55, 54)), (second, RTL, (53,))):
        one.keep_keys()
        one.keep_function(bdf, note("strict", "", 0, 0, False, {}, Vectors("msix", True, pirqs)))

    assert {55, 54, 53} == kept.numbers() == second.numbers()


def test_numbers_of_which_others_may_have_some_are_not_known() -> None:
    host, back, kept = made()
    kept.keep_keys()
    alone = kept.numbers()
    host.store.write("/local/domain/0/backend/upci/7/0/state", "4")
    with_class = kept.numbers()
    host.store.remove("/local/domain/0/backend/upci")
    device(host, 7, RTL, device=1)
    with_device = kept.numbers()
    host.store.remove("/local/domain/0/backend/pci/7/1")
    host.store.write(f"{back}/{PLACE}", "{}")

    assert (set(), None, None, None) == (alone, with_class, with_device, kept.numbers())
