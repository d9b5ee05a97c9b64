# SPDX-License-Identifier: Apache-2.0
"""What is looked for in the orders of interrupts is found where it is, and the manual's page is made from what was seen."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from tests.rig.dom0.books import BooksError, Entry, entry
from tests.rig.dom0.interrupts import Seen, verbs
from tests.rig.interrupt_orders import (
    CHANGES,
    EVERY,
    LEFT,
    LIFE,
    OBSERVED,
    PAGE,
    PROPERTIES,
    breaches,
    differences,
    judged,
    observed,
    page,
)

RESULTS = json.loads(OBSERVED.read_text())
DUMP = """\
(XEN) ==== PCI devices ====
(XEN) ==== segment 0000 ====
(XEN) 0000:00:06.0 - DomIO:8004 - node -1
(XEN) 0000:00:05.0 - d5 - node -1  - MSIs < 31 32 40 >
(XEN) General information for domain 0:
(XEN) Rangesets belonging to domain 0:
(XEN)     Interrupts { 1-23, 25-40 }
(XEN) Rangesets belonging to domain 5:
(XEN)     Interrupts { 21, 31-33 }
(XEN)     I/O Memory { fea00-feb3f, feb80-febc3 }
(XEN) Shared frames 0 -- Saved frames 0
"""


def seen(
    err: int | None = 0, command: int = 0x107, msi: int = 0x80, msix: int = 4, handler: str = "on, acking",
    owner: str = "d5", mapped: Sequence[int] = (), usable: Sequence[int] | None = None,
) -> Seen:  # fmt: skip
    return Seen(
        [[err, 0]], command, msi, msix, handler, owner, list(mapped), list(mapped if usable is None else usable)
    )


OFF = seen()
ON = seen(command=0x507, msi=0x81, handler="on, not acking", mapped=[31])


def test_the_books_say_what_is_mapped_and_who_may_use_it() -> None:
    assert Entry("d5", [31, 32, 40], [31, 32]) == entry(DUMP, "0000:00:05.0", 5)
    assert Entry("DomIO:8004", [], []) == entry(DUMP, "0000:00:06.0", 5)
    assert Entry("d5", [31, 32, 40], []) == entry(DUMP, "0000:00:05.0", 7)
    with pytest.raises(BooksError):
        entry(DUMP, "0000:00:07.0", 5)


@pytest.mark.parametrize(
    ("step", "before", "after", "broken"),
    [
        ("enable_msi", OFF, ON, []),
        ("disable_msi", ON, OFF, []),
        ("command 0", OFF, seen(handler="off, acking"), []),
        ("enable_msi", OFF, seen(err=-1, owner="DomIO:8003"), []),
        ("enable_msi", OFF, seen(err=None, owner="DomIO:8003"), []),
        ("enable_msi", OFF, seen(err=-5, owner="DomIO:8003"), ["I-20"]),
        ("enable_msi", OFF, ON._replace(command=0x107), ["I-43"]),
        ("enable_msix n=0", OFF, seen(err=-22, handler="on, not acking"), ["I-44"]),
        ("enable_msix n=0", OFF, seen(err=-22, command=0x507), ["I-44"]),
        ("disable_msi", ON, seen(mapped=[31]), ["I-47"]),
        ("enable_msi", OFF, ON._replace(mapped=[], usable=[]), ["I-47"]),
        ("enable_msi", OFF, ON._replace(usable=[]), ["I-48"]),
    ],
)
def test_a_breach_is_found(step: str, before: Seen, after: Seen, broken: list[str]) -> None:
    assert broken == list(breaches(step, before, after, "d5"))


def test_what_is_broken_is_counted_with_the_way_to_the_first() -> None:
    order = ("command 6", "enable_msi", "disable_msi", "enable_msix n=0")
    muted = seen(err=-22, handler="on, not acking")
    found = judged([("d5", order, [OFF, ON, OFF, OFF]), ("d5", order, [OFF, ON, OFF, muted])])

    assert [1, "command 6 → enable_msi → disable_msi → enable_msix n=0"] == found["broken"].pop("I-44")
    assert [[0]] * (len(PROPERTIES) - 1) == list(found["broken"].values())
    assert (2, 6, 2, 1) == (found["orders"], found["steps"], found["with_messages_on"], found["failures"])


def test_what_the_next_guest_sees_is_told() -> None:
    first = [seen()._replace(answers=[[0, 0x8086], [0, 0x100103]]), OFF, ON, OFF]
    later = [first[0]._replace(answers=[[0, 0x8086], [0, 0x100402]]), OFF, seen(err=-5), seen(command=0x507)]

    assert [] == differences(first, first)
    assert [
        "0x04 reads 00100402, not 00100103",
        "enable_msi answers [-5, 0], not [0, 0]",
        "enable_msi: open; handler on, acking; none on, not quiet; handler on, not acking; MSI on",
        "enable_msi: 0 mapped, not 1",
        "disable_msi: quiet; handler on, acking; none on, not open; handler on, acking; none on",
    ] == differences(first, later)


def test_each_permutation_is_played_with_each_kind() -> None:
    asked = {tuple("command" if step.startswith("command") else step for step in order[1:]) for order in EVERY}

    assert (48, 24) == (len(asked), sum("enable_msi" in order for order in asked))
    assert {"0", "6"} == {step.split()[-1] for order in EVERY for step in order[1:] if step.startswith("command")}


def test_steps_are_the_frontends_words() -> None:
    assert [("interrupt", 0, "enable_msix", 8, [0, 99])] == verbs("enable_msix 0,99", 8)
    assert [("interrupt", 0, "enable_msix", 8, [0], 129)] == verbs("enable_msix 0 n=129", 8)
    assert [("ask", 0, "write", 8, 4, 2, 0x406)] == verbs("command 406", 8)
    assert list(range(0, 256, 4)) == [verb[4] for verb in verbs("space", 8)]


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == page(RESULTS), "run python -m tests.rig.interrupt_orders"


def test_what_is_checked_in_is_what_the_rig_demands_of_ours() -> None:
    ours: dict[str, Any] = RESULTS["results"]["pvpci"]

    assert [[0]] * len(PROPERTIES) == [ours["orders"]["broken"][name] for name in PROPERTIES]
    assert all(tuple(ours["changes"][name]) in allowed for name, (_, allowed) in CHANGES.items())
    assert [[]] * (len(LEFT) + 1) == [*(ours["next"][name] for name in LEFT), ours["left"]]


def test_there_was_something_to_break() -> None:
    orders = RESULTS["results"]["pvpci"]["orders"]

    assert orders["steps"] > 4 * len(EVERY)
    assert orders["with_messages_on"] > len(EVERY)
    assert orders["failures"] > 3 * len(EVERY)
    assert RESULTS["results"]["linux"]["orders"]["broken"]["I-44"][0] > 0


def test_what_is_kept_can_be_made_again() -> None:
    assert OBSERVED.read_text() == observed(RESULTS["versions"], RESULTS["results"])
    assert LIFE[0] == "space"  # read before anything is turned on
