# SPDX-License-Identifier: Apache-2.0
"""Where a guest sees its functions."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fake_host import EDU, FakeFunction, FakeHost, interrupts_of

from pvpci.impl.host import Bdf, HostError
from pvpci.impl.topology import Attached, Topology
from pvpci.model.config.identity import survey
from pvpci.model.config.view import ConfigView
from pvpci.model.topology import SLOTS

BDFS = st.builds(Bdf, st.integers(0, 1), st.integers(0, 2), st.integers(0, 31), st.integers(0, 7))


def attached(topology: Topology, bdf: Bdf) -> Attached:
    host = FakeHost()
    function = FakeFunction(host, "edu")
    function.bdf = bdf
    one = Attached(
        function, ConfigView(survey(function)), function, topology.place(bdf, False), interrupts_of(host, function)
    )
    topology.add(one)
    return one


def test_functions_of_one_slot_share_one_and_keep_their_numbers() -> None:
    topology = Topology()
    places = [attached(topology, Bdf(0, 3, 4, function)).vdev for function in (2, 0, 7)]
    other = attached(topology, Bdf(0, 3, 5, 0)).vdev

    assert ["0000:00:00.02", "0000:00:00.00", "0000:00:00.07"] == places
    assert "0000:00:01.00" == other


def test_a_free_slot_is_used_again() -> None:
    topology = Topology()
    first, _ = attached(topology, Bdf(0, 1, 0, 0)), attached(topology, Bdf(0, 2, 0, 0))
    topology.remove(first)

    assert 0 == attached(topology, Bdf(0, 3, 0, 0)).address.devfn >> 3
    assert topology.of(first.bdf) is None


def test_thirty_two_slots_and_no_more() -> None:
    topology = Topology()
    for bus in range(SLOTS):
        attached(topology, Bdf(0, bus, 0, 0))
    with pytest.raises(HostError) as full:
        topology.place(Bdf(1, 0, 0, 0), False)

    assert errno.ENOSPC == full.value.errno
    assert (0, 0, 1) == topology.place(Bdf(0, 0, 0, 1), False)


def test_a_function_is_attached_once() -> None:
    topology = Topology()
    attached(topology, EDU)
    with pytest.raises(HostError) as twice:
        topology.place(EDU, False)

    assert errno.EBUSY == twice.value.errno


@given(
    st.lists(BDFS, unique=True, max_size=40),
    st.integers(0, 0xFFFFFFFF),
    st.integers(0, 0xFFFFFFFF),
    st.integers(0, 0xFFFFFFFF),
)
def test_every_function_is_found_at_its_own_address_only(bdfs: list[Bdf], domain: int, bus: int, devfn: int) -> None:
    topology, made = Topology(), list[Attached]()
    for bdf in bdfs:
        try:
            made.append(attached(topology, bdf))
        except HostError as error:
            assert errno.ENOSPC == error.errno

    assert [one.bdf for one in made] == [
        found.bdf for one in made if (found := topology.find(*one.address)) is not None
    ]
    assert len(made) == len({one.address for one in made})
    found = topology.find(domain, bus, devfn)
    assert found is None or found.address == (domain, bus, devfn)
