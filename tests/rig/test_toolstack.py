# SPDX-License-Identifier: Apache-2.0
"""Our own toolstack on real Xen: `pvpci attach`, `list` and `detach` for guests that libxl created without functions.

One function is held by xen-pciback, as for `xl`; the other by no driver at all, so that enabling it and preparing its
MSI-X is ours to do. The steps build on each other, so they are one story in one fixture, and the tests look at its pages.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import pytest
from tests.rig import remains
from tests.rig.backends import OurBackend, write_report
from tests.rig.machine import E1000E, EDU, Guest, Machine, Result

LOAD: Final = "modprobe xen-pcifront; for _ in 1 2 3 4 5 6 7 8 9 10; do lspci -n | grep -q . && break; sleep 0.5; done"
NIC, TOY = "00:00.0 0200: 8086:10d3", "00:01.0 00ff: 1234:11e8 (rev 10)"


@dataclass
class Story:
    """What each command of `pvpci` said, what the guests saw then, and what remained."""

    first: int = 0
    second: int = 0
    said: dict[str, Result] = field(default_factory=dict)
    saw: dict[str, list[str]] = field(default_factory=dict)
    left: dict[str, list[str]] = field(default_factory=dict)
    log: str = ""


def tell(machine: Machine, ours: OurBackend, story: Story) -> None:
    def pvpci(page: str, line: str) -> None:
        story.said[page] = machine.dom0(f"pvpci {line}", 60)

    def look(page: str, name: str, before: str = "true") -> None:
        story.saw[page] = machine.guest(name, f"{before} > /dev/null 2>&1; lspci -n", 30).lines

    one, two = (machine.create(Guest(name)) for name in ("first", "second"))
    story.first, story.second = one, two
    pvpci("nothing", "list")
    pvpci("attach", f"attach {one} {E1000E}")
    look("attach", "first", f"{{ {LOAD}; }}")
    pvpci("plug", f"attach {one} {EDU}")
    look("plug", "first")
    pvpci("list", "list")

    pvpci("no such function", f"attach {one} 00:1e.3")
    pvpci("no such domain", f"attach 4242 {EDU}")
    pvpci("twice", f"attach {one} {EDU}")
    pvpci("another's", f"attach {two} {EDU}")
    pvpci("not attached", f"detach {two} {EDU}")

    pvpci("unplug", f"detach {one} {E1000E}")
    look("unplug", "first")
    story.saw["served on"] = machine.guest("first", "setpci -s 0:1.0 0.l").lines
    # It ends with a function: libxl finds the nodes, which are as its own, and unplugs it.
    machine.destroy("first")
    pvpci("gone", f"list {one}")
    pvpci("inherit", f"attach {two} {EDU}")
    look("inherit", "second", f"{{ {LOAD}; }}")
    pvpci("again", f"attach {two} {E1000E}")
    look("again", "second")
    pvpci("all", f"detach {two} {EDU} {E1000E}")
    pvpci("nothing again", "list")
    story.saw["open"] = [name for name in ours.open_devices() if name.endswith("/gntdev") or "/config" in name]
    machine.destroy("second")


@pytest.fixture(scope="module")
def story(machine: Machine) -> Iterator[Story]:
    told = Story()
    try:
        with OurBackend(machine, "toolstack", ["--monitor"]) as ours:
            machine.do(f"xl pci-assignable-remove {E1000E}")
            tell(machine, ours, told)
        told.log = ours.log.read_text()
    finally:
        for name in ("first", "second"):
            machine.destroy(name)
        # As the other tests want it: held by xen-pciback again.
        machine.seize()
    told.left = {str(domid): remains.of_domain(machine, domid) for domid in (told.first, told.second)}
    said = {page: {"rc": result.rc, "out": result.lines} for page, result in told.said.items()}
    write_report(machine, "toolstack", {"said": said, "saw": told.saw, "left": told.left})
    yield told


def test_a_function_is_attached_and_the_guest_finds_it(story: Story) -> None:
    assert Result(0, f"{E1000E}  domain {story.first}  at 0000:00:00.00  state 3\n") == story.said["attach"]
    assert [NIC] == story.saw["attach"]


def test_a_second_one_is_plugged_into_the_running_guest(story: Story) -> None:
    assert Result(0, f"{EDU}  domain {story.first}  at 0000:00:01.00  state 3\n") == story.said["plug"]
    assert [NIC, TOY] == story.saw["plug"]


def test_the_list_says_who_has_what(story: Story) -> None:
    head = ["DOMID", "DEV", "FUNCTION", "GUEST", "SEES", "FUNCTION", "IS", "BACKEND", "FRONTEND"]
    rest = ["attached", "4", "connected", "4", "connected"]
    listed = [line.split() for line in story.said["list"].lines]

    assert [head] == [line.split() for line in story.said["nothing"].lines]
    assert [
        head,
        [str(story.first), "0", E1000E, "0000:00:00.00", *rest],
        [str(story.first), "0", EDU, "0000:00:01.00", *rest],
    ] == listed


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("no such function", ["0000:00:1e.3: no such function", "lspci -D"]),
        ("no such domain", ["domain 4242: there is no such domain", "xl list"]),
        ("twice", [f"{EDU}: busy: domain ", "detach it there first"]),
        ("another's", [f"{EDU}: busy: domain ", "detach it there first"]),
        ("not attached", ["it has no functions", "pvpci list"]),
    ],
)
def test_what_cannot_be_is_one_clear_line(story: Story, page: str, words: list[str]) -> None:
    result = story.said[page]

    assert (2, 1) == (result.rc, len(result.lines)), result.out
    assert [] == [word for word in words if word not in result.out], result.out


def test_a_function_is_unplugged_and_the_other_is_served_on(story: Story) -> None:
    done = [f"detached {E1000E} from domain {story.first}", f"took {E1000E} back from domain {story.first}"]

    assert (0, done) == (story.said["unplug"].rc, story.said["unplug"].lines)
    assert [TOY] == story.saw["unplug"]
    assert ["11e81234"] == story.saw["served on"]


def test_what_a_dead_guest_had_can_be_given_to_the_next(story: Story) -> None:
    assert (0, 1) == (story.said["gone"].rc, len(story.said["gone"].lines))
    assert Result(0, f"{EDU}  domain {story.second}  at 0000:00:00.00  state 3\n") == story.said["inherit"]
    assert [TOY.replace("00:01", "00:00")] == story.saw["inherit"]
    assert Result(0, f"{E1000E}  domain {story.second}  at 0000:00:01.00  state 3\n") == story.said["again"]
    assert ["00:00.0 00ff: 1234:11e8 (rev 10)", "00:01.0 0200: 8086:10d3"] == story.saw["again"]


def test_nothing_remains(story: Story) -> None:
    assert 0 == story.said["all"].rc, story.said["all"].out
    assert 1 == len(story.said["nothing again"].lines)
    assert [] == story.saw["open"]
    assert {str(story.first): [], str(story.second): []} == story.left
    assert "Traceback" not in story.log
