# SPDX-License-Identifier: Apache-2.0
"""Texts that are there whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from pvpci.impl.host import HostError
from pvpci.impl.notes import Notes


def test_a_text_is_found_until_it_is_removed(tmp_path: Path) -> None:
    notes = Notes(tmp_path / "a" / "b")
    nothing = notes.read("one"), notes.names()
    notes.remove("one")
    notes.write("one", b"1")
    notes.write("two", b"2")
    notes.write("one", b"11")
    found = Notes(notes.folder).read("one"), notes.names()
    notes.remove("one")

    assert (None, []) == nothing
    assert (b"11", ["one", "two"]) == found
    assert (None, ["two"]) == (notes.read("one"), notes.names())


def test_a_cleared_folder_is_gone_and_can_be_used_again(tmp_path: Path) -> None:
    notes = Notes(tmp_path / "a")
    notes.write("one", b"1")
    notes.clear()
    notes.clear()
    gone = notes.folder.exists()
    notes.write("one", b"2")

    assert (False, b"2") == (gone, notes.read("one"))


def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    notes = Notes(tmp_path / "a")
    notes.write("one", b"1")

    assert (0o700, 0o600) == (notes.folder.stat().st_mode & 0o777, (notes.folder / "one").stat().st_mode & 0o777)


def test_a_writer_that_died_leaves_the_text_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notes = Notes(tmp_path)
    notes.write("one", b"whole")

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "rename", dies)
    with pytest.raises(KeyboardInterrupt):
        notes.write("one", b"half")
    monkeypatch.undo()

    assert (b"whole", ["one"]) == (notes.read("one"), notes.names())


def test_a_full_machine_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notes = Notes(tmp_path)
    notes.write("one", b"whole")
    monkeypatch.setattr(os, "write", lambda *_: 1)
    with pytest.raises(HostError, match="one: No space left on device") as refused:
        notes.write("one", b"half")

    assert (errno.ENOSPC, b"whole") == (refused.value.errno, notes.read("one"))


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    notes = Notes(tmp_path / "a")
    for call in (lambda: notes.read("one"), lambda: notes.write("one", b""), notes.names, notes.clear):
        with pytest.raises(HostError, match="Not a directory") as refused:
            call()
        assert errno.ENOTDIR == refused.value.errno
