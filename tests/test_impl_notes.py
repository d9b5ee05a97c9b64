# SPDX-License-Identifier: Apache-2.0
"""Texts that are there whole or not at all."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
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
        Notes(tmp_path).write("one", b"half")
    monkeypatch.undo()

    assert (b"whole", ["one"]) == (notes.read("one"), notes.names())


def test_a_full_machine_is_said(tmp_path: Path) -> None:
    (tmp_path / "one.new").symlink_to("/dev/full")
    notes = Notes(tmp_path)
    with pytest.raises(HostError, match="one: No space left on device") as refused:
        notes.write("one", b"whole")

    assert (errno.ENOSPC, None) == (refused.value.errno, notes.read("one"))


@pytest.mark.parametrize(
    "texts",
    [
        (b"longer than the next", b"next"),
        (b"a", b"longer"),
        (b"a" * 5000, b"b"),
        (b"a", b"b" * 5000, b"c"),
        (b"a", b""),
    ],
)
def test_the_last_text_is_the_one_that_is_there(tmp_path: Path, texts: tuple[bytes, ...]) -> None:
    notes = Notes(tmp_path)
    for text in texts:
        notes.write("one", text)

        assert text == Notes(tmp_path).read("one")


def test_a_text_within_a_page_is_written_over_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notes = Notes(tmp_path)
    notes.write("one", b"first, and longer")
    file = (tmp_path / "one").stat().st_ino
    written: list[int] = []
    pwrite = os.pwrite

    def counted(descriptor: int, text: bytes, offset: int) -> int:
        written.append(len(text))
        return pwrite(descriptor, text, offset)

    monkeypatch.setattr(os, "pwrite", counted)
    notes.write("one", b"second")

    assert ([17], file, b"second") == (written, (tmp_path / "one").stat().st_ino, notes.read("one"))


#: Writes one of two texts over the other without end.
_WRITER = """
from pathlib import Path
from pvpci.impl.notes import Notes
notes = Notes(Path({folder!r}))
while True:
    notes.write("one", b"a" * 3000)
    notes.write("one", b"b" * 2000)
"""


def test_a_writer_that_is_killed_leaves_the_old_text_or_the_new(tmp_path: Path) -> None:
    found = set()
    for _ in range(12):
        with subprocess.Popen([sys.executable, "-c", _WRITER.format(folder=str(tmp_path))]) as writer:
            while not (tmp_path / "one").exists():
                time.sleep(0.005)
            time.sleep(0.01)
            writer.kill()
        found.add(Notes(tmp_path).read("one"))
        (tmp_path / "one").unlink()

    assert found <= {b"a" * 3000, b"b" * 2000}


def test_what_was_deleted_is_written_anew(tmp_path: Path) -> None:
    notes = Notes(tmp_path / "a")
    notes.write("one", b"1")
    (tmp_path / "a" / "one").unlink()
    (tmp_path / "a").rmdir()
    notes.write("one", b"2")

    assert b"2" == Notes(tmp_path / "a").read("one")


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    notes = Notes(tmp_path / "a")
    for call in (lambda: notes.read("one"), lambda: notes.write("one", b""), notes.names, notes.clear):
        with pytest.raises(HostError, match="Not a directory") as refused:
            call()
        assert errno.ENOTDIR == refused.value.errno
