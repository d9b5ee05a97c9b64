# SPDX-License-Identifier: Apache-2.0
"""The locked operations are locked: two processes toggle neighbouring bits of one word and neither loses any."""

from __future__ import annotations

import ctypes
import errno
import gc
import mmap
import os
import platform
import sys
from collections.abc import Callable, Iterator
from functools import partial
from struct import Struct
from types import SimpleNamespace

import pytest

from pvpci.impl import atomic
from pvpci.impl.atomic import PAGE_SIZE, Atomics, SharedWords, atomics, from_code_page, from_libatomic
from pvpci.impl.host import HostError

SOURCES = [from_libatomic, from_code_page]


def _operations(source: Callable[[], Atomics]) -> Atomics:
    try:
        return source()
    except HostError as error:
        pytest.skip(error.what)


@pytest.fixture
def page() -> Iterator[mmap.mmap]:
    page = mmap.mmap(-1, PAGE_SIZE)
    yield page
    page.close()


@pytest.mark.parametrize("source", SOURCES)
def test_each_operation_returns_the_word_as_it_was(source: Callable[[], Atomics]) -> None:
    do = _operations(source)
    words = (ctypes.c_uint32 * 3)(0x11111111, 0xF0F0F0F0, 0x22222222)
    at = ctypes.addressof(words) + 4

    assert 0xF0F0F0F0 == do.fetch_or(at, 0x0000000F)
    assert 0xF0F0F0FF == do.fetch_and(at, 0x80000FFF)
    assert 0x800000FF == do.load(at)
    do.store(at, 0xDEADBEEF)
    do.fence()

    assert [0x11111111, 0xDEADBEEF, 0x22222222] == list(words)


@pytest.mark.parametrize("source", SOURCES)
def test_two_processes_never_lose_a_bit(source: Callable[[], Atomics], page: mmap.mmap) -> None:
    do = _operations(source)
    anchor = ctypes.c_char.from_buffer(page)
    at = ctypes.addressof(anchor)

    def toggle(bit: int) -> bool:
        lost = 0
        for _ in range(30_000):
            lost += bool(do.fetch_or(at, bit) & bit)
            lost += not do.fetch_and(at, ~bit & 0xFFFFFFFF) & bit
        return not lost

    child = os.fork()
    if child == 0:
        os._exit(0 if toggle(2) else 1)
    kept = toggle(1)
    _, status = os.waitpid(child, 0)
    word = do.load(at)
    del anchor

    assert (True, 0, 0) == (kept, status, word)


@pytest.mark.skipif(
    platform.machine() != "x86_64" or sys.implementation.name != "cpython", reason="made for CPython on x86-64"
)
def test_a_built_in_and_clears_its_bits_and_nothing_else(page: mmap.mmap) -> None:
    words = SharedWords(page)
    clear = words.locked_and(8, 0xFFFFFFFE)
    for offset in (4, 8, 12):
        words.store32(offset, 0xF0F0F0F1)
    references = sys.getrefcount(False)
    answers = {clear() for _ in range(10_000)}
    grown = sys.getrefcount(False) - references
    left = [words.load32(offset) for offset in (4, 8, 12)]
    words.release()

    assert "built-in method locked_and" in repr(clear)
    assert ({False}, True) == (answers, -10 < grown < 10)
    assert [0xF0F0F0F1, 0xF0F0F0F0, 0xF0F0F0F1] == left


def test_a_built_in_and_outlives_what_made_it(page: mmap.mmap) -> None:
    words = SharedWords(page)
    words.store32(0, 0xFF)
    masks = [words.locked_and(0, ~(1 << bit)) for bit in range(8)]
    gc.collect()
    for clear in masks:
        clear()
    left = words.load32(0)
    with pytest.raises(TypeError):
        masks[0](1)  # type: ignore[call-arg]
    words.release()

    assert 0 == left


def test_two_processes_never_lose_a_bit_to_a_fixed_and(page: mmap.mmap) -> None:
    words = SharedWords(page)

    def toggle(bit: int) -> bool:
        clear, lost = words.locked_and(0, ~bit), 0
        for _ in range(30_000):
            lost += bool(words.fetch_or(0, bit) & bit)
            clear()
        return not lost

    child = os.fork()
    if child == 0:
        os._exit(0 if toggle(2) else 1)
    kept = toggle(1)
    _, status = os.waitpid(child, 0)
    word = words.load32(0)
    words.release()

    assert (True, 0, 0) == (kept, status, word)


def test_where_functions_cannot_be_made_the_foreign_call_does_it(
    page: mmap.mmap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(atomic, "_fixed", [])
    monkeypatch.setattr(sys, "implementation", SimpleNamespace(name="another"))
    words = SharedWords(page)
    words.store32(4, 0xFF)
    clear = words.locked_and(4, 0xFE)
    clear()
    left = words.load32(4)
    words.release()

    assert (partial, 0xFE) == (type(clear), left)


def test_a_missing_library_is_a_host_error() -> None:
    with pytest.raises(HostError) as caught:
        from_libatomic("libatomic.so.none")

    assert errno.ENOENT == caught.value.errno


def test_without_library_the_code_page_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    _operations(from_code_page)

    def absent() -> Atomics:
        raise HostError("not installed", errno.ENOENT)

    monkeypatch.setattr(atomic, "_chosen", [])
    monkeypatch.setattr(atomic, "from_libatomic", absent)

    assert "x86-64 code page" == atomics().origin


def test_where_neither_exists_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> Atomics:
        raise HostError("not installed", errno.ENOENT)

    monkeypatch.setattr(atomic, "_chosen", [])
    monkeypatch.setattr(atomic, "from_libatomic", absent)
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(HostError, match=r"riscv64.*install libatomic1") as caught:
        atomics()

    assert errno.ENOTSUP == caught.value.errno


def test_accesses_land_where_they_should(page: mmap.mmap) -> None:
    words = SharedWords(page)
    words.store32(0, 0x1_0403_0201)
    words.store16(6, 0x1_BEEF)
    words.fetch_or(4092, 0x80000001)
    words.fetch_and(4092, ~1)

    assert bytes.fromhex("010203040000efbe") == words.copy(0, 8)
    assert (0x04030201, 0x80000000) == (words.load32(0), words.load32(4092))
    assert b"" == words.copy(4096, 0)
    assert (0x04030201, 0xBEEF) == words.reader(Struct("I2xH"), 0)()
    words.release()


@pytest.mark.parametrize("offset", [-4, -1, 1, 2, 3, 4093, 4096, 1 << 40])
def test_a_bad_offset_is_refused(page: mmap.mmap, offset: int) -> None:
    words = SharedWords(page)
    accesses: list[Callable[[], object]] = [
        lambda: words.load32(offset),
        lambda: words.store32(offset, 0),
        lambda: words.store16(offset | 1, 0),
        lambda: words.copy(offset, 4096),
        lambda: words.fetch_and(offset, 0),
        lambda: words.fetch_or(offset, 0),
        lambda: words.locked_and(offset, 0),
        lambda: words.reader(Struct("4096B"), offset),
    ]
    codes = []
    for access in accesses:
        with pytest.raises(HostError) as caught:
            access()
        codes.append(caught.value.errno)
    words.release()

    assert [errno.EINVAL] * 8 == codes


def test_after_release_every_access_is_refused_and_the_buffer_can_be_closed() -> None:
    page = mmap.mmap(-1, PAGE_SIZE)
    words = SharedWords(page)
    words.release()
    words.release()
    page.close()
    accesses: list[Callable[[], object]] = [
        lambda: words.load32(0),
        lambda: words.store32(0, 0),
        lambda: words.store16(0, 0),
        lambda: words.copy(0, 4),
        lambda: words.fetch_and(0, 0),
        lambda: words.fetch_or(0, 0),
    ]
    codes = []
    for access in accesses:
        with pytest.raises(HostError) as caught:
            access()
        codes.append(caught.value.errno)

    assert [errno.EBADF] * 6 == codes


def test_a_buffer_of_another_size_is_refused() -> None:
    with mmap.mmap(-1, 8192) as big, pytest.raises(HostError) as caught:
        SharedWords(big)

    assert errno.EINVAL == caught.value.errno
