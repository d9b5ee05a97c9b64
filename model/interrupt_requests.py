# SPDX-License-Identifier: Apache-2.0
"""A request about interrupts and the machine of the function that it is for, together.

Each machine alone is proved against a world that may answer anything. Here the world is the other machine: what the host is
asked to do is the function's event, with the count of the copy, and "done" is said when the function's machine rests, with its
error and its value. That is how `perform` is written; the judge of traces holds a backend to the same.

One function stands for all that a guest has: each has a machine of its own, and a request is for one of them. Functions come
and go, are reset and taken up between requests. A process that dies takes the request with it; what becomes of the function
then is proved of its machine alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from pvpci.model.interrupts import (
    REST,
    Another,
    At,
    DisableMsi,
    DisableMsix,
    EnableMsi,
    EnableMsix,
    EnableMultiMsi,
    Reset,
    Resume,
    irq,
    world,
)
from pvpci.model.interrupts import seen as irq_seen
from pvpci.model.kernel.claims import Claim, always
from pvpci.model.kernel.records import Event, Record
from pvpci.model.kernel.systems import Bond, Move
from pvpci.model.kernel.terms import Flag, choose
from pvpci.model.op import ANSWERING, Done, answer, copy, my, seen
from pvpci.model.op import REST as BETWEEN
from pvpci.model.op import At as Op
from pvpci.model.wire import Cmd


class Between(Record):
    """What the two machines owe each other."""

    begun = Flag()  #: the function has been asked for what is being performed


between = Between("between", ghost=True)

_BUSY: Final = ~irq.at.among(*REST)
_ABOUT: Final = copy.cmd.among(Cmd.ENABLE_MSI, Cmd.DISABLE_MSI, Cmd.ENABLE_MSIX, Cmd.DISABLE_MSIX, Cmd.ENABLE_MULTI_MSI)
_ENABLES: Final = copy.cmd == Cmd.ENABLE_MSIX
_ENABLES_BLOCK: Final = copy.cmd == Cmd.ENABLE_MULTI_MSI
_ENABLES_MSI: Final = (copy.cmd == Cmd.ENABLE_MSI) | _ENABLES_BLOCK
_WANTED: Final = choose(_ENABLES_BLOCK, copy.info, 1)


def _asked(cmd: Cmd) -> Flag:
    return (my.at == Op.ASKED) & (copy.cmd == cmd) & ~between.begun


_begin: Final = (between.begun.becomes(True),)
BONDS: Final[Mapping[type[Event], Bond]] = {
    EnableMsi: Bond(_asked(Cmd.ENABLE_MSI), _begin),
    EnableMultiMsi: Bond(_asked(Cmd.ENABLE_MULTI_MSI) & (EnableMultiMsi.count == copy.info), _begin),
    DisableMsi: Bond(_asked(Cmd.DISABLE_MSI), _begin),
    EnableMsix: Bond(_asked(Cmd.ENABLE_MSIX) & (EnableMsix.count == copy.value), _begin),
    DisableMsix: Bond(_asked(Cmd.DISABLE_MSIX), _begin),
    Reset: Bond(my.at.among(*BETWEEN)),
    Resume: Bond(my.at.among(*BETWEEN)),
    Done: Bond(
        _ABOUT.implies(between.begun & ~_BUSY & (Done.err == irq.err) & (Done.value == irq.value)),
        (between.begun.becomes(False),),
    ),
}


def between_requests(move: Move) -> Move:
    """A function comes, like it goes, when no request is being served."""
    return replace(move, when=move.when & my.at.among(*BETWEEN)) if move.event is Another else move


_done: Final = my.at.among(*ANSWERING) & seen.performed
_begun: Final = between.begun | (_done & _ABOUT)
KNOWN: Final = {
    "what was begun is being performed": between.begun.implies((my.at == Op.ASKED) & _ABOUT),
    "an enable is an enable": (_begun & (_ENABLES | _ENABLES_MSI)).implies(irq_seen.enabling),
    "wanted as the copy says": (_begun & _ENABLES_MSI).implies(irq_seen.wanted == _WANTED),
    "as many as the copy says": (
        _begun & _ENABLES & irq.at.among(At.LOOKING, At.MASKING, At.MAPPING, At.OPENING)
    ).implies(irq.msix & (irq.count == copy.value)),
    "one kind, where that was asked for": (
        _begun & _ENABLES_MSI & irq.at.among(At.LOOKING, At.MASKING, At.MAPPING, At.OPENING)
    ).implies(~irq.msix),
    "success is what it says": (_begun & _ENABLES & irq.at.among(*REST) & (irq.err == 0)).implies(
        (irq.at == At.MSIX) & (irq.count == copy.value)
    ),
    "success of MSI is what it says": (_begun & _ENABLES_MSI & irq.at.among(*REST) & (irq.err == 0)).implies(
        (irq.at == At.MSI)
        & (irq_seen.before == At.OFF)
        & (((irq_seen.one == 0) & ~world.dead).implies(irq.value == irq_seen.pirq))
    ),
    "failure leaves it off": (
        _begun & (_ENABLES | _ENABLES_MSI) & irq.at.among(*REST) & (irq.err != 0) & (irq_seen.before == At.OFF)
    ).implies(irq.at.among(At.OFF, At.STUCK)),
    "failure is on the way off": (_begun & (_ENABLES | _ENABLES_MSI) & irq.at.among(At.QUIETING, At.UNMAPPING)).implies(
        (irq.err != 0) & (irq_seen.before == At.OFF)
    ),
    "nothing else happens to the function meanwhile": (_done & _ABOUT).implies(~_BUSY),
    "the answer is the function's": (_done & _ABOUT).implies((answer.err == irq.err) & (answer.value == irq.value)),
}


def claims() -> tuple[Claim, ...]:
    """What holds of the two together and of neither alone."""
    told = my.at.among(Op.STORED, Op.CLEARED, Op.TOLD)
    handed = told & (seen.handed != 0)
    return (
        always("as_many_are_handed_out_as_were_asked_for_and_mapped", "I-27",
               handed.implies((irq.at == At.MSIX) & (seen.handed == copy.value) & (seen.handed == irq.count)
                              & (world.dead | (world.mapped == seen.handed)))),
        always("every_number_that_is_handed_out_is_mapped", "I-47",
               (handed & (irq_seen.one < seen.handed) & ~world.dead).implies(irq_seen.mapped & (irq_seen.pirq != 0))),
        always("nothing_is_handed_out_after_a_failure", "I-52",
               (told & seen.performed & _ENABLES & (answer.err != 0)).implies(
                   (seen.handed == 0) & (irq_seen.before == At.OFF).implies(
                       irq.at.among(At.OFF, At.STUCK) & (irq.at == At.OFF).implies(world.mapped == 0)))),
        always("the_number_that_is_answered_is_mapped", "D-05",
               (told & seen.performed & _ENABLES_MSI & (answer.err == 0) & (irq_seen.one == 0) & ~world.dead).implies(
                   irq_seen.mapped & (answer.value == irq_seen.pirq) & (world.mapped == 1))),
        always("as_many_messages_are_mapped_as_the_request_says", "D-16",
               (told & seen.performed & _ENABLES_MSI & (answer.err == 0)).implies(
                   (irq.at == At.MSI) & (_WANTED != 0) & (_WANTED <= world.block) & (world.multiple == world.block))),
    )  # fmt: skip
