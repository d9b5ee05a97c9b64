# SPDX-License-Identifier: Apache-2.0
"""Each thing that a call needs is missing once, and the hypervisor is then not asked at all."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.fake_xen import MEM, NIC, FakeFunction, FakeXen, config_space

from pvpci.impl.host import DomId, HostError, Resource
from pvpci.impl.xen import vectors

GUEST = DomId(7)
BAR = 0xFEB80000


@pytest.fixture
def xen() -> FakeXen:
    xen = FakeXen()
    xen.assign(GUEST, NIC)
    xen.log.clear()
    return xen


def function() -> FakeFunction:
    made = FakeFunction()
    made.config = config_space(msix=True, msi=True)
    return made


def mapped(xen: FakeXen) -> list[int]:
    return sorted(item[2] for item in xen.state if item[0] == "pirq")


def refused(call: Callable[[], object]) -> tuple[int, str]:
    with pytest.raises(HostError) as caught:
        call()
    return caught.value.errno, caught.value.what


def test_plain_msi_needs_nothing_prepared(xen: FakeXen) -> None:
    it = function()
    it.config[4] = 0

    assert vectors.map_vector(GUEST, it, None, False, xen) == 55
    assert xen.log == [f"msi {NIC}"]


def test_entries_of_the_table_are_mapped_one_by_one(xen: FakeXen) -> None:
    it = function()

    assert [vectors.map_vector(GUEST, it, entry, True, xen) for entry in (0, 3, 1)] == [55, 54, 53]
    assert xen.log == [f"msix {NIC} {entry}" for entry in (0, 3, 1)]
    # The base of the BAR, not of the table in it.
    assert set(xen.table_bases) == {BAR}


def without_capabilities(it: FakeFunction) -> None:
    it.config[0x06] = 0


def not_decoding(it: FakeFunction) -> None:
    it.config[4] = 0x05


def asleep(it: FakeFunction) -> None:
    it.config[0x44] = 3


def in_an_upper_half(it: FakeFunction) -> None:
    it.config[0x54] = 1


def in_ports(it: FakeFunction) -> None:
    it.resources = (Resource(0xC000, 0xFFFF, 0x40101),)


def in_no_bar(it: FakeFunction) -> None:
    it.config[0x54] = 7


def past_the_end(it: FakeFunction) -> None:
    it.resources = (Resource(BAR, BAR + 0x103F - 1, MEM),)


@pytest.mark.parametrize(
    ("entry", "spoil", "number", "words"),
    [
        (0, without_capabilities, errno.EINVAL, "it has no MSI-X capability"),
        (None, without_capabilities, errno.EINVAL, "it has no MSI capability"),
        (0, not_decoding, errno.ENXIO, "it does not decode memory"),
        (0, asleep, errno.EINVAL, "it is not in power state D0"),
        (None, asleep, errno.EINVAL, "it is not in power state D0"),
        (0, in_an_upper_half, errno.EINVAL, "its table is not inside a memory BAR (register 0x00001001)"),
        (0, in_ports, errno.EINVAL, "its table is not inside a memory BAR"),
        (0, in_no_bar, errno.EINVAL, "its table is not inside a memory BAR (register 0x00001007)"),
        (0, past_the_end, errno.EINVAL, "its table is not inside a memory BAR"),
    ],
)
def test_what_a_call_needs(
    xen: FakeXen, entry: int | None, spoil: Callable[[FakeFunction], None], number: int, words: str
) -> None:
    it = function()
    spoil(it)
    answered, what = refused(lambda: vectors.map_vector(GUEST, it, entry, True, xen))

    assert (answered, xen.log) == (number, [])
    assert what.startswith(f"{NIC}: map ")
    assert words in what


@pytest.mark.parametrize("entry", [-1, 4, 2047, 1 << 40])
def test_no_such_entry(xen: FakeXen, entry: int) -> None:
    answered, what = refused(lambda: vectors.map_vector(GUEST, function(), entry, True, xen))

    assert (answered, xen.log) == (errno.EINVAL, [])
    assert what.endswith("the table has 4 entries")


def test_an_unprepared_function_never_reaches_the_hypervisor(xen: FakeXen) -> None:
    answered, what = refused(lambda: vectors.map_vector(GUEST, function(), 0, False, xen))

    assert (answered, xen.log) == (errno.ENODATA, [])
    assert "was not prepared before it was given" in what


@pytest.mark.parametrize("number", [errno.EPERM, errno.EEXIST, errno.ENOSPC, errno.ENODEV])
def test_refusals_of_the_hypervisor_keep_their_number(xen: FakeXen, number: int) -> None:
    for entry in (None, 0):
        xen.fail_at = {len(xen.log): number}

        assert refused(lambda: vectors.map_vector(GUEST, function(), entry, True, xen))[0] == number  # noqa: B023
    assert mapped(xen) == []


@pytest.mark.parametrize("pirq", [0, -1, 21])
def test_success_without_a_new_number_is_a_failure_and_undoes_nothing(xen: FakeXen, pirq: int) -> None:
    xen.next_pirq = pirq
    it = function()
    it.irq = 21
    answered, what = refused(lambda: vectors.map_vector(GUEST, it, 0, True, xen))

    assert (answered, xen.log) == (errno.EEXIST, [f"msix {NIC} 0"])
    assert f"answered success and interrupt {pirq}" in what


def test_a_number_that_the_guest_cannot_be_told_is_given_back(xen: FakeXen) -> None:
    xen.next_pirq = 65536
    answered, what = refused(lambda: vectors.map_vector(GUEST, function(), None, True, xen))

    assert (answered, mapped(xen)) == (errno.ENOSPC, [])
    assert "interrupt 65536, which the guest cannot be told" in what
    xen.next_pirq, xen.fail_at = 65536, {len(xen.log) + 1: errno.EPERM}
    _, what = refused(lambda: vectors.map_vector(GUEST, function(), None, True, xen))
    assert what.endswith("unmap 65536 failed as well")


def test_unmapping(xen: FakeXen) -> None:
    it = function()
    pirq = vectors.map_vector(GUEST, it, 2, True, xen)
    vectors.unmap_vector(GUEST, it, pirq, xen)

    assert mapped(xen) == []
    assert refused(lambda: vectors.unmap_vector(GUEST, it, pirq, xen))[0] == errno.EINVAL
    xen.kill(GUEST)
    assert refused(lambda: vectors.unmap_vector(GUEST, it, pirq, xen))[0] == errno.ESRCH


@pytest.mark.parametrize("pirq", [0, -5, 21, 65536, 1 << 40])
def test_only_a_messages_number_is_unmapped(xen: FakeXen, pirq: int) -> None:
    it = function()
    it.irq = 21
    xen.state.add(("pirq", GUEST, pirq))

    assert refused(lambda: vectors.unmap_vector(GUEST, it, pirq, xen))[0] == errno.EINVAL
    assert (xen.log, mapped(xen)) == ([], [pirq])


@pytest.mark.parametrize(
    ("actions", "expected"),
    [
        ("", None),
        ("\n", None),
        ("xen-pciback[0000:00:05.0]\n", None),
        ("uhci_hcd:usb1\n", "uhci_hcd:usb1"),
        ("uhci_hcd:usb1,xen-pciback[0000:00:05.0],eth0\n", "uhci_hcd:usb1, eth0"),
    ],
)
def test_who_has_a_handler_on_the_line(tmp_path: Path, actions: str, expected: str | None) -> None:
    (tmp_path / "21").mkdir()
    (tmp_path / "21" / "actions").write_text(actions)
    it = function()
    it.irq = 21

    assert vectors.line_shared(str(tmp_path), it) == expected


def test_a_line_that_nobody_asked_for_or_that_is_none(tmp_path: Path) -> None:
    it = function()
    it.irq = 22

    assert vectors.line_shared(str(tmp_path), it) is None
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "actions").write_text("timer\n")
    it.irq = 0
    assert vectors.line_shared(str(tmp_path), it) is None
    it.irq = 21
    (tmp_path / "21" / "actions").mkdir(parents=True)
    assert refused(lambda: vectors.line_shared(str(tmp_path), it)) == (errno.EISDIR, f"{tmp_path}/21/actions")


def test_a_number_that_nobody_noted_is_found(xen: FakeXen) -> None:
    it = function()
    first, second, lost = (vectors.map_vector(GUEST, it, entry, True, xen) for entry in range(3))

    assert lost == vectors.reclaim(GUEST, it, {first, second}, xen)
    assert [second, first] == mapped(xen)
    assert vectors.reclaim(GUEST, it, {first, second}, xen) is None


def test_a_line_is_no_message(xen: FakeXen) -> None:
    """It is the guest's, and below what messages get; only a number that is known is safe."""
    it = function()
    first = vectors.map_vector(GUEST, it, 0, True, xen)

    assert vectors.reclaim(GUEST, it, {first, it.irq}, xen) is None
    assert [first] == mapped(xen)


def test_a_hypervisor_that_fails_while_it_is_looked_for(xen: FakeXen) -> None:
    xen.fail_at = dict.fromkeys(range(99), errno.EPERM)

    assert errno.EPERM == refused(lambda: vectors.reclaim(GUEST, function(), (), xen))[0]


def test_a_block_is_one_call_and_goes_with_its_first_number(xen: FakeXen) -> None:
    it = function()
    first = vectors.map_block(GUEST, it, 4, xen)

    assert (52, [52, 53, 54, 55]) == (first, mapped(xen))
    assert xen.log == [f"multi-msi {NIC} 4"]
    assert refused(lambda: vectors.unmap_vector(GUEST, it, 53, xen))[0] == errno.EBUSY
    vectors.unmap_vector(GUEST, it, 52, xen)
    assert mapped(xen) == []


@pytest.mark.parametrize(
    ("spoil", "words"),
    [(without_capabilities, "it has no MSI capability"), (asleep, "it is not in power state D0")],
)
def test_what_a_block_needs(xen: FakeXen, spoil: Callable[[FakeFunction], None], words: str) -> None:
    it = function()
    spoil(it)
    answered, what = refused(lambda: vectors.map_block(GUEST, it, 4, xen))

    assert (answered, xen.log) == (errno.EINVAL, [])
    assert what == f"{NIC}: map 4 messages for domain 7: {words}"


@pytest.mark.parametrize("number", [errno.EDOM, errno.EOPNOTSUPP, errno.ENFILE, errno.ENOSPC])
def test_refusals_of_a_block_keep_their_number(xen: FakeXen, number: int) -> None:
    xen.fail_at = {0: number}

    assert refused(lambda: vectors.map_block(GUEST, function(), 4, xen))[0] == number
    assert mapped(xen) == []


@pytest.mark.parametrize(("last", "fits"), [(65535, True), (65536, False), (65538, False)])
def test_the_last_number_of_a_block_can_be_told_or_all_are_given_back(xen: FakeXen, last: int, fits: bool) -> None:
    xen.next_pirq = last
    if fits:
        assert 65532 == vectors.map_block(GUEST, function(), 4, xen)
        return
    answered, what = refused(lambda: vectors.map_block(GUEST, function(), 4, xen))

    assert (answered, mapped(xen)) == (errno.ENOSPC, [])
    assert f"interrupt {last}, which the guest cannot be told" in what


def test_a_lost_block_is_found_below_its_other_numbers_and_beside_a_known_one(xen: FakeXen) -> None:
    it = function()
    known, lost = vectors.map_block(GUEST, it, 4, xen), vectors.map_block(GUEST, it, 8, xen)

    assert lost == vectors.reclaim(GUEST, it, {known}, xen)
    assert list(range(known, known + 4)) == mapped(xen)
    assert vectors.reclaim(GUEST, it, {known}, xen) is None
