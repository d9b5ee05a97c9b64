# SPDX-License-Identifier: Apache-2.0
"""The hypervisor's rules of grants, ports and functions, without any process."""

from __future__ import annotations

import errno
import gc
import os
import socket
from collections.abc import Callable
from functools import partial

import pytest

from pvpci.impl.embedded.image import load
from pvpci.impl.embedded.ledger import GRANTS_MAX, PORTS_MAX, Ledger, Member, shared_memory
from pvpci.impl.embedded.wire import Assigned, Bound, Held, Mapped
from pvpci.impl.host import HostError

BDF = "0000:00:07.0"


def number_of(call: Callable[[], object]) -> int:
    with pytest.raises(HostError) as caught:
        call()
    return caught.value.errno


def descriptors() -> int:
    # Objects of earlier tests, kept alive by a traceback, may hold some still.
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def rung(descriptor: int) -> bool:
    with socket.socket(fileno=os.dup(descriptor)) as bell:
        try:
            return bool(bell.recv(100, socket.MSG_DONTWAIT))
        except BlockingIOError:
            return False


@pytest.fixture
def backend() -> Member:
    return Member(0, 100, "backend", False)


@pytest.fixture
def guest() -> Member:
    return Member(7, 200, "guest 7", True)


@pytest.fixture
def ledger() -> Ledger:
    ledger = Ledger()
    ledger.domains.add(7)
    return ledger


def test_shared_memory_cannot_be_shrunk_or_grown() -> None:
    descriptor = shared_memory("test", b"abcd")

    assert b"abcd" == os.pread(descriptor, 10, 0)
    for size in (0, 3, 5):
        with pytest.raises(PermissionError):
            os.ftruncate(descriptor, size)
    os.close(descriptor)


def test_a_page_is_mapped_by_the_one_it_was_granted_to(ledger: Ledger, backend: Member, guest: Member) -> None:
    before = descriptors()
    ref, _ = ledger.grant(guest, 0)
    hidden, _ = ledger.grant(guest, 9)
    handle, _ = ledger.map(backend, 7, ref)
    second, _ = ledger.map(backend, 7, ref)

    assert (Mapped(7, ref, 0, 100),) * 2 == ledger.account().mapped
    for domain, wrong in ((7, hidden), (7, 12345), (8, ref), (7, -1)):
        assert errno.EINVAL == number_of(partial(ledger.map, backend, domain, wrong))
    assert errno.EINVAL == number_of(lambda: ledger.unmap(guest, handle))
    assert ledger.revoke(guest, ref)
    ledger.unmap(backend, handle)
    assert ledger.revoke(guest, ref)
    ledger.unmap(backend, second)
    assert not ledger.revoke(guest, ref)
    assert errno.EINVAL == number_of(lambda: ledger.revoke(guest, ref))
    assert errno.EINVAL == number_of(lambda: ledger.unmap(backend, handle))
    assert not ledger.revoke(guest, hidden)
    assert before == descriptors()


def test_a_page_outlives_its_domain_until_it_is_unmapped(ledger: Ledger, backend: Member, guest: Member) -> None:
    before = descriptors()
    ref, memory = ledger.grant(guest, 0)
    handle, _ = ledger.map(backend, 7, ref)
    ledger.destroy(7)

    assert 4096 == len(os.pread(memory, 5000, 0))
    assert (Mapped(7, ref, 0, 100),) == ledger.account().mapped
    assert errno.EINVAL == number_of(lambda: ledger.map(backend, 7, ref))
    ledger.unmap(backend, handle)
    assert () == ledger.account().mapped
    assert before == descriptors()


def test_a_port_is_bound_once_by_the_one_it_was_made_for(ledger: Ledger, backend: Member, guest: Member) -> None:
    before = descriptors()
    port, _ = ledger.alloc(guest, 0)
    hidden, _ = ledger.alloc(guest, 9)
    local, bell = ledger.bind(backend, 7, port)

    assert (True, False) == (rung(bell), rung(bell))
    for domain, wrong in ((7, port), (7, hidden), (7, 99), (8, port), (0, local)):
        assert errno.EINVAL == number_of(partial(ledger.bind, backend, domain, wrong))
    assert errno.EINVAL == number_of(lambda: ledger.close_port(backend, 77))
    assert (Bound(0, local, 7, port), Bound(7, port, 0, local)) == ledger.account().bound
    ledger.close_port(backend, local)
    assert ((7, port), (7, hidden)) == ledger.account().unbound
    again, bell = ledger.bind(backend, 7, port)
    assert rung(bell)
    ledger.close_port(guest, port)
    assert (Bound(0, again, 7, -1),) == ledger.account().bound
    ledger.close_port(guest, hidden)
    ledger.close_port(backend, again)
    assert ((), ()) == (ledger.account().bound, ledger.account().unbound)
    assert before == descriptors()


def test_the_dead_leave_nothing(ledger: Ledger, backend: Member, guest: Member) -> None:
    ledger.add_function(BDF, load("edu"))
    before = descriptors()
    ref, _ = ledger.grant(guest, 0)
    port, _ = ledger.alloc(guest, 0)
    ledger.map(backend, 7, ref)
    ledger.bind(backend, 7, port)
    ledger.open_function(backend, BDF)
    ledger.leave(backend)

    assert () == ledger.account().leaks
    assert ((7, port),) == ledger.account().unbound
    ledger.leave(guest)
    ledger.destroy(7)
    assert ((0,), (), ()) == (ledger.account().domains, ledger.account().granted, ledger.account().unbound)
    assert before == descriptors()


def test_a_domain_holds_a_bounded_number(ledger: Ledger, guest: Member) -> None:
    for _ in range(GRANTS_MAX):
        ledger.grant(guest, 0)
    for _ in range(PORTS_MAX):
        ledger.alloc(guest, 0)

    assert errno.ENOSPC == number_of(lambda: ledger.grant(guest, 0))
    assert errno.ENOSPC == number_of(lambda: ledger.alloc(guest, 0))
    ledger.leave(guest)
    ledger.destroy(7)


def test_a_function_is_held_by_one_and_assigned_to_one(ledger: Ledger, backend: Member) -> None:
    other = Member(0, 101, "other", False)
    ledger.add_function(BDF, load("edu"))
    ledger.domains.add(8)

    assert errno.EPERM == number_of(lambda: ledger.give(backend, 7, BDF))
    ledger.open_function(backend, BDF)
    with pytest.raises(HostError, match=r"0000:00:07\.0 is held by backend \(process 100\)"):
        ledger.open_function(other, BDF)
    assert errno.ENODEV == number_of(lambda: ledger.open_function(backend, "0000:00:08.0"))
    for nobody in (0, 9):
        assert errno.ESRCH == number_of(partial(ledger.give, backend, nobody, BDF))
    ledger.give(backend, 7, BDF)
    assert errno.EBUSY == number_of(lambda: ledger.give(backend, 8, BDF))
    assert errno.EINVAL == number_of(lambda: ledger.take_back(backend, 8, BDF))
    assert errno.EPERM == number_of(lambda: ledger.take_back(other, 7, BDF))
    assert (Held(BDF, 100, "backend"),) == ledger.account().held
    ledger.destroy(7)
    assert (Assigned(BDF, 7),) == ledger.account().assigned
    ledger.take_back(backend, 7, BDF)
    ledger.take_back(backend, 7, BDF)
    ledger.close_function(backend, BDF)
    assert () == ledger.account().leaks
    assert errno.EPERM == number_of(lambda: ledger.close_function(backend, BDF))
