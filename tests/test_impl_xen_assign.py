# SPDX-License-Identifier: Apache-2.0
"""The order of the calls, and that nothing remains: after a failure at each of them, and after a death before each."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fake_xen import IO, MEM, NIC, FakeFunction, FakeXen

from pvpci.impl.host import DomId, HostError, Resource
from pvpci.impl.xen import assign

GUEST = DomId(7)
FULL = [
    "prepare",
    "assign",
    "iomem feb80+32 True",
    "ioport c1e0+32 True",
    "map 21",
    "irq 21 True",
]
UNDONE = [
    "irq 21 False",
    "unmap 21",
    "ioport c1e0+32 False",
    "iomem feb80+32 False",
    "deassign",
    "release",
]


def test_the_order_of_giving_and_its_reverse() -> None:
    function, xen = FakeFunction(), FakeXen()
    done = assign.give(GUEST, function, xen)

    assert xen.log == FULL
    assert function.enabled
    assign.take_back(done)
    assert xen.log == FULL + UNDONE
    assert xen.state == set()
    assert not function.enabled


def test_the_interrupt_is_the_one_that_enabling_routed() -> None:
    function, xen = FakeFunction(irq=21), FakeXen()

    assert function.irq == 10
    assign.give(GUEST, function, xen)
    assert ("pirq", GUEST, 21) in xen.state


@pytest.mark.parametrize("driver", ["pciback", "xen-pciback"])
def test_what_pciback_has_done_is_not_done_again(driver: str) -> None:
    function, xen = FakeFunction(driver=driver), FakeXen()
    done = assign.give(GUEST, function, xen)

    assert xen.log == FULL[1:]
    assert not function.enabled
    assign.take_back(done)
    assert xen.log == FULL[1:] + UNDONE[:-1]


def test_without_msix_the_dangerous_call_is_not_made() -> None:
    function, xen = FakeFunction(msix=False), FakeXen(functions_with_msix=())
    assign.take_back(assign.give(GUEST, function, xen))

    assert not {"prepare", "release"} & set(xen.log)
    assert xen.state == set()


@pytest.mark.parametrize("driver", ["pci-stub", "vfio-pci"])
def test_a_function_that_cannot_be_enabled_is_refused(driver: str) -> None:
    xen = FakeXen()
    with pytest.raises(HostError, match=f"driver {driver} has it") as caught:
        assign.give(GUEST, FakeFunction(driver=driver), xen)

    assert caught.value.errno == errno.EBUSY
    assert xen.log == []


def test_without_an_interrupt_none_is_mapped() -> None:
    xen = FakeXen()
    assign.give(GUEST, FakeFunction(irq=0), xen)

    assert xen.log == FULL[:-2]


def test_whole_pages_are_permitted_and_absent_bars_are_not() -> None:
    resources = (
        Resource(0xFEBC6000, 0xFEBC60FF, MEM),
        Resource(0, 0, 0),
        Resource(0x1_0000_0F00, 0x1_0000_10FF, MEM),
        Resource(0xFEB00000, 0xFEB3FFFF, 0x46200),
    )
    xen = FakeXen()
    assign.give(GUEST, FakeFunction(resources=resources, irq=0), xen)

    assert xen.log[2:] == ["iomem febc6+1 True", "iomem 100000+2 True", "iomem feb00+64 True"]


@pytest.mark.parametrize("number", range(len(FULL)))
def test_a_failure_at_each_call_undoes_what_was_done(number: int) -> None:
    function, xen = FakeFunction(), FakeXen()
    xen.fail_at = {number: errno.EIO}
    with pytest.raises(HostError) as caught:
        assign.give(GUEST, function, xen)

    assert (caught.value.errno, caught.value.what) == (errno.EIO, FULL[number])
    assert xen.log == FULL[: number + 1] + UNDONE[len(UNDONE) - number :]
    assert xen.state == set()
    assert not function.enabled


def test_a_failure_to_enable_makes_no_call() -> None:
    function, xen = FakeFunction(), FakeXen()
    function.fails = HostError("enable", errno.EINVAL)
    with pytest.raises(HostError, match="enable"):
        assign.give(GUEST, function, xen)

    assert xen.log == []


def test_a_failure_to_undo_is_told_and_stops_nothing() -> None:
    function, xen = FakeFunction(), FakeXen()
    xen.fail_at = {4: errno.EIO, 5: errno.ENOMEM}
    with pytest.raises(HostError) as caught:
        assign.give(GUEST, function, xen)

    assert caught.value.errno == errno.EIO
    assert caught.value.what == "map 21; and while undoing: ioport c1e0+32 False"
    assert xen.log == FULL[:5] + UNDONE[2:]
    assert {item[0] for item in xen.state} == {"port"}


@pytest.mark.parametrize("number", range(len(UNDONE)))
def test_taking_back_goes_on_after_a_failure_and_tells_it(number: int) -> None:
    function, xen = FakeFunction(), FakeXen()
    done = assign.give(GUEST, function, xen)
    xen.fail_at = {len(FULL) + number: errno.EIO}
    with pytest.raises(HostError) as caught:
        assign.take_back(done)

    assert caught.value.what == UNDONE[number]
    assert xen.log == FULL + UNDONE
    assert not function.enabled


@pytest.mark.parametrize("lingers", [False, True])
@pytest.mark.parametrize("number", range(len(UNDONE) + 1))
def test_the_guest_dies_before_each_call_of_taking_back(number: int, lingers: bool) -> None:
    function, xen = FakeFunction(), FakeXen()
    done = assign.give(GUEST, function, xen)
    xen.dies_at, xen.lingers = (len(FULL) + number, GUEST), lingers
    assign.take_back(done)

    assert xen.log == FULL + UNDONE
    assert xen.state == set()
    assert not function.enabled


@pytest.mark.parametrize("number", range(len(FULL)))
def test_the_guest_dies_before_each_call_of_giving(number: int) -> None:
    function, xen = FakeFunction(), FakeXen()
    xen.dies_at = number, GUEST
    with pytest.raises(HostError) as caught:
        assign.give(GUEST, function, xen)

    assert caught.value.errno == errno.ESRCH
    assert xen.state == set()
    assert not function.enabled


@pytest.mark.parametrize("number", [errno.EIO, errno.EBUSY, errno.ENODEV, errno.ENOENT])
def test_a_function_that_is_not_ours_to_disable_any_more_is_taken_back(number: int) -> None:
    function, xen = FakeFunction(), FakeXen()
    done = assign.give(GUEST, function, xen)
    function.fails = HostError("disable", number)
    assign.take_back(done)

    assert xen.state == set()


def test_a_function_that_cannot_be_disabled_is_told() -> None:
    function, xen = FakeFunction(), FakeXen()
    done = assign.give(GUEST, function, xen)
    function.fails = HostError("disable", errno.EPERM)
    with pytest.raises(HostError, match="disable"):
        assign.take_back(done)

    assert xen.state == set()


def test_one_who_died_had_prepared_msix() -> None:
    function, xen = FakeFunction(), FakeXen()
    xen.state.add(("prepared", 0, NIC.sbdf))
    assign.take_back(assign.give(GUEST, function, xen))

    assert xen.state == set()


def test_prepared_msix_that_fails_otherwise_is_told() -> None:
    xen = FakeXen()
    xen.fail_at = {0: errno.ENODEV}
    with pytest.raises(HostError, match="prepare"):
        assign.give(GUEST, FakeFunction(), xen)


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.EBUSY, "assign: a domain has it already"),
        (errno.ESRCH, "assign: there is no such domain"),
        (errno.ENODEV, "assign: Xen does not know this function"),
        (errno.EOPNOTSUPP, "assign: no IOMMU, or the domain was created without pci=[...] and without passthrough"),
        (errno.EINVAL, "assign"),
    ],
)
def test_a_refused_assignment_says_why(number: int, reason: str) -> None:
    xen = FakeXen()
    xen.fail_at = {1: number}
    with pytest.raises(HostError) as caught:
        assign.give(GUEST, FakeFunction(), xen)

    assert (caught.value.errno, caught.value.what) == (number, reason)


@pytest.mark.parametrize("fails", [{}, {5: errno.EPERM}])
def test_another_interrupt_than_the_one_asked_for_will_not_do(fails: dict[int, int]) -> None:
    function, xen = FakeFunction(), FakeXen()
    xen.pirq_offset, xen.fail_at = 3, fails
    with pytest.raises(HostError, match="map interrupt 21: the hypervisor mapped 24 instead") as caught:
        assign.give(GUEST, function, xen)

    assert caught.value.errno == errno.EEXIST
    assert ("; unmap 24 failed as well" in caught.value.what) is bool(fails)
    assert {item[0] for item in xen.state} == ({"pirq"} if fails else set())


def test_a_function_that_vanished_is_taken_back_as_far_as_it_goes() -> None:
    function, xen = FakeFunction(), FakeXen()
    done = assign.give(GUEST, function, xen)
    function.vanished = True
    assign.take_back(done)

    assert xen.state == {("prepared", 0, NIC.sbdf)}


def bars() -> st.SearchStrategy[Resource]:
    memory = st.builds(lambda at, size: Resource(at, at + size - 1, MEM), st.integers(1, 2**40), st.integers(1, 2**18))
    ports = st.builds(lambda at, size: Resource(at, at + size - 1, IO), st.integers(1, 0xFF00), st.integers(1, 64))
    return st.one_of(memory, ports, st.just(Resource(0, 0, 0)))


@given(
    resources=st.lists(bars(), min_size=7, max_size=7),
    msix=st.booleans(),
    irq=st.integers(0, 255),
    driver=st.sampled_from([None, "pciback"]),
    fails=st.none() | st.integers(0, 12),
    dies=st.none() | st.integers(0, 24),
    lingers=st.booleans(),
)
def test_nothing_remains_whatever_the_function_and_the_moment(
    resources: list[Resource],
    msix: bool,
    irq: int,
    driver: str | None,
    fails: int | None,
    dies: int | None,
    lingers: bool,
) -> None:
    function = FakeFunction(driver=driver, msix=msix, irq=irq, resources=resources)
    xen = FakeXen(functions_with_msix=(NIC,) if msix else ())
    xen.fail_at = {} if fails is None else {fails: errno.EIO}
    xen.dies_at, xen.lingers = None if dies is None else (dies, GUEST), lingers
    try:
        done = assign.give(GUEST, function, xen)
    except HostError as error:
        # The injected failure may also hit the undoing after the guest's death; then it has to be told.
        assert xen.state == set() or "while undoing" in error.what
    else:
        xen.fail_at = {}
        assign.take_back(done)
        assert xen.state == set()
    assert not function.enabled
