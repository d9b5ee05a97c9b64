# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvpci.impl.errors import (
    LONGEST_LINE,
    CommandError,
    ExitCode,
    UnreadableInput,
    UsageError,
    from_host,
    one_line,
    reading,
    writing,
)
from pvpci.impl.host import HostError


def test_exit_codes_are_those_that_scripts_rely_on() -> None:
    expected = {"OK": 0, "VIOLATION": 1, "USAGE": 2, "UNREADABLE": 3, "BUG": 4, "INTERRUPTED": 130, "BROKEN_PIPE": 141}

    assert expected == {code.name: code.value for code in ExitCode}


@pytest.mark.parametrize(("kind", "code"), [(UsageError, 2), (UnreadableInput, 3)])
def test_an_error_reads_where_what_right(kind: type[CommandError], code: int) -> None:
    error = kind("serve", "no such dialect", "name one of a, b")

    assert "serve: no such dialect; name one of a, b" == str(error)
    assert code == error.code


@given(st.text())
def test_whatever_the_text_it_stays_on_one_line(text: str) -> None:
    shown = one_line(text)

    assert shown.isprintable()
    assert len(shown) <= LONGEST_LINE


def test_escape_sequences_are_shown_and_not_obeyed() -> None:
    assert "a b\\x1b[2Jc\\u202e" == one_line("a\n b\x1b[2Jc\u202e")


def test_a_long_text_is_cut_visibly() -> None:
    assert "x" * (LONGEST_LINE - 1) + "…" == one_line("x" * 10_000)


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.EACCES, "root"),
        (errno.EPERM, "root"),
        (errno.ENOENT, "--host embedded"),
        (errno.ENODEV, "lspci"),
        (errno.EBUSY, "free the function"),
    ],
)
def test_what_the_host_refuses_and_people_can_mend_is_a_usage_error(number: int, advice: str) -> None:
    error = from_host(HostError("open /dev/xen/gntdev", number), "serve")

    assert error is not None
    assert ExitCode.USAGE == error.code
    assert str(error).startswith("serve: open /dev/xen/gntdev (")
    assert advice in error.right


@pytest.mark.parametrize("number", [0, errno.EINVAL, errno.EFAULT, errno.ENOTTY])
def test_other_failures_of_the_host_are_not_blamed_on_the_caller(number: int) -> None:
    assert from_host(HostError("ioctl", number), "serve") is None


def test_a_file_that_is_missing_is_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "none.jsonl"
    with pytest.raises(UnreadableInput) as caught, reading(path):
        path.read_text()

    assert f"{path}: No such file or directory; name a file that can be read" == str(caught.value)


def test_a_folder_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(UnreadableInput) as caught, reading(tmp_path):
        tmp_path.read_text()

    assert "Is a directory" == caught.value.what


def test_a_binary_file_is_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "binary"
    path.write_bytes(b"ok\xff\xfe")
    with pytest.raises(UnreadableInput) as caught, reading(path, "record it again"):
        path.read_text(encoding="utf-8")

    assert f"{path}: byte 2 is not UTF-8 text; record it again" == str(caught.value)


def test_a_file_that_cannot_be_written_is_a_usage_error(tmp_path: Path) -> None:
    path = tmp_path / "no" / "such" / "folder"
    with pytest.raises(UsageError) as caught, writing(path):
        path.write_text("x")

    assert f"{path}: No such file or directory; name a file that can be written" == str(caught.value)


def test_other_exceptions_pass_through() -> None:
    with pytest.raises(KeyError), reading("x"), writing("y"):
        raise KeyError("ours")
