# SPDX-License-Identifier: Apache-2.0
"""Libraries of Python functions stand for the C ones; they get what ctypes would have been told to pass."""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.fake_xen import FakeFunction, config_space

from pvpci.impl.host import Bdf, DomId, HostError
from pvpci.impl.xen import xenctrl
from pvpci.impl.xen.capability import MsixCapability, find

GUEST, BDF = DomId(7), Bdf(1, 0x3A, 0x1F, 7)
SBDF = 0x1_3A_FF
CONTROL, CALL = 0x1000, 0x2000


class Function:
    """A C function: converts its arguments by `argtypes` as ctypes does, so a missing or a wrong type shows."""

    def __init__(self, library: Library, name: str) -> None:
        self.library, self.name = library, name
        self.restype: Any = None
        self.argtypes: tuple[Any, ...] = ()

    def __call__(self, *arguments: Any) -> Any:
        assert len(arguments) == len(self.argtypes), self.name
        values = []
        for kind, given in zip(self.argtypes, arguments, strict=True):
            if isinstance(given, int):
                kind(given)
                values.append(given)
            else:
                values.append(kind.from_param(given))
        return self.library.called(self.name, values)


class Library:
    def __init__(self, missing: str = "") -> None:
        self.log: list[tuple[str, list[Any]]] = []
        self.fails: dict[str, int] = {}
        self.missing = missing
        self.pirq_offset = 0
        self.message = 55
        self.memory = ctypes.create_string_buffer(64)
        self.hypercalls: list[tuple[int, int, bytes]] = []

    def __getattr__(self, name: str) -> Function:
        if name == self.missing or name.startswith("__"):
            raise AttributeError(f"undefined symbol: {name}")
        function = Function(self, name)
        setattr(self, name, function)
        return function

    def called(self, name: str, values: list[Any]) -> Any:
        self.log.append((name, values))
        if name in self.fails:
            if self.fails[name]:
                ctypes.set_errno(self.fails[name])
            return None if name.endswith(("_open", "_buffer")) else -1
        match name:
            case "xc_interface_open":
                return CONTROL
            case "xencall_open":
                return CALL
            case "xencall_alloc_buffer":
                return ctypes.addressof(self.memory)
            case "xc_physdev_map_pirq":
                values[3]._obj.value += self.pirq_offset
            case "xc_physdev_map_pirq_msi":
                assert values[3]._obj.value == -1
                values[3]._obj.value = self.message
            case "xencall2":
                size = 40 if values[2] == xenctrl.PHYSDEVOP_MAP_PIRQ else 4
                self.hypercalls.append((values[1], values[2], ctypes.string_at(values[3], size)))
                if size == 40:
                    ctypes.memmove(values[3] + 12, self.message.to_bytes(4, "little"), 4)
        return 0


@pytest.fixture
def library() -> Library:
    return Library()


def opened(library: Library) -> xenctrl.Xenctrl:
    return xenctrl.Xenctrl("libxenctrl.so.4.17", lambda _: library)


def evidence() -> MsixCapability:
    function = FakeFunction()
    function.bdf, function.config = BDF, config_space(msix=True)
    found = find(function)
    assert found is not None
    return found


def test_sizes_and_numbers() -> None:
    assert (4, 40) == (xenctrl.PHYSDEV_PCI_DEVICE.size, xenctrl.PHYSDEV_MAP_PIRQ.size)
    assert (13, 4) == (xenctrl.PHYSDEVOP_MAP_PIRQ, xenctrl.MAP_PIRQ_TYPE_MULTI_MSI)
    assert xenctrl.HYPERVISOR_PHYSDEV_OP == 33
    assert xenctrl.PHYSDEVOP_PREPARE_MSIX == 30
    assert xenctrl.PHYSDEVOP_RELEASE_MSIX == 31


@pytest.mark.parametrize(
    ("use", "expected"),
    [
        (lambda x: x.assign(GUEST, BDF), ("xc_assign_device", [CONTROL, 7, SBDF, 0])),
        (lambda x: x.deassign(GUEST, BDF), ("xc_deassign_device", [CONTROL, 7, SBDF])),
        (
            lambda x: x.iomem_permission(GUEST, 0x123456789A, 16, True),
            ("xc_domain_iomem_permission", [CONTROL, 7, 0x123456789A, 16, 1]),
        ),
        (
            lambda x: x.ioport_permission(GUEST, 0xC1E0, 32, False),
            ("xc_domain_ioport_permission", [CONTROL, 7, 0xC1E0, 32, 0]),
        ),
        (lambda x: x.irq_permission(GUEST, 21, True), ("xc_domain_irq_permission", [CONTROL, 7, 21, 1])),
        (lambda x: x.unmap_pirq(GUEST, 21), ("xc_physdev_unmap_pirq", [CONTROL, 7, 21])),
    ],
)
def test_each_call_and_its_failure(
    library: Library, use: Callable[[xenctrl.Xenctrl], None], expected: tuple[str, list[int]]
) -> None:
    calls = opened(library)
    library.log.clear()
    use(calls)

    assert library.log == [expected]
    library.fails = {expected[0]: errno.ESRCH}
    with pytest.raises(HostError, match="7") as caught:
        use(calls)
    assert caught.value.errno == errno.ESRCH


def test_map_pirq_returns_what_the_hypervisor_chose(library: Library) -> None:
    calls = opened(library)

    assert calls.map_pirq(GUEST, 21) == 21
    library.pirq_offset = 3
    assert calls.map_pirq(GUEST, 21) == 24
    name, (handle, domain, index, _) = library.log[-1]
    assert (name, handle, domain, index) == ("xc_physdev_map_pirq", CONTROL, 7, 21)
    library.fails = {"xc_physdev_map_pirq": errno.EINVAL}
    with pytest.raises(HostError, match="domain 7: map interrupt 21") as caught:
        calls.map_pirq(GUEST, 21)
    assert caught.value.errno == errno.EINVAL


def test_messages_are_mapped_by_address_and_entry(library: Library) -> None:
    calls = opened(library)

    assert calls.map_msi(GUEST, BDF) == 55
    # index, pirq, devfn, segment << 16 | bus, entry_nr, table_base
    name, (handle, domain, index, _, *place) = library.log[-1]
    assert (name, handle, domain, index, place) == (
        "xc_physdev_map_pirq_msi", CONTROL, 7, -1, [0xFF, 0x1_003A, 0, 0]
    )  # fmt: skip
    library.message = 54
    assert calls.map_msix(GUEST, evidence(), 3, 0x12_FEB8_0000) == 54
    assert library.log[-1][1][4:] == [0xFF, 0x1_003A, 3, 0x12_FEB8_0000]
    library.fails = {"xc_physdev_map_pirq_msi": errno.ENODATA}
    refused: tuple[tuple[Callable[[], int], str], ...] = (
        (lambda: calls.map_msi(GUEST, BDF), "map the message for domain 7"),
        (lambda: calls.map_msix(GUEST, evidence(), 3, 4096), "map entry 3 for domain 7"),
    )
    for call, words in refused:
        with pytest.raises(HostError, match=words) as caught:
            call()
        assert caught.value.errno == errno.ENODATA


def test_an_entry_needs_evidence_and_a_table(library: Library) -> None:
    calls = opened(library)
    library.log.clear()
    claim: Any = BDF
    with pytest.raises(HostError, match="no evidence of a capability"):
        calls.map_msix(GUEST, claim, 0, 4096)
    for base in (0, -4096, 1 << 64):
        with pytest.raises(HostError, match="no table at") as caught:
            calls.map_msix(GUEST, evidence(), 0, base)
        assert caught.value.errno == errno.EINVAL

    assert library.log == []


@pytest.mark.parametrize(("verb", "operation"), [("prepare", 30), ("release", 31)])
def test_msix_takes_evidence_and_frees_its_buffer(library: Library, verb: str, operation: int) -> None:
    calls = opened(library)
    call = calls.prepare_msix if verb == "prepare" else calls.release_msix
    library.log.clear()
    call(evidence())

    assert library.hypercalls == [(33, operation, b"\x01\x00\x3a\xff")]
    assert [name for name, _ in library.log] == ["xencall_alloc_buffer", "xencall2", "xencall_free_buffer"]
    library.log.clear()
    library.fails = {"xencall2": errno.EBUSY}
    with pytest.raises(HostError, match=rf"0001:3a:1f\.7: {verb} MSI-X") as caught:
        call(evidence())
    assert caught.value.errno == errno.EBUSY
    assert library.log[-1][0] == "xencall_free_buffer"


@pytest.mark.parametrize("claim", [BDF, SBDF, None, object(), "0000:00:05.0"])
def test_msix_without_evidence_reaches_no_hypervisor(library: Library, claim: Any) -> None:
    calls = opened(library)
    for call in (calls.prepare_msix, calls.release_msix):
        with pytest.raises(HostError, match="no evidence of a capability"):
            call(claim)

    assert library.hypercalls == []


def test_no_memory_for_the_hypercall(library: Library) -> None:
    calls = opened(library)
    library.fails = {"xencall_alloc_buffer": errno.ENOMEM}
    with pytest.raises(HostError, match="memory for the hypercall") as caught:
        calls.prepare_msix(evidence())

    assert caught.value.errno == errno.ENOMEM
    assert library.hypercalls == []


def test_a_library_that_fails_without_a_number_is_still_a_failure(library: Library) -> None:
    calls = opened(library)
    ctypes.set_errno(errno.EPERM)
    library.fails = {"xc_deassign_device": 0}
    with pytest.raises(HostError) as caught:
        calls.deassign(GUEST, BDF)

    assert caught.value.errno == errno.EIO


@pytest.mark.parametrize(("refusing", "closed"), [("xc_interface_open", []), ("xencall_open", ["xc_interface_close"])])
def test_a_hypercall_device_that_does_not_open(library: Library, refusing: str, closed: list[str]) -> None:
    library.fails = {refusing: errno.EACCES}
    with pytest.raises(HostError, match="open the hypercall device") as caught:
        opened(library)

    assert caught.value.errno == errno.EACCES
    assert [name for name, _ in library.log if name.endswith("_close")] == closed


def test_closed_once_and_useless_afterwards(library: Library) -> None:
    calls = opened(library)
    capability = evidence()
    calls.close()
    calls.close()

    assert library.log[2:] == [("xencall_close", [CALL]), ("xc_interface_close", [CONTROL])]
    with pytest.raises(HostError, match="closed"):
        calls.deassign(GUEST, BDF)
    with pytest.raises(HostError, match="closed"):
        calls.prepare_msix(capability)


@pytest.mark.parametrize("missing", ["xc_assign_device", "xencall2"])
def test_a_library_of_another_version(missing: str) -> None:
    with pytest.raises(HostError, match=missing) as caught:
        opened(Library(missing))
    assert caught.value.errno == errno.ENOENT


def test_a_library_that_is_not_installed() -> None:
    with pytest.raises(HostError, match=r"libxenctrl\.so\.4\.0 cannot be loaded .* attach with xl") as caught:
        xenctrl.load_library("libxenctrl.so.4.0")
    assert caught.value.errno == errno.ENOENT


def hypervisor(folder: Path, major: str = "4\n", minor: str = "17\n") -> str:
    (folder / "version").mkdir()
    (folder / "version" / "major").write_text(major)
    (folder / "version" / "minor").write_text(minor)
    return str(folder)


def test_the_library_is_that_of_the_running_hypervisor(tmp_path: Path, library: Library) -> None:
    (tmp_path / "privcmd").touch()
    loaded: list[str] = []

    def load(name: str) -> Library:
        loaded.append(name)
        return library

    calls = xenctrl.open_calls(hypervisor(tmp_path), str(tmp_path / "privcmd"), load)

    assert loaded == ["libxenctrl.so.4.17", "libxencall.so.1"]
    calls.close()


def test_not_on_xen(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="this is not running on Xen") as caught:
        xenctrl.library_name(str(tmp_path))
    assert caught.value.errno == errno.ENOENT


def test_a_version_that_is_no_number(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="version/minor") as caught:
        xenctrl.library_name(hypervisor(tmp_path, minor="x"))
    assert caught.value.errno == errno.ENOENT


def test_no_privcmd(tmp_path: Path, library: Library) -> None:
    with pytest.raises(HostError, match="xen-privcmd is not loaded"):
        xenctrl.open_calls(hypervisor(tmp_path), str(tmp_path / "privcmd"), lambda _: library)
    assert library.log == []


@pytest.mark.parametrize("segment", [1, 0xFFFF])
def test_a_block_of_messages_is_one_hypercall(library: Library, segment: int) -> None:
    """`xc_physdev_map_pirq_msi` has no way to say what type of mapping it is."""
    calls = opened(library)
    bdf = Bdf(segment, 0x3A, 0x1F, 7)
    library.log.clear()

    assert 55 == calls.map_multi_msi(GUEST, bdf, 8)
    # domid; type; index; pirq; bus with the segment; devfn; entry_nr; table_base
    words = [7, 4, 0xFFFFFFFF, 0xFFFFFFFF, segment << 16 | 0x3A, 0xFF, 8, 0, 0, 0]
    assert library.hypercalls == [(33, 13, b"".join(word.to_bytes(4, "little") for word in words))]
    assert [name for name, _ in library.log] == ["xencall_alloc_buffer", "xencall2", "xencall_free_buffer"]
    library.fails = {"xencall2": errno.EOPNOTSUPP}
    with pytest.raises(HostError, match="map 8 messages for domain 7") as caught:
        calls.map_multi_msi(GUEST, bdf, 8)
    assert (errno.EOPNOTSUPP, "xencall_free_buffer") == (caught.value.errno, library.log[-1][0])
