# SPDX-License-Identifier: Apache-2.0
"""Several messages of MSI on the embedded host, from the guest that asks for them to the message that it hears."""

from __future__ import annotations

import errno
import signal
from collections.abc import Iterator

import pytest
from tests.backend_rig import GUEST, Rig, Served, box_only, rig
from tests.test_impl_guests_frontend import heard

from pvpci.impl.daemon import Options
from pvpci.impl.embedded.guest_side import GuestHost
from pvpci.impl.embedded.host import EmbeddedHost
from pvpci.impl.guests.frontend import GuestFrontend, Refused
from pvpci.impl.host import Bdf, HostError
from pvpci.model.wire import Cmd, Err

USB, DISK = Bdf(0, 0, 10, 0), Bdf(0, 0, 6, 0)
MSI_FLAGS, LINE = 0x72, 22
DECODE_AND_MASTER = 6


@pytest.fixture(scope="module")
def served() -> Iterator[Rig]:
    with rig(Options(monitor=True, multi_msi=True)) as made:
        yield made


@pytest.fixture
def backend(served: Rig) -> Iterator[Rig]:
    yield served
    served.clean()


def started(front: GuestFrontend) -> None:
    front.connect()
    front.write(0, 4, 2, DECODE_AND_MASTER)


def refused(front: GuestFrontend, count: int) -> int:
    with pytest.raises(Refused) as caught:
        front.enable_multi_msi(0, count)
    return caught.value.err


def test_each_message_of_a_block_arrives_under_its_number(backend: Rig) -> None:
    backend.device(USB)
    guest, dom0 = GuestHost(backend.box.path, GUEST, destroy_on_exit=False), backend.dom0
    with backend.guest() as front:
        started(front)
        for count, block in ((2, 2), (3, 4), (16, 16), (1, 1), (8, 8)):
            pirqs = front.enable_multi_msi(0, count)
            mapped = [(each.pirq, each.entry, each.message) for each in dom0.account().vectors]
            control = front.read(0, MSI_FLAGS, 2)
            last = block - 1
            counts = heard(guest, pirqs, lambda last=last: [dom0.interrupt(USB, each) for each in (last, 0, 0)])  # type: ignore[misc]

            assert [(pirqs[0] + each, -1, each) for each in range(block)] == mapped
            assert (block, 1) == (1 << ((control & 0x70) >> 4), control & 1)
            # What is beyond the count is mapped, and the guest does not listen there.
            expected = {0: 2} | ({last: 1} if 0 < last < count else {}) if last else {0: 3}
            assert [expected.get(each, 0) for each in range(count)] == counts
            assert (Err.OP_FAILED, Err.OP_FAILED) == (refused(front, 2), refused(front, 0))
            front.disable(0, Cmd.DISABLE_MSI)
            assert ((), 0) == (dom0.account().vectors, front.read(0, MSI_FLAGS, 2) & 0x71)
            assert [1] == heard(guest, [LINE], lambda: dom0.interrupt(USB))
    guest.close()


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.ENOSPC, errno.EDOM, errno.ENFILE, errno.EPERM])
def test_a_block_that_cannot_be_had_leaves_the_line_and_one_message(backend: Rig, number: int) -> None:
    backend.device(USB)
    guest, dom0 = GuestHost(backend.box.path, GUEST, destroy_on_exit=False), backend.dom0
    with backend.guest() as front:
        started(front)
        dom0.refuse("map", number)

        assert Err.OP_FAILED == refused(front, 4)
        assert () == dom0.account().vectors
        assert [1] == heard(guest, [LINE], lambda: dom0.interrupt(USB))
        pirq = front.enable_msi(0)
        assert [1] == heard(guest, [pirq], lambda: dom0.interrupt(USB))
        assert 0 == front.read(0, MSI_FLAGS, 2) & 0x70
    guest.close()


@pytest.mark.parametrize("count", [0, 17, 33, 0x80000000, 0xFFFFFFFF])
def test_whatever_a_guest_writes_into_info_is_answered(backend: Rig, count: int) -> None:
    backend.device(USB)
    with backend.guest() as front:
        started(front)

        assert Err.OP_FAILED == refused(front, count)
        assert () == backend.dom0.account().vectors
        assert 4 == len(front.enable_multi_msi(0, 4))


def test_a_guest_that_ends_with_a_block_on_leaves_nothing(backend: Rig) -> None:
    backend.device(USB)
    with backend.guest() as front:
        started(front)
        front.enable_multi_msi(0, 8)
        assert 8 == len(backend.dom0.account().vectors)
    backend.clean()

    assert () == backend.dom0.account().vectors


def test_without_the_option_nobody_knows_it() -> None:
    with box_only() as made, Served("--box", made.box.path) as backend:
        assert backend.wait_for("event=serving")
        made.device(USB)
        with made.guest() as front:
            started(front)

            assert [Err.NOT_IMPLEMENTED] * 4 == [refused(front, count) for count in (2, 1, 0, 0xFFFFFFFF)]
            assert () == made.dom0.account().vectors


def test_a_block_outlives_a_killed_backend() -> None:
    with box_only() as made, Served("--box", made.box.path, "--multi-msi") as first:
        assert first.wait_for("event=serving")
        made.device(USB)
        with made.guest() as front:
            started(front)
            pirqs = front.enable_multi_msi(0, 4)
            first.end(signal.SIGKILL)
            guest = GuestHost(made.box.path, GUEST, destroy_on_exit=False)
            with Served("--box", made.box.path, "--multi-msi") as second:
                assert second.wait_for("taken over")
                counts = heard(guest, pirqs, lambda: [made.dom0.interrupt(USB, each) for each in (1, 3, 3)])
                again = refused(front, 2)
                front.disable(0, Cmd.DISABLE_MSI)

                assert ([0, 1, 0, 2], Err.OP_FAILED, ()) == (counts, again, made.dom0.account().vectors)
                assert range(264, 280) == front.enable_multi_msi(0, 16)
            guest.close()


def test_a_block_that_nobody_noted_is_found_by_its_first_number() -> None:
    with box_only() as made:
        made.dom0.create_domain(GUEST)
        host = EmbeddedHost(made.box.path)
        functions = [host.open_function(bdf) for bdf in (USB, DISK)]
        for function in functions:
            host.give(GUEST, function)
            function.write(4, 2, DECODE_AND_MASTER)
        known = host.map_vector(GUEST, functions[1], 0)
        lost = host.map_block(GUEST, functions[0], 4)
        with pytest.raises(HostError) as caught:
            host.unmap_vector(GUEST, functions[0], lost + 1)

        assert errno.EBUSY == caught.value.errno
        assert lost == host.reclaim(GUEST, functions[0], {known})
        assert [known] == [each.pirq for each in made.dom0.account().vectors]
        assert None is host.reclaim(GUEST, functions[0], {known})
        host.close()
