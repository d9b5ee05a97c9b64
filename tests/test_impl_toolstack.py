# SPDX-License-Identifier: Apache-2.0
"""The toolstack's part: the nodes that libxl writes, what is said when something cannot be done, and a clean table."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from tests.backend_rig import EDU, GUEST, RTL, Rig, box_only, rig, until
from tests.test_impl_guests_frontend import beside

from pvpci.impl.device_nodes import note, options
from pvpci.impl.errors import UsageError
from pvpci.impl.host import Bdf, DomId
from pvpci.impl.toolstack import Toolstack
from pvpci.model.config.grants import Grants, parse

OPTIONS = "msitranslate=0,power_mgmt=0,permissive=0,rdm_policy=strict"
BACK, FRONT = "/local/domain/0/backend/pci/7/0", "/local/domain/7/device/pci/0"
OTHER = DomId(8)


@pytest.fixture(scope="module")
def bare_box() -> Iterator[Rig]:
    with box_only() as made:
        yield made


@pytest.fixture
def bare(bare_box: Rig) -> Iterator[Rig]:
    """No backend serves here."""
    bare_box.toolstack.patience = 0.2
    bare_box.dom0.create_domain(GUEST)
    yield bare_box
    bare_box.clean()


@pytest.fixture(scope="module")
def served() -> Iterator[Rig]:
    with rig() as made:
        yield made


@pytest.fixture
def backend(served: Rig) -> Iterator[Rig]:
    yield served
    served.clean()


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(UsageError) as caught:
        call()
    return str(caught.value)


def tree(made: Rig, path: str) -> dict[str, str]:
    store = made.dom0.store
    return {name: store.read(f"{path}/{name}") or "" for name in store.directory(path)}


def test_a_new_device_has_the_nodes_that_libxl_writes(bare: Rig) -> None:
    bare.toolstack.attach(GUEST, [EDU, RTL], wait=False)
    functions = {
        f"{key}-{index}": text
        for index, bdf in enumerate((EDU, RTL))
        for key, text in (("key", str(bdf)), ("dev", str(bdf)), ("opts", OPTIONS), ("state", "1"))
    }

    assert {
        "frontend": FRONT, "frontend-id": "7", "online": "1", "state": "1", "domain": "", "num_devs": "2", **functions,
    } == tree(bare, BACK)  # fmt: skip
    assert {"backend": BACK, "backend-id": "0", "state": "1"} == tree(bare, FRONT)
    store = bare.dom0._store
    assert (["n0", "r7"], ["n7", "r0"]) == (
        list(store.permissions(f"{BACK}/state")),
        list(store.permissions(f"{FRONT}/state")),
    )
    assert "7" == bare.dom0.store.read("/libxl/pci/0000-00-07-0/domid")
    assert [str(EDU), str(RTL)] == [each.bdf for each in bare.dom0.account().assigned]
    assert () == bare.dom0.account().held


@pytest.mark.parametrize(
    ("grants", "expected"),
    [
        ("", OPTIONS),
        ("permissive=1", "msitranslate=0,power_mgmt=0,permissive=1,rdm_policy=strict"),
        (
            "quirk=40:2:ffff,extended=1,permissive=1,quirk=f0:4:1,interrupt_control=1",
            "msitranslate=0,power_mgmt=0,permissive=1,rdm_policy=strict,"
            "interrupt_control=1,extended=1,quirk=40:2:ffff,quirk=f0:4:1",
        ),
    ],
)
def test_grants_stand_where_the_backend_reads_them(grants: str, expected: str) -> None:
    assert expected == options(parse(grants))
    assert parse(grants) == parse(options(parse(grants)))


def test_a_late_function_has_its_own_grants(bare: Rig) -> None:
    bare.toolstack.attach(GUEST, [EDU], {EDU: Grants(extended=True)}, wait=False)
    bare.toolstack.attach(GUEST, [RTL], {RTL: Grants(permissive=True)}, wait=False)
    found = tree(bare, BACK)

    assert (f"{OPTIONS},extended=1", options(Grants(permissive=True))) == (found["opts-0"], found["opts-1"])


def test_nobody_serves(bare: Rig) -> None:
    said = refused(lambda: bare.toolstack.attach(GUEST, [EDU]))

    assert "domain 7: the functions are listed, but nobody attached them in 0.2 s (backend state 1)" in said
    assert "pvpci serve" in said


def test_a_late_function_of_a_guest_that_is_starting(bare: Rig) -> None:
    bare.toolstack.attach(GUEST, [EDU], wait=False)
    how = bare.toolstack.check_attach(GUEST, [RTL])
    bare.toolstack.attach(GUEST, [RTL], wait=False)

    assert ("list for the guest that is starting", "2", "1") == (
        how, bare.dom0.store.read(f"{BACK}/num_devs"), bare.dom0.store.read(f"{BACK}/state"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("domain", "functions", "said"),
    [
        (GUEST, [Bdf(0, 0, 0x1E, 0)], "0000:00:1e.0: no such function; name one that exists; `lspci -D` lists them"),
        (DomId(99), [EDU], "domain 99: there is no such domain; name one that runs; `xl list` lists them"),
        (GUEST, [EDU, EDU], "attach: the same function is named twice; name each once"),
    ],
)
def test_what_cannot_be_attached(bare: Rig, domain: DomId, functions: list[Bdf], said: str) -> None:
    assert said == refused(lambda: bare.toolstack.attach(domain, functions))
    assert () == bare.dom0.account().leaks


def test_a_function_that_another_guest_has(bare: Rig) -> None:
    bare.dom0.create_domain(OTHER)
    bare.toolstack.attach(OTHER, [EDU], wait=False)

    assert f"{EDU}: busy: domain 8 has it; detach it there first, or name another" == refused(
        lambda: bare.toolstack.attach(GUEST, [RTL, EDU])
    )
    assert [8] == [each.domain for each in bare.dom0.account().assigned]


def test_a_function_that_some_process_holds(bare: Rig) -> None:
    function = bare.dom0.open_function(EDU)
    said = refused(lambda: bare.toolstack.attach(GUEST, [EDU]))
    function.close()

    assert f"{EDU}: busy: {EDU} is held by toolstack (process " in said


def test_what_a_dead_guest_left_is_taken_back_for_the_next(bare: Rig) -> None:
    bare.dom0.create_domain(OTHER)
    bare.toolstack.attach(OTHER, [EDU], wait=False)
    bare.dom0.destroy_domain(OTHER)
    bare.toolstack.attach(GUEST, [EDU], wait=False)

    assert [7] == [each.domain for each in bare.dom0.account().assigned]


def test_the_list_of_a_dead_guest_does_not_cost_the_next_one_its_function(bare: Rig) -> None:
    bare.dom0.create_domain(OTHER)
    bare.toolstack.attach(OTHER, [EDU], wait=False)
    bare.dom0.store.remove(f"/local/domain/{OTHER}")
    bare.toolstack.attach(GUEST, [EDU], wait=False)

    assert ["removed the device of domain 8"] == bare.toolstack.detach(OTHER, [EDU])
    assert "7" == bare.dom0.store.read(note(EDU))
    assert [7] == [each.domain for each in bare.dom0.account().assigned]


def test_a_dry_run_changes_nothing(bare: Rig) -> None:
    how = bare.toolstack.check_attach(GUEST, [EDU])

    assert ("make the device", {}, ()) == (how, tree(bare, BACK), bare.dom0.account().assigned)


@pytest.mark.parametrize(
    ("functions", "said"),
    [([RTL], f"{RTL}: not attached to domain 7; it has {EDU}; see `pvpci list`")],
)
def test_what_cannot_be_detached(bare: Rig, functions: list[Bdf], said: str) -> None:
    assert "domain 7: it has no functions; see `pvpci list`" == refused(lambda: bare.toolstack.detach(GUEST, [EDU]))
    bare.toolstack.attach(GUEST, [EDU], wait=False)

    assert said == refused(lambda: bare.toolstack.detach(GUEST, functions))


def test_one_of_several_cannot_be_detached_before_the_guest_is_connected(bare: Rig) -> None:
    bare.toolstack.attach(GUEST, [EDU, RTL], wait=False)
    said = refused(lambda: bare.toolstack.detach(GUEST, [EDU]))
    done = bare.toolstack.detach(GUEST, [EDU, RTL])

    assert "domain 7: its device is not connected (state 1)" in said
    assert ("removed the device of domain 7", {}, {}) == (done[0], tree(bare, BACK), tree(bare, FRONT))
    assert () == bare.dom0.account().leaks


def test_a_refusal_of_the_backend_is_passed_on(backend: Rig) -> None:
    backend.device(EDU)
    other = Toolstack(backend.dom0)
    backend.dom0.create_domain(OTHER)
    # As if somebody had listed a function that its first owner still has.
    backend.toolstack.attach(OTHER, [RTL], wait=True)
    backend.dom0.store.write("/local/domain/0/backend/pci/8/0/dev-0", str(EDU))
    backend.dom0.store.write("/local/domain/0/backend/pci/8/0/state-0", "1")
    refusal = until(lambda: backend.state(OTHER) == "5")

    assert refusal
    assert "its device is closed (state 5)" in refused(lambda: other.check_attach(OTHER, [Bdf(0, 0, 5, 0)]))


def test_indices_move_down_when_a_function_goes(backend: Rig) -> None:
    backend.device(EDU, RTL, Bdf(0, 0, 5, 0))
    with backend.guest() as front:
        front.connect()
        done = beside(front, lambda: backend.toolstack.detach(GUEST, [RTL]))
        listed = [(each.index, each.function, each.slot, each.state) for each in backend.toolstack.list(GUEST)]
        nodes = tree(backend, BACK)
        beside(front, lambda: backend.toolstack.attach(GUEST, [RTL]))
        again = [(each.index, each.slot) for each in backend.toolstack.list(GUEST)]

    assert [f"detached {RTL} from domain 7", f"took {RTL} back from domain 7"] == done
    assert [(0, str(EDU), "0000:00:00.00", "3"), (1, "0000:00:05.0", "0000:00:02.00", "3")] == listed
    assert ("2", False) == (nodes["num_devs"], any(key.endswith("-2") for key in nodes))
    assert [(0, "0000:00:00.00"), (1, "0000:00:02.00"), (2, "0000:00:01.00")] == again


def test_the_last_function_takes_the_device_with_it(backend: Rig) -> None:
    backend.device(EDU)
    with backend.guest() as front:
        front.connect()
        beside(front, lambda: backend.toolstack.detach(GUEST, [EDU]))

        assert ({}, {}) == (tree(backend, BACK), tree(backend, FRONT))
        assert () == backend.dom0.account().leaks


def test_a_guest_that_does_not_answer_is_reported_in_time(backend: Rig) -> None:
    backend.device(EDU)
    toolstack = Toolstack(backend.dom0, patience=0.3)
    with backend.guest() as front:
        front.connect()
        said = refused(lambda: toolstack.detach(GUEST, [EDU]))
        again = refused(lambda: toolstack.attach(GUEST, [RTL]))

    assert (
        f"domain 7: {EDU} is to be detached, but the guest did not let go of it: backend in state 7, guest in 4" in said
    )
    assert f"domain 7: {RTL} is not attached: backend in state 7" in again
    assert [str(EDU)] == [each.bdf for each in backend.dom0.account().assigned]


def test_waiting_leaves_no_watch(bare: Rig) -> None:
    before = bare.dom0.account().watches
    refused(lambda: bare.toolstack.attach(GUEST, [EDU]))

    assert before == bare.dom0.account().watches
