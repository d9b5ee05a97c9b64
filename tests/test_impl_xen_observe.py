# SPDX-License-Identifier: Apache-2.0
"""What sysfs shows of a function is observed whole, and what it does not show is said."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fake_xen import IO, MEM, NIC, config_space, make_function

from pvpci.impl.host import HostError, Resource
from pvpci.impl.xen import sysfs
from pvpci.impl.xen.observe import UNNAMED_RESET, observe

NONE = Resource(0, 0, 0)
BAR = Resource(0xFEB80000, 0xFEB9FFFF, MEM)
MASKS = "which bits can be written: assumed as the PCI specifications have them, the rest read-only"


def test_a_function_that_nothing_uses(tmp_path: Path) -> None:
    rows = [BAR, NONE, Resource(0xC1E0, 0xC1FF, IO), NONE, NONE, NONE, Resource(0xFEB00000, 0xFEB3FFFF, 0x46200)]
    folder = make_function(tmp_path, driver="pciback", resources=rows, enabled=2)
    (folder / "reset").touch()
    (folder / "reset_method").write_text("flr bus\n")
    before = sorted(path.name for path in folder.iterdir())
    seen = observe(str(tmp_path), NIC)

    assert (NIC, 0x8086, 0x10D3, 21, False, 2) == (
        seen.bdf, seen.vendor, seen.device, seen.irq, seen.is_virtual, seen.enable_count,
    )  # fmt: skip
    assert bytes(config_space()) == seen.registers == (folder / "config").read_bytes()
    assert {0: BAR, 2: rows[2], 6: rows[6]} == seen.resources
    assert (("flr", "bus"), "pciback", (MASKS,)) == (seen.resets, seen.driver, seen.unknown)
    assert before == sorted(path.name for path in folder.iterdir())


def test_a_function_need_not_be_writable_nor_free(tmp_path: Path) -> None:
    folder = make_function(tmp_path, driver="e1000e")
    os.chmod(folder / "config", 0o444)
    held = os.open(folder / "config", os.O_RDONLY)
    seen = observe(str(tmp_path), NIC)
    os.close(held)

    assert "e1000e" == seen.driver
    assert (MASKS, "what the registers hold without the driver e1000e, which is using the function") == seen.unknown


def test_what_reading_does_not_tell(tmp_path: Path) -> None:
    config = config_space(256)
    config[0x41], config[0x50:0x54], config[0x60:0x62] = 0x50, bytes((0x05, 0x60, 0x81, 0)), bytes((0x03, 0))
    unplaced = [Resource(0, 0xFFF, MEM | sysfs.IORESOURCE_UNSET), Resource(0x1000, 0x3FFF, MEM), Resource(0, 0, MEM)]
    folder = make_function(tmp_path, config=config, resources=unplaced)
    (folder / "reset").touch()
    seen = observe(str(tmp_path), NIC)

    assert ({}, (UNNAMED_RESET,)) == (seen.resources, seen.resets)
    assert (
        MASKS,
        *(f"where resource {index} is: the host has not placed it" for index in range(3)),
        "its line interrupt: MSI is enabled, and the number is that of a message",
        "its vital product data: reading it takes writes",
        "how it is reset: this kernel only says that it can",
    ) == seen.unknown


def test_the_windows_of_a_bridge_and_not_the_bars_of_virtual_functions(tmp_path: Path) -> None:
    window = Resource(0x1000, 0x3FFF, 0x100)
    make_function(tmp_path, resources=[BAR, *[NONE] * 6, BAR, *[NONE] * 5, window, NONE, window])

    assert {0: BAR, 13: window, 15: window} == observe(str(tmp_path), NIC).resources


def test_a_virtual_function_is_there_though_its_registers_say_nothing(tmp_path: Path) -> None:
    config = bytearray(b"\xff\xff\xff\xff") + config_space(256)[4:]
    folder = make_function(tmp_path, config=config, ids=(0x1B36, 0x0010), irq=0)
    os.symlink("../0000:00:04.0", folder / "physfn")
    seen = observe(str(tmp_path), NIC)

    assert (True, 0x1B36, 0x0010) == (seen.is_virtual, seen.vendor, seen.device)


@pytest.mark.parametrize(
    ("config", "number", "line"),
    [
        (b"\xff" * 256, errno.ENODEV, "0000:00:05.0: does not answer: its registers read as all ones"),
        (bytes(64), errno.ENODEV, "has 64 bytes, neither 256 nor 4096"),
        (b"", errno.ENODEV, "has 0 bytes"),
    ],
)
def test_what_cannot_be_recorded(tmp_path: Path, config: bytes, number: int, line: str) -> None:
    make_function(tmp_path, config=config)
    with pytest.raises(HostError, match=line) as caught:
        observe(str(tmp_path), NIC)

    assert number == caught.value.errno


def test_only_root_may_read_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_function(tmp_path)
    real = os.fstat
    # sysfs shows everybody the size, and others than root the first 64 bytes.
    size = (folder / "config").stat().st_size
    (folder / "config").write_bytes(bytes(64))
    monkeypatch.setattr(os, "fstat", lambda number: os.stat_result((*real(number)[:6], size, *real(number)[7:])))
    with pytest.raises(HostError, match=r"only 64 of 4096 bytes may be read") as caught:
        observe(str(tmp_path), NIC)

    assert errno.EACCES == caught.value.errno


def test_no_such_function_and_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="no such PCI function") as absent:
        observe(str(tmp_path), NIC)
    folder = make_function(tmp_path)
    (folder / "config").unlink()
    with pytest.raises(HostError, match="config") as gone:
        observe(str(tmp_path), NIC)

    assert (errno.ENODEV, errno.ENOENT) == (absent.value.errno, gone.value.errno)


def entry(identifier: int, following: int) -> bytes:
    return (identifier | 1 << 16 | following << 20).to_bytes(4, "little")


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ({0x100: entry(0x0001, 0x140), 0x140: entry(0x0003, 0)}, 0x144),
        ({0x100: entry(0x0001, 0x100)}, None),  # bites its own tail
        ({0x100: entry(0x0001, 0x0F0)}, None),  # leads out
        ({}, None),
    ],
)
def test_a_serial_number_is_found(tmp_path: Path, entries: dict[int, bytes], expected: int | None) -> None:
    config = config_space()
    for at, content in entries.items():
        config[at : at + 4] = content
    make_function(tmp_path, config=config)

    assert expected == observe(str(tmp_path), NIC).serial()


texts = st.one_of(st.binary(max_size=40), st.sampled_from([b"0x8086\n", b"0\n", b"0x1 0x2 0x3\n" * 7]))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(name=st.sampled_from(["vendor", "device", "irq", "enable", "resource", "reset_method"]), text=texts)
def test_whatever_the_files_hold_it_is_one_error(tmp_path: Path, name: str, text: bytes) -> None:
    folder = tmp_path / str(NIC)
    if not folder.exists():
        make_function(tmp_path)
        (folder / "reset").touch()
    before = (folder / name).read_bytes() if (folder / name).exists() else b""
    (folder / name).write_bytes(text)
    try:
        observe(str(tmp_path), NIC)
    except HostError as error:
        assert "\n" not in error.what
    finally:
        (folder / name).write_bytes(before)
