# SPDX-License-Identifier: Apache-2.0
"""A guest has its own pages, ports and part of the store, and its sudden death is a domain's destruction."""

from __future__ import annotations

import errno
import os
import select
import signal
from collections.abc import Callable, Iterator

import pytest

from pvpci.impl.embedded.box import Box
from pvpci.impl.embedded.guest_side import GuestHost
from pvpci.impl.embedded.host import EmbeddedHost
from pvpci.impl.host import DomId, GrantRef, HostError, Port, Store

GUEST = DomId(7)
FRONTEND = "/local/domain/7/device/pci/0"


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    with Box({}) as box:
        yield box


@pytest.fixture
def host(box: Box) -> Iterator[EmbeddedHost]:
    host = EmbeddedHost(box.path)
    host.create_domain(GUEST)
    host.store.write(FRONTEND, "")
    host.store.set_permissions(FRONTEND, [f"n{GUEST}", "r0"])
    yield host
    if GUEST in host.account().domains:
        host.destroy_domain(GUEST)
    host.close()


def number_of(call: Callable[[], object]) -> int:
    with pytest.raises(HostError) as caught:
        call()
    return caught.value.errno


def wait_for(store: Store, wanted: tuple[str, str]) -> bool:
    """Whether the event came within five seconds."""
    poll = select.poll()
    poll.register(store.fileno(), select.POLLIN)
    while poll.poll(5000):
        if wanted in store.events():
            return True
    return False


def test_a_guest_acts_with_its_own_permissions(box: Box, host: EmbeddedHost) -> None:
    host.store.write("/local/domain/0/backend/pci/7/0/state", "1")
    guest = GuestHost(box.path, GUEST)
    guest.store.write("device/pci/0/state", "3")

    assert host.store.read(f"{FRONTEND}/state") == "3"
    assert guest.store.read("/local/domain/0/backend/pci/7/0/state") is None
    assert errno.EACCES == number_of(lambda: guest.store.write("/local/domain/0/x", ""))
    assert errno.EACCES == number_of(lambda: guest.store.remove("/local/domain/7"))
    guest.close()


def test_writes_of_one_process_wake_the_watch_of_another(box: Box, host: EmbeddedHost) -> None:
    host.store.watch(FRONTEND, "fe")
    placed = wait_for(host.store, (FRONTEND, "fe"))
    child = os.fork()
    if child == 0:
        guest = GuestHost(box.path, GUEST, destroy_on_exit=False)
        guest.store.write(f"{FRONTEND}/state", "3")
        os._exit(0)
    told = wait_for(host.store, (f"{FRONTEND}/state", "fe"))
    os.waitpid(child, 0)
    host.store.unwatch(FRONTEND, "fe")

    assert (True, True, "3") == (placed, told, host.store.read(f"{FRONTEND}/state"))


def test_a_grant_that_is_mapped_stays(box: Box, host: EmbeddedHost) -> None:
    guest = GuestHost(box.path, GUEST)
    ref, page = guest.grant_page()
    mapped = host.map_page(GUEST, ref)
    while_mapped = guest.revoke(ref)
    mapped.unmap()
    after = guest.revoke(ref)
    page.unmap()

    assert (False, True) == (while_mapped, after)
    assert errno.EINVAL == number_of(lambda: guest.revoke(ref))
    assert errno.EINVAL == number_of(lambda: host.map_page(GUEST, ref))
    guest.close()


def test_a_grant_names_the_one_who_may_map_it(box: Box, host: EmbeddedHost) -> None:
    guest = GuestHost(box.path, GUEST)
    ref, _ = guest.grant_page(DomId(9))
    port, _ = guest.alloc_channel(DomId(9))

    assert errno.EINVAL == number_of(lambda: host.map_page(GUEST, ref))
    assert errno.EINVAL == number_of(lambda: host.bind_channel(GUEST, port))
    guest.close()


def _guest_until_killed(path: str, out: int) -> None:
    guest = GuestHost(path, GUEST)
    ref, page = guest.grant_page()
    port, channel = guest.alloc_channel()
    page.store32(4, 0xC0FFEE)
    guest.store.write(f"{FRONTEND}/state", "3")
    os.write(out, f"{ref} {port}\n".encode())
    poll = select.poll()
    poll.register(channel.fileno(), select.POLLIN)
    poll.poll(10_000)
    os._exit(1)


def test_a_killed_guest_is_a_destroyed_domain_whose_page_stays_until_unmapped(box: Box, host: EmbeddedHost) -> None:
    host.store.watch(f"{FRONTEND}/state", "fe")
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        _guest_until_killed(box.path, send)
    ref, port = (int(each) for each in os.read(receive, 100).split())
    page, channel = host.map_page(GUEST, GrantRef(ref)), host.bind_channel(GUEST, Port(port))
    channel.take()
    channel.unmask()
    list(host.store.events())
    os.kill(child, signal.SIGKILL)
    told = wait_for(host.store, (f"{FRONTEND}/state", "fe"))
    os.waitpid(child, 0)
    gone = (host.store.read("/local/domain/7"), host.store.read(f"{FRONTEND}/state"))
    content = page.load32(4)
    books = host.account()
    quiet = not channel.take()
    channel.notify()
    page.unmap()
    channel.unbind()
    host.store.unwatch(f"{FRONTEND}/state", "fe")
    os.close(receive)
    os.close(send)

    assert (True, (None, None), 0xC0FFEE, True) == (told, gone, content, quiet)
    assert ((0,), (), (), 2) == (books.domains, books.granted, books.unbound, len(books.leaks))
    assert () == host.account().leaks


def test_the_number_can_be_used_again_by_the_next_guest(box: Box, host: EmbeddedHost) -> None:
    GuestHost(box.path, GUEST).close()
    host.store.watch("@releaseDomain", "gone")
    while GUEST in host.account().domains:
        wait_for(host.store, ("@releaseDomain", "gone"))
    nobody = number_of(lambda: GuestHost(box.path, GUEST))
    host.create_domain(GUEST)
    guest = GuestHost(box.path, GUEST)
    domid = guest.store.read("domid")
    guest.close()

    assert (errno.ESRCH, "7") == (nobody, domid)


def test_destroying_a_domain_cuts_its_guest_off(box: Box, host: EmbeddedHost) -> None:
    guest = GuestHost(box.path, GUEST)
    ref, page = guest.grant_page()
    host.destroy_domain(GUEST)

    assert errno.EPIPE == number_of(guest.grant_page)
    assert errno.EPIPE == number_of(lambda: guest.store.read("domid"))
    assert errno.EINVAL == number_of(lambda: host.map_page(GUEST, ref))
    page.unmap()
    guest.close()


def test_without_destroy_on_exit_the_domain_stays(box: Box, host: EmbeddedHost) -> None:
    guest = GuestHost(box.path, GUEST, destroy_on_exit=False)
    guest.alloc_channel()
    guest.store.write(f"{FRONTEND}/state", "4")
    guest.close()

    assert (0, GUEST) == host.account().domains
    assert () == host.account().unbound
    assert host.store.read(f"{FRONTEND}/state") == "4"
