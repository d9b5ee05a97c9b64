# SPDX-License-Identifier: Apache-2.0
# Longer than 400 lines: one machine is one file, from its essay to what is known at each place.
"""Serving requests from the shared page: the backend's side of the op machine.

The guest owns the page and may rewrite any byte of it between any two of our steps. So every step touches one cell
of the page, the request is copied once, and only the copy decides anything. The page is looked at again only to ask
"is it still the same request?", and the answer can only make us say less: a frontend that gave up has cleared the
flag, perhaps posted something else, and must not be handed the answer to a question that it no longer asks. There
is no sequence number in this protocol, so that check cannot be perfect. It is the last step before the answer is
stored, `value` is stored only when it differs from what the guest put there, and an answer that took longer than a
frontend waits is not given at all.

An event masks its port until it is given back (the end of interrupt). We give it back late, when the work is done,
so a guest that rings in a loop costs no more than the work it asks for. A ring without a request is forgiven once;
after that the end of interrupt is held back for longer and longer.

The loop does at most one request, then looks around: at AGAIN the flag is tested once more, because the guest may
post the next request before we are done and its ring is then latched behind the mask; if it is set, the next
request waits for its TURN. Closing waits for the one request that is in dispatch and for nothing that the guest can
prolong.

A process that served the guest may have died with a request in dispatch; the flag is then still set, and nobody knows how
far it came (`link.resumed`). That one request is done again where that makes no difference, a read or a disable; a
write or an enable is answered as failed, and what an enable may have begun is undone. So nothing is ever done twice that
a guest could tell from once.

Several messages of MSI are asked for by a request that upstream Linux's backend does not know. It is unknown here too, unless
`serve` was told otherwise (`allowed`); then `info` says how many, and only the host looks at that number.

If you touch the table: the order of the rows from MATCHED to TOLD is the order of effects (results before the flag,
the flag before the ring, the ring before we forget that we are busy); `KNOWN` is the proof's outline and must
follow.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from pvpci.model.kernel.records import GO, Effect, Event, Record
from pvpci.model.kernel.tables import Access, Ignored, Machine, Otherwise, Row, table
from pvpci.model.kernel.terms import ALWAYS, NEVER, Bits, Choice, Flag, Update, any_of, choose, number
from pvpci.model.shared import Header, channel, flags, link, page
from pvpci.model.wire import EINVAL, MAX_VECTORS, Cmd, Err


class At(Enum):
    """Where we are with the guest's event and request."""

    IDLE = auto()  #: no event taken
    TAKEN = auto()  #: an event is ours and the port is masked; the flags are not read yet
    NOTHING = auto()  #: the event came without a request
    PAUSED = auto()  #: too many of those: the end of interrupt is held back for a while
    CLAIMED = auto()  #: the request is to be copied
    COPIED = auto()  #: the request is ours: nothing below decides on the page
    SOUGHT = auto()  #: asked which function the address means
    FOUND = auto()  #: it is one of this guest's functions
    ASKED = auto()  #: the host is at it
    ANSWERED = auto()  #: there is an answer
    TIMED = auto()  #: asked the clock how old the request is
    TIMELY = auto()  #: young enough; is the flag still set?
    STANDING = auto()  #: it is; is it still the same request?
    MATCHED = auto()  #: it is: the answer may be stored
    ERR_STORED = auto()
    VALUE_STORED = auto()
    STORED = auto()  #: the whole answer is in the page
    CLEARED = auto()  #: the flag is cleared: the guest may go on
    DROPPED = auto()  #: the answer is nobody's any more
    TOLD = auto()  #: the guest has been rung
    AGAIN = auto()  #: not busy any more; did the guest post another one?
    TURN = auto()  #: it did: wait until everybody else had a turn
    RETAKEN = auto()  #: our turn; is it still there?
    RETURNING = auto()  #: the event is to be given back
    LEFT = auto()  #: closing: the event stays with us until the port is unbound


class Reach(Enum):
    """How far the guest may ask in a function's configuration space."""

    CONVENTIONAL = auto()  #: 256 bytes
    EXTENDED = auto()  #: 4096
    ANY = (
        auto()
    )  #: as Linux has it: every offset that is not negative is asked for, and the platform says what is there


REST: Final = (At.IDLE, At.PAUSED, At.TURN, At.LEFT)  #: no request is in dispatch


class Mine(Record):
    at = Choice(At)
    held = Flag()  #: E: an event is taken and not given back
    busy = Flag()  #: A, ``_PDEVF_op_active``: a request is being worked on
    reach = Choice(Reach)  #: of the function that was found
    sure = Flag()  #: no request that is found can be one that another process began
    doubted = Flag()  #: this one may be
    vectors = Bits(32)  #: entries to hand out, as the copy said before anything was done
    forgiven = Flag()  #: an event without a request has been forgiven since the last request
    pause = Bits(16)  #: how long the next such event will be held back, in ticks of 4 ms


class Allowed(Record):
    """What `serve` was told to do beyond what every backend does. It does not change while a guest is served."""

    multi_msi = Flag()  #: several messages of MSI in one block


class Answer(Record):
    err = Bits(32)  #: signed on the wire
    value = Bits(32)


class Seen(Record):
    """For the proofs: what happened to the request in dispatch, from outside."""

    posted_value = Bits(32)  #: `value` of the copy, when it was made
    asked_cmd = Bits(32)  #: what the host was asked to do, and where
    asked_domain = Bits(32)
    asked_bus = Bits(32)
    asked_devfn = Bits(32)
    asked_offset = Bits(32)
    asked_size = Bits(32)
    asked_value = Bits(32)
    asked_info = Bits(32)  #: only for a block of messages
    sought_domain = Bits(32)
    sought_bus = Bits(32)
    sought_devfn = Bits(32)
    done_err = Bits(32)  #: what the host said
    done_value = Bits(32)
    performed = Flag()  #: the host was asked at all
    begun = (
        Flag()
    )  #: it was asked, by whatever process, for a change that the request in the page is not answered for yet
    repeated = Flag()  #: and was asked so again
    known = Flag()  #: the address meant one of this guest's functions
    reach = Choice(Reach)  #: and how far it reaches
    handed = Bits(32)  #: vectors stored
    cleared = Bits(2)  #: how often the flag was cleared since the copy
    rung = Bits(2)  #: how often the guest was rung since the copy
    turns = Bits(2)  #: requests begun since the loop last looked around
    late = Flag()  #: what the clock said
    standing = Flag()  #: the flag was set when it was looked at last before the answer
    matched = Flag()  #: the page held the request that was copied, when it was looked at last before the answer
    stored = Flag()  #: `err` was stored since the copy
    overlooked = Flag()  #: the flag was set when an event was judged to be without a request
    waited = Bits(16)  #: the last pause
    returned = Bits(2)  #: ends of interrupt since the event was taken
    idle = Bits(8)  #: events without a request in a row; stops at 20


my, copy, answer, allowed = Mine("my"), Header("copy"), Answer("answer"), Allowed("allowed")
seen = Seen("seen", ghost=True)


class Rang(Event):
    """The guest rang, and the port is now masked."""

    offered = link.bound & channel.pending & ~channel.masked
    takes = (channel.pending.becomes(False), channel.masked.becomes(True))


class Found(Event):
    known = Flag()  #: the address means a function of this guest
    reach = Choice(Reach)


class Done(Event):
    """The host has done what it was asked, or says why not (`err` as it goes on the wire)."""

    err = Bits(32)
    value = Bits(32)


class Clock(Event):
    late = Flag()  #: a frontend that posted this request may have given up on it


class Elapsed(Event):
    """The pause is over."""

    offered = link.bound


class Turn(Event):
    """Everybody else had a turn."""

    offered = link.bound


class Cut(Event):
    """The port was unbound; there is nothing left to give back."""

    offered = ~link.bound


Found.takes = (seen.known.becomes(Found.known), seen.reach.becomes(Found.reach))
Clock.takes = (seen.late.becomes(Clock.late),)
Done.takes = (seen.done_err.becomes(Done.err), seen.done_value.becomes(Done.value))


def _sought(domain: Bits, bus: Bits, devfn: Bits) -> tuple[Update, ...]:
    return (seen.sought_domain.becomes(domain), seen.sought_bus.becomes(bus), seen.sought_devfn.becomes(devfn))


def _performed(*asked: Bits) -> tuple[Update, ...]:
    kept = (
        seen.asked_cmd, seen.asked_domain, seen.asked_bus, seen.asked_devfn,
        seen.asked_offset, seen.asked_size, seen.asked_value,
    )  # fmt: skip
    changes = asked[0].among(Cmd.CONF_WRITE, Cmd.ENABLE_MSI, Cmd.ENABLE_MSIX, Cmd.ENABLE_MULTI_MSI)
    return (
        seen.performed.becomes(True), seen.begun.becomes(seen.begun | changes),
        seen.repeated.becomes(seen.repeated | (seen.begun & changes)), *(var.becomes(value) for var, value in zip(kept, asked, strict=True)),
    )  # fmt: skip


def _performed_block(*asked: Bits) -> tuple[Update, ...]:
    return (*_performed(*asked[:-1]), seen.asked_info.becomes(asked[-1]))


_WORD = Bits(32)
_ASKED: Final = ("cmd", "domain", "bus", "devfn", "offset", "size", "value")
SEEK = Effect(
    "seek", {"domain": _WORD, "bus": _WORD, "devfn": _WORD}, Found, _sought,
    doc="Which function of this guest does the address mean?",
)  # fmt: skip
PERFORM = Effect(
    "perform",
    dict.fromkeys(_ASKED, _WORD),
    Done,
    _performed,
    doc="Do to the function what the request says.",
    takes_time=True,
)
PERFORM_BLOCK = Effect(
    "perform_block", dict.fromkeys((*_ASKED, "info"), _WORD), Done, _performed_block,
    doc="The same for a request that says how many messages in `info`.", takes_time=True,
)  # fmt: skip
UNDO = Effect("undo", {}, None, doc="Turn off what the function's last enable may have turned on: it was not finished.")
ASK_CLOCK = Effect("ask_clock", {}, Clock, doc="How old is the request that was copied?")
HAND_OUT = Effect(
    "hand_out", {"count": _WORD}, None, lambda count: (seen.handed.becomes(count),),
    doc="Store that many vectors, 16 bits each.",
)  # fmt: skip
NOTIFY = Effect("notify", {}, None, lambda: (seen.rung.becomes(seen.rung + 1),), doc="Ring the guest.")
UNMASK = Effect(
    "unmask", {}, None, lambda: (channel.masked.becomes(False), seen.returned.becomes(seen.returned + 1)),
    doc="Give the event back: the port may ring again.",
)  # fmt: skip
WAIT = Effect(
    "wait",
    {"ticks": Bits(16)},
    Elapsed,
    lambda ticks: (seen.waited.becomes(ticks),),
    doc="Let that many ticks of 4 ms pass.",
    synchronous=False,
)

EXTENDED, CONVENTIONAL = 4096, 256  #: bytes of configuration space
NEGATIVE: Final = 1 << 31  #: offsets are signed on the wire
LONGEST_PAUSE: Final = 256  #: ticks: about a second

reads = copy.cmd == Cmd.CONF_READ
writes = copy.cmd == Cmd.CONF_WRITE
enables_msix = copy.cmd == Cmd.ENABLE_MSIX
enables_block = allowed.multi_msi & (copy.cmd == Cmd.ENABLE_MULTI_MSI)
interrupts = copy.cmd.among(Cmd.ENABLE_MSI, Cmd.DISABLE_MSI, Cmd.DISABLE_MSIX)
implemented = reads | writes | interrupts | enables_msix | enables_block
aligned = (copy.size == 1) | ((copy.size == 2) & (copy.offset & 1 == 0)) | ((copy.size == 4) & (copy.offset & 3 == 0))
limit = choose(my.reach == Reach.EXTENDED, number(32, EXTENDED), CONVENTIONAL)
#: Aligned, so its last byte is inside too.
inside = copy.offset < choose(my.reach == Reach.ANY, number(32, NEGATIVE), limit)
sound = aligned & inside
too_many = copy.value > MAX_VECTORS
unchanged = page.same_as(copy)

claim = my.busy.becomes(True)
doubtful = my.doubted & (writes | enables_msix | enables_block | (copy.cmd == Cmd.ENABLE_MSI))
first_is_over = my.sure.becomes(True)
let_go = my.busy.becomes(False)
echo = answer.value.becomes(copy.value)
earn_trust = (my.forgiven.becomes(False), my.pause.becomes(0))
longer = my.pause.becomes(choose(my.pause >= LONGEST_PAUSE, number(16, LONGEST_PAUSE), my.pause + my.pause))
nothing_to_hand_out = my.vectors.becomes(0)
THE_COPY: Final = tuple(copy.fields[name] for name in _ASKED)
PERFORM_COPY = PERFORM(*THE_COPY)


def _err(code: int) -> Update:
    return answer.err.becomes(code)


# fmt: off
TABLE: Final[tuple[Row, ...]] = table(
    #   at               event    when                        then                                        asks               next             cite
    # The event
    Row(At.IDLE,         Rang,    ALWAYS,                     (my.held.becomes(True),),                   (),                At.TAKEN,        "evtchn.c:evtchn_read"),
    Row(At.TAKEN,        GO,      link.closing,               (),                                         (),                At.LEFT,         "RB-6"),
    Row(At.TAKEN,        GO,      ~link.closing & flags.active, (claim,),                                 (),                At.CLAIMED,      "pciback_ops.c:xen_pcibk_test_and_schedule_op"),
    Row(At.TAKEN,        GO,      ~link.closing & ~flags.active, (first_is_over,),                           (),                At.NOTHING,      "XSA-332"),
    Row(At.NOTHING,      GO,      ~my.forgiven,               (my.forgiven.becomes(True), my.pause.becomes(1)), (),          At.RETURNING,    "events_base.c:xen_irq_lateeoi_locked"),
    Row(At.NOTHING,      GO,      my.forgiven,                (longer,),                                  (WAIT(my.pause),), At.PAUSED,       "RB-18"),
    Row(At.PAUSED,       Elapsed, ALWAYS,                     (),                                         (),                At.RETURNING,    "RB-18"),
    # The request
    Row(At.CLAIMED,      GO,      ALWAYS,                     copy.taken_from(page),                      (),                At.COPIED,       "XSA-155", access=Access.COPY),
    Row(At.COPIED,       GO,      ALWAYS,                     (),                                         (SEEK(copy.domain, copy.bus, copy.devfn),), At.SOUGHT, "pciback_ops.c:xen_pcibk_do_one_op"),
    Row(At.SOUGHT,       Found,   ~Found.known,               (_err(Err.DEV_NOT_FOUND), echo, nothing_to_hand_out), (),      At.ANSWERED,     "pciif.h:XEN_PCI_ERR_dev_not_found"),
    Row(At.SOUGHT,       Found,   Found.known,                (my.doubted.becomes(link.resumed & ~my.sure), my.reach.becomes(Found.reach), nothing_to_hand_out), (), At.FOUND,       "pciback_ops.c:xen_pcibk_do_one_op"),
    Row(At.FOUND,        GO,      (reads | writes) & sound & ~doubtful, (),                               (PERFORM_COPY,),   At.ASKED,        "pciif.h:XEN_PCI_OP_conf_read", name="configuration"),
    Row(At.FOUND,        GO,      writes & sound & doubtful,  (_err(Err.OP_FAILED), echo),                (),                At.ANSWERED,     "RB-20", name="doubtful write"),
    Row(At.FOUND,        GO,      reads & ~sound,             (_err(Err.INVALID_OFFSET), answer.value.becomes(0)), (),       At.ANSWERED,     "RB-8", name="bad read"),
    Row(At.FOUND,        GO,      writes & ~sound,            (_err(Err.INVALID_OFFSET), echo),           (),                At.ANSWERED,     "RB-8", name="bad write"),
    Row(At.FOUND,        GO,      enables_msix & too_many,    (_err(-EINVAL), echo),                      (),                At.ANSWERED,     "pciif.h:SH_INFO_MAX_VEC", name="too many vectors"),
    Row(At.FOUND,        GO,      enables_msix & ~too_many & ~doubtful, (my.vectors.becomes(copy.value),),          (PERFORM_COPY,),   At.ASKED,        "XSA-155", name="MSI-X"),
    Row(At.FOUND,        GO,      interrupts & ~doubtful,     (),                                         (PERFORM_COPY,),   At.ASKED,        "RB-15", name="interrupts"),
    Row(At.FOUND,        GO,      enables_block & ~doubtful,  (),                                         (PERFORM_BLOCK(*THE_COPY, copy.info),), At.ASKED, "RB-16", name="several messages"),
    Row(At.FOUND,        GO,      (interrupts | enables_block | (enables_msix & ~too_many)) & doubtful, (_err(Err.OP_FAILED), echo), (UNDO(),),  At.ANSWERED, "RB-20", name="doubtful enable"),
    Otherwise(At.FOUND,  GO,                                  (_err(Err.NOT_IMPLEMENTED), echo),          (),                At.ANSWERED,     "RB-16", name="unknown"),
    Row(At.ASKED,        Done,    writes,                     (answer.err.becomes(Done.err), echo),       (),                At.ANSWERED,     "RB-15", name="write"),
    Row(At.ASKED,        Done,    ~writes & (Done.err == 0),  (answer.err.becomes(Done.err), answer.value.becomes(Done.value)), (), At.ANSWERED, "RB-15", name="success"),
    Row(At.ASKED,        Done,    ~writes & (Done.err != 0),  (answer.err.becomes(Done.err), answer.value.becomes(Done.value), nothing_to_hand_out), (), At.ANSWERED, "RB-15", name="failure"),
    # The answer, if anybody still waits for it
    Row(At.ANSWERED,     GO,      ALWAYS,                     (),                                         (ASK_CLOCK(),),    At.TIMED,        "RB-7"),
    Row(At.TIMED,        Clock,   Clock.late,                 (),                                         (),                At.DROPPED,      "RB-7"),
    Row(At.TIMED,        Clock,   ~Clock.late,                (),                                         (),                At.TIMELY,       "RB-7"),
    Row(At.TIMELY,       GO,      flags.active,               (),                                         (),                At.STANDING,     "RB-7"),
    Row(At.TIMELY,       GO,      ~flags.active,              (),                                         (),                At.DROPPED,      "RB-7"),
    Row(At.STANDING,     GO,      unchanged,                  (),                                         (),                At.MATCHED,      "RB-7"),
    Row(At.STANDING,     GO,      ~unchanged,                 (),                                         (),                At.DROPPED,      "RB-7"),
    Row(At.MATCHED,      GO,      ALWAYS,                     (page.err.becomes(answer.err),),            (),                At.ERR_STORED,   "pciif.h:struct xen_pci_op"),
    Row(At.ERR_STORED,   GO,      answer.value != copy.value, (page.value.becomes(answer.value),),        (),                At.VALUE_STORED, "pciif.h:struct xen_pci_op", name="differs"),
    Row(At.ERR_STORED,   GO,      answer.value == copy.value, (),                                         (),                At.VALUE_STORED, "RB-7", name="echo"),
    Row(At.VALUE_STORED, GO,      my.vectors != 0,            (),                                         (HAND_OUT(my.vectors),), At.STORED, "XSA-155", name="vectors"),
    Row(At.VALUE_STORED, GO,      my.vectors == 0,            (),                                         (),                At.STORED,       "pciback_ops.c:xen_pcibk_do_one_op"),
    Row(At.STORED,       GO,      ALWAYS,                     (flags.active.becomes(False),),             (),                At.CLEARED,      "RB-17", access=Access.LOCKED),
    Row(At.CLEARED,      GO,      ALWAYS,                     (),                                         (NOTIFY(),),       At.TOLD,         "pciback_ops.c:xen_pcibk_do_op"),
    Row(At.TOLD,         GO,      ALWAYS,                     (let_go, first_is_over, *earn_trust),       (),                At.AGAIN,        "pciback_ops.c:xen_pcibk_do_op"),
    Row(At.DROPPED,      GO,      ALWAYS,                     (let_go, first_is_over, *earn_trust),       (),                At.AGAIN,        "RB-7"),
    # The next one
    Row(At.AGAIN,        GO,      link.closing,               (),                                         (),                At.LEFT,         "RB-6"),
    Row(At.AGAIN,        GO,      ~link.closing & flags.active, (),                                       (),                At.TURN,         "RB-6"),
    Row(At.AGAIN,        GO,      ~link.closing & ~flags.active, (),                                      (),                At.RETURNING,    "pciback_ops.c:xen_pcibk_do_op"),
    Row(At.TURN,         Turn,    ALWAYS,                     (),                                         (),                At.RETAKEN,      "RB-6"),
    Row(At.RETAKEN,      GO,      link.closing,               (),                                         (),                At.LEFT,         "RB-6"),
    Row(At.RETAKEN,      GO,      ~link.closing & flags.active, (claim,),                                 (),                At.CLAIMED,      "pciback_ops.c:xen_pcibk_test_and_schedule_op"),
    Row(At.RETAKEN,      GO,      ~link.closing & ~flags.active, (),                                      (),                At.RETURNING,    "pciback_ops.c:xen_pcibk_do_op"),
    Row(At.RETURNING,    GO,      ALWAYS,                     (my.held.becomes(False),),                  (UNMASK(),),       At.IDLE,         "pciback.h:xen_pcibk_lateeoi"),
    # The end
    Row(At.LEFT,         Cut,     ALWAYS,                     (my.held.becomes(False),),                  (),                At.IDLE,         "evtchn.c:evtchn_unbind_from_user"),
    Row(At.TURN,         Cut,     ALWAYS,                     (my.held.becomes(False),),                  (),                At.IDLE,         "evtchn.c:evtchn_unbind_from_user"),
    Row(At.PAUSED,       Cut,     ALWAYS,                     (my.held.becomes(False),),                  (),                At.IDLE,         "evtchn.c:evtchn_unbind_from_user"),
)
# fmt: on

DISPATCH: Final = tuple(At)[At.CLAIMED.value - 1 : At.TOLD.value]  #: from the claim until we let go of it
ANSWERING: Final = tuple(At)[At.ANSWERED.value - 1 : At.TOLD.value]  #: there is an answer


def _patience(idle: int) -> Flag:
    """What is remembered after that many rings in a row without a request: one is forgiven, then 1, 2, 4 … ticks."""
    before = my.at == At.NOTHING  # the ring is counted, what it costs is not settled yet

    def settled(rings: int) -> Flag:
        if rings == 0:
            return ~my.forgiven & (my.pause == 0)
        return my.forgiven & (my.pause == min(1 << min(rings - 1, 16), LONGEST_PAUSE))

    stays = settled(idle) if idle == 20 else NEVER
    return choose(before, settled(max(idle - 1, 0)) | stays, settled(idle)) & (~before | NEVER if idle == 0 else ALWAYS)


NOTES: Final = {
    At.TAKEN: (seen.returned.becomes(0), seen.turns.becomes(0)),
    At.NOTHING: (
        seen.idle.becomes(choose(seen.idle >= 20, number(8, 20), seen.idle + 1)), seen.overlooked.becomes(flags.active),
    ),
    At.CLAIMED: (seen.turns.becomes(seen.turns + 1), seen.idle.becomes(0)),
    At.COPIED: (
        seen.cleared.becomes(0), seen.rung.becomes(0), seen.handed.becomes(0), seen.performed.becomes(False),
        seen.known.becomes(False), seen.stored.becomes(False), seen.posted_value.becomes(page.value),
    ),
    At.STANDING: (seen.standing.becomes(flags.active),),
    At.MATCHED: (seen.matched.becomes(unchanged),),
    At.ERR_STORED: (seen.stored.becomes(True),),
    At.CLEARED: (seen.cleared.becomes(seen.cleared + 1), seen.begun.becomes(False)),
    At.RETAKEN: (seen.turns.becomes(0),),
}  # fmt: skip

_CHECKED: Final = tuple(At)[
    At.TIMELY.value - 1 : At.STORED.value
]  #: one check more is passed at each of the first three
_MSIX_DONE: Final = enables_msix & (answer.err == 0)
KNOWN: Final = {
    "an event is held exactly while we are at it": my.held == (my.at != At.IDLE),
    "a held event masks its port": (my.held & link.bound).implies(channel.masked),
    "an idle port is open": ((my.at == At.IDLE) & link.bound).implies(~channel.masked),
    "busy means in dispatch": my.busy == my.at.among(*DISPATCH),
    "no channel without a page": link.bound.implies(link.mapped),
    "the page stays while an event is held": my.held.implies(link.mapped),
    "the port stays while we are at work": (~my.at.among(*REST)).implies(link.bound),
    "the flag is not cleared before the answer": my.at.among(*DISPATCH[1:-3]).implies((seen.cleared == 0) & (seen.rung == 0)),
    "cleared, then rung": (my.at == At.CLEARED).implies((seen.cleared == 1) & (seen.rung == 0))
    & (my.at == At.TOLD).implies((seen.cleared == 1) & (seen.rung == 1))
    & (my.at == At.DROPPED).implies((seen.cleared == 0) & (seen.rung == 0)),
    "cleared at most once": (seen.cleared <= 1) & (seen.rung <= 1),
    "sought as copied": (my.at.among(*DISPATCH[2:])).implies(
        (seen.sought_domain == copy.domain) & (seen.sought_bus == copy.bus) & (seen.sought_devfn == copy.devfn)
    ),
    "the copy is what was posted": my.at.among(*DISPATCH[1:]).implies(seen.posted_value == copy.value),
    "not asked before it is found": my.at.among(At.COPIED, At.SOUGHT, At.FOUND).implies(~seen.performed),
    "nothing handed out before the end": my.at.among(*DISPATCH[1:-4], At.DROPPED).implies(seen.handed == 0),
    "found means known": my.at.among(At.FOUND, At.ASKED).implies(seen.known),
    "its own size counts": my.at.among(At.FOUND, At.ASKED).implies(my.reach == seen.reach),
    "asked as copied": (my.at == At.ASKED).implies(seen.performed)
    & (my.at.among(*DISPATCH[2:]) & seen.performed).implies(
        (seen.asked_cmd == copy.cmd) & (seen.asked_domain == copy.domain) & (seen.asked_bus == copy.bus)
        & (seen.asked_devfn == copy.devfn) & (seen.asked_offset == copy.offset) & (seen.asked_size == copy.size)
        & (seen.asked_value == copy.value) & (enables_block.implies(seen.asked_info == copy.info)) & seen.known
    ),
    "only sound accesses are asked for": (my.at.among(*DISPATCH[2:]) & seen.performed & (reads | writes)).implies(sound),
    "only what is implemented is asked for": (my.at.among(*DISPATCH[2:]) & seen.performed).implies(
        reads | writes | interrupts | (enables_msix & ~too_many) | enables_block
    ),
    "vectors are those of the copy": (my.at == At.FOUND).implies(my.vectors == 0)
    & (my.at == At.ASKED).implies(my.vectors == choose(enables_msix, copy.value, 0))
    & my.at.among(*ANSWERING).implies(my.vectors == choose(_MSIX_DONE & seen.performed, copy.value, 0))
    & (my.vectors <= MAX_VECTORS),
    "handed out as captured": my.at.among(At.STORED, At.CLEARED, At.TOLD).implies(seen.handed == my.vectors),
    "the answer is the host's": (my.at.among(*ANSWERING) & seen.performed).implies(
        (answer.err == seen.done_err) & (answer.value == choose(writes, copy.value, seen.done_value))
    ),
    "unknown functions are not found": (my.at.among(*ANSWERING) & ~seen.known).implies(
        (answer.err == Err.DEV_NOT_FOUND) & (answer.value == copy.value) & ~seen.performed
    ),
    "unsound accesses are refused": (my.at.among(*ANSWERING) & seen.known & (reads | writes) & ~sound).implies(
        (answer.err == Err.INVALID_OFFSET) & (answer.value == choose(~reads, copy.value, 0)) & ~seen.performed
    ),
    "too many vectors are refused": (my.at.among(*ANSWERING) & seen.known & enables_msix & too_many).implies(
        (answer.err == -EINVAL) & (answer.value == copy.value) & ~seen.performed
    ),
    "unknown codes are echoed": (my.at.among(*ANSWERING) & seen.known & ~implemented).implies(
        (answer.err == Err.NOT_IMPLEMENTED) & (answer.value == copy.value) & ~seen.performed
    ),
    "stored before it is cleared": my.at.among(At.ERR_STORED, At.VALUE_STORED, At.STORED, At.CLEARED, At.TOLD).implies(seen.stored),
    "stored in time, over its own request": my.at.among(*_CHECKED[0:]).implies(~seen.late)
    & my.at.among(*_CHECKED[1:]).implies(seen.standing)
    & my.at.among(*_CHECKED[2:]).implies(seen.matched),
    "one request a turn": (seen.turns <= 1)
    & my.at.among(At.TAKEN, At.NOTHING, At.PAUSED, At.RETAKEN).implies(seen.turns == 0),
    "given back once": (seen.returned <= 1) & my.at.among(*tuple(At)[1:]).implies(seen.returned == 0),
    "nothing was overlooked": (my.at == At.NOTHING).implies(~seen.overlooked),
    "the pause follows the idle rings": (~my.at.among(*DISPATCH)).implies(
        any_of(
            (seen.idle >= k if k == 20 else seen.idle == k) & _patience(k) for k in range(21)
        )
    ) & my.at.among(*DISPATCH).implies(seen.idle == 0) & (seen.idle <= 20),
}  # fmt: skip

MACHINE: Final = Machine(
    "op", "backend", my.at, TABLE,
    records=(my, copy, answer, allowed, flags, page, link),
    notes=NOTES, known=KNOWN, resting=frozenset(REST), doc=__doc__ or "",
    ignored=tuple(Ignored(place, Turn, "only asked for at TURN") for place in At if place is not At.TURN),
)  # fmt: skip
