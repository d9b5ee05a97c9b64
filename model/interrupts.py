# SPDX-License-Identifier: Apache-2.0
# Longer than 400 lines: one machine is one file, from its essay to what is known at each place.
"""The interrupts of one function: off or by line, by MSI, by MSI-X.

Only the hypervisor can route a message to a guest, so a guest asks for it: one vector (MSI) or several (MSI-X). Each is
*mapped* by a call of its own, which gives a number of the guest's, its pirq; what the function then needs is its enable bit,
which the hypervisor leaves to us. A vector that is mapped and not given back is lost to the machine, and a function whose
enable bit is set while its table is half filled raises interrupts that are nobody's. So:

* The kind is decided first, on what the function is and not on what the guest says: its capability, its memory decoding, the
  entries asked for. A refusal changes nothing.
* MSI-X is enabled with the whole function masked before the first vector is mapped, because the hypervisor writes the table;
  the mask goes when the last one is there. MSI is enabled last.
* Whatever fails on the way, the enable bits go first and then every vector that was mapped, last first. Only then is the
  failure answered. So after a failed enable the guest still has its line, and may try again.
* Turning off goes the same way. A frontend of Linux 6.1 says "disable MSI" for MSI-X too: that turns off whatever is on.
* A vector that the hypervisor does not take back keeps the function STUCK: it is given to nobody else before it is free,
  and every reset tries again. The hypervisor frees the vectors of a domain that dies by itself; then giving back finds
  nothing, which is as good.

The line interrupt is quiet (INTX_DISABLE) while a kind of message is on, and opened again when it goes; unless it is shared
with a driver of the host, which could not tell our interrupts from its own: then it is never opened.

A process that serves a guest may die at any step (RB-20). What it had mapped stays mapped, and what it kept of that where
it does not die with it, `vectors`, `msix` and `whole`, is all that its successor knows: the machine begins at LOST. What
was whole, and is on by the function's registers, is taken up as it is; anything else is turned off, last first as ever. It
is kept after each vector that was mapped, before the enable bits are cleared, and after each vector that was given back: so
at most the last one is not mapped any more, which does no harm. A death between the hypervisor's call and the keeping of
its answer loses the number of that one vector. That one was being mapped is kept before the call, so the host can look for
it; that is no part of this model.

A guest may ask for several messages of MSI (RB-16). They have one address, and numbers that follow each other: a *block*. The
hypervisor maps it by one call, as a whole or not at all, and takes it back by one call with its first number; so a block is one
vector here, and `irq.block` says of how many messages. The function takes powers of two only, up to what its capability says
(Multiple Message Capable), and so does the hypervisor. What lies between is rounded up, as Linux does for a driver of its own:
the guest gets at least as many as it asked for, and the last ones mean nothing to it. More than 32, none, or more than the
function has are refused as any other failure of MSI; the guest may then ask for one. How many messages the function may tell
apart (Multiple Message Enable) is written with the enable bit, though the hypervisor has written the same while it mapped, for
not every one does; plain MSI writes one, and so does turning off. How many a dead process had is not kept: giving back needs the
first number, and turning off needs none.

`vectors` are counted here; the numbers themselves are a list of the host's. The proofs follow one vector of that list,
whichever: `seen.one`.

If you touch the table: the order of SWITCH, MAP and UNMAP is the point of it, and `KNOWN` says it place by place.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Any, Final, TypeVar, cast

from pvpci.model.config.messages import MOST_MESSAGES
from pvpci.model.kernel.records import Effect, Event, Record
from pvpci.model.kernel.tables import Ignored, Machine, Otherwise, Row, table
from pvpci.model.kernel.terms import ALWAYS, Bits, Choice, Flag, Update, any_of, choose, constant, number
from pvpci.model.wire import MAX_VECTORS, Err

ENXIO, EINVAL, ENODATA, EALREADY, EBUSY = 6, 22, 61, 114, 16
MOST_PIRQ: Final = 0xFFFF  #: what fits into an entry's `vector`


class Kind(Enum):
    """What is to become of the function's enable bits."""

    NONE = auto()  #: both are cleared
    MSI = auto()  #: MSI is enabled
    MASKED = auto()  #: MSI-X is enabled, all of it masked
    MSIX = auto()  #: the mask goes


class Line(Enum):
    """And of INTX_DISABLE."""

    LEAVE = auto()
    OPEN = auto()  #: cleared
    QUIET = auto()  #: set


class At(Enum):
    """Where we are with the function's interrupts."""

    OFF = auto()  #: nothing mapped, no message enabled
    MSI = auto()
    MSIX = auto()
    STUCK = auto()  #: off, but the hypervisor did not take a vector back
    LOOKING = auto()  #: asked what the function is like
    MASKING = auto()  #: asked to enable MSI-X, masked
    MAPPING = auto()  #: asked for a vector
    OPENING = auto()  #: every vector is there: asked to let them through
    QUIETING = auto()  #: asked to clear the enable bits
    UNMAPPING = auto()  #: asked to give a vector back
    LOST = auto()  #: the process that had the function died, and nobody has taken it up yet


REST: Final = (At.OFF, At.MSI, At.MSIX, At.STUCK)
BUSY: Final = tuple(place for place in At if place not in (*REST, At.LOST))


class Mine(Record):
    at = Choice(At)
    msix = Flag()  #: the kind that is, or is to be, on
    count = Bits(32)  #: vectors asked for
    vectors = Bits(32)  #: vectors mapped and not given back
    block = Bits(32)  #: messages of one vector: 1, or more for MSI; 0 where another process mapped it
    whole = Flag()  #: all that was asked for is mapped and on: what is kept of it may be believed
    loud = Flag()  #: the enable bits could not be cleared
    err = Bits(32)  #: the answer, signed on the wire
    value = Bits(32)


class Function(Record):
    """What the function is like, known when it is attached."""

    line = Bits(32)  #: the pirq of its line interrupt, 0 if it has none
    shared = Flag()  #: a driver of the host is on that line


class World(Record):
    """The function's registers and the hypervisor's tables, as they are."""

    msi = Flag()  #: MSI is enabled
    msix = Flag()  #: MSI-X is
    masked = Flag()  #: as a whole
    multiple = Bits(32)  #: messages that MSI may tell apart, by its register
    open = Flag()  #: INTX_DISABLE is clear
    block = Bits(32)  #: messages that the call mapped which mapped last
    mapped = Bits(32)  #: vectors of this function that are mapped for the guest, and whose numbers are known
    ahead = Flag()  #: one less than was kept: a process died before it could keep that it had given one back
    dead = Flag()  #: the guest is gone, and what was mapped for it with it
    owned = Flag()  #: the function is assigned to the guest
    asked = Choice(Kind)  #: what was asked for last, not done yet
    asked_line = Choice(Line)
    messages = Bits(32)  #: and of how many messages it was
    asking = Bits(32)  #: the index of the vector that was asked for last


class Seen(Record):
    """How it came about; and one vector of the list, whichever."""

    one = Bits(32)  #: its index; any, fixed
    mapped = Flag()
    pirq = Bits(32)
    before = Choice(At)  #: where we were when the operation came
    open_before = Flag()
    enabling = Flag()  #: it was an enable
    of_msi = Flag()  #: of MSI,
    wanted = Bits(32)  #: and of so many messages
    capable = Flag()  #: the function has as many as we looked for
    turning_off = Flag()  #: it was "disable MSI"
    resetting = Flag()
    moved = Flag()  #: a vector was mapped, or a bit of the function changed, since it came
    decoding = Flag()  #: memory decoding was on when we looked
    for_host = Flag()  #: a vector was asked for that is not the guest's
    opened = Flag()  #: we opened the line


irq, fn, world = Mine("irq"), Function("fn"), World("world")
seen = Seen("irq_seen", ghost=True)


class EnableMsi(Event):
    """The guest wants one message."""


class EnableMultiMsi(Event):
    """It wants several, one block of them."""

    count = Bits(32)


class EnableMsix(Event):
    count = Bits(32)


class DisableMsi(Event):
    """Said for MSI, and by some frontends for MSI-X."""


class DisableMsix(Event):
    pass


class Reset(Event):
    """The function goes, or its guest's kernel does."""


class Looked(Event):
    present = Flag()  #: it has the capability
    decodes = Flag()  #: memory decoding is on; for a virtual function that of its physical one
    own = Flag()  #: memory decoding is on in its own COMMAND
    fits = Flag()  #: the entries are distinct and inside the table; the function has as many messages of MSI
    prepared = Flag()  #: the hypervisor knows where the table is


class Mapped(Event):
    ok = Flag()
    err = Bits(32)  #: Linux's number, positive
    pirq = Bits(32)


class Switched(Event):
    ok = Flag()


class Unmapped(Event):
    gone = Flag()  #: it is given back, or was gone already


class Resume(Event):
    """Another process takes the function up."""

    on = Flag()  #: by its registers, MSI or MSI-X is enabled


class Another(Event):
    """Another function, of another guest: the machine starts anew."""

    line = Bits(32)
    shared = Flag()
    one = Bits(32)
    open = Flag()


_C = TypeVar("_C", bound=Enum)


def choice(member: _C) -> Choice[_C]:
    """A constant."""
    return cast(Choice[_C], constant(Choice(type(member)).sort, member))


_ONE: Final = world.asking == seen.one
_msi, _none = world.asked == Kind.MSI, world.asked == Kind.NONE
_masks, _opens = world.asked == Kind.MASKED, world.asked_line == Line.OPEN
_FLAGS: Final = (  #: each flag of the function, and what was asked for makes of it
    (world.msi, (world.msi & ~_none) | _msi),
    (world.msix, (world.msix & ~_none) | _masks),
    (world.masked, _masks),
    (world.open, (world.open | _opens) & (world.asked_line != Line.QUIET)),
)
_multiple: Final = choose(_msi, world.messages, choose(_none, number(32, 1), world.multiple))
#: The same for all of the function that is switched.
SWITCHED: Final = (*(flag.becomes(new) for flag, new in _FLAGS), world.multiple.becomes(_multiple))
Looked.takes = (seen.decoding.becomes(Looked.decodes), seen.capable.becomes(Looked.fits))
#: A domain that is gone, or that does not have the function, gets nothing.
Mapped.offered = ~(Mapped.ok & (world.dead | ~world.owned)) & ~(~Mapped.ok & (Mapped.err == 0))
Mapped.takes = (
    world.mapped.becomes(choose(Mapped.ok, world.mapped + 1, world.mapped)),
    world.block.becomes(choose(Mapped.ok, world.messages, world.block)),
    seen.mapped.becomes(seen.mapped | (Mapped.ok & _ONE)),
    seen.pirq.becomes(choose(Mapped.ok & _ONE, Mapped.pirq, seen.pirq)),
    seen.moved.becomes(seen.moved | Mapped.ok),
)
Switched.takes = (
    *(flag.becomes(choose(Switched.ok, new, flag)) for flag, new in _FLAGS),
    world.multiple.becomes(choose(Switched.ok, _multiple, world.multiple)),
    seen.moved.becomes(seen.moved | (Switched.ok & any_of(flag != new for flag, new in _FLAGS))),
    seen.opened.becomes(seen.opened | (Switched.ok & _opens)),
)
Unmapped.offered = Unmapped.gone | (~world.dead & ~world.ahead)
Unmapped.takes = (
    world.mapped.becomes(choose(Unmapped.gone & (world.mapped != 0) & ~world.ahead, world.mapped - 1, world.mapped)),
    world.ahead.becomes(False),
    seen.mapped.becomes(seen.mapped & ~(Unmapped.gone & _ONE)),
)
Resume.offered = Resume.on == (world.msi | world.msix)
_WANTED: Final = {EnableMsi: number(32, 1), EnableMultiMsi: EnableMultiMsi.count}
for _event in (EnableMsi, EnableMultiMsi, EnableMsix, DisableMsi, DisableMsix, Reset, Resume):
    _event.takes = (
        seen.before.becomes(irq.at),
        seen.open_before.becomes(world.open),
        seen.moved.becomes(False),
        seen.enabling.becomes(_event in (EnableMsi, EnableMultiMsi, EnableMsix)),
        seen.of_msi.becomes(_event in _WANTED),
        seen.wanted.becomes(_WANTED.get(_event, number(32, 0))),
        seen.turning_off.becomes(_event is DisableMsi),
        seen.resetting.becomes(_event is Reset),
    )
#: As many as an entry list has; more are refused before anybody is asked (`model.op`).
EnableMsix.offered = EnableMsix.count <= MAX_VECTORS

_WORD = Bits(32)
LOOK = Effect(
    "look", {"msix": Flag(), "count": _WORD}, Looked,
    doc="What is the function like: capability, decoding, table, entries asked for? `count`: of those, or of messages of MSI.",
)  # fmt: skip
MAP = Effect(
    "map_vector", {"index": _WORD, "guests": Flag()}, Mapped,
    lambda index, guests: (
        world.asking.becomes(index), world.messages.becomes(1), seen.for_host.becomes(seen.for_host | ~guests),
    ),
    doc="Map that vector of the list, for the guest or for the host itself.", takes_time=True,
)  # fmt: skip
MAP_BLOCK = Effect(
    "map_block", {"messages": _WORD, "guests": Flag()}, Mapped,
    lambda messages, guests: (
        world.asking.becomes(0), world.messages.becomes(messages), seen.for_host.becomes(seen.for_host | ~guests),
    ),
    doc="Map that many messages of MSI as one block, for the guest or for the host itself. The answer is its first number.",
    takes_time=True,
)  # fmt: skip
UNMAP = Effect(
    "unmap_vector", {"index": _WORD}, Unmapped, lambda index: (world.asking.becomes(index),),
    doc="Give that vector back.", takes_time=True,
)  # fmt: skip
SWITCH = Effect(
    "switch", {"kind": Choice(Kind), "line": Choice(Line)}, Switched,
    lambda kind, line: (world.asked.becomes(kind), world.asked_line.becomes(line), world.messages.becomes(1)),
    doc="Set or clear the function's enable bits, and open or quiet its line. MSI is of one message then.",
)  # fmt: skip
OPEN_BLOCK = Effect(
    "open_block", {"messages": _WORD}, Switched,
    lambda messages: (
        world.asked.becomes(choice(Kind.MSI)), world.asked_line.becomes(choice(Line.QUIET)),
        world.messages.becomes(messages),
    ),
    doc="Enable MSI with that many messages, and quiet the line.",
)  # fmt: skip


def minus(value: Bits) -> Bits:
    """The same number, negative, in 32 bits."""
    return number(32, 0) - value


def rounded(count: Bits) -> Bits:
    """The messages of the smallest block that has so many; of none that has more than there can be."""
    found = number(32, MOST_MESSAGES)
    for size in (16, 8, 4, 2, 1):
        found = choose(count <= size, number(32, size), found)
    return found


entries = Looked.present & Looked.fits & (irq.count != 0)
one_message = irq.block == 1
sized = (EnableMultiMsi.count != 0) & (EnableMultiMsi.count <= MOST_MESSAGES)
sane = (Mapped.pirq != 0) & (Mapped.pirq <= number(32, MOST_PIRQ + 1) - irq.block)  #: the last of a block as well
last = irq.vectors + 1 == irq.count
none_left = irq.vectors == 0
one_left = irq.vectors == 1

msi = (irq.msix.becomes(False), irq.count.becomes(1), irq.block.becomes(1))
several = (irq.msix.becomes(False), irq.count.becomes(1), irq.block.becomes(rounded(EnableMultiMsi.count)))
msix = (irq.msix.becomes(True), irq.count.becomes(EnableMsix.count), irq.block.becomes(1))
one_more = irq.vectors.becomes(irq.vectors + 1)
one_less = irq.vectors.becomes(irq.vectors - 1)
intact, broken_up = irq.whole.becomes(True), irq.whole.becomes(False)
calm, loud = irq.loud.becomes(False), irq.loud.becomes(True)
line_back = (irq.err.becomes(0), irq.value.becomes(fn.line))

#: After a kind was on: the line comes back, unless a driver of the host is on it too.
LET_GO = SWITCH(choice(Kind.NONE), choose(fn.shared, choice(Line.LEAVE), Line.OPEN))
#: Nothing was let through yet: the line is as it was.
TAKE_BACK = SWITCH(choice(Kind.NONE), choice(Line.LEAVE))
MASK = SWITCH(choice(Kind.MASKED), choice(Line.LEAVE))
OPEN = SWITCH(choose(irq.msix, choice(Kind.MSIX), Kind.MSI), choice(Line.QUIET))


def _answer(code: int, value: int | Bits) -> tuple[Update, ...]:
    return (irq.err.becomes(code), irq.value.becomes(value))


def _errno(code: int) -> tuple[Update, ...]:
    """A number of Linux's own, in both fields, as its backend answers."""
    return _answer(-code, -code & 0xFFFFFFFF)


_S: Final = "pciback_ops.c:"
_FAILED: Final = _answer(Err.OP_FAILED, 0)
# fmt: off
TABLE: Final[tuple[Row, ...]] = table(
    #   at             event        when                                     then                                   asks                     next          cite
    # MSI
    Row(At.OFF,        EnableMsi,   ALWAYS,                                  msi,                                   (LOOK(False, 1),),       At.LOOKING,   _S + "xen_pcibk_enable_msi"),
    Row(At.MSI,        EnableMsi,   ALWAYS,                                  _FAILED,                               (),                      At.MSI,       "XSA-157"),
    Row(At.MSIX,       EnableMsi,   ALWAYS,                                  _FAILED,                               (),                      At.MSIX,      "XSA-157"),
    Row(At.STUCK,      EnableMsi,   ALWAYS,                                  _FAILED,                               (),                      At.STUCK,     "RB-21"),
    Row(At.LOOKING,    Looked,      ~irq.msix & ~Looked.present,             _FAILED,                               (),                      At.OFF,       _S + "xen_pcibk_enable_msi", name="no MSI"),
    Row(At.LOOKING,    Looked,      ~irq.msix & Looked.present & Looked.fits & one_message, (),                     (MAP(0, True),),               At.MAPPING,   _S + "xen_pcibk_enable_msi", name="MSI"),
    # Several messages of MSI
    Row(At.OFF,        EnableMultiMsi, sized,                                several,                               (LOOK(False, rounded(EnableMultiMsi.count)),), At.LOOKING, "RB-16", name="several"),
    Row(At.OFF,        EnableMultiMsi, ~sized,                               _FAILED,                               (),                      At.OFF,       "RB-16", name="no such block"),
    Row(At.MSI,        EnableMultiMsi, ALWAYS,                               _FAILED,                               (),                      At.MSI,       "XSA-157", name="several"),
    Row(At.MSIX,       EnableMultiMsi, ALWAYS,                               _FAILED,                               (),                      At.MSIX,      "XSA-157", name="several"),
    Row(At.STUCK,      EnableMultiMsi, ALWAYS,                               _FAILED,                               (),                      At.STUCK,     "RB-21", name="several"),
    Row(At.LOOKING,    Looked,      ~irq.msix & Looked.present & ~Looked.fits, _FAILED,                             (),                      At.OFF,       "RB-16", name="not so many"),
    Row(At.LOOKING,    Looked,      ~irq.msix & Looked.present & Looked.fits & ~one_message, (),                    (MAP_BLOCK(irq.block, True),), At.MAPPING,   "physdev.h:MAP_PIRQ_TYPE_MULTI_MSI", name="block"),
    # MSI-X
    Row(At.OFF,        EnableMsix,  ALWAYS,                                  msix,                                  (LOOK(True, EnableMsix.count),), At.LOOKING, _S + "xen_pcibk_enable_msix", name="MSI-X"),
    Row(At.MSI,        EnableMsix,  ALWAYS,                                  _answer(-ENXIO, EnableMsix.count),     (),                      At.MSI,       "XSA-157", name="MSI-X"),
    Row(At.MSIX,       EnableMsix,  ALWAYS,                                  _answer(-EALREADY, EnableMsix.count),  (),                      At.MSIX,      "XSA-157", name="MSI-X"),
    Row(At.STUCK,      EnableMsix,  ALWAYS,                                  _errno(EBUSY),                         (),                      At.STUCK,     "RB-21", name="MSI-X"),
    Row(At.LOOKING,    Looked,      irq.msix & ~Looked.decodes,              _answer(-ENXIO, irq.count),            (),                      At.OFF,       "CVE-2015-8553", name="not decoding"),
    Row(At.LOOKING,    Looked,      irq.msix & Looked.decodes & ~entries, _errno(EINVAL),    (),                      At.OFF,       _S + "xen_pcibk_enable_msix", name="entries"),
    Row(At.LOOKING,    Looked,      irq.msix & Looked.decodes & entries & ~Looked.prepared, _errno(ENODATA), (),        At.OFF,       "XSA-337", name="not prepared"),
    Row(At.LOOKING,    Looked,      irq.msix & Looked.decodes & entries & Looked.prepared, (), (MASK,),                 At.MASKING,   "msi.c:msix_capability_init"),
    Row(At.MASKING,    Switched,    ~Switched.ok,                            _FAILED,                               (TAKE_BACK,),                At.QUIETING,  "RB-21"),
    Row(At.MASKING,    Switched,    Switched.ok,                             (),                                    (MAP(0, True),),               At.MAPPING,   "msi.c:msix_capability_init"),
    # Vector by vector
    Row(At.MAPPING,    Mapped,      Mapped.ok & sane & ~last,                (one_more,),                           (MAP(irq.vectors + 1, True),), At.MAPPING,   "physdev.h:PHYSDEVOP_map_pirq"),
    Row(At.MAPPING,    Mapped,      Mapped.ok & sane & last & one_message,   (one_more, *_answer(0, choose(irq.msix, number(32, 0), Mapped.pirq))), (OPEN,), At.OPENING, "physdev.h:PHYSDEVOP_map_pirq"),
    Row(At.MAPPING,    Mapped,      Mapped.ok & sane & last & ~one_message,  (one_more, *_answer(0, Mapped.pirq)),  (OPEN_BLOCK(irq.block),), At.OPENING, "physdev.h:MAP_PIRQ_TYPE_MULTI_MSI", name="block"),
    Row(At.MAPPING,    Mapped,      Mapped.ok & ~sane,                       (one_more, *_FAILED),                  (TAKE_BACK,),                At.QUIETING,  "pciif.h:struct xen_msix_entry", name="no number"),
    Row(At.MAPPING,    Mapped,      ~Mapped.ok & irq.msix,                   (irq.err.becomes(minus(Mapped.err)), irq.value.becomes(minus(Mapped.err))), (TAKE_BACK,), At.QUIETING, "RB-21", name="MSI-X"),
    Row(At.MAPPING,    Mapped,      ~Mapped.ok & ~irq.msix,                  _FAILED,                               (TAKE_BACK,),                At.QUIETING,  "RB-21", name="MSI"),
    Row(At.OPENING,    Switched,    Switched.ok & ~irq.msix,                 (intact,),                             (),                      At.MSI,       _S + "xen_pcibk_enable_msi"),
    Row(At.OPENING,    Switched,    Switched.ok & irq.msix,                  (intact,),                             (),                      At.MSIX,      _S + "xen_pcibk_enable_msix"),
    Row(At.OPENING,    Switched,    ~Switched.ok,                            _FAILED,                               (TAKE_BACK,),                At.QUIETING,  "RB-21"),
    # A process died
    Row(At.LOST,       Resume,      irq.whole & Resume.on & ~irq.msix,       _answer(0, 0),                         (),                      At.MSI,       "RB-20"),
    Row(At.LOST,       Resume,      irq.whole & Resume.on & irq.msix,        _answer(0, 0),                         (),                      At.MSIX,      "RB-20"),
    Row(At.LOST,       Resume,      ~irq.whole & ~Resume.on & none_left,     _answer(0, 0),                         (),                      At.OFF,       "RB-20"),
    Otherwise(At.LOST, Resume,                                               (*_answer(0, 0), broken_up),           (LET_GO,),               At.QUIETING,  "RB-20", name="taken up in part"),
    # Off
    Row(At.OFF,        DisableMsi,  ALWAYS,                                  line_back,                             (),                      At.OFF,       "XSA-157", name="disable MSI"),
    Row(At.OFF,        DisableMsix, ALWAYS,                                  line_back,                             (),                      At.OFF,       "XSA-157", name="disable MSI-X"),
    Row(At.MSI,        DisableMsix, ALWAYS,                                  line_back,                             (),                      At.MSI,       "XSA-157", name="disable MSI-X"),
    Row(At.MSI,        DisableMsi,  ALWAYS,                                  (*line_back, broken_up),                (LET_GO,),                At.QUIETING,  _S + "xen_pcibk_disable_msi", name="disable"),
    Row(At.MSIX,       DisableMsix, ALWAYS,                                  (*line_back, broken_up),                (LET_GO,),                At.QUIETING,  _S + "xen_pcibk_disable_msix", name="disable MSI-X"),
    Row(At.MSIX,       DisableMsi,  ALWAYS,                                  (*line_back, broken_up),                (LET_GO,),                At.QUIETING,  "RB-22", name="disable MSI"),
    Row(At.STUCK,      DisableMsi,  ALWAYS,                                  (*line_back, broken_up),                (LET_GO,),                At.QUIETING,  "RB-21", name="disable MSI"),
    Row(At.STUCK,      DisableMsix, ALWAYS,                                  (*line_back, broken_up),                (LET_GO,),                At.QUIETING,  "RB-21", name="disable MSI-X"),
    *(Row(at,          Reset,       ALWAYS,                                  (*_answer(0, 0), broken_up),           (TAKE_BACK if at is At.OFF else LET_GO,), At.QUIETING, _S + "xen_pcibk_reset_device", name="reset") for at in REST),
    Row(At.QUIETING,   Switched,    Switched.ok & none_left,                 (calm,),                               (),                      At.OFF,       _S + "xen_pcibk_disable_msi"),
    Row(At.QUIETING,   Switched,    ~Switched.ok & none_left,                (loud, *_FAILED),                      (),                      At.STUCK,     "RB-21"),
    Row(At.QUIETING,   Switched,    Switched.ok & ~none_left,                (calm,),                               (UNMAP(irq.vectors - 1),), At.UNMAPPING, "physdev.h:PHYSDEVOP_unmap_pirq"),
    Row(At.QUIETING,   Switched,    ~Switched.ok & ~none_left,               (loud, *_FAILED),                      (UNMAP(irq.vectors - 1),), At.UNMAPPING, "RB-21", name="loud"),
    Row(At.UNMAPPING,  Unmapped,    Unmapped.gone & ~one_left,               (one_less,),                           (UNMAP(irq.vectors - 2),), At.UNMAPPING, "physdev.h:PHYSDEVOP_unmap_pirq"),
    Row(At.UNMAPPING,  Unmapped,    Unmapped.gone & one_left & ~irq.loud,    (one_less,),                           (),                      At.OFF,       "physdev.h:PHYSDEVOP_unmap_pirq"),
    Row(At.UNMAPPING,  Unmapped,    Unmapped.gone & one_left & irq.loud,     (one_less,),                           (),                      At.STUCK,     "RB-21", name="loud"),
    Row(At.UNMAPPING,  Unmapped,    ~Unmapped.gone,                          _FAILED,                               (),                      At.STUCK,     "RB-21", name="kept"),
)
# fmt: on


#: An enable of MSI that did not turn it on.
refused_msi: Final = seen.enabling & seen.of_msi & ~((irq.at == At.MSI) & (seen.before == At.OFF))


def _is_size(block: Bits) -> Flag:
    return any_of(block == 1 << power for power in range(MOST_MESSAGES.bit_length()))


NOTES: Final[dict[At, tuple[Update, ...]]] = {}
_NOT_YET: Final = At.LOOKING, At.MASKING
KNOWN: Final = {
    "no vector without a kind": irq.at.among(At.OFF, *_NOT_YET).implies(irq.vectors == 0),
    "one vector for MSI": (irq.at == At.MSI).implies((irq.vectors == 1) & ~irq.msix),
    "all vectors for MSI-X": (irq.at == At.MSIX).implies((irq.vectors == irq.count) & irq.msix),
    "not all are there yet": (irq.at == At.MAPPING).implies(irq.vectors < irq.count),
    "all are there": (irq.at == At.OPENING).implies((irq.vectors == irq.count) & (irq.err == 0)),
    "some are left": (irq.at == At.UNMAPPING).implies(irq.vectors != 0),
    "stuck for a reason": (irq.at == At.STUCK).implies((irq.vectors != 0) | irq.loud),
    "loud only when stuck": irq.loud.implies(irq.at.among(At.STUCK, At.QUIETING, At.UNMAPPING)),
    "off is quiet": (irq.at.among(At.OFF, At.LOOKING, At.MASKING)).implies(~world.msi & ~world.msix),
    "masked while it is filled": (irq.at.among(At.MAPPING, At.OPENING)).implies(
        ~world.msi & (world.msix == irq.msix) & (~irq.msix | world.masked)
    ),
    "the bit of the kind": (irq.at == At.MSI).implies(world.msi & ~world.msix)
    & (irq.at == At.MSIX).implies(world.msix & ~world.masked & ~world.msi),
    "given back only when calm": ((irq.at == At.UNMAPPING) & ~irq.loud).implies(~world.msi & ~world.msix),
    "quiet while messages are on": irq.at.among(At.MSI, At.MSIX).implies(~world.open),
    "what is asked for": (irq.at == At.MASKING).implies((world.asked == Kind.MASKED) & (world.asked_line == Line.LEAVE))
    & (irq.at == At.OPENING).implies(
        (world.asked == choose(irq.msix, choice(Kind.MSIX), Kind.MSI)) & (world.asked_line == Line.QUIET)
    )
    & (irq.at == At.QUIETING).implies((world.asked == Kind.NONE) & (world.asked_line != Line.QUIET)),
    "the line is not touched before the end": (irq.at.among(At.LOOKING, At.MASKING, At.MAPPING, At.OPENING)).implies(
        (world.open == seen.open_before) & (seen.before == At.OFF) & seen.enabling
    )
    & ((irq.at == At.QUIETING) & seen.enabling).implies(
        (world.open == seen.open_before) & (world.asked_line == Line.LEAVE) & (seen.before == At.OFF) & (irq.err != 0)
    )
    & ((irq.at == At.UNMAPPING) & seen.enabling).implies(
        (world.open == seen.open_before) & (seen.before == At.OFF) & (irq.err != 0)
    ),
    "decoding when it was looked at": (irq.at.among(At.MASKING, At.MAPPING, At.OPENING) & irq.msix).implies(
        seen.decoding
    ),
    "each vector below is mapped, those above are not": world.dead | (seen.mapped == (seen.one < world.mapped)),
    "each has a number": (
        (irq.at.among(At.MAPPING, At.OPENING, At.MSI, At.MSIX) | ((irq.at == At.LOST) & irq.whole))
        & (seen.one < irq.vectors)
    ).implies((seen.pirq != 0) & (seen.pirq <= number(32, MOST_PIRQ + 1) - world.block)),
    "a block is of a size that there is": irq.at.among(*_NOT_YET, At.MAPPING, At.OPENING).implies(
        _is_size(irq.block) & irq.msix.implies(one_message)
    ),
    "as many are looked for, mapped and told apart as are wanted": irq.at.among(
        At.LOOKING, At.MAPPING, At.OPENING
    ).implies(irq.msix | ((seen.wanted != 0) & (seen.wanted <= MOST_MESSAGES) & (irq.block == rounded(seen.wanted))))
    & irq.at.among(At.MAPPING, At.OPENING).implies(irq.msix | seen.capable)
    & irq.at.among(At.MAPPING).implies(
        (world.messages == irq.block) & ((irq.vectors == 0) | (world.block == irq.block))
    )
    & (irq.at == At.OPENING).implies((world.block == irq.block) & (world.messages == irq.block)),
    "what is on tells as many apart as are mapped": (
        (irq.at == At.MSI) | ((irq.at == At.LOST) & irq.whole & ~irq.msix)
    ).implies(_is_size(world.block) & (world.multiple == world.block))
    & ((irq.at == At.MSIX) | ((irq.at == At.LOST) & irq.whole & irq.msix)).implies(world.block == 1)
    & world.msi.implies(world.multiple <= world.block),
    "an enable of MSI fails in one way": irq.at.among(*_NOT_YET, At.MAPPING, At.OPENING).implies(
        seen.of_msi == ~irq.msix
    )
    & (irq.at.among(At.QUIETING, At.UNMAPPING, *REST) & refused_msi).implies(
        (irq.err == Err.OP_FAILED) & (irq.value == 0)
    ),
    "a block that we mapped is the one that is mapped": ((irq.at == At.MSI) & (irq.block != 0)).implies(
        irq.block == world.block
    ),
    "as many as were wanted": ((irq.at == At.MSI) & seen.enabling & (seen.before == At.OFF)).implies(
        (seen.wanted != 0) & (seen.wanted <= MOST_MESSAGES) & (world.block == rounded(seen.wanted)) & seen.capable
    ),
    "nothing for the host, nothing opened that is shared": ~seen.for_host
    & (fn.shared.implies(~seen.opened))
    & (fn.shared & (irq.at == At.QUIETING)).implies(world.asked_line != Line.OPEN),
    "what is on was not moved": (irq.at.among(*REST) & seen.enabling & seen.before.among(At.MSI, At.MSIX)).implies(
        ~seen.moved & (irq.at == seen.before)
    ),
    "turned off is off": (irq.at.among(*REST) & seen.turning_off).implies(irq.at.among(At.OFF, At.STUCK))
    & (irq.at.among(At.LOOKING, At.MASKING, At.MAPPING, At.OPENING)).implies(~seen.turning_off & ~seen.resetting),
    "on the way off from somewhere": (
        irq.at.among(At.QUIETING, At.UNMAPPING) & (seen.before == At.OFF) & ~seen.enabling
    ).implies(seen.resetting & (world.asked_line == Line.LEAVE) & (world.open == seen.open_before)),
    "where nothing changed the line did not": (irq.at.among(At.OFF, At.MSI, At.MSIX) & (irq.at == seen.before)).implies(
        world.open == seen.open_before
    ),
    "the answer": (irq.at == At.OPENING).implies(irq.value == choose(irq.msix, number(32, 0), irq.value))
    & ((irq.at == At.OPENING) & ~irq.msix & (seen.one == 0) & ~world.dead).implies(irq.value == seen.pirq),
    "which vector is asked for": (irq.at == At.MAPPING).implies(world.asking == irq.vectors)
    & (irq.at == At.UNMAPPING).implies(world.asking + 1 == irq.vectors),
    "MSI has one": irq.at.among(*_NOT_YET, At.MAPPING, At.OPENING).implies(irq.msix | (irq.count == 1)),
    "a count that fits": (irq.count <= MAX_VECTORS) & (irq.vectors <= irq.count),
    "some are wanted": irq.at.among(At.MASKING, At.MAPPING, At.OPENING, At.MSIX, At.MSI).implies(irq.count != 0),
    "only MSI-X is masked first": (irq.at == At.MASKING).implies(irq.msix),
    "what we hold is what is mapped": world.dead | (choose(world.ahead, world.mapped + 1, world.mapped) == irq.vectors),
    "ahead on the way off only": world.ahead.implies(
        irq.at.among(At.LOST, At.QUIETING, At.UNMAPPING) & (irq.vectors != 0) & ~irq.whole & (irq.count == irq.vectors)
    ),
    "whole is all": (irq.at != At.LOST).implies(irq.whole == irq.at.among(At.MSI, At.MSIX)),
    "what was whole still is": ((irq.at == At.LOST) & irq.whole).implies(
        (irq.vectors == irq.count)
        & (irq.count != 0)
        & ~world.open
        & choose(irq.msix, world.msix & ~world.masked & ~world.msi, world.msi & ~world.msix & (irq.vectors == 1))
    ),
    "nobody asks for anything of the lost": (irq.at == At.LOST).implies(~irq.loud & (irq.block == 0)),
    "the dead hold nothing": world.dead.implies(world.mapped == 0),
}
MACHINE: Final = Machine(
    "interrupts", "backend", irq.at, TABLE,
    records=(irq, fn), notes=NOTES, known=KNOWN, resting=frozenset((*REST, At.LOST)), doc=__doc__ or "",
    ignored=tuple(
        Ignored(place, event, "one operation at a time: the next waits for this one's answer")
        for place in (*BUSY, At.LOST)
        for event in (EnableMsi, EnableMultiMsi, EnableMsix, DisableMsi, DisableMsix, Reset)
    )
    + tuple(Ignored(place, Resume, "it is in somebody's hands") for place in At if place is not At.LOST),
)  # fmt: skip


def lose(state: Any, *, msix: bool, whole: bool, vectors: int) -> None:
    """Put a state in which this machine has just begun to LOST, with all that is known of what its process had."""
    state.irq_at = MACHINE.places.index(At.LOST)
    state.irq_msix, state.irq_whole = int(msix), int(whole)
    state.irq_count = state.irq_vectors = vectors
    state.irq_block = 0
