# SPDX-License-Identifier: Apache-2.0
"""C-39 to C-51: power management, vital product data, interrupts by message, and the list that leads to them.

What reaches a register is stated over each single write, because the register afterwards says less: hardware takes what it
likes of a write, and what wakes from D3hot loses a part of it by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import z3

from pvpci.model.config import constants as pci
from pvpci.model.config.capabilities import MSI, MSIX, Messages
from pvpci.model.config.power import unsupported, unwanted
from pvpci.model.config.profiles import Profile
from pvpci.model.config.programs import Place, Structure, local
from pvpci.model.config.state import bars, host, known, mine
from pvpci.model.config.steps import (
    CACHE_AND_LATENCY,
    COMMAND,
    D0,
    D3HOT,
    INTERRUPT_LINE,
    MSI_FLAGS,
    MSIX_FLAGS,
    PMCSR,
    bar_place,
)
from pvpci.model.config.walk import FIRST_CAPABILITY, MAX_HOPS, following, marked, place_of
from pvpci.proofs.config.bars import bytes_written
from pvpci.proofs.config.cases import Case, cases
from pvpci.proofs.config.claims import (
    Asked,
    Claim,
    OtherClaim,
    ProgramClaim,
    Question,
    Ran,
    RequestClaim,
    Sent,
    StoryClaim,
    shift,
)
from pvpci.proofs.config.symbolic import takes
from pvpci.proofs.translate import Formula

_STATE: Final = pci.PM_CTRL_STATE
_PME: Final = pci.PM_CTRL_PME_ENABLE
_PMC: Final = Place(Structure.PM, pci.PM_PMC, 2)


def in_dword(asked: Asked, place: Place) -> bool:
    """The request is for the dword of that register."""
    case = asked.case
    return case is not None and case.structure is place.structure and case.offset == place.offset & ~3


def sent_to(asked: Asked, place: Place) -> Formula:
    """What a request makes of a register that is read as it is: the bytes that it does not bring stay."""
    low = 8 * (place.offset & 3)
    high = low + 8 * place.width - 1
    lanes, brought = z3.Extract(high, low, asked.lanes), z3.Extract(high, low, asked.brought)
    return (asked.held(place) & ~lanes) | (brought & lanes)


def meets(asked: Asked, place: Place) -> Formula:
    """The request has a byte of the register."""
    low = 8 * (place.offset & 3)
    return z3.Extract(low + 8 * place.width - 1, low, asked.lanes) != 0


def mask(place: Place) -> Formula:
    """The bits of a register that hardware lets one change."""
    found = [takes((place.structure, place.offset + n)) for n in reversed(range(place.width))]
    return z3.Concat(*found) if len(found) > 1 else found[0]


def writes_to(of: Asked | Ran, place: Place) -> Iterator[tuple[Formula, Formula, Formula]]:
    """Each write to exactly this register: when, what it held, what it is told to hold."""
    for one in of.written:
        if one.place == place and one.lanes is None:
            yield one.when, one.held, one.value


def each(of: Asked | Ran, place: Place, holds: Formula) -> Formula:
    """`holds(held, value)` of each of them."""
    return z3.And(
        [z3.Implies(when, holds(held, value)) for when, held, value in writes_to(of, place)] or [z3.BoolVal(True)]
    )


def never(of: Asked, structure: Structure, offsets: range) -> Formula:
    """None of these bytes is written."""
    found = [when for when, where, offset, _ in bytes_written(of) if where is structure and offset in offsets]
    return z3.Not(z3.Or(found or [z3.BoolVal(False)]))


# Power management


def _no_wake_up(ran: Ran) -> Formula:
    return z3.Implies(ran.was(known.pm), ran.holds(PMCSR) & mask(PMCSR) & _PME == 0)


def _pme_never_set(asked: Asked) -> Formula:
    still = asked.holds(PMCSR) & ~asked.held(PMCSR) & _PME == 0
    return z3.And(still, each(asked, PMCSR, lambda held, value: value & ~held & _PME == 0))


def _pme_hidden(asked: Asked) -> Formula:
    assert asked.answer is not None
    return (asked.answer << shift()) & asked.lanes & (pci.PM_CAP_PME_MASK << 16) == 0


def _deeper(asked: Asked) -> Formula:
    """Where the host's idea of the state is the function's, as Linux needs it to be."""
    was, to = asked.held(PMCSR) & _STATE, sent_to(asked, PMCSR) & _STATE
    world = asked.before.copy()
    state = local("to.state", 16)
    world.values[state.variable] = to
    have, want = z3.Not(world.evaluate(unsupported(state))), z3.Not(world.evaluate(unwanted(state)))
    legal = z3.Or(to == was, to == D0, z3.And(z3.UGT(to, was), have))
    agreed = z3.ZeroExt(14, asked.was(host.power)) == was
    entered = each(
        asked,
        PMCSR,
        lambda held, value: z3.Or(value & _STATE == held & _STATE, z3.And(legal, want, value & _STATE == to)),
    )
    alone = z3.And(meets(asked, PMCSR), z3.Extract(31, 16, asked.lanes) == 0)
    answer = z3.If(z3.Or(legal, z3.Not(want)), asked.err == 0, asked.err == z3.BitVecVal(-3, 32))
    return z3.Implies(agreed, z3.And(entered, z3.Implies(alone, answer)))


def _header_kept(asked: Asked) -> Formula:
    """Whatever the power state was and becomes: the header is as it was, and of a BAR that was the host's, it still is."""
    parts = [asked.holds(place) == asked.held(place) for place in (COMMAND, CACHE_AND_LATENCY, INTERRUPT_LINE)]
    parts += [bar_kept(asked, place) for place in range(len(bars))]
    return z3.And(*parts, asked.same([mine.command.variable]))


def bar_kept(of: Asked | Ran, place: int) -> Formula:
    register, bar = bar_place(place), bars[place]
    at_the_hosts = (of.held(register) ^ of.was(bar.address)) & mask(register) == 0
    movable = of.was(bar.movable)
    if 0 < place < len(bars) - 1:
        below = bars[place - 1]
        movable = z3.Or(movable, z3.And(of.was(below.wide), of.was(below.movable)))
    return z3.Implies(z3.And(at_the_hosts, movable), of.holds(register) == of.held(register))


def _control(profile: Profile) -> Case:
    return next(case for case in cases(profile) if case.structure is Structure.PM and case.offset == pci.PM_CTRL)


def _there_and_back(profile: Profile) -> tuple[Sent, Sent]:
    """To D3hot, by whatever word, and to D0."""
    down, up = z3.BitVec("first.sent", 32), z3.BitVec("then.sent", 32)
    case = _control(profile)
    return Sent(case, 2, (down & ~z3.BitVecVal(3, 32)) | D3HOT), Sent(case, 2, up & ~z3.BitVecVal(3, 32))


def _as_before(ran: Ran) -> Formula:
    parts = [ran.holds(place) == ran.held(place) for place in (COMMAND, CACHE_AND_LATENCY, INTERRUPT_LINE)]
    parts += [bar_kept(ran, place) for place in range(len(bars))]
    awake = ran.holds(PMCSR) & mask(PMCSR) & _STATE == D0
    return z3.And(*parts, awake, ran.same([mine.command.variable]))


def _status_cleared(asked: Asked) -> Formula:
    """A one that is sent clears it, and nothing else does."""
    one = z3.Extract(15, 15, asked.brought) == 1
    before, after = (z3.Extract(15, 15, of(PMCSR)) for of in (asked.held, asked.holds))
    sent = z3.And(asked.byte(1), one)
    return z3.And(z3.Implies(z3.And(sent, asked.err == 0), after == 0), z3.Implies(z3.Not(sent), after == before))


# Vital product data


def _vpd_is_read_only(asked: Asked) -> Formula:
    parts = [never(asked, Structure.VPD, range(pci.VPD_DATA, pci.VPD_DATA + 4))]
    for when, structure, offset, byte in bytes_written(asked):
        if structure is Structure.VPD and offset == pci.VPD_ADDR + 1:
            parts.append(z3.Implies(when, byte & (pci.VPD_ADDR_F >> 8) == 0))
    return z3.And(parts)


# Messages


def _granted(asked: Asked) -> Formula:
    return asked.was(known.interrupt_control)


def _plain(asked: Asked) -> Formula:
    return z3.Not(asked.was(known.permissive))


_KINDS: Final = ((MSI, MSIX), (MSIX, MSI))


def _not_the_guests(asked: Asked) -> Formula:
    untouched = [never(asked, one.structure, range(2, 4)) for one, _ in _KINDS]
    refused = [
        z3.Implies(sent_to(asked, one.flags) != asked.held(one.flags), asked.err == z3.BitVecVal(-3, 32))
        for one, _ in _KINDS
        if in_dword(asked, one.flags)
    ]
    return z3.Implies(z3.And(_plain(asked), z3.Not(_granted(asked))), z3.And(*untouched, *refused))


def _on(one: Messages, register: Formula) -> Formula:
    return register & one.enable != 0


def _one_kind(asked: Asked) -> Formula:
    before = z3.And(_on(MSI, asked.held(MSI_FLAGS)), _on(MSIX, asked.held(MSIX_FLAGS)))
    after = z3.And(_on(MSI, asked.holds(MSI_FLAGS)), _on(MSIX, asked.holds(MSIX_FLAGS)))
    both = z3.And(asked.was(known.msi), asked.was(known.msix))
    return z3.Implies(z3.And(_plain(asked), _granted(asked), both, z3.Not(before)), z3.Not(after))


def _fixed_bits(asked: Asked) -> Formula:
    kept = [
        each(asked, one.flags, lambda held, value, one=one: (held ^ value) & ~z3.BitVecVal(one.allowed, 16) == 0)
        for one, _ in _KINDS
    ]
    return z3.Implies(z3.And(_plain(asked), _granted(asked)), z3.And(kept))


def _messages_start(asked: Asked) -> Formula:
    """A device model may change what is its own, whether or not the line interrupt is on."""
    parts = []
    for one, other in _KINDS:
        if in_dword(asked, one.flags):
            wanted, held = sent_to(asked, one.flags), asked.held(one.flags)
            own = (wanted ^ held) & ~z3.BitVecVal(one.allowed, 16) == 0
            free = z3.Not(z3.And(asked.was(other.present), _on(other, asked.held(other.flags))))
            done = (asked.holds(one.flags) ^ wanted) & mask(one.flags) == 0
            parts.append(z3.Implies(z3.And(own, free), z3.And(asked.err == 0, done)))
    if in_dword(asked, COMMAND):
        # What else can go wrong with a write of COMMAND is that the function cannot be enabled.
        parts.append(z3.Implies(asked.was(known.placed), asked.err == 0))
    return z3.Implies(z3.And(_plain(asked), _granted(asked)), z3.And(parts))


def _headers_stay(asked: Asked) -> Formula:
    structures = (Structure.VPD, Structure.PM, Structure.MSI, Structure.MSIX, Structure.SHOWN)
    return z3.And([never(asked, structure, range(2)) for structure in structures])


# The list


def _hop(profile: Profile) -> Iterator[Question]:
    """One hop, from any pointer, with any register found there; `hops` were made before."""
    walk = profile.layout.walk
    pointer, entry, seen = z3.BitVec("pointer", 64), z3.BitVec("entry", 64), z3.BitVec("seen", 64)
    left, hops, other = z3.BitVec("left", 64), z3.BitVec("hops", 64), z3.BitVec("other", 64)
    place = place_of(pointer)
    given = (z3.ULE(pointer, 0xFF), z3.ULE(entry, 0xFFFF), z3.ULE(left, MAX_HOPS), hops + left == MAX_HOPS)
    goes = walk.goes_on(pointer, left)
    inside = z3.And(z3.UGE(place, FIRST_CAPABILITY), z3.ULE(place, 0xFC), place & 3 == 0)
    yield Question("no place in the header", z3.Implies(goes, inside), given)
    yield Question("a pointer of one byte", z3.ULE(following(entry), 0xFF), given)
    ended = z3.And(z3.ULT(hops, MAX_HOPS), z3.ULE(left - 1, MAX_HOPS), hops + 1 + (left - 1) == MAX_HOPS)
    yield Question("at most 48 hops", z3.Implies(goes, ended), given)
    among = z3.LShR(seen, z3.LShR(place, 2)) & 1 == 1
    yield Question("no place twice", z3.Implies(among, z3.Not(walk.is_new(place, seen))), (*given, goes))
    there = z3.And(z3.ULE(other, 0xFC), other & 3 == 0)
    after = z3.LShR(marked(place, seen), z3.LShR(other, 2)) & 1 == 1
    before = z3.LShR(seen, z3.LShR(other, 2)) & 1 == 1
    yield Question("what was seen", after == z3.Or(before, other == place), (*given, goes, there))


def _in_control(asked: Asked) -> bool:
    return in_dword(asked, PMCSR)


CLAIMS: Final[tuple[Claim, ...]] = (
    ProgramClaim("C-39", "attach", _no_wake_up),
    RequestClaim("C-39", _pme_never_set, kind="write"),
    RequestClaim("C-40", _pme_hidden, kind="read", about=lambda a: in_dword(a, _PMC)),
    RequestClaim("C-41", _deeper, kind="write", about=_in_control),
    RequestClaim("C-42", _header_kept, kind="write", about=_in_control),
    StoryClaim("C-42", "to D3hot and back", _there_and_back, _as_before),
    RequestClaim("C-43", _vpd_is_read_only, kind="write"),
    RequestClaim("C-44", _status_cleared, kind="write", about=_in_control),
    RequestClaim("C-45", _not_the_guests, kind="write"),
    RequestClaim("C-46", _one_kind, kind="write"),
    RequestClaim("C-47", _fixed_bits, kind="write"),
    RequestClaim("C-48", _messages_start, kind="write"),
    ProgramClaim("C-49", "detach+forget", lambda ran: z3.Not(ran.now(known.interrupt_control))),
    RequestClaim("C-50", _headers_stay, kind="write"),
    OtherClaim("C-51", _hop),
)
