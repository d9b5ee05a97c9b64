# SPDX-License-Identifier: Apache-2.0
"""The monitor knows the properties, and finds one that is broken."""

from __future__ import annotations

import pytest
from tests.fake_guest import Stage

from pvpci.impl.engine import Broken
from pvpci.impl.monitor import EXTRA, monitor
from pvpci.model import connection, op
from pvpci.model.kernel.compiled import group


def test_a_state_in_which_nothing_has_happened_is_content() -> None:
    state = group([connection.MACHINE, op.MACHINE], extra=EXTRA).state()

    assert monitor()(state, "op") is None


@pytest.mark.parametrize(
    ("variable", "value", "named"),
    [
        ("link_bound", 1, "no channel without a page"),
        ("my_held", 1, "I-39 an_event_is_held_while_we_are_at_it"),
        ("my_busy", 1, "busy means in dispatch"),
        ("seen_cleared", 2, ""),
        ("conn_holds", 1, "an instance holds functions"),
    ],
)
def test_what_is_broken_is_named(variable: str, value: int, named: str) -> None:
    state = group([connection.MACHINE, op.MACHINE], extra=EXTRA).state()
    setattr(state, variable, value)
    found = monitor()(state, "op")

    assert found is not None
    assert named in found


def test_a_running_backend_that_answers_twice_is_stopped() -> None:
    stage = Stage(watched=True)
    stage.connect()
    stage.ask()
    stage.post()
    stage.instance.engine.state.seen_rung = 1

    def hear_again() -> None:
        stage.instance.engine.state.seen_cleared = 2

    stage.instance.requests.ring = hear_again
    with pytest.raises(Broken, match=r"after op TOLD->AGAIN"):
        stage.ring()


def test_a_whole_life_is_content() -> None:
    stage = Stage(watched=True)
    stage.connect()
    for request in ({}, {"devfn": 8}, {"cmd": 1, "offset": 4, "size": 2, "value": 7}, {"cmd": 99}, {"offset": 3}):
        stage.ask(**request)
    stage.say("5")
    stage.say("6")

    assert "6" == stage.own()
