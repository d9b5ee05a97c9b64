# SPDX-License-Identifier: Apache-2.0
"""What the backend's host promises, over a real box."""

from __future__ import annotations

import errno
import json
import os
import select
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from pvpci.impl.embedded.box import Box
from pvpci.impl.embedded.guest_side import GuestHost
from pvpci.impl.embedded.host import EmbeddedHost
from pvpci.impl.embedded.image import FOLDER
from pvpci.impl.embedded.wire import Assigned, Held, Vector
from pvpci.impl.host import Bdf, DomId, Function, GrantRef, Host, HostError, Port
from pvpci.model.config import constants as pci

GUEST = DomId(7)
EDU = Bdf(0, 0, 7, 0)
NIC = Bdf(0, 0, 5, 0)
MSIX_CONTROL = 0xA2  #: of NIC


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    with Box() as box:
        yield box


@pytest.fixture
def host(box: Box) -> Iterator[EmbeddedHost]:
    host = EmbeddedHost(box.path, label="first")
    host.create_domain(GUEST)
    yield host
    host.destroy_domain(GUEST)
    host.close()


def number_of(call: Callable[[], object]) -> int:
    with pytest.raises(HostError) as caught:
        call()
    return caught.value.errno


def test_it_is_a_host(host: EmbeddedHost) -> None:
    machine: Host = host

    assert EDU in machine.functions()


def test_pages_and_ports_that_are_not_there(host: EmbeddedHost) -> None:
    assert errno.EINVAL == number_of(lambda: host.map_page(GUEST, GrantRef(8)))
    assert errno.EINVAL == number_of(lambda: host.map_page(GUEST, GrantRef(1 << 62)))
    assert errno.EINVAL == number_of(lambda: host.map_page(GUEST, GrantRef(1 << 80)))
    assert errno.EINVAL == number_of(lambda: host.map_page(GUEST, GrantRef(-1)))
    assert errno.EINVAL == number_of(lambda: host.bind_channel(GUEST, Port(1)))
    assert errno.EINVAL == number_of(lambda: host.bind_channel(DomId(99), Port(1)))


def test_a_function_is_exclusive_and_the_refusal_names_the_holder(box: Box, host: EmbeddedHost) -> None:
    other = EmbeddedHost(box.path, label="second")
    function = host.open_function(EDU)
    with pytest.raises(HostError) as busy:
        other.open_function(EDU)
    function.close()
    taken = other.open_function(EDU)
    held = host.account().held
    other.close()
    freed = host.open_function(EDU)
    freed.close()

    assert (errno.EBUSY, f"{EDU} is held by first (process {os.getpid()})") == (busy.value.errno, busy.value.what)
    assert (Held(str(EDU), os.getpid(), "second"),) == held
    assert errno.ENODEV == number_of(lambda: host.open_function(Bdf(0, 0, 1, 0)))
    assert EDU == taken.bdf


def test_an_image_that_has_gone_since_leaves_the_function_free(tmp_path: Path) -> None:
    own = tmp_path / "own.json"
    own.write_bytes((FOLDER / "edu.json").read_bytes())
    with Box({str(EDU): str(own)}) as box:
        host = EmbeddedHost(box.path)
        own.unlink()
        with pytest.raises(HostError, match="no image"):
            host.open_function(EDU)
        leaks = host.account().leaks
        host.close()

    assert () == leaks


def test_give_and_take_back_are_in_the_books(host: EmbeddedHost) -> None:
    function = host.open_function(EDU)
    host.give(GUEST, function)
    assigned = host.account().assigned
    twice = number_of(lambda: host.give(GUEST, function))
    host.take_back(GUEST, function)
    after = host.account().assigned
    nobody = number_of(lambda: host.give(DomId(99), function))
    function.close()

    assert ((Assigned(str(EDU), GUEST),), errno.EBUSY, (), errno.ESRCH) == (assigned, twice, after, nobody)
    assert errno.EPERM == number_of(lambda: host.give(GUEST, function))


def test_taking_back_from_a_domain_that_is_gone(host: EmbeddedHost) -> None:
    host.create_domain(DomId(9))
    function = host.open_function(EDU)
    host.give(DomId(9), function)
    host.destroy_domain(DomId(9))
    left = host.account().leaks
    host.take_back(DomId(9), function)
    function.close()

    assert Assigned(str(EDU), 9) in left
    assert () == host.account().leaks


@pytest.fixture
def given(host: EmbeddedHost) -> Iterator[Function]:
    """A function with MSI-X that the guest has, decoding and mastering."""
    function = host.open_function(NIC)
    host.give(GUEST, function)
    function.write(pci.COMMAND, 2, pci.COMMAND_DECODE | pci.COMMAND_MASTER)
    yield function
    host.take_back(GUEST, function)
    function.reset()
    function.close()


def _listen(path: str, pirqs: Sequence[int], ready: int, until: int) -> str:
    """A guest that binds its interrupts, and counts what it hears until it is told to stop."""
    guest = GuestHost(path, GUEST, destroy_on_exit=False)
    channels = {pirq: guest.bind_pirq(pirq)[1] for pirq in pirqs}
    os.write(ready, b"1")
    poll = select.poll()
    for descriptor in (until, *(each.fileno() for each in channels.values())):
        poll.register(descriptor, select.POLLIN)
    while until not in dict(poll.poll(10_000)):
        for channel in channels.values():
            if channel.take():
                channel.unmask()
    for channel in channels.values():
        channel.take()
    return json.dumps({pirq: channel.rings for pirq, channel in channels.items()})


def _in_a_guest(path: str, pirqs: Sequence[int], act: Callable[[], None]) -> dict[int, int]:
    """What a guest in a process of its own hears while `act` runs, by number."""
    receive, send = os.pipe()
    stop, stopping = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(stopping)
        try:
            os.write(send, _listen(path, pirqs, send, stop).encode())
        finally:
            os._exit(0)
    os.close(send)
    os.read(receive, 1)
    act()
    os.close(stopping)
    os.waitpid(child, 0)
    heard = json.loads(os.read(receive, 4096))
    for each in (receive, stop):
        os.close(each)
    return {int(pirq): count for pirq, count in heard.items()}


def test_each_event_arrives_in_the_guest_under_the_right_number(box: Box, host: EmbeddedHost, given: Function) -> None:
    pirqs = [host.map_vector(GUEST, given, entry) for entry in (0, 1, 4)]
    counts = (3, 0, 200)

    def act() -> None:
        given.write(MSIX_CONTROL, 2, pci.MSIX_FLAGS_ENABLE)
        for entry, count in zip((0, 1, 4), counts, strict=True):
            assert ["delivered"] * count == [host.interrupt(NIC, entry) for _ in range(count)]

    heard = _in_a_guest(box.path, [*pirqs, 21], act)
    delivered = [each.delivered for each in host.account().vectors]
    for pirq in pirqs:
        host.unmap_vector(GUEST, given, pirq)

    assert {**dict(zip(pirqs, counts, strict=True)), 21: 0} == heard
    assert (list(counts), ()) == (delivered, host.account().vectors)


def test_a_write_of_the_backend_sends_what_pends(box: Box, host: EmbeddedHost, given: Function) -> None:
    pirq = host.map_vector(GUEST, given, 0)

    def act() -> None:
        given.write(MSIX_CONTROL, 2, pci.MSIX_FLAGS_ENABLE | pci.MSIX_FLAGS_MASKALL)
        assert "pending" == host.interrupt(NIC)
        given.write(MSIX_CONTROL, 2, pci.MSIX_FLAGS_ENABLE)
        host.mask_vector(NIC, 0, True)
        assert "pending" == host.interrupt(NIC)
        host.mask_vector(NIC, 0, False)
        given.write(pci.COMMAND, 2, pci.COMMAND_DECODE | pci.COMMAND_MASTER | pci.COMMAND_INTX_DISABLE)
        given.write(MSIX_CONTROL, 2, 0)
        assert "pending" == host.interrupt(NIC)
        given.reset()

    heard = _in_a_guest(box.path, [pirq, 21], act)
    host.unmap_vector(GUEST, given, pirq)

    # The reset lets the line through.
    assert {pirq: 2, 21: 1} == heard


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENODEV, errno.EEXIST, errno.EINVAL, errno.ENXIO, errno.ENODATA])
def test_refusals_in_the_middle_of_a_list(host: EmbeddedHost, given: Function, number: int) -> None:
    host.refuse("map", number, skip=2)
    pirqs = [host.map_vector(GUEST, given, entry) for entry in (0, 1)]

    assert number == number_of(lambda: host.map_vector(GUEST, given, 2))
    assert 2 == len(host.account().vectors)
    host.refuse("unmap", number, times=2)
    for _ in range(2):
        assert number == number_of(lambda: host.unmap_vector(GUEST, given, pirqs[0]))
    for pirq in (*pirqs, host.map_vector(GUEST, given, 2)):
        host.unmap_vector(GUEST, given, pirq)
    assert () == host.account().vectors


def test_giving_and_taking_back_may_be_refused(host: EmbeddedHost) -> None:
    function = host.open_function(NIC)
    host.refuse("give", errno.EPERM)
    assert errno.EPERM == number_of(lambda: host.give(GUEST, function))
    assert ((), False) == (host.account().assigned, host.prepared(function))
    host.give(GUEST, function)
    host.refuse("take_back", errno.EIO)
    assert errno.EIO == number_of(lambda: host.take_back(GUEST, function))
    assert host.prepared(function)
    host.take_back(GUEST, function)
    function.close()

    assert () == host.account().leaks


def test_vectors_are_refused_as_the_hypervisor_does(host: EmbeddedHost, given: Function) -> None:
    host.create_domain(DomId(9))

    assert errno.ENODEV == number_of(lambda: host.map_vector(DomId(9), given, 0))
    for call in (lambda: host.map_vector(DomId(10), given, 0), lambda: host.unmap_vector(DomId(10), given, 279)):
        assert errno.ESRCH == number_of(call)
    assert errno.EINVAL == number_of(lambda: host.map_vector(GUEST, given, 1 << 80))
    assert errno.EINVAL == number_of(lambda: host.unmap_vector(GUEST, given, 21))
    host.destroy_domain(DomId(9))


def test_a_domain_that_dies_takes_its_vectors_along(box: Box, host: EmbeddedHost) -> None:
    function = host.open_function(NIC)
    host.create_domain(DomId(9))
    host.give(DomId(9), function)
    function.write(pci.COMMAND, 2, pci.COMMAND_DECODE)
    pirqs = [host.map_vector(DomId(9), function, entry) for entry in range(3)]
    guest = GuestHost(box.path, DomId(9), destroy_on_exit=False)
    guest.bind_pirq(pirqs[0])
    books = host.account()
    host.destroy_domain(DomId(9))

    assert (3, 1) == (len([each for each in books.leaks if each in books.vectors]), len(books.listening))
    assert ((), ()) == (host.account().vectors, host.account().listening)
    assert errno.ESRCH == number_of(lambda: host.unmap_vector(DomId(9), function, pirqs[0]))
    host.take_back(DomId(9), function)
    function.reset()
    function.close()
    assert () == host.account().leaks


def test_a_backend_that_dies_leaves_its_vectors(box: Box, host: EmbeddedHost) -> None:
    other = EmbeddedHost(box.path, label="second")
    function = other.open_function(NIC)
    other.give(GUEST, function)
    function.write(pci.COMMAND, 2, pci.COMMAND_DECODE)
    pirq = other.map_vector(GUEST, function, 1)
    other.close()

    assert (Vector(str(NIC), GUEST, 1, pirq),) == host.account().vectors
    again = host.open_function(NIC)
    assert errno.EEXIST == number_of(lambda: host.map_vector(GUEST, again, 1))
    assert host.reclaim(GUEST, again, {pirq}) is None
    assert pirq == host.reclaim(GUEST, again, ())
    assert pirq == host.map_vector(GUEST, again, 1)
    host.unmap_vector(GUEST, again, pirq)
    host.take_back(GUEST, again)
    again.reset()
    again.close()
    assert () == host.account().leaks


def test_dom0s_drivers_on_a_line(host: EmbeddedHost, given: Function) -> None:
    host.share_line(NIC, "uhci_hcd:usb1")
    named = host.line_shared(given)
    host.share_line(NIC, "")

    assert ("uhci_hcd:usb1", None) == (named, host.line_shared(given))
    for call in (host.interrupt, lambda bdf: host.share_line(bdf, "x")):
        assert errno.ENODEV == number_of(lambda: call(Bdf(0, 0, 1, 0)))  # noqa: B023


def test_domains_come_and_go(host: EmbeddedHost) -> None:
    assert errno.EEXIST == number_of(lambda: host.create_domain(GUEST))
    assert errno.ESRCH == number_of(lambda: host.destroy_domain(DomId(99)))
    assert errno.ESRCH == number_of(lambda: host.destroy_domain(DomId(0)))
    for number in (-1, 0, 0x7FF0):
        assert number_of(lambda: host.create_domain(DomId(number))) in (errno.EINVAL, errno.EEXIST)  # noqa: B023
    assert (0, GUEST) == host.account().domains


def test_what_a_process_held_is_free_when_it_ends(box: Box, host: EmbeddedHost) -> None:
    guest = GuestHost(box.path, GUEST, destroy_on_exit=False)
    ref, _ = guest.grant_page()
    port, _ = guest.alloc_channel()
    other = EmbeddedHost(box.path, label="second")
    other.map_page(GUEST, ref)
    other.bind_channel(GUEST, port)
    other.open_function(EDU)
    other.store.watch("/local", "t")
    other.store.begin()
    before = host.account()
    other.close()
    after = host.account()
    guest.close()

    assert (3, 1, 1) == (len(before.leaks), before.watches, before.transactions)
    assert ((), 0, 0) == (after.leaks, after.watches, after.transactions)
    assert ((GUEST, port),) == after.unbound


def test_close_is_idempotent_and_final(box: Box) -> None:
    host = EmbeddedHost(box.path)
    host.close()
    host.close()

    assert errno.EBADF == number_of(host.functions)
    assert errno.EBADF == number_of(lambda: host.store.read("/"))
