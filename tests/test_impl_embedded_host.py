# SPDX-License-Identifier: Apache-2.0
"""What the backend's host promises, over a real box."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pvpci.impl.embedded.box import Box
from pvpci.impl.embedded.guest_side import GuestHost
from pvpci.impl.embedded.host import EmbeddedHost
from pvpci.impl.embedded.image import FOLDER
from pvpci.impl.embedded.wire import Assigned, Held
from pvpci.impl.host import Bdf, DomId, GrantRef, Host, HostError, Port

GUEST = DomId(7)
EDU = Bdf(0, 0, 7, 0)


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
