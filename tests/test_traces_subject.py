# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from pvpci.traces.subject import conjuncts, dialect_names, reference, subject

SUBJECT = reference()


def view(machine: str, key: str):  # type: ignore[no-untyped-def]
    return next(v for views in SUBJECT.parts[machine].rows.values() for v in views if v.row.key == key)


def test_every_row_is_there_once() -> None:
    for part in SUBJECT.parts.values():
        assert sorted(row.key for row in part.machine.table) == sorted(
            v.row.key for views in part.rows.values() for v in views
        )


def test_memory_of_others_is_no_part_of_the_state() -> None:
    assert not any(var.cell or var.ghost for var in SUBJECT.variables)
    assert {"my_at", "conn_at", "link_bound", "copy_offset", "answer_err"} <= set(SUBJECT.start)


def test_of_the_world_only_what_the_party_knows_is_asked() -> None:
    assert ["link.bound"] == [repr(flag) for flag in view("op", "IDLE->TAKEN").guard]
    assert ["~link.bound"] == [repr(flag) for flag in view("op", "LEFT->IDLE").guard]
    assert 1 == len(view("connection", "QUIET->UNBOUND").guard)


def test_conjuncts_are_told_apart() -> None:
    flag = view("op", "TAKEN->CLAIMED").row.when

    assert ["~link.closing", "flags.active"] == [repr(part) for part in conjuncts(flag)]


def test_the_start_is_all_places_first() -> None:
    state = SUBJECT.initial()

    assert (0, 0, 0) == (state.my_at, state.conn_at, state.link_bound)
    assert {None} == {getattr(SUBJECT.unknown(), name) for name in SUBJECT.start}


@pytest.mark.parametrize("name", ["nonsense", "M26", ""])
def test_what_is_no_dialect_of_the_backend_is_refused(name: str) -> None:
    with pytest.raises(KeyError):
        subject(name)


def test_dialects_are_found_whatever_the_case() -> None:
    assert "M16" in dialect_names()
    assert "M16" == subject("m16").name
