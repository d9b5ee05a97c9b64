# SPDX-License-Identifier: Apache-2.0
"""The nodes of a device follow a list of functions, whatever is put into it and taken out of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fake_host import FakeHost

from pvpci.impl.device_nodes import DeviceNodes, change, devices, note
from pvpci.impl.errors import UsageError
from pvpci.impl.host import Bdf, Store, Transaction

BDFS = st.builds(Bdf, st.just(0), st.integers(0, 1), st.integers(0, 3), st.integers(0, 1))


def nodes_of(host: FakeHost, domain: int = 7) -> tuple[Store, DeviceNodes]:
    store = host.as_host.store
    return store, DeviceNodes(store, "pci", domain)


@given(st.lists(BDFS, unique=True, max_size=4), st.lists(st.tuples(st.booleans(), BDFS), max_size=12))
def test_the_list_is_dense_and_in_order(first: list[Bdf], steps: list[tuple[bool, Bdf]]) -> None:
    host = FakeHost()
    store, nodes = nodes_of(host)
    listed = list(first)
    change(store, lambda tx: nodes.make(tx, first))
    for add, bdf in steps:
        if add and bdf not in listed:
            assert change(store, lambda tx, bdf=bdf: nodes.append(tx, bdf))  # type: ignore[misc]
            listed.append(bdf)
        elif not add:
            assert change(store, lambda tx, bdf=bdf: nodes.drop(tx, bdf)) == (bdf in listed)  # type: ignore[misc]
            listed = [each for each in listed if each != bdf]
    names = {name for name in store.directory(nodes.back) if name[-1].isdigit()}

    assert [(index, str(bdf)) for index, bdf in enumerate(listed)] == [
        (each.index, each.function) for each in nodes.functions()
    ]
    assert {f"{key}-{index}" for index in range(len(listed)) for key in ("key", "dev", "opts", "state")} == names
    assert nodes.functions() == devices(store, "pci", None)
    assert 0 == host.store.open_transactions


def test_what_the_backend_has_written_moves_along() -> None:
    store, nodes = nodes_of(FakeHost())
    change(store, lambda tx: nodes.make(tx, [Bdf(0, 0, 1, 0), Bdf(0, 0, 2, 0)]))
    store.write(f"{nodes.back}/vdev-1", "0000:00:01.00")
    store.write(f"{nodes.back}/state-1", "3")
    change(store, lambda tx: nodes.drop(tx, Bdf(0, 0, 1, 0)))

    assert [("0000:00:02.0", "0000:00:01.00", "3")] == [
        (each.function, each.slot, each.state) for each in nodes.functions()
    ]


def test_a_change_is_begun_again_when_it_was_overtaken() -> None:
    host = FakeHost()
    store, nodes = nodes_of(host)
    host.store.overtake = 5

    assert change(store, lambda tx: nodes.make(tx, []))
    assert (6, "1", 0) == (host.store.commits, nodes.own, host.store.open_transactions)


def test_one_that_is_always_overtaken_is_said() -> None:
    host = FakeHost()
    store, nodes = nodes_of(host)
    host.store.overtake = 1000
    with pytest.raises(UsageError, match="100 transactions were overtaken"):
        change(store, lambda tx: nodes.make(tx, []))

    assert (None, 0) == (nodes.own, host.store.open_transactions)


def test_a_change_that_fails_leaves_nothing_open() -> None:
    host = FakeHost()

    def fail(tx: Transaction) -> bool:
        tx.write("/a", "b")
        raise KeyError("no")

    with pytest.raises(KeyError):
        change(host.as_host.store, fail)

    assert (None, 0) == (host.store.read("/a"), host.store.open_transactions)


@pytest.mark.parametrize("text", ["x", "-1", "99999", "", "1e3"])
def test_a_count_is_somebodys_text(text: str) -> None:
    store, nodes = nodes_of(FakeHost())
    change(store, lambda tx: nodes.make(tx, [Bdf(0, 0, 1, 0)]))
    store.write(f"{nodes.back}/num_devs", text)

    assert len(nodes.functions()) <= 1


def test_removing_leaves_no_empty_directory() -> None:
    store, nodes = nodes_of(FakeHost())
    change(store, lambda tx: nodes.make(tx, [Bdf(0, 0, 1, 0)]))
    nodes.remove()

    assert ([], None, None) == (list(store.directory("/local/domain/0/backend/pci")), nodes.own, nodes.theirs)


def test_libxl_looks_there_too() -> None:
    assert "/libxl/pci/0001-0a-1f-7/domid" == note(Bdf(1, 10, 31, 7))
