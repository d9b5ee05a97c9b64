# SPDX-License-Identifier: Apache-2.0
"""Registers react as the recorded hardware did."""

from __future__ import annotations

import errno
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pvpci.impl.embedded.box import Box
from pvpci.impl.embedded.function import EmbeddedFunction
from pvpci.impl.embedded.host import EmbeddedHost
from pvpci.impl.embedded.image import load, names
from pvpci.impl.host import Function, HostError


@pytest.fixture(scope="module")
def host() -> Iterator[EmbeddedHost]:
    with Box() as box:
        host = EmbeddedHost(box.path)
        yield host
        host.close()


def opened(host: EmbeddedHost, name: str) -> EmbeddedFunction:
    return host.open_function(load(name).bdf)


@pytest.mark.parametrize("name", names())
def test_a_function_is_as_its_image_says(host: EmbeddedHost, name: str) -> None:
    it: Function = opened(host, name)
    image = load(name)
    content = b"".join(it.read(offset, 4).to_bytes(4, "little") for offset in range(0, it.config_size, 4))
    facts = (it.bdf, it.vendor, it.device, it.config_size, it.resources, it.irq, it.is_virtual)
    it.close()

    assert image.registers == content
    expected = (image.bdf, image.vendor, image.device, image.size, image.resources, image.irq, image.is_virtual)
    assert expected == facts


@pytest.mark.parametrize("name", [name for name in names() if not load(name).is_virtual])
def test_bars_size_as_hardware_does(host: EmbeddedHost, name: str) -> None:
    it = opened(host, name)
    for index, resource in enumerate(it.resources):
        if resource.flags:
            bridge = it.read(0x0E, 1) & 1
            at = (0x38 if bridge else 0x30) if index == 6 else 0x10 + 4 * index
            before = it.read(at, 4)
            it.write(at, 4, 0xFFFFF800 if index == 6 else 0xFFFFFFFF)
            sized = it.read(at, 4)
            it.write(at, 4, before)

            low = 0x7FF if index == 6 else 3 if before & 1 else 15
            # The low half of a BAR of 8 GiB has no bit to write.
            assert resource.size & 0xFFFFFFFF == -(sized & ~low) & 0xFFFFFFFF
            assert (before & low & ~1 if index == 6 else before & low) == sized & low
            assert before == it.read(at, 4)
    it.close()


def test_a_virtual_function_ignores_its_bars(host: EmbeddedHost) -> None:
    it = opened(host, "nvme-vf")
    for at in (0x10, 0x14, 0x24, 0x30):
        it.write(at, 4, 0xFFFFFFFF)
    found = [it.read(at, 4) for at in (0x00, 0x10, 0x14, 0x24, 0x30)]
    it.close()

    assert [0xFFFFFFFF, 0, 0, 0, 0] == found


def test_command_status_and_read_only_registers(host: EmbeddedHost) -> None:
    it = opened(host, "e1000e")
    it.write(0x00, 4, 0)
    it.write(0x04, 2, 0xFFFF)
    written = it.read(0x04, 2)
    it.write(0x04, 2, 0)
    cleared = it.read(0x04, 2)
    it.write(0x06, 2, 0xFFFF)
    it.write(0x3C, 1, 0x1A5)

    assert 0x10D38086 == it.read(0, 4)
    assert (0x0507, 0) == (written & 0x0507, cleared & 0x0507)
    assert 0xA5 == it.read(0x3C, 1)
    it.close()


def test_writing_ones_clears(host: EmbeddedHost) -> None:
    it = opened(host, "edu")
    # Nothing in the box raises an error bit, so the test plays the hardware that does.
    it._config[7] = 0xF9
    it.write(0x06, 2, 0x4000)
    some = it.read(0x06, 2)
    it.write(0x04, 4, 0xFFFF0000)
    rest = it.read(0x06, 2)
    it.close()

    assert (0xB910, 0x0010) == (some, rest)


def test_reset_restores_the_image_where_there_is_one(host: EmbeddedHost) -> None:
    nvme, edu = opened(host, "nvme"), opened(host, "edu")
    for it in (nvme, edu):
        it.write(0x10, 4, 0)
        it.write(0x3C, 1, 0x55)
    nvme.reset()
    with pytest.raises(HostError, match="has no reset") as caught:
        edu.reset()
    after = (nvme.read(0x10, 4), nvme.read(0x3C, 1), edu.read(0x3C, 1))
    nvme.close()
    edu.close()

    assert (int.from_bytes(load("nvme").registers[0x10:0x14], "little"), 0x0B, 0x55) == after
    assert errno.ENOTTY == caught.value.errno


@pytest.mark.parametrize(("offset", "size", "value"), [(0x88, 4, 0x8000), (0x88, 2, 0x8000), (0x89, 1, 0x80)])
def test_initiating_a_function_level_reset(host: EmbeddedHost, offset: int, size: int, value: int) -> None:
    it = opened(host, "nvme")
    it.write(0x3C, 1, 0x55)
    it.write(0x88, 1, 0xFF)
    before = it.read(0x3C, 1)
    it.write(offset, size, value)
    after = (it.read(0x3C, 1), it.read(0x88, 2) & 0x8000)
    it.close()

    # The interrupt line is lost: only the host can put it back.
    assert (0x55, (0, 0)) == (before, after)


def test_registers_stay_when_another_opens_the_function(host: EmbeddedHost) -> None:
    it = opened(host, "rtl8139")
    it.write(0x3C, 1, 0x77)
    it.close()
    it.close()
    again = opened(host, "rtl8139")
    value = again.read(0x3C, 1)
    again.close()

    assert 0x77 == value
    with pytest.raises(HostError) as caught:
        again.read(0, 4)
    assert errno.EBADF == caught.value.errno


@pytest.mark.parametrize(("offset", "size"), [(0, 3), (0, 0), (0, 8), (1, 2), (2, 4), (-4, 4), (256, 1), (1 << 70, 4)])
def test_a_bad_access_is_refused(host: EmbeddedHost, offset: int, size: int) -> None:
    it = opened(host, "edu")
    for access in (lambda: it.read(offset, size), lambda: it.write(offset, size, 0)):
        with pytest.raises(HostError) as caught:
            access()
        assert errno.EINVAL == caught.value.errno
    it.close()


#: Functions on which no write has any effect but its own.
STEADY = ("ahci", "bare", "edu", "rtl8139", "xhci")


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 255), st.sampled_from([1, 2, 4]), st.integers(0, 0xFFFFFFFF), st.sampled_from(STEADY))
def test_only_writable_bits_change_and_only_where_written(
    host: EmbeddedHost, offset: int, size: int, value: int, name: str
) -> None:
    it, image = opened(host, name), load(name)
    offset -= offset % size
    before = bytes(it._config)
    it.write(offset, size, value)
    after = bytes(it._config)
    it.close()

    for at, (old, new) in enumerate(zip(before, after, strict=True)):
        may = image.writable[at] | image.write_one_to_clear[at] if offset <= at < offset + size else 0
        assert not (old ^ new) & ~may
