# SPDX-License-Identifier: Apache-2.0
"""One guest's directory, from its first node to its last, with every host call counted."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest
from tests.fake_guest import PORT, REF, Stage
from tests.fake_host import EDU, RTL

from pvpci.impl.host import Bdf, HostError
from pvpci.model import connection, op, wire
from pvpci.model.wire import Err

ERROR = "/local/domain/0/error/backend/pci/7/0/error"


@pytest.fixture(params=[True, False], ids=["monitored", "fused"])
def stage(request: pytest.FixtureRequest) -> Stage:
    """Both ways that the request machine is driven."""
    return Stage(watched=request.param)


def test_a_connection_is_made_step_by_step(stage: Stage) -> None:
    states = [stage.own()]
    stage.hear()
    states.append(stage.own())
    published = {
        key: stage.host.store.read(f"{stage.back}/{key}") for key in ("vdev-0", "state-0", "root-0", "root_num")
    }
    stage.hear()
    stage.keys()
    stage.say("3")
    states.append(stage.own())
    held = stage.host.held
    stage.say("4")

    assert ["1", "3", "4", "4"] == [*states, stage.own()]
    assert {"vdev-0": "0000:00:00.00", "state-0": "3", "root-0": "0000:00", "root_num": "1"} == published
    assert (1, 1, 1) == held
    assert 0 == stage.host.store.open_transactions


def test_requests_are_answered(stage: Stage) -> None:
    stage.connect()

    assert (0, 0x11E81234) == stage.ask()
    assert (Err.DEV_NOT_FOUND, 9) == stage.ask(devfn=8, value=9)
    assert (Err.DEV_NOT_FOUND, 0) == stage.ask(devfn=0x100)
    assert (Err.INVALID_OFFSET, 0) == stage.ask(offset=-252)
    assert (Err.NOT_IMPLEMENTED, 5) == stage.ask(cmd=6, value=5)
    assert (0, 0x7) == stage.ask(cmd=1, offset=4, size=2, value=7)
    assert 7 == stage.host.devices[EDU].registers[4] & 7


def test_a_function_that_does_not_answer_is_the_hosts_trouble(stage: Stage) -> None:
    stage.connect()
    stage.host.devices[EDU].broken = True
    answer = stage.ask(offset=0x40)
    stage.host.devices[EDU].broken = False

    assert (Err.OP_FAILED, 0) == answer
    assert "function does not answer" in stage.text.getvalue()
    assert (0, 0x11E81234) == stage.ask()


def test_rings_without_requests_are_held_back_for_longer_and_longer(stage: Stage) -> None:
    stage.connect()
    stage.ask()
    lefts = []
    for _ in range(4):
        stage.ring()
        left = stage.instance.pause_left
        lefts.append(left)
        if left is not None:
            stage.pass_time(left)

    assert lefts[0] is None
    assert [True, True, True] == [left is not None and 0 < left < 0.02 for left in lefts[1:]]
    assert (0, 0x11E81234) == stage.ask()
    assert stage.instance.pause_left is None


def test_the_end_of_the_frontend_leaves_nothing(stage: Stage) -> None:
    stage.connect()
    stage.host.store.remove(stage.front)
    stage.hear()
    stage.hear()

    assert ("6", (0, 0, 0), True) == (stage.own(), stage.host.held, stage.instance.is_over)
    assert (0, 0) == (stage.host.store.watches, stage.host.store.open_transactions)
    assert 1 == stage.host.devices[EDU].resets


@pytest.mark.parametrize("moment", ["fresh", "published", "keys", "connecting", "connected", "closing"])
def test_the_node_may_vanish_at_any_moment(stage: Stage, moment: str) -> None:
    steps: dict[str, Callable[[], object]] = {
        "fresh": lambda: None,
        "published": stage.hear,
        "keys": stage.keys,
        "connecting": lambda: stage.say("3"),
        "connected": lambda: stage.say("4"),
        "closing": lambda: stage.say("5"),
    }
    for name, step in steps.items():
        step()
        if name == moment:
            break
    stage.host.store.remove(stage.front)
    stage.host.store.remove(stage.back)
    stage.hear()

    assert (None, (0, 0, 0), True) == (stage.own(), stage.host.held, stage.instance.is_over)
    assert 0 == stage.host.store.watches


def test_bad_keys_close_with_a_reason(stage: Stage) -> None:
    stage.hear()
    stage.keys(ref="x")
    stage.say("3")

    assert "5" == stage.own()
    assert stage.host.store.read(ERROR) is not None


@pytest.mark.parametrize(
    ("ref", "port", "why"), [(99, PORT, "mapping grant 99: no grant 99"), (REF, 98, "binding event channel 98")]
)
def test_a_page_or_port_that_is_not_there(stage: Stage, ref: int, port: int, why: str) -> None:
    stage.hear()
    stage.keys(ref, port)
    stage.say("3")
    error = stage.host.store.read(ERROR) or ""

    assert ("5", (0, 0, 1)) == (stage.own(), stage.host.held)
    assert error.startswith(f"{errno.EINVAL} ")
    assert why in error


@pytest.mark.parametrize(
    ("nodes", "number"),
    [
        ({"num_devs": "many"}, errno.EINVAL),
        ({"num_devs": "1025"}, errno.EINVAL),
        ({"num_devs": "99999999999999999999"}, errno.EINVAL),
        ({"dev_0": "nonsense"}, errno.EINVAL),
        ({"dev_0": "0000:00:1e.0"}, errno.ENODEV),
    ],
)
def test_what_the_toolstack_wrote_may_be_wrong(stage: Stage, nodes: dict[str, str], number: int) -> None:
    stage.tool(**nodes)
    error = stage.host.store.read(ERROR) or ""

    assert ("5", (0, 0, 0)) == (stage.own(), stage.host.held)
    assert error.startswith(f"{number} ")


def test_a_busy_function_says_who_has_it(stage: Stage) -> None:
    stage.host.opened.add(EDU)
    stage.hear()

    assert "5" == stage.own()
    assert f"{errno.EBUSY} dev-0: {EDU} is held by somebody" == stage.host.store.read(ERROR)


def test_hot_plug_and_unplug_in_one_round(stage: Stage) -> None:
    stage.connect()
    stage.tool(dev_1=str(RTL), state_1="1", state_0="5", num_devs="2", state="7")
    waiting = stage.own()
    stage.say("7")
    done = stage.own()
    stage.say("4")

    assert ("7", "8", "4") == (waiting, done, stage.own())
    assert {RTL} == stage.host.opened
    # The slot that became free in this round is the lowest one.
    assert (0, 0x813910EC) == stage.ask(devfn=0)
    assert (Err.DEV_NOT_FOUND, 0) == stage.ask(devfn=8)


def test_a_bad_function_in_a_round_does_not_stop_the_others(stage: Stage) -> None:
    stage.connect()
    stage.tool(dev_1="0000:00:1e.0", state_1="1", dev_2=str(RTL), state_2="1", num_devs="3", state="7")
    stage.say("7")

    assert "8" == stage.own()
    assert {EDU, RTL} == stage.host.opened
    assert "cannot attach" in stage.text.getvalue()


@pytest.mark.parametrize("text", ["", "x", "-1", "99", "4 ", "9" * 100])
def test_a_state_that_is_none_changes_nothing_or_ends_the_connection(stage: Stage, text: str) -> None:
    stage.connect()
    stage.say(text)

    assert ("6" if text == "" else "4") == stage.own()


def test_connected_without_a_page_is_reported_once_and_not_believed(stage: Stage) -> None:
    stage.hear()
    for _ in range(3):
        stage.say("4")
        stage.say("1")

    assert ("3", (0, 0, 1)) == (stage.own(), stage.host.held)
    assert 1 == stage.text.getvalue().count("frontend says Connected without a page")


def test_a_closed_guest_is_renewed_and_what_it_set_is_forgotten(stage: Stage) -> None:
    stage.connect()
    stage.ask(cmd=1, offset=4, size=2, value=7)
    stage.say("5")
    stage.say("6")
    stage.say("1")
    stage.hear()
    stage.connect()

    assert "4" == stage.own()
    assert 0 == stage.ask(offset=4, size=2)[1] & 4


def test_a_transaction_that_is_always_overtaken_delays_and_does_not_hang(stage: Stage) -> None:
    stage.hear()
    stage.keys()
    stage.host.store.overtake = 10
    stage.say("3")
    first = (stage.own(), stage.instance.stall_left is not None, stage.host.store.overtake)
    stage.instance.settle()
    for _ in range(200):
        if stage.instance.stall_left is None:
            break
        stage.instance.settle()
        stage.pass_time(0.002)

    assert ("3", True, 6) == first
    assert ("4", None) == (stage.own(), stage.instance.stall_left)
    assert 0 == stage.host.store.open_transactions


def test_closing_does_not_wait_for_the_guest(stage: Stage) -> None:
    stage.connect()
    stage.post()
    stage.channel.ring()
    stage.instance.rang()
    stage.page.data[0] |= 1  # the next request is posted already
    stage.say("5")

    assert ("5", (0, 0, 1)) == (stage.own(), stage.host.held)
    assert op.At.IDLE is stage.instance.engine.at("op")


def test_forgetting_gives_everything_back(stage: Stage) -> None:
    stage.connect()
    stage.instance.forget()

    assert ((0, 0, 0), 0) == (stage.host.held, stage.host.store.watches)


def test_accesses_to_the_page_are_those_of_the_table(stage: Stage) -> None:
    stage.connect()
    stage.page.accesses.clear()
    stage.ask()

    expected = [
        "load 0", "copy 4+36", "load 0", "copy 4+36", f"store {wire.OP_ERR}", f"store {wire.OP_VALUE}", "and 0", "load 0",
    ]  # fmt: skip
    assert expected == stage.page.accesses


def test_an_instance_rests_where_the_machine_says(stage: Stage) -> None:
    assert (True, connection.At.AWAY) == (stage.instance.is_over, stage.instance.engine.at("connection"))
    stage.hear()
    assert (False, connection.At.HERE) == (stage.instance.is_over, stage.instance.engine.at("connection"))


def test_a_store_that_fails_is_not_swallowed(stage: Stage) -> None:
    def fail() -> None:
        raise HostError("the store has gone", errno.EPIPE)

    stage.host.store.begin = fail  # type: ignore[method-assign, assignment]
    with pytest.raises(HostError, match="the store has gone"):
        stage.hear()


def test_functions_of_one_slot_stay_together() -> None:
    stage = Stage(functions=(EDU, Bdf(0, 0, 8, 0)))
    stage.hear()

    assert ["0000:00:00.00", "0000:00:01.00"] == [
        stage.host.store.read(f"{stage.back}/vdev-{index}") for index in (0, 1)
    ]


@pytest.mark.parametrize("watched", [True, False])
@pytest.mark.parametrize("allowed", [True, False])
def test_several_messages_are_known_where_that_was_asked_for(watched: bool, allowed: bool) -> None:
    stage = Stage(watched=watched, multi_msi=allowed)
    stage.connect()
    answers, counts = [], (0, 1, 2, 33, 0xFFFFFFFF)
    for count in counts:
        answers.append(stage.ask(cmd=10, value=5, info=count))
        # A frontend reads from `info` how many there would be: as it asked for more than that, one.
        assert count == wire.parse_op(stage.page.copy(wire.OP, wire.OP_HEADER.size)).info
    stage.ask(cmd=3)

    # The function has one message.
    failed = (Err.OP_FAILED, 0)
    assert answers == ([failed, (0, 55), failed, failed, failed] if allowed else [(Err.NOT_IMPLEMENTED, 5)] * 5)
    assert {} == stage.host.vectors
