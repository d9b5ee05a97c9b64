# SPDX-License-Identifier: Apache-2.0
"""How a frontend asks: one request at a time, a flag, a ring, and a wait that ends.

The page holds one request. The frontend fills it in, then sets the flag, then rings; the barriers between are its
duty. It waits until the flag is clear, but not for ever: after two seconds it clears the flag itself and takes the
request back. It cannot know whether the backend had begun. What it posts next stands where the old answer would
have gone.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from pvpci.model.kernel.records import GO, Effect, Event, Record
from pvpci.model.kernel.tables import Access, Ignored, Machine, Row, table
from pvpci.model.kernel.terms import ALWAYS, Bits, Choice
from pvpci.model.shared import channel, flags, link, page


class At(Enum):
    IDLE = auto()
    FILLED = auto()  #: the request is in the page
    SET = auto()  #: the flag is set
    RUNG = auto()  #: waiting for it to be cleared
    LATE = auto()  #: waited long enough: take it back
    DONE = auto()  #: the answer is ours to copy


class Mine(Record):
    at = Choice(At)
    left = Bits(2)  #: looks until it has waited long enough, for the one that gives up
    err = Bits(32)  #: the answer that was copied
    value = Bits(32)


class Asked(Record):
    """What was asked, as the frontend remembers it: the words of `Want`, under the names of the page."""

    cmd = Bits(32)
    offset = Bits(32)
    size = Bits(32)
    value = Bits(32)


issue, asked = Mine("issue"), Asked("asked")


class Want(Event):
    """The guest's kernel wants an access. The rest of the request is left at what it was: it makes no difference here."""

    cmd = Bits(32)
    offset = Bits(32)
    size = Bits(32)
    value = Bits(32)


class Look(Event):
    """It looks at the flag again: woken by the doorbell, or by its own clock."""


KICK = Effect("kick", {}, None, lambda: (channel.pending.becomes(link.bound),), doc="Ring the backend.")

fill = (
    page.cmd.becomes(Want.cmd),
    page.offset.becomes(Want.offset),
    page.size.becomes(Want.size),
    page.value.becomes(Want.value),
)
remember = (
    asked.cmd.becomes(Want.cmd), asked.offset.becomes(Want.offset), asked.size.becomes(Want.size), asked.value.becomes(Want.value),
)  # fmt: skip
take = (issue.err.becomes(page.err), issue.value.becomes(page.value))

patience = issue.left.becomes(2)

# fmt: off
TABLE: Final[tuple[Row, ...]] = table(
    #   at         event  when                             then                              asks       next        cite
    Row(At.IDLE,   Want,  ALWAYS,                          (*fill, *remember),               (),        At.FILLED,  "xen-pcifront.c:do_pci_op"),
    Row(At.FILLED, GO,    ALWAYS,                          (flags.active.becomes(True),),    (),        At.SET,     "xen-pcifront.c:do_pci_op", access=Access.LOCKED),
    Row(At.SET,    GO,    ALWAYS,                          (patience,),                      (KICK(),), At.RUNG,    "xen-pcifront.c:do_pci_op"),
    Row(At.RUNG,   Look,  ~flags.active,                   (),                               (),        At.DONE,    "xen-pcifront.c:do_pci_op"),
    Row(At.RUNG,   Look,  flags.active,                    (),                               (),        At.RUNG,    "xen-pcifront.c:do_pci_op", name="not yet"),
    Row(At.DONE,   GO,    ALWAYS,                          take,                             (),        At.IDLE,    "xen-pcifront.c:do_pci_op", access=Access.COPY),
)
_GIVES_UP: Final[tuple[Row, ...]] = table(
    Row(At.RUNG,   Look,  flags.active & (issue.left > 0), (issue.left.becomes(issue.left - 1),), (),   At.RUNG,    "xen-pcifront.c:do_pci_op", name="not yet"),
    Row(At.RUNG,   Look,  flags.active & (issue.left == 0), (),                              (),        At.LATE,    "xen-pcifront.c:do_pci_op"),
    Row(At.LATE,   GO,    ALWAYS,                          (flags.active.becomes(False),),   (),        At.IDLE,    "xen-pcifront.c:do_pci_op", access=Access.LOCKED),
)
# fmt: on


def _machine(rows: tuple[Row, ...]) -> Machine:
    patient = not any(row.source is At.LATE for row in rows)
    ignored = (Ignored(At.LATE, GO, "one that waits is never late"),) if patient else ()
    return Machine(
        "issue", "guest", issue.at, rows,
        records=(issue, asked, flags, page, link), ignored=ignored, resting=frozenset({At.IDLE}), doc=__doc__ or "",
    )  # fmt: skip


MACHINE: Final = _machine(TABLE)
IMPATIENT: Final = _machine(tuple(row for row in TABLE if row.name != "not yet") + _GIVES_UP)
