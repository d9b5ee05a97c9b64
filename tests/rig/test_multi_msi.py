# SPDX-License-Identifier: Apache-2.0
"""Several messages of MSI on real Xen: asked for by the scripted frontend, seen in the function and in Xen's own books.

Xen has no block without interrupt remapping. Whether this machine remaps is asked of Xen, and decides what must follow.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from tests.rig import remains
from tests.rig.backends import OurBackend, write_report
from tests.rig.interrupts import books
from tests.rig.machine import XHCI, Guest, Machine

MULTI_MSI, MSI_FLAGS = 10, 0x72
COMMAND, MEMORY_AND_MASTER = 4, 6
FAILED, UNKNOWN = -5, -4
ON, COUNT = 0x0001, 0x0070
DEVICE, DEVFN = 0, 0  #: libxl's only one; only for that does Xen know whose function it is


@dataclass(frozen=True)
class Asked:
    """A request and what became of it: its answer, MSI's control word, and the messages that Xen has mapped then."""

    answer: tuple[int, int]
    control: int
    messages: tuple[str, ...]


Step = tuple[str, int | str, int]  #: its name, the command, and `info`
REFUSED: tuple[Step, ...] = tuple((f"{count} messages", MULTI_MSI, count) for count in (0, 33, 0xFFFFFFFF, 32))
STEPS: tuple[Step, ...] = (
    ("three", MULTI_MSI, 3), ("two more", MULTI_MSI, 2), ("one more", "enable_msi", 0), ("off", "disable_msi", 0),
    ("one", "enable_msi", 0), ("one off", "disable_msi", 0), ("sixteen", MULTI_MSI, 16),
)  # fmt: skip
#: Dom0's part, as a process that comes after one that died: a number inside of the block, then the one that nobody has noted.
LOST = """
from types import SimpleNamespace
from pvpci.impl.host import HostError
from pvpci.impl.xen import sysfs, vectors
from pvpci.impl.xen.xenctrl import open_calls
calls, function = open_calls(), SimpleNamespace(bdf="the function", irq=0)
try:
    calls.unmap_pirq({domid}, {first} + 1)
except HostError as error:
    print(error.errno)
print(vectors.reclaim({domid}, function, set(sysfs.lines("/sys/bus/pci/devices")), calls))
"""


class Played:
    """One guest with the function, and each step of it by name."""

    def __init__(self, machine: Machine, label: str, options: Sequence[str], steps: Sequence[Step]) -> None:
        self.steps: dict[str, Asked] = {}
        self.found_again: list[str] = []  #: what became of the last block
        self._machine = machine
        self.ours = OurBackend(machine, label, ["--monitor", *options])
        with self.ours:
            self.domid = machine.create(Guest("multi", pci=(XHCI,), image="python"))
            # The reads are for whoever judges what this leaves behind: one answered, one of nobody, one unsound.
            reads = (("ask", "read", devfn, offset, 4) for devfn, offset in ((DEVFN, 0), (8, 0), (DEVFN, 3)))
            self.connected = self._ask(("connect",), ("ask", "write", DEVFN, COMMAND, 2, MEMORY_AND_MASTER), *reads)[0]
            self.before = self._messages()
            for name, command, info in steps:
                (answer,) = self._ask(("ask", command, DEVFN, 0, 0, 7, {"info": info}))
                self.steps[name] = Asked(tuple(answer), self._control(), self._messages())
            last = self.steps[steps[-1][0]].answer
            if steps[-1][1] == MULTI_MSI and last[0] == 0:
                script = LOST.format(domid=self.domid, first=last[1])
                self.found_again = machine.do(f"python3 -S - <<'END'\n{script}\nEND\n").split()
                self.messages_then = self._messages()
            machine.destroy("multi")
            self.after = self._messages()
            self.control_after = self._control()
            self.left = remains.of_domain(machine, self.domid)
        self.log = self.ours.log.read_text()

    def _ask(self, *steps: tuple[Any, ...]) -> list[Any]:
        said = json.dumps([(verb, DEVICE, *arguments) for verb, *arguments in steps])
        text = self._machine.do(
            "python3 -S - <<'END'\nimport json\nfrom tests.rig.dom0.toolstack import Stage\n"
            f"print(json.dumps(Stage({self.domid}).ask(*json.loads({said!r}))))\nEND\n"
        )
        found: list[Any] = json.loads(text)
        return found

    def _control(self) -> int:
        return int(self._machine.do(f"setpci -s {XHCI} {MSI_FLAGS:x}.w"), 16)

    def _messages(self) -> tuple[str, ...]:
        return tuple(line for line in books(self._machine) if line.startswith("Xen: "))


@pytest.fixture(scope="module")
def remaps(machine: Machine) -> bool:
    # Not `xl dmesg`: who looked at Xen's books before cleared what it says of the boot.
    return "Interrupt Remapping enabled" in machine.printed()


@pytest.fixture(scope="module")
def played(machine: Machine, remaps: bool) -> Iterator[Played]:
    made = Played(machine, "multi-msi", ["--multi-msi"], (*REFUSED, *STEPS))
    steps = {name: [one.answer, f"{one.control:#06x}", one.messages] for name, one in made.steps.items()}
    write_report(machine, "multi-msi", {"remaps": remaps, "before": made.before, **steps, "after": made.after})
    yield made


def mapped(played: Played, name: str) -> int:
    """How many messages Xen has mapped more than before."""

    def count(lines: Sequence[str]) -> int:
        return sum("message" in line for line in lines)

    return count(played.steps[name].messages) - count(played.before)


@pytest.mark.parametrize("count", [0, 33, 0xFFFFFFFF, 32])
def test_what_the_function_does_not_have_is_refused(played: Played, count: int) -> None:
    found = played.steps[f"{count} messages"]

    assert played.connected == "4"
    assert ((FAILED, 0), 0, played.before) == (found.answer, found.control & (ON | COUNT), found.messages)


def test_a_block_is_had_where_xen_remaps_and_nothing_is_left_where_it_does_not(played: Played, remaps: bool) -> None:
    found = played.steps["three"]
    if remaps:
        assert found.answer[0] == 0, played.log[-2000:]
        assert (ON | 2 << 4, 4) == (found.control & (ON | COUNT), mapped(played, "three")), found
    else:
        assert ((FAILED, 0), 0, played.before) == (found.answer, found.control & (ON | COUNT), found.messages)
        assert "the hypervisor refuses a vector" in played.log


def test_nothing_comes_on_top_of_a_block(played: Played, remaps: bool) -> None:
    before, asked = played.steps["three"], [played.steps[name] for name in ("two more", "one more")]
    if not remaps:
        pytest.skip("no block")

    assert [(FAILED, 0)] * 2 == [one.answer for one in asked]
    assert [(before.control, before.messages)] * 2 == [(one.control, one.messages) for one in asked]


def test_what_was_mapped_is_given_back(played: Played) -> None:
    for name in ("off", "one off"):
        found = played.steps[name]

        assert (0, 0, played.before) == (found.answer[0], found.control & (ON | COUNT), found.messages), name


def test_one_message_is_one_again(played: Played) -> None:
    found = played.steps["one"]

    assert (0, ON, 1) == (found.answer[0], found.control & (ON | COUNT), mapped(played, "one"))


def test_a_block_whose_process_died_is_found_by_its_first_number(played: Played, remaps: bool) -> None:
    found = played.steps["sixteen"]
    if not remaps:
        pytest.skip("no block")

    assert (0, 16) == (found.answer[0], mapped(played, "sixteen"))
    assert [str(errno.EBUSY), str(found.answer[1])] == played.found_again
    assert played.before == played.messages_then


def test_a_guest_that_is_destroyed_leaves_nothing(played: Played) -> None:
    """The backend finds the block gone, which is as good."""
    assert (played.before, 0, []) == (played.after, played.control_after & (ON | COUNT), played.left)
    assert "Traceback" not in played.log
    assert "invariant" not in played.log


def test_without_the_option_nobody_knows_it(machine: Machine) -> None:
    found = Played(machine, "no-multi-msi", [], (("sixteen", MULTI_MSI, 16), ("one", "enable_msi", 0)))

    assert ((UNKNOWN, 7), 0) == (found.steps["sixteen"].answer, mapped(found, "sixteen"))
    assert (0, ON) == (found.steps["one"].answer[0], found.steps["one"].control & (ON | COUNT))
    assert (found.before, []) == (found.after, found.left)
