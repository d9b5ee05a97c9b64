# SPDX-License-Identifier: Apache-2.0
"""C-15 to C-28: what a guest can do to COMMAND, by whatever request.

They are stated over each single write to the function, because the register after a request says less: hardware takes
what it likes of a write, and a function that wakes from D3hot loses COMMAND by itself. What brings such a function back
turns decoding off for a moment, as a 64-bit address is written in two halves; so a write that puts back what the register
held before the request is nobody's change.

"Enabled" and "master" are what the profile decides by. The reference asks the function; Linux asks its own memory, of which
is known that it counts a function with a normal header once or not at all (C-21, by induction).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import z3

from pvpci.model.config import constants as pci
from pvpci.model.config.capabilities import MSI, MSIX
from pvpci.model.config.command import suits
from pvpci.model.config.linux import GUEST
from pvpci.model.config.profiles import Profile
from pvpci.model.config.programs import RAW, Structure, local, variables
from pvpci.model.config.state import GUEST as GUESTS
from pvpci.model.config.state import Kind, host, known, mine
from pvpci.model.config.steps import CACHE_LINE, COMMAND, D0, D3HOT, INTERRUPT_PIN, MSI_FLAGS, MSIX_FLAGS, PMCSR
from pvpci.model.kernel.terms import Var
from pvpci.proofs.config.cases import cases
from pvpci.proofs.config.claims import (
    Asked,
    Claim,
    ProgramClaim,
    Ran,
    RequestClaim,
    Sent,
    StoryClaim,
    of_linux,
    shift,
)
from pvpci.proofs.config.symbolic import World, takes
from pvpci.proofs.translate import Formula

_DECODE: Final = pci.COMMAND_DECODE
_INTX: Final = pci.COMMAND_INTX_DISABLE
_MASTER: Final = pci.COMMAND_MASTER
_MWI: Final = pci.COMMAND_INVALIDATE
#: Bits that are what the guest wrote, in every profile.
_ECHOED: Final = _DECODE | _INTX | pci.COMMAND_PARITY | pci.COMMAND_SERR
#: Bits that some request may change in the function.
_LIVE: Final = _DECODE | _INTX | _MASTER | _MWI


def counts(profile: Profile) -> bool:
    """The profile decides by what the host remembers, as Linux does."""
    return host.enabled.variable in set(variables(profile.row("COMMAND").writes.steps))


def ours(asked: Asked) -> bool:
    """Not the dword of COMMAND with an added field in it, in Linux: the field's mask is not applied there."""
    return not (of_linux(asked.profile) and _meets_command(asked)) or _plain(asked)


def _meets_command(asked: Asked) -> bool:
    return asked.case is not None and asked.case.structure is Structure.HEADER and asked.case.offset == pci.COMMAND


def _plain(asked: Asked) -> bool:
    """COMMAND and nothing that was added."""
    return _meets_command(asked) and not any(row.name.startswith("ADDED") for row in asked.case.rows)  # type: ignore[union-attr]


def changes(of: Asked | Ran) -> Iterable[tuple[Formula, Formula, Formula, str]]:
    """Each write that reaches COMMAND: when, what the register held, what it is told to hold, the step's name."""
    for one in of.written:
        below, above = one.place.offset, one.place.offset + one.place.width
        if one.place.structure is not Structure.HEADER or above <= pci.COMMAND or below >= pci.COMMAND + 2:
            continue
        lanes = z3.BitVecVal(-1, 8 * one.place.width) if one.lanes is None else one.lanes
        told = (one.held & ~lanes) | (one.value & lanes)
        yield one.when, _as_command(one.held, below), _as_command(told, below), one.name


def _as_command(value: Formula, offset: int) -> Formula:
    wide = z3.ZeroExt(32 - value.size(), value)
    return z3.Extract(15, 0, wide << 8 * (offset - pci.COMMAND) if offset >= pci.COMMAND else wide)


def each(of: Asked | Ran, holds: Callable[[Formula, Formula], Formula]) -> Formula:
    """`holds(old, new)` of each write that reaches COMMAND."""
    return z3.And([z3.Implies(when, holds(old, new)) for when, old, new, _ in changes(of)] or [z3.BoolVal(True)])


def waking(asked: Asked) -> Formula:
    """The function is in D3hot, or the host believes so: the request may wake it, and has to place its BARs again."""
    deep = asked.held(PMCSR) & pci.PM_CTRL_STATE == D3HOT
    return z3.And(asked.was(known.pm), z3.Or(deep, asked.was(host.power) == D3HOT))


def _reset(asked: Asked) -> Formula:
    """It may have lost its header on the way."""
    return z3.And(asked.held(PMCSR) & pci.PM_CTRL_STATE == D3HOT, asked.held(PMCSR) & pci.PM_CTRL_NO_SOFT_RESET == 0)


def _never_off(asked: Asked) -> Formula:
    still = asked.held(COMMAND) & _DECODE & ~asked.holds(COMMAND) == 0
    each_write = each(asked, lambda old, new: old & ~new & _DECODE == 0)
    return z3.And(z3.Or(waking(asked), each_write), z3.Or(_reset(asked), still))


def _line_stays(asked: Asked) -> Formula:
    before = asked.held(COMMAND)
    kept = each(asked, lambda old, new: new & ~old & ~before & _INTX == 0)
    return z3.Implies(z3.Not(asked.was(known.interrupt_control)), kept)


def _only(asked: Asked, bits: int) -> Formula:
    """No write changes other bits, unless it puts back what the register held before."""
    before = asked.held(COMMAND)
    return each(asked, lambda old, new: (new ^ old) & (new ^ before) & ~z3.BitVecVal(bits, 16) == 0)


def _others_stay(asked: Asked) -> Formula:
    return z3.Implies(z3.Not(asked.was(known.permissive)), _only(asked, _LIVE))


def _mask_holds(asked: Asked) -> Formula:
    rules = z3.And(_never_off(asked), _line_stays(asked), _only(asked, GUEST | _LIVE))
    return z3.Implies(asked.was(known.permissive), rules)


# What the guest reads


def visible(world: World, profile: Profile, bits: int) -> Formula:
    """These bits of COMMAND as a guest reads them, whatever the function has there."""
    seen = world.copy()
    seen.values[RAW[2].variable] = z3.BitVec("whatever", 16)
    return seen.evaluate(profile.row("COMMAND").reads.value) & bits


def wanted(asked: Asked) -> Formula:
    """What a request makes of the whole register."""
    under = asked.before.copy()
    under.values[RAW[2].variable] = asked.held(COMMAND)
    now = under.evaluate(asked.profile.row("COMMAND").reads.value)
    lanes, brought = z3.Extract(15, 0, asked.lanes), z3.Extract(15, 0, asked.brought)
    return (now & ~lanes) | (brought & lanes)


def done(asked: Asked) -> Formula:
    """The request met COMMAND and was accepted."""
    return z3.And(asked.err == 0, z3.Extract(15, 0, asked.lanes) != 0)


def _echoed(asked: Asked) -> Formula:
    before, after = (visible(world, asked.profile, _ECHOED) for world in (asked.before, asked.after))
    if asked.is_read:
        return after == before
    if not _meets_command(asked):
        return after == before
    return z3.And(
        z3.Implies(done(asked), after == wanted(asked) & _ECHOED),
        z3.Implies(z3.Extract(15, 0, asked.lanes) == 0, after == before),
    )


def _defined(asked: Asked) -> Formula:
    return (asked.answer << shift()) & asked.lanes & pci.COMMAND_RESERVED == 0


# What it does


def _taken(value: Formula) -> Formula:
    """The bits of a value for COMMAND that the function lets one change."""
    return value & z3.Concat(takes((Structure.HEADER, pci.COMMAND + 1)), takes((Structure.HEADER, pci.COMMAND)))


def _decodes(asked: Asked | Ran, register: Formula) -> Formula:
    """All that its resources call for."""
    return _taken(asked.was(known.decode) & ~register) == 0


def _once(of: Asked | Ran) -> Formula:
    return z3.And(z3.Not(of.was(known.bridge)), z3.ULE(of.was(host.enabled), 1))


def _enabled(asked: Asked) -> Formula:
    asks = wanted(asked) & _DECODE != 0
    if counts(asked.profile):
        is_on = asked.now(host.enabled) != 0
        can = z3.Or(z3.Not(asks), asked.was(known.placed), asked.was(host.enabled) != 0)
        return z3.Implies(z3.And(done(asked), _once(asked)), z3.And(is_on == asks, can))
    reads_on = visible(asked.after, asked.profile, _DECODE) != 0
    works = z3.Implies(asks, z3.And(asked.was(known.placed), _decodes(asked, asked.holds(COMMAND))))
    return z3.Implies(done(asked), z3.And(reads_on == asks, works))


def _counted_once(of: Asked | Ran) -> Formula:
    return z3.Implies(_once(of), z3.ULE(of.now(host.enabled), 1))


def _masters(asked: Asked) -> Formula:
    if counts(asked.profile):
        return z3.Implies(done(asked), asked.now(host.master) == (wanted(asked) & _MASTER != 0))
    return z3.Implies(done(asked), _taken((asked.holds(COMMAND) ^ wanted(asked)) & _MASTER) == 0)


def _invalidates(asked: Asked) -> Formula:
    """The cache line is written only where the bit is newly asked for, and the bit is set only if the line then suits."""
    had = asked.was(mine.command) if counts(asked.profile) else asked.held(COMMAND)
    rises = z3.And(had & _MWI == 0, wanted(asked) & _MWI != 0)
    line, after = local("line", 8), asked.after.copy()
    after.values[line.variable] = asked.holds(CACHE_LINE)
    failed = z3.And(done(asked), rises, z3.Not(after.evaluate(suits(line))))
    not_kept = z3.And(rises, asked.holds(CACHE_LINE) != asked.was(known.cache_line))
    stays_off = each(asked, lambda old, new: new & ~old & _MWI == 0)
    told = asked.told(Kind.MWI_REFUSED)
    would_keep = takes((Structure.HEADER, pci.CACHE_LINE_SIZE)) == 0xFF
    forgotten = asked.now(mine.command) & _MWI == 0 if counts(asked.profile) else z3.BoolVal(True)
    only_then = [z3.Implies(one.when, rises) for one in asked.written if one.place == CACHE_LINE]
    no_less = z3.And(z3.Implies(failed, told), z3.Implies(told, z3.And(not_kept, stays_off, forgotten)))
    return z3.And(*only_then, no_less, z3.Not(z3.And(told, would_keep)))


def _line_comes_back(asked: Asked) -> Formula:
    asks = wanted(asked) & _DECODE != 0
    if counts(asked.profile):
        enabling, messages = asked.was(host.enabled) == 0, asked.was(host.messages)
    else:
        enabling = z3.Or(asked.was(mine.command) & _DECODE == 0, asked.was(known.decode) & ~asked.held(COMMAND) != 0)
        msi = z3.And(asked.was(known.msi), asked.held(MSI_FLAGS) & pci.MSI_FLAGS_ENABLE != 0)
        msix = z3.And(asked.was(known.msix), asked.held(MSIX_FLAGS) & pci.MSIX_FLAGS_ENABLE != 0)
        messages = z3.Or(msi, msix)
    due = z3.And(asks, enabling, asked.held(INTERRUPT_PIN) != 0, z3.Not(messages))
    if not counts(asked.profile):
        due = z3.And(due, z3.Not(asked.was(known.line_shared)))
    comes = z3.Implies(z3.And(done(asked), due), _taken(asked.holds(COMMAND) & _INTX) == 0)
    only_then = z3.Or(due, each(asked, lambda old, new: old & ~new & _INTX == 0))
    return z3.Implies(z3.Not(asked.was(known.interrupt_control)), z3.And(comes, only_then))


def _put_back(ran: Ran) -> Formula:
    """The reference writes what it found, but for what could do harm. Linux's host does that, if this leaves it alone."""
    if counts(ran.profile):
        return each(ran, lambda old, new: old & ~new & _DECODE == 0)
    found = ran.was(known.command_taken) & ~z3.BitVecVal(_MASTER | _MWI, 16)
    return _taken(ran.holds(COMMAND) ^ found) == 0


def _same_for_everybody(ran: Ran) -> Formula:
    """Nothing is remembered, and what the predecessor could switch on is off."""
    forgotten = [ran.after.value(var) == _zero(var) for var in GUESTS]
    calm = [_taken(ran.holds(COMMAND)) & (_MASTER | _MWI) == 0]
    for present, place, bit in ((known.msi, MSI_FLAGS, MSI.enable), (known.msix, MSIX_FLAGS, MSIX.enable)):
        at = place.offset + 1 if bit > 0xFF else place.offset
        byte = ran.after.byte((place.structure, at)) & takes((place.structure, at))
        calm.append(z3.Implies(ran.was(present), byte & (bit >> 8 if bit > 0xFF else bit) == 0))
    return z3.And(*forgotten, *calm)


def _zero(var: Var) -> Formula:
    return z3.BitVecVal(0, var.sort.width) if var.sort.width else z3.BoolVal(False)


def _comes_back(asked: Asked) -> Formula:
    asks = z3.And(done(asked), wanted(asked) & _DECODE != 0)
    return z3.Implies(asks, _decodes(asked, asked.holds(COMMAND)))


def _sleeps(profile: Profile) -> tuple[Sent, ...]:
    """A function is sent to D3hot, woken, and its guest writes COMMAND as it had it."""
    power = next(case for case in cases(profile) if case.structure is Structure.PM and case.offset == pci.PM_CTRL)
    header = next(case for case in cases(profile) if case.name == f"header {pci.COMMAND:02x}")
    states = [z3.Concat(z3.BitVec(name, 30), z3.BitVecVal(state, 2)) for name, state in (("down", D3HOT), ("up", D0))]
    had = z3.ZeroExt(16, World().value(mine.command.variable))
    return (Sent(power, 2, states[0]), Sent(power, 2, states[1]), Sent(header, 2, had))


def _decoded(ran: Ran) -> Formula:
    """The guest had it on, and so it was; the host counted that."""
    asked = z3.And(ran.was(mine.command) & _DECODE != 0, ran.was(host.enabled) == 1)
    return z3.And(asked, ran.err == 0, _decodes(ran, ran.held(COMMAND)))


CLAIMS: Final[tuple[Claim, ...]] = (
    RequestClaim("C-15", _never_off, kind="write", about=ours),
    RequestClaim("C-16", _line_stays, kind="write", about=ours),
    RequestClaim("C-17", _others_stay, kind="write", about=ours),
    RequestClaim("C-18", _mask_holds, kind="write", about=ours),
    RequestClaim("C-19", _echoed, about=lambda asked: _plain(asked) or not _meets_command(asked)),
    RequestClaim("C-20", _enabled, kind="write", about=_plain),
    RequestClaim("C-21", _counted_once, kind="write"),
    ProgramClaim("C-21", "attach", _counted_once),
    ProgramClaim("C-21", "detach", _counted_once),
    RequestClaim("C-22", _masters, kind="write", about=_plain),
    RequestClaim("C-23", _invalidates, kind="write", about=_plain),
    RequestClaim("C-24", _line_comes_back, kind="write", about=_plain),
    ProgramClaim("C-25", "detach", _put_back),
    ProgramClaim("C-26", "forget+attach", _same_for_everybody),
    RequestClaim("C-27", _defined, kind="read", about=_meets_command),
    RequestClaim("C-28", _comes_back, kind="write", about=_plain),
    StoryClaim("C-28", "D3hot, D0, COMMAND", _sleeps, lambda ran: _decodes(ran, ran.holds(COMMAND)), _decoded),
)
