# SPDX-License-Identifier: Apache-2.0
"""The honest guest against the real backend: handshake, scan, sizing, hot-plug, the end, and the next life."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pytest
from tests.backend_rig import EDU, GUEST, RTL, Rig, rig, until

from pvpci.impl.daemon import Options
from pvpci.impl.embedded.guest_side import GuestHost
from pvpci.impl.guests.frontend import Found, GuestFrontend, NoAnswer, NotConnected, Refused
from pvpci.impl.host import Bdf
from pvpci.model import wire
from pvpci.model.states import Xenbus
from pvpci.model.wire import Cmd, Err

NIC = Bdf(0, 0, 5, 0)
FE_STATE = f"/local/domain/{GUEST}/device/pci/0/state"


@pytest.fixture(scope="module")
def served() -> Iterator[Rig]:
    with rig() as made:
        yield made


@pytest.fixture
def backend(served: Rig) -> Iterator[Rig]:
    yield served
    served.clean()


def beside(front: GuestFrontend, call: Callable[[], object]) -> object:
    """Do it in a thread while the guest follows what it hears."""
    results: list[object] = []
    thread = threading.Thread(target=lambda: results.append(call()))
    thread.start()
    while thread.is_alive():
        with_patience(front)
    thread.join()
    return results[0]


def with_patience(front: GuestFrontend) -> None:
    try:
        front.follow(lambda: False, 0.1)
    except NotConnected:
        return


def test_a_guest_finds_its_functions_and_sizes_their_regions(backend: Rig) -> None:
    backend.device(EDU, RTL)
    with backend.guest() as front:
        front.connect()
        found = [(str(each), each.vendor, each.device) for each in front.found]
        sizes = [[(region.size, region.is_port) for region in front.regions(each.devfn)] for each in front.found]

    assert [("00:00.0", 0x1234, 0x11E8), ("00:01.0", 0x10EC, 0x8139)] == found
    assert [[(1 << 20, False)], [(256, True), (256, False), (1 << 18, False)]] == sizes


def test_a_guest_may_see_the_machines_own_addresses() -> None:
    with rig(Options(monitor=True, topology="passthrough")) as backend:
        backend.device(EDU)
        with backend.guest() as front:
            front.connect()
            beside(front, lambda: backend.toolstack.attach(GUEST, [RTL]))
            both = [str(each) for each in front.found]
            word = front.read(RTL.devfn, 0, 4)
            beside(front, lambda: backend.toolstack.detach(GUEST, [EDU]))
            left = [str(each) for each in front.found]
            roots = [
                backend.dom0.store.read(f"{backend.toolstack.back(GUEST)}/{key}") for key in ("root_num", "root-0")
            ]
        backend.clean()

    assert (["00:07.0", "00:08.0"], 0x813910EC, ["00:08.0"], ["1", "0000:00"]) == (both, word, left, roots)


@pytest.mark.parametrize(("at", "name"), [(0x19, "00:03.1"), (0x0219, "02:03.1"), (0x1_0219, "0001:02:03.1")])
def test_a_function_is_named_with_its_bus(at: int, name: str) -> None:
    assert name == str(Found(at, 0, 0, 0, False))


def test_answers_say_what_went_wrong(backend: Rig) -> None:
    backend.device(EDU)
    with backend.guest() as front:
        front.connect()
        with pytest.raises(Refused) as nobody:
            front.read(0x10, 0, 4)
        with pytest.raises(Refused) as unsound:
            front.read(0, 2, 4)
        unknown = front.ask(77, 0, 0, 4, 5)
        size = front.ask(Cmd.CONF_READ, 0, -252, 4)

    assert (Err.DEV_NOT_FOUND, Err.INVALID_OFFSET) == (nobody.value.err, unsound.value.err)
    assert ((Err.NOT_IMPLEMENTED, 5), (Err.INVALID_OFFSET, 0)) == (unknown, size)


def test_functions_come_and_go_while_the_guest_runs(backend: Rig) -> None:
    backend.device(EDU)
    with backend.guest() as front:
        front.connect()
        beside(front, lambda: backend.toolstack.attach(GUEST, [RTL]))
        both = [str(each) for each in front.found]
        read = front.read(8, 0, 4)
        beside(front, lambda: backend.toolstack.detach(GUEST, [EDU]))
        left = [str(each) for each in front.found]
        gone = front.ask(Cmd.CONF_READ, 0, 0, 4)[0]
        still = front.read(8, 0, 4)

    assert (["00:00.0", "00:01.0"], ["00:01.0"]) == (both, left)
    assert (0x813910EC, Err.DEV_NOT_FOUND, 0x813910EC) == (read, gone, still)


def test_shutdown_and_the_next_kernel_in_the_same_domain(backend: Rig) -> None:
    backend.device(EDU)
    with backend.guest() as front:
        front.connect()
        front.write(0, 4, 2, 7)
        closed = front.shutdown()
        states = (front.state, front.backend_state())
        front.close()
        unmapped = until(lambda: backend.dom0.account().mapped == ())
        # As a boot loader's driver leaves the node for the kernel that it starts.
        front._host.store.write(FE_STATE, "1")
        second = GuestFrontend(front._host)
        assert until(lambda: backend.state() == "3")
        second.connect()
        command = second.read(0, 4, 2)

    assert (True, (Xenbus.CLOSED, Xenbus.CLOSED), True) == (closed, states, unmapped)
    assert 0 == command & 4
    assert [0x1234] == [each.vendor for each in second.found]


def test_the_frontend_follows_a_backend_that_closes(backend: Rig) -> None:
    backend.device(EDU)
    with backend.guest() as front:
        front.connect()
        backend.dom0.store.write(f"{backend.toolstack.back(GUEST)}/state", "5")
        front.follow(lambda: front.state is Xenbus.CLOSED, 5)

        assert until(lambda: backend.state() == "6")


def test_connecting_waits_for_the_directory_and_gives_up_in_time(backend: Rig) -> None:
    backend.dom0.create_domain(GUEST)
    with backend.guest() as front:
        with pytest.raises(NotConnected, match=r"after 0\.2 s the frontend is in UNKNOWN"):
            front.connect(0.2)
        thread = threading.Thread(target=lambda: backend.toolstack.attach(GUEST, [EDU]))
        thread.start()
        front.connect(5)
        thread.join()

        assert Xenbus.CONNECTED is front.state


def test_a_request_that_nobody_answers_is_taken_back(backend: Rig) -> None:
    backend.device(EDU)
    with backend.guest(look_seconds=0.05) as front:
        front.connect()
        front.read(0, 0, 4)
        time.sleep(0.1)  # the backend has seen to every ring that there was, that of its own bind included
        channel, front.channel = front.channel, None  # rings go nowhere
        with pytest.raises(NoAnswer):
            front.read(0, 0, 4)
        assert front.page is not None
        flag = front.page.load32(wire.FLAGS) & 1
        front.channel = channel

        assert 0 == flag
        assert 0x11E81234 == front.read(0, 0, 4)


def heard(guest: GuestHost, pirqs: Sequence[int], act: Callable[[], object]) -> list[int]:
    """How often each number rings while `act` runs; the ports are closed afterwards."""
    channels = [guest.bind_pirq(pirq)[1] for pirq in pirqs]
    act()
    for channel in channels:
        channel.take()
    counts = [channel.rings for channel in channels]
    for channel in channels:
        channel.unbind()
    return counts


def test_messages_arrive_in_the_guest_that_enabled_them(backend: Rig) -> None:
    backend.device(NIC)
    guest = GuestHost(backend.box.path, GUEST, destroy_on_exit=False)
    with backend.guest() as front:
        front.connect()
        front.write(0, 4, 2, 7)
        for _ in range(10):
            pirqs = front.enable_msix(0, [4, 0])
            with pytest.raises(Refused):
                front.enable_msix(0, [1])
            books = [(each.entry, each.pirq) for each in backend.dom0.account().vectors]
            counts = heard(guest, pirqs, lambda: [backend.dom0.interrupt(NIC, entry) for entry in (4, 4, 0, 4)])
            # As Linux 6.1 has it, every second time.
            front.disable(0, Cmd.DISABLE_MSI if counts[0] % 2 else Cmd.DISABLE_MSIX)

            assert (sorted(books), counts) == (sorted(zip((4, 0), pirqs, strict=True)), [3, 1])
            assert () == backend.dom0.account().vectors
            assert [1] == heard(guest, [21], lambda: backend.dom0.interrupt(NIC))
        pirq = front.enable_msi(0)
        assert [2] == heard(guest, [pirq], lambda: [backend.dom0.interrupt(NIC) for _ in range(2)])
        front.disable(0, Cmd.DISABLE_MSI)
    guest.close()


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENODEV, errno.EEXIST, errno.ENXIO, errno.ENODATA, errno.ENOSPC])
def test_an_enable_that_fails_in_the_middle_leaves_the_line(backend: Rig, number: int) -> None:
    backend.device(NIC)
    guest = GuestHost(backend.box.path, GUEST, destroy_on_exit=False)
    with backend.guest() as front:
        front.connect()
        front.write(0, 4, 2, 7)
        for skip in range(4):
            backend.dom0.refuse("map", number, skip=skip)
            with pytest.raises(Refused):
                front.enable_msix(0, [0, 1, 2, 3])

            assert () == backend.dom0.account().vectors
            assert [1] == heard(guest, [21], lambda: backend.dom0.interrupt(NIC))
        backend.dom0.refuse("map", number)
        with pytest.raises(Refused):
            front.enable_msi(0)
        assert [1] == heard(guest, [21], lambda: backend.dom0.interrupt(NIC))
        # And now it can be had.
        assert 4 == len(set(front.enable_msix(0, [0, 1, 2, 3])))
    guest.close()


def test_a_guest_that_dies_with_messages_on_leaves_none(backend: Rig) -> None:
    backend.device(NIC)
    with backend.guest() as front:
        front.connect()
        front.write(0, 4, 2, 7)
        front.enable_msix(0, [0, 1, 2])

        assert 3 == len(backend.dom0.account().vectors)
    assert until(lambda: GUEST not in backend.dom0.account().domains)
    assert () == backend.dom0.account().vectors
    backend.clean()
    function = backend.dom0.open_function(NIC)
    assert (0, 0) == (function.read(0xA2, 2) & 0xC000, function.read(0xD2, 2) & 1)
    function.close()
