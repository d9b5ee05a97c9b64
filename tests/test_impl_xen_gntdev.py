# SPDX-License-Identifier: Apache-2.0
"""A file stands for the device: only ioctl is replaced, so mapping, sharing and closing are the kernel's own."""

from __future__ import annotations

import errno
import gc
import mmap
import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from pvpci.impl.host import DomId, GrantRef, HostError
from pvpci.impl.xen import gntdev

Ioctl = Callable[[int, int, bytes | bytearray], int]


@pytest.fixture
def node(tmp_path: Path) -> Path:
    path = tmp_path / "gntdev"
    path.write_bytes(bytes(3 * gntdev.PAGE_SIZE))
    return path


class Driver:
    """Answers MAP with the index of the file's second page, and writes down what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, bytes]] = []
        self.index = gntdev.PAGE_SIZE
        self.fails: dict[int, int] = {}
        self.mapped_at_unmap: bool | None = None

    def ioctl(self, descriptor: int, number: int, argument: bytes | bytearray) -> int:
        self.asked.append((number, bytes(argument)))
        if number in self.fails:
            raise OSError(self.fails[number], os.strerror(self.fails[number]))
        if number == gntdev.IOCTL_GNTDEV_MAP_GRANT_REF:
            assert isinstance(argument, bytearray)
            struct.pack_into("<Q", argument, 8, self.index)
        else:
            self.mapped_at_unmap = "/gntdev" in Path("/proc/self/maps").read_text()
        return 0


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    driver = Driver()
    monkeypatch.setattr("pvpci.impl.xen.gntdev.fcntl.ioctl", driver.ioctl)
    return driver


def descriptors() -> int:
    # Objects of earlier tests, kept alive by a traceback, may hold some still.
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def test_sizes_and_numbers() -> None:
    assert gntdev.MAP_GRANT_REF.size == 24
    assert gntdev.UNMAP_GRANT_REF.size == 16
    assert gntdev.IOCTL_GNTDEV_MAP_GRANT_REF == 0x184700
    assert gntdev.IOCTL_GNTDEV_UNMAP_GRANT_REF == 0x104701
    assert gntdev.PAGE_SIZE == mmap.PAGESIZE


def test_maps_the_page_at_the_index_it_was_told(node: Path, driver: Driver) -> None:
    page = gntdev.map_page(str(node), DomId(7), GrantRef(9))
    page.store32(8, 0x11223344)
    page.store16(42, 0xABCD)

    assert driver.asked == [(0x184700, struct.pack("<IIQII", 1, 0, 0, 7, 9))]
    assert node.read_bytes()[4096 + 8 : 4096 + 12] == b"\x44\x33\x22\x11"
    assert page.copy(42, 2) == b"\xcd\xab"
    assert page.load32(8) == 0x11223344
    assert page.fetch_and(8, 0xFFFF0000) == 0x11223344
    assert page.fetch_or(8, 1) == 0x11220000
    assert page.load32(8) == 0x11220001
    page.unmap()


def test_unmap_is_munmap_then_ioctl_then_close(node: Path, driver: Driver) -> None:
    before = descriptors()
    page = gntdev.map_page(str(node), DomId(7), GrantRef(9))
    page.unmap()
    page.unmap()

    assert driver.mapped_at_unmap is False
    assert driver.asked[1:] == [(0x104701, struct.pack("<QII", 4096, 1, 0))]
    assert descriptors() == before


def test_an_unmapped_page_answers_with_an_error_and_does_not_crash(node: Path, driver: Driver) -> None:
    page = gntdev.map_page(str(node), DomId(7), GrantRef(9))
    page.unmap()
    uses: list[Callable[[], object]] = [
        lambda: page.load32(0),
        lambda: page.store32(0, 1),
        lambda: page.store16(0, 1),
        lambda: page.copy(0, 4),
        lambda: page.fetch_and(0, 1),
        lambda: page.fetch_or(0, 1),
    ]
    for use in uses:
        with pytest.raises(HostError) as caught:
            use()
        assert caught.value.errno == errno.EBADF


@pytest.mark.parametrize(("offset", "size"), [(4096, 4), (-4, 4), (2, 4), (1 << 70, 4)])
def test_an_offset_outside_of_the_page_is_refused(node: Path, driver: Driver, offset: int, size: int) -> None:
    page = gntdev.map_page(str(node), DomId(7), GrantRef(9))
    for use in (page.load32, lambda at: page.store32(at, 0), lambda at: page.fetch_or(at, 1)):
        with pytest.raises(HostError) as caught:
            use(offset)
        assert caught.value.errno == errno.EINVAL
    page.unmap()


def test_a_refused_grant_leaves_nothing_open(node: Path, driver: Driver) -> None:
    driver.fails = {gntdev.IOCTL_GNTDEV_MAP_GRANT_REF: errno.EINVAL}
    before = descriptors()
    with pytest.raises(HostError, match="page 9 granted by domain 7: map") as caught:
        gntdev.map_page(str(node), DomId(7), GrantRef(9))

    assert caught.value.errno == errno.EINVAL
    assert descriptors() == before


@pytest.mark.parametrize("index", [1 << 63, 100])
def test_a_refused_mmap_leaves_nothing_open(node: Path, driver: Driver, index: int) -> None:
    driver.index = index
    before = descriptors()
    with pytest.raises(HostError):
        gntdev.map_page(str(node), DomId(7), GrantRef(9))

    assert descriptors() == before


def test_a_failing_unmap_ioctl_is_told_and_closes_all_the_same(node: Path, driver: Driver) -> None:
    before = descriptors()
    page = gntdev.map_page(str(node), DomId(7), GrantRef(9))
    driver.fails = {gntdev.IOCTL_GNTDEV_UNMAP_GRANT_REF: errno.ENOENT}
    with pytest.raises(HostError, match="page 9 granted by domain 7: unmap") as caught:
        page.unmap()

    assert caught.value.errno == errno.ENOENT
    assert descriptors() == before


@pytest.mark.parametrize(("domain", "ref"), [(-1, 1), (1, -1), (1 << 32, 1), (1, 1 << 32)])
def test_numbers_that_do_not_fit_are_refused(node: Path, domain: int, ref: int) -> None:
    with pytest.raises(HostError, match="not a number of 32 bits") as caught:
        gntdev.map_page(str(node), DomId(domain), GrantRef(ref))
    assert caught.value.errno == errno.EINVAL
