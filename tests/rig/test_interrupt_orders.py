# SPDX-License-Identifier: Apache-2.0
"""The orders of `tests.rig.interrupt_orders`, under Linux's backend and under ours in one boot, by one scripted frontend.

Two guests have the function in turn. Each has another one all the time, so that its device lives on without it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any, Final

import pytest
from tests.rig import interrupt_orders as orders
from tests.rig import remains
from tests.rig.backends import Backend, KernelBackend, OurBackend, write_report
from tests.rig.dom0.interrupts import Seen
from tests.rig.interrupt_orders import CHANGES, DESTROYED, EVERY, EVIDENCE, LEFT, LIFE, PROPERTIES, Order
from tests.rig.interrupts import books, enabled, new
from tests.rig.machine import E1000E, EDU, RTL8139, Guest, Machine

FIRST, SECOND = "first", "second"
WHERE: Final = 1 << 3  #: the second slot of either
PCIBACK: Final = "/sys/bus/pci/drivers/pciback"
#: Not Xen's any more, a new life in pciback, and nothing in it of a message that was once on. It is dom0's then.
RENEW: Final = f"""
xl pci-assignable-remove {E1000E}
setpci -s {E1000E} CAP_MSI+4.l=0 CAP_MSI+8.l=0 CAP_MSI+c.w=0
echo {E1000E} > {PCIBACK}/new_slot; echo {E1000E} > {PCIBACK}/bind
"""
TAKE: Final = f"xl pci-assignable-add {E1000E} 2>&1"
Played = list[tuple[str, Order, Sequence[Seen]]]


class Actor:
    """One of the guests. It has E1000E, or does not."""

    def __init__(self, machine: Machine, name: str, other: str) -> None:
        self.machine, self.name = machine, name
        self.domid = machine.create(Guest(name, pci=(other,), image="python"))
        self.play(["connect"])

    def _run(self, rest: str, limit: float = 300.0) -> str:
        return self.machine.do(f"python3 -S -m tests.rig.dom0.interrupts {self.domid} {E1000E} {rest}", limit)

    def play(self, *these: Order) -> Played:
        text = "\n".join(json.dumps(order) for order in these)
        lines = self._run(f"{WHERE} <<'END'\n{text}\nEND").splitlines()
        seen = [[Seen(**each) for each in json.loads(line)] for line in lines]
        return [(f"d{self.domid}", order, each) for order, each in zip(these, seen, strict=True)]

    def change(self, command: str, *, busy: bool = True, slow: bool = False) -> list[int | None]:
        """Errors in their order while the function comes or goes by `command`; nothing is asked if not busy."""
        word = "slow-storm" if slow else "storm"
        return self._errors(self._run(f"{WHERE if busy else '-'} {word} 30 '{command}'"))

    def by_hand(self) -> list[int | None]:
        return self._errors(self._run(f"{WHERE} by-hand 10"))

    def _errors(self, text: str) -> list[int | None]:
        found = json.loads(text.splitlines()[-1])
        if found["rc"] or found["states"] != ["4", "7", "8", "4"]:
            raise AssertionError(f"the function did not come or go: {text}")
        return [run[0] for run in found["runs"]]

    def attach(self) -> None:
        self.change(f"xl pci-attach {self.domid} {E1000E}", busy=False)

    def detach(self) -> None:
        self.change(f"xl pci-detach {self.domid} {E1000E}", busy=False)

    def destroy(self) -> None:
        # libxl waits 10 s for each function of a guest that does not answer.
        self._run("- answering 60")
        self.machine.destroy(self.name)


def changes(actor: Actor) -> dict[str, list[int | None]]:
    """It has the function before, and not afterwards."""
    found = {}
    for name in CHANGES:
        what, who = name.split("_", 1)
        if who != "by_hand":
            command = f"{who} {'pci-' if who == 'xl' else ''}{what} {actor.domid} {E1000E}"
            found[name] = actor.change(command, slow=name == "attach_xl")
    actor.detach()
    actor.machine.do(RENEW)
    found["attach_by_hand"] = actor.by_hand()
    actor.machine.do(TAKE)
    return found


def handed_on(actors: Sequence[Actor], first: Sequence[Seen]) -> tuple[dict[str, list[str]], Played]:
    """What each guest saw of what the one before had left, and all that was played for it.

    The first actor has the function, and is destroyed; the second one has it then.
    """
    found, played = {}, []
    has, gets = actors
    for left, order in LEFT.items():
        played += has.play(order)
        if left == DESTROYED:
            has.destroy()
        else:
            has.detach()
        gets.attach()
        [life] = gets.play(LIFE)
        found[left] = orders.differences(first, life[2])
        played.append(life)
        has, gets = gets, has
    return found, played


def play(backend: Backend) -> dict[str, Any]:
    machine = backend.machine
    machine.do(RENEW + TAKE)
    with backend:
        empty = books(machine)
        first, second = Actor(machine, FIRST, EDU), Actor(machine, SECOND, RTL8139)
        first.attach()
        life, evidence, *every = first.play(LIFE, EVIDENCE, *EVERY)
        result: dict[str, Any] = {"evidence": orders.shown(EVIDENCE, evidence[2])}
        result["next"], others = handed_on((first, second), life[2])
        result["orders"] = orders.judged([life, evidence, *every, *others])
        result["changes"] = changes(second)
        second.destroy()
        gone = [line for actor in (first, second) for line in remains.of_domain(machine, actor.domid)]
        result["left"] = [*new(empty, books(machine)), *gone, *enabled(machine)]
    return result


@pytest.fixture(scope="module")
def played(machine: Machine) -> dict[str, dict[str, Any]]:
    results = {}
    for backend in (KernelBackend(machine), OurBackend(machine, "interrupt-orders", ["--monitor"])):
        try:
            results[backend.name] = play(backend)
        finally:
            for name in (FIRST, SECOND):
                machine.destroy(name)
    write_report(machine, "interrupt-orders", results)
    if os.environ.get("PVPCI_RIG_RECORD"):
        xen, linux = machine.do("xl info xen_version; uname -r").split()
        orders.OBSERVED.write_text(orders.observed({"Xen": xen, "Linux": linux}, results))
    return results


@pytest.mark.parametrize("name", PROPERTIES)
def test_ours_keeps_it_in_every_step_of_every_order(played: dict[str, dict[str, Any]], name: str) -> None:
    assert [0] == played["pvpci"]["orders"]["broken"][name]


@pytest.mark.parametrize("change", CHANGES)
def test_ours_keeps_i_20_and_i_48_while_a_function_comes_or_goes(
    played: dict[str, dict[str, Any]], change: str
) -> None:
    assert tuple(played["pvpci"]["changes"][change]) in CHANGES[change][1]


@pytest.mark.parametrize("left", LEFT)
def test_the_next_guest_of_ours_sees_nothing(played: dict[str, dict[str, Any]], left: str) -> None:
    assert [] == played["pvpci"]["next"][left]


def test_ours_leaves_nothing(played: dict[str, dict[str, Any]]) -> None:
    assert [] == played["pvpci"]["left"]


@pytest.mark.parametrize("what", ["evidence", "orders"])
@pytest.mark.parametrize("backend", ["linux", "pvpci"])
def test_what_was_seen_is_what_the_manual_says(played: dict[str, dict[str, Any]], backend: str, what: str) -> None:
    """Not so the errors during a change: which of them a guest meets is a matter of time."""
    known = json.loads(orders.OBSERVED.read_text())["results"][backend][what]

    assert known == json.loads(json.dumps(played[backend][what]))


@pytest.mark.parametrize("left", LEFT)
def test_the_next_guest_of_linux_sees_what_the_manual_says(played: dict[str, dict[str, Any]], left: str) -> None:
    """Which registers, and not what a message's address was: that is Xen's affair."""
    known = json.loads(orders.OBSERVED.read_text())["results"]["linux"]["next"][left]

    assert [text.split(" reads ")[0] for text in known] == [
        text.split(" reads ")[0] for text in played["linux"]["next"][left]
    ]
