# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fake_xen import IO, MEM, NIC, config_space, make_function

from pvpci.impl.host import Bdf, HostError, Resource
from pvpci.impl.xen import sysfs

BAR0, BAR2 = Resource(0xFEB80000, 0xFEB9FFFF, MEM), Resource(0xC1E0, 0xC1FF, IO)
ROM = Resource(0xFEB00000, 0xFEB3FFFF, 0x46200)


def test_what_is_known_of_a_function(tmp_path: Path) -> None:
    make_function(tmp_path, resources=(BAR0, Resource(0, 0, 0), BAR2, *[Resource(0, 0, 0)] * 3, ROM))
    with_size = sysfs.open_function(str(tmp_path), NIC)

    assert with_size.config_size == 4096
    assert with_size.irq == 21
    assert with_size.is_virtual is False
    assert (0x8086, 0x10D3) == (with_size.vendor, with_size.device)
    assert len(with_size.resources) == 7
    assert with_size.resources[0] == BAR0
    assert with_size.resources[2].size == 32
    assert with_size.resources[6] == ROM
    with_size.close()


def test_a_virtual_function_of_conventional_size(tmp_path: Path) -> None:
    nameless = b"\xff" * 4 + config_space(256)[4:]
    folder = make_function(tmp_path, config=nameless, irq=0, ids=(0x1B36, 0x0010))
    os.symlink("../0000:00:04.0", folder / "physfn")
    function = sysfs.open_function(str(tmp_path), NIC)

    assert (function.config_size, function.is_virtual, function.irq) == (256, True, 0)
    assert (0x1B36, 0x0010, 0xFFFF) == (function.vendor, function.device, function.read(0, 2))
    function.close()


def test_memory_is_decoded_by_the_function_or_by_its_physical_one(tmp_path: Path) -> None:
    folder = make_function(tmp_path)
    parent = make_function(tmp_path, Bdf(0, 0, 4, 0))
    function = sysfs.open_function(str(tmp_path), NIC)

    assert function.decodes_memory()
    function.write(0x04, 2, 0x0405)
    assert not function.decodes_memory()
    function.close()
    os.symlink("../0000:00:04.0", folder / "physfn")
    virtual = sysfs.open_function(str(tmp_path), NIC)
    assert virtual.decodes_memory()
    (parent / "config").write_bytes(bytes(4096))
    assert not virtual.decodes_memory()
    (parent / "config").unlink()
    with pytest.raises(HostError, match="physfn/config") as caught:
        virtual.decodes_memory()
    assert caught.value.errno == errno.ENOENT
    virtual.close()


def test_a_bar_that_was_not_placed_is_not_there(tmp_path: Path) -> None:
    unset = Resource(0, 0xFFF, MEM | sysfs.IORESOURCE_UNSET)
    make_function(tmp_path, resources=(unset, Resource(0, 0, MEM)))
    function = sysfs.open_function(str(tmp_path), NIC)

    assert [0] * 7 == [resource.size for resource in function.resources]
    assert [0] * 7 == [resource.flags for resource in function.resources]
    function.close()


def test_a_line_that_goes_nowhere_is_no_interrupt(tmp_path: Path) -> None:
    make_function(tmp_path, irq=sysfs.IRQ_NOTCONNECTED)
    function = sysfs.open_function(str(tmp_path), NIC)

    assert function.irq == 0
    function.close()


def test_reads_and_writes_are_little_endian_and_of_their_size(tmp_path: Path) -> None:
    folder = make_function(tmp_path)
    function = sysfs.open_function(str(tmp_path), NIC)
    function.write(0x10, 4, 0xFEB80004)
    function.write(0x3C, 1, 0x15)
    function.write(0x04, 2, 0x0103)

    assert function.read(0, 4) == 0x10D38086
    assert function.read(2, 2) == 0x10D3
    assert function.read(1, 1) == 0x80
    written = (folder / "config").read_bytes()
    assert written[0x10:0x14] == b"\x04\x00\xb8\xfe"
    assert (written[0x3C], written[0x3D], written[4:6]) == (0x15, 0, b"\x03\x01")
    function.close()


@given(offset=st.integers(), size=st.integers(), value=st.integers())
def test_any_access_is_done_or_refused(
    tmp_path_factory: pytest.TempPathFactory, offset: int, size: int, value: int
) -> None:
    devices = tmp_path_factory.mktemp("devices")
    folder = make_function(devices)
    function = sysfs.open_function(str(devices), NIC)
    for access in (lambda: function.read(offset, size), lambda: function.write(offset, size, value)):
        try:
            access()
        except HostError as error:
            assert error.errno in (errno.EINVAL, errno.EIO)
        else:
            assert size in (1, 2, 4)
            assert offset >= 0
            assert offset % size == 0
    function.close()
    (folder / "config").unlink()


def test_a_read_past_the_end_is_refused(tmp_path: Path) -> None:
    make_function(tmp_path)
    function = sysfs.open_function(str(tmp_path), NIC)
    with pytest.raises(HostError, match=r"0000:00:05.0: configuration read of 4 bytes at 0x1000 came short"):
        function.read(4096, 4)
    function.close()


def test_a_closed_function_answers_with_an_error(tmp_path: Path) -> None:
    make_function(tmp_path)
    function = sysfs.open_function(str(tmp_path), NIC)
    function.close()
    function.close()
    with pytest.raises(HostError) as caught:
        function.read(0, 4)
    assert caught.value.errno == errno.EBADF


def descriptors() -> int:
    # Objects of earlier tests, kept alive by a traceback, may hold some still.
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def refusal(devices: Path, bdf: Bdf = NIC, locks: str = "/proc/locks") -> tuple[int, str]:
    with pytest.raises(HostError) as caught:
        sysfs.open_function(str(devices), bdf, locks)
    return caught.value.errno, caught.value.what


def test_no_such_function(tmp_path: Path) -> None:
    assert refusal(tmp_path) == (errno.ENODEV, "0000:00:05.0: no such PCI function")


def test_one_that_vanishes_between_two_looks(tmp_path: Path) -> None:
    (make_function(tmp_path) / "config").unlink()

    assert refusal(tmp_path) == (errno.ENODEV, "0000:00:05.0: no such PCI function")


def test_a_driver_has_it(tmp_path: Path) -> None:
    make_function(tmp_path, driver="e1000e")

    assert refusal(tmp_path) == (errno.EBUSY, "0000:00:05.0: busy: driver e1000e has it")


@pytest.mark.parametrize("driver", sorted(sysfs.PLACEHOLDERS))
def test_drivers_that_only_keep_others_away(tmp_path: Path, driver: str) -> None:
    make_function(tmp_path, driver=driver, class_code=0x060400)
    function = sysfs.open_function(str(tmp_path), NIC)

    assert function.driver() == driver
    function.close()


def test_the_machine_needs_its_bridges(tmp_path: Path) -> None:
    make_function(tmp_path, class_code=0x060100)
    number, what = refusal(tmp_path)

    assert number == errno.EBUSY
    assert "uses it as a bridge" in what


def test_another_process_has_it_and_is_named(tmp_path: Path) -> None:
    folder = make_function(tmp_path)
    hold = "import fcntl,sys; f=open(sys.argv[1],'r+b'); fcntl.flock(f,2); print('held',flush=True); sys.stdin.read()"
    holder = subprocess.Popen(
        [sys.executable, "-c", hold, str(folder / "config")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    inode = (folder / "config").stat()
    locks = tmp_path / "locks"
    locks.write_text(
        "1: POSIX  ADVISORY  WRITE 1 00:01:2 0 EOF\n"
        f"2: FLOCK  ADVISORY  WRITE {holder.pid} "
        f"{os.major(inode.st_dev):02x}:{os.minor(inode.st_dev):02x}:{inode.st_ino} 0 EOF\n"
    )
    name = Path(f"/proc/{holder.pid}/comm").read_text().strip()

    assert refusal(tmp_path, locks=str(locks)) == (
        errno.EBUSY,
        f"0000:00:05.0: busy: process {holder.pid} ({name}) has it",
    )
    assert refusal(tmp_path, locks=str(tmp_path / "none")) == (
        errno.EBUSY,
        "0000:00:05.0: busy: another process has it",
    )
    holder.kill()
    holder.communicate()
    sysfs.open_function(str(tmp_path), NIC).close()


def test_twice_in_one_process(tmp_path: Path) -> None:
    make_function(tmp_path)
    first = sysfs.open_function(str(tmp_path), NIC)
    before = descriptors()

    assert refusal(tmp_path)[0] == errno.EBUSY
    assert descriptors() == before
    first.close()
    sysfs.open_function(str(tmp_path), NIC).close()


def test_no_permission_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_function(tmp_path)

    def denied(path: str, flags: int) -> int:
        raise PermissionError(errno.EACCES, "denied")

    monkeypatch.setattr("pvpci.impl.xen.sysfs.os.open", denied)
    number, what = refusal(tmp_path)

    assert number == errno.EACCES
    assert what == f"{tmp_path}/0000:00:05.0/config may not be opened for writing: run as root"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("resource", "0x0 0x0\n" * 7, "not lines of three numbers"),
        ("resource", "0x0 0x0 zero\n" * 7, "not lines of three numbers"),
        ("resource", "0x0 0x0 0x0\n" * 6, "6 lines, not 7"),
        ("irq", "many\n", "'many' is not a number"),
        ("irq", "", "'' is not a number"),
        ("class", "?\n", "is not a number"),
        ("config", "x" * 64, "64 bytes, neither 256 nor 4096"),
    ],
)
def test_files_that_make_no_sense(tmp_path: Path, name: str, content: str, message: str) -> None:
    (make_function(tmp_path) / name).write_text(content)
    before = descriptors()
    number, what = refusal(tmp_path)

    assert number == errno.EIO
    assert message in what
    assert descriptors() == before


def test_functions_are_those_meant_for_guests(tmp_path: Path) -> None:
    make_function(tmp_path, Bdf(0, 0, 0, 0), class_code=0x060000)
    make_function(tmp_path, Bdf(0, 0, 1, 0), driver="virtio-pci")
    make_function(tmp_path, Bdf(0, 0, 5, 0))
    make_function(tmp_path, Bdf(0, 0, 6, 1), driver="pciback")
    make_function(tmp_path, Bdf(0, 0, 7, 0), driver="pciback", class_code=0x060400)
    make_function(tmp_path, Bdf(0, 0, 8, 0), driver="pci-stub")
    make_function(tmp_path, Bdf(1, 0x3A, 0x1F, 7))
    (make_function(tmp_path, Bdf(0, 0, 9, 0)) / "class").unlink()
    (tmp_path / "10000:e1:00.0").mkdir()
    (tmp_path / "rescan").touch()

    assert sysfs.functions(str(tmp_path)) == [
        Bdf(0, 0, 5, 0),
        Bdf(0, 0, 6, 1),
        Bdf(0, 0, 7, 0),
        Bdf(1, 0x3A, 0x1F, 7),
    ]


def test_a_machine_without_pci(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="the PCI functions of this machine") as caught:
        sysfs.functions(str(tmp_path / "none"))
    assert caught.value.errno == errno.ENOENT


def test_enabling_brings_the_interrupt_up_to_date(tmp_path: Path) -> None:
    folder = make_function(tmp_path, irq=10)
    function = sysfs.open_function(str(tmp_path), NIC)
    (folder / "irq").write_text("21\n")
    function.set_enabled(True)

    assert (folder / "enable").read_text() == "1"
    assert function.irq == 21
    function.set_enabled(False)
    assert (folder / "enable").read_text() == "0"
    function.close()


@pytest.mark.parametrize(("counted", "wanted"), [("1\n", True), ("2\n", True), ("0\n", False)])
def test_the_kernel_counts_so_what_is_so_already_is_left_alone(tmp_path: Path, counted: str, wanted: bool) -> None:
    folder = make_function(tmp_path)
    (folder / "enable").write_text(counted)
    function = sysfs.open_function(str(tmp_path), NIC)
    function.set_enabled(wanted)

    assert (folder / "enable").read_text() == counted
    function.close()


def test_reset(tmp_path: Path) -> None:
    folder = make_function(tmp_path)
    function = sysfs.open_function(str(tmp_path), NIC)
    with pytest.raises(HostError, match="the kernel knows no way to reset it") as caught:
        function.reset()
    assert caught.value.errno == errno.ENOTTY

    (folder / "reset").touch()
    function.reset()
    assert (folder / "reset").read_text() == "1"
    function.close()


def test_a_reset_that_fails_is_told(tmp_path: Path) -> None:
    folder = make_function(tmp_path)
    (folder / "reset").mkdir()
    function = sysfs.open_function(str(tmp_path), NIC)
    with pytest.raises(HostError, match=r"0000:00:05\.0: reset") as caught:
        function.reset()

    assert caught.value.errno == errno.EISDIR
    function.close()


def test_the_lines_of_all_functions(tmp_path: Path) -> None:
    for bdf, irq in (("0000:00:05.0", "21\n"), ("0000:00:06.0", "0\n"), ("0000:00:07.0", "many\n")):
        (tmp_path / bdf).mkdir()
        (tmp_path / bdf / "irq").write_text(irq)

    assert {21, 0} == sysfs.lines(str(tmp_path))
