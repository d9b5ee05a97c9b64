# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
import gc
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.fake_xen import IO, MEM, NIC, FakeFunction, FakeXen, config_space, make_function

import pvpci
from pvpci.impl import host as protocol
from pvpci.impl.host import Bdf, DomId, GrantRef, HostError, Port, Resource
from pvpci.impl.xen.host import Paths, XenHost
from pvpci.impl.xen.sysfs import SysfsFunction

GUEST = DomId(7)


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    for name in ("gntdev", "evtchn", "xenbus"):
        os.mkfifo(tmp_path / name)
    devices = tmp_path / "devices"
    resources = (Resource(0xFEB80000, 0xFEB9FFFF, MEM), Resource(0xC1E0, 0xC1FF, IO))
    make_function(devices, resources=resources, config=config_space(msix=True, msi=True))
    make_function(devices, Bdf(0, 0, 1, 0), driver="virtio-pci")
    return Paths(
        gntdev=str(tmp_path / "gntdev"),
        evtchn=str(tmp_path / "evtchn"),
        xenbus=str(tmp_path / "xenbus"),
        privcmd=str(tmp_path / "privcmd"),
        devices=str(devices),
        hypervisor=str(tmp_path / "hypervisor"),
    )


def descriptors() -> int:
    # Objects of earlier tests, kept alive by a traceback, may hold some still.
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def opened(paths: Paths, xen: FakeXen) -> tuple[XenHost, list[tuple[str, str]]]:
    loads: list[tuple[str, str]] = []

    def load(hypervisor: str, privcmd: str) -> FakeXen:
        loads.append((hypervisor, privcmd))
        return xen

    return XenHost(paths, load), loads


def test_it_is_a_host(paths: Paths) -> None:
    host: protocol.Host = XenHost(paths)

    assert list(host.functions()) == [NIC]
    host.close()


@pytest.mark.parametrize(
    ("node", "module"),
    [("gntdev", ", or the module xen-gntdev"), ("evtchn", ", or the module xen-evtchn"), ("xenbus", "")],
)
def test_a_missing_node_is_told_at_once(paths: Paths, node: str, module: str) -> None:
    path = str(getattr(paths, node))
    os.unlink(path)
    before = descriptors()
    with pytest.raises(HostError) as caught:
        XenHost(paths)

    assert caught.value.errno == errno.ENOENT
    assert caught.value.what.startswith(f"{path} is missing: this is not a Xen dom0{module}")
    assert descriptors() == before


@pytest.mark.parametrize("node", ["gntdev", "evtchn", "xenbus"])
def test_no_permission_names_the_node(paths: Paths, node: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path, real = str(getattr(paths, node)), os.open

    def denied(name: str, flags: int) -> int:
        if name == path:
            raise PermissionError(errno.EACCES, "denied")
        return real(name, flags)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", denied)
        with pytest.raises(HostError) as caught:
            XenHost(paths)

    assert (caught.value.errno, caught.value.what) == (errno.EACCES, f"{path} may not be opened: run as root")


def test_pages_and_channels_of_this_machine_are_refused_by_its_kernel(paths: Paths) -> None:
    host = XenHost(paths)
    with pytest.raises(HostError, match="page 8 granted by domain 7: map") as page:
        host.map_page(GUEST, GrantRef(8))
    with pytest.raises(HostError, match="event channel 3 of domain 7: bind") as channel:
        host.bind_channel(GUEST, Port(3))

    # A named pipe has no such ioctl.
    assert page.value.errno in (errno.ENOTTY, errno.EINVAL)
    assert channel.value.errno in (errno.ENOTTY, errno.EINVAL)
    host.close()


def test_the_libraries_are_loaded_when_they_are_needed_and_once(paths: Paths) -> None:
    xen = FakeXen()
    host, loads = opened(paths, xen)
    function = host.open_function(NIC)

    assert loads == []
    host.give(GUEST, function)
    host.take_back(GUEST, function)
    host.give(GUEST, function)
    assert loads == [(paths.hypervisor, paths.privcmd)]
    host.close()


def test_give_and_take_back(paths: Paths) -> None:
    xen = FakeXen()
    host, _ = opened(paths, xen)
    function = host.open_function(NIC)
    host.give(GUEST, function)

    assert ("assigned", GUEST, NIC.sbdf) in xen.state
    with pytest.raises(HostError, match=r"0000:00:05\.0: busy: domain 7 has it") as caught:
        host.give(DomId(8), function)
    assert caught.value.errno == errno.EBUSY
    with pytest.raises(HostError, match="take from domain 8: domain 7 has it"):
        host.take_back(DomId(8), function)
    host.take_back(GUEST, function)
    assert xen.state == set()
    assert (Path(paths.devices) / str(NIC) / "enable").read_text() == "0"
    host.close()


def test_what_a_process_that_died_gave_is_taken_back(paths: Paths) -> None:
    xen = FakeXen()
    first, _ = opened(paths, xen)
    function = first.open_function(NIC)
    first.give(GUEST, function)
    function.close()

    second, _ = opened(paths, xen)
    function = second.open_function(NIC)
    with pytest.raises(HostError, match="a domain has it already") as caught:
        second.give(GUEST, function)
    assert caught.value.errno == errno.EBUSY
    second.take_back(GUEST, function)
    assert xen.state == set()
    second.give(GUEST, function)
    second.close()


def test_a_failed_give_may_be_tried_again(paths: Paths) -> None:
    xen = FakeXen()
    xen.fail_at = {3: errno.EPERM}
    host, _ = opened(paths, xen)
    function = host.open_function(NIC)
    with pytest.raises(HostError):
        host.give(GUEST, function)

    assert xen.state == set()
    host.give(GUEST, function)
    host.close()


def test_vectors_of_a_function_that_this_process_gave(paths: Paths) -> None:
    xen = FakeXen()
    host, _ = opened(paths, xen)
    function = host.open_function(NIC)
    for entry in (0, None):
        host.give(GUEST, function)
        pirq = host.map_vector(GUEST, function, entry)
        host.unmap_vector(GUEST, function, pirq)
        host.take_back(GUEST, function)

    assert xen.state == set()
    assert [call for call in xen.log if call.startswith("msi")] == [f"msix {NIC} 0", f"msi {NIC}"]
    for call in (lambda: host.map_vector(DomId(-1), function, None), lambda: host.unmap_vector(DomId(-1), function, 9)):
        with pytest.raises(HostError, match="is not a domain"):
            call()
    host.close()


class Notes:
    """A store of which only one node is ever asked for."""

    def __init__(self, text: str | None) -> None:
        self.text, self.asked = text, ""

    def read(self, path: str) -> str | None:
        self.asked = path
        return self.text


@pytest.mark.parametrize(
    ("driver", "note", "expected"),
    [
        (None, "7", True),
        (None, None, False),
        ("pciback", None, True),
        ("xen-pciback", None, True),
        ("pci-stub", "7", False),
        ("vfio-pci", None, False),
    ],
)
def test_whether_another_has_prepared_it(paths: Paths, driver: str | None, note: str | None, expected: bool) -> None:
    if driver is not None:
        os.symlink(f"../drivers/{driver}", Path(paths.devices) / str(NIC) / "driver")
    xen = FakeXen()
    host, _ = opened(paths, xen)
    notes: Any = Notes(note)
    host.store = notes
    function = host.open_function(NIC)
    xen.assign(GUEST, NIC)

    assert host.prepared(function) is expected
    assert notes.asked == ("" if driver else "/libxl/pci/0000-00-05-0/domid")
    if expected:
        assert host.map_vector(GUEST, function, 0) == 55
    else:
        with pytest.raises(HostError, match="was not prepared") as caught:
            host.map_vector(GUEST, function, 0)
        assert caught.value.errno == errno.ENODATA
    host.close()


def test_without_the_capability_nothing_is_prepared(paths: Paths) -> None:
    (Path(paths.devices) / str(NIC) / "config").write_bytes(config_space())
    host, _ = opened(paths, FakeXen())
    function = host.open_function(NIC)
    host.give(GUEST, function)

    assert not host.prepared(function)
    host.close()


def test_who_shares_the_line(paths: Paths, tmp_path: Path) -> None:
    host, _ = opened(replace(paths, interrupts=str(tmp_path / "irq")), FakeXen())
    function = host.open_function(NIC)

    assert host.line_shared(function) is None
    (tmp_path / "irq" / "21").mkdir(parents=True)
    (tmp_path / "irq" / "21" / "actions").write_text("xen-pciback[0000:00:05.0],uhci_hcd:usb1\n")
    assert host.line_shared(function) == "uhci_hcd:usb1"
    with pytest.raises(HostError, match="not a function of this host"):
        host.line_shared(FakeFunction())
    host.close()


def test_taking_back_from_the_dead(paths: Paths) -> None:
    xen = FakeXen()
    host, _ = opened(paths, xen)
    function = host.open_function(NIC)
    host.give(GUEST, function)
    xen.kill(GUEST)
    host.take_back(GUEST, function)
    host.take_back(GUEST, function)

    assert xen.state == set()
    host.close()


@pytest.mark.parametrize("domain", [-1, 0x7FF0, 0xFFFFFFFF, 1 << 40])
def test_not_a_domain(paths: Paths, domain: int) -> None:
    xen = FakeXen()
    host, _ = opened(paths, xen)
    function = host.open_function(NIC)
    for use in (host.give, host.take_back):
        with pytest.raises(HostError, match="is not a domain") as caught:
            use(DomId(domain), function)
        assert caught.value.errno == errno.EINVAL

    assert xen.log == []
    host.close()


def test_a_function_of_another_host(paths: Paths) -> None:
    host = XenHost(paths)
    with pytest.raises(HostError, match="not a function of this host"):
        host.give(GUEST, FakeFunction())
    host.close()


def test_missing_libraries_are_told_and_nothing_is_done(paths: Paths) -> None:
    host = XenHost(paths)
    function = host.open_function(NIC)
    with pytest.raises(HostError, match="this is not running on Xen"):
        host.give(GUEST, function)

    assert (Path(paths.devices) / str(NIC) / "enable").read_text() == "0\n"
    host.close()


def test_close_takes_back_and_closes_everything(paths: Paths) -> None:
    before = descriptors()
    xen = FakeXen()
    host, _ = opened(paths, xen)
    function = host.open_function(NIC)
    assert isinstance(function, SysfsFunction)
    host.give(GUEST, function)
    host.close()
    host.close()
    function.close()

    assert xen.state == set()
    assert xen.closed
    assert descriptors() == before


def test_close_tells_what_could_not_be_taken_back(paths: Paths) -> None:
    xen = FakeXen()
    host, _ = opened(paths, xen)
    host.give(GUEST, host.open_function(NIC))
    xen.fail_at = {len(xen.log) + 4: errno.EPERM}
    with pytest.raises(HostError, match="deassign"):
        host.close()

    assert xen.closed


def test_dom0_needs_nothing_but_python() -> None:
    # Without `site` there are no third-party packages, as in a plain dom0.
    source = Path(pvpci.__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-S", "-c", "import pvpci.impl.xen.host"],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(source)},
    )

    assert (done.returncode, done.stderr) == (0, "")
