# SPDX-License-Identifier: Apache-2.0
"""``xen-pciback`` of Linux as differences from the reference, bit for bit, with what is odd about it.

`linux-6.1.63` is every kernel from 6.1.63 on; `linux-6.1.0` goes from 5.6 to 6.1.62, where messages and the line interrupt
excluded one another. They exist so that a trace of a real system can be judged, and a guest served exactly as before.

What Linux's PCI core does to a function on the backend's behalf is part of it, and stands in `pci_core`. Sources:
drivers/xen/xen-pciback/conf_space*.c of Linux 6.1.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from pvpci.model.config import constants as pci
from pvpci.model.config.capabilities import MSI, MSIX, Messages
from pvpci.model.config.lanes import WORD
from pvpci.model.config.pci_core import disable, enable, on_command, power_up, set_master, set_mwi
from pvpci.model.config.power import quiet, unsupported
from pvpci.model.config.profiles import (
    STRICT,
    Edit,
    Profile,
    dialect,
    in_program,
    layout,
    on_rows,
    program,
    reads,
    rule,
    writes,
)
from pvpci.model.config.programs import (
    DROPPED,
    NEW,
    RAW,
    Finish,
    Load,
    Place,
    Program,
    Reads,
    Set,
    Store,
    Structure,
    Tell,
    Writes,
    but,
    guarded,
    has,
    local,
    raw,
    refuse,
)
from pvpci.model.config.state import ROM, Kind, bars, host, known, mine
from pvpci.model.config.steps import (
    CACHE_LINE,
    COMMAND,
    D0,
    D1,
    D2,
    D3HOT,
    PMCSR,
    bar_place,
    let,
    messages_on,
    settle,
    test,
)
from pvpci.model.kernel.terms import NEVER, choose, number
from pvpci.model.wire import Err

#: Bits of COMMAND that a guest reads from the function (PCI_COMMAND_GUEST).
GUEST: Final = (
    pci.COMMAND_MASTER
    | pci.COMMAND_SPECIAL
    | pci.COMMAND_INVALIDATE
    | pci.COMMAND_VGA_PALETTE
    | pci.COMMAND_WAIT
    | pci.COMMAND_FAST_BACK
)
#: Bits of PMCSR that are written as they come (PM_OK_BITS).
PM_OK: Final = pci.PM_CTRL_PME_STATUS | pci.PM_CTRL_DATA_SEL


def _command(intx: Program) -> Program:
    """``command_write``; `intx`: what happens to a device model's INTX_DISABLE."""
    wanted = NEW[2]
    decoding = has(wanted, pci.COMMAND_DECODE)
    rise, to_rise = test("rise", ~(host.enabled != 0) & decoding)
    fall, to_fall = test("fall", (host.enabled != 0) & ~decoding)
    master = has(wanted, pci.COMMAND_MASTER)
    mastering, to_mastering = test("mastering", ~host.master & master)
    losing, to_losing = test("losing", host.master & ~master)
    had = has(mine.command, pci.COMMAND_INVALIDATE)
    invalidating, to_invalidating = test("invalidating", ~had & has(wanted, pci.COMMAND_INVALIDATE))
    failed, invalidate = set_mwi(invalidating)
    value, to_value = let("value", wanted & ~choose(failed, number(16, pci.COMMAND_INVALIDATE), 0))
    final = local("command_final", 16)
    return (
        to_rise,
        to_fall,
        *enable(rise),
        *disable(fall),
        to_mastering,
        to_losing,
        *set_master(mastering),
        *on_command("master off", "clear", pci.COMMAND_MASTER, losing),
        Set(host.master.becomes(NEVER), when=losing),
        to_invalidating,
        *invalidate,
        Tell(Kind.MWI_REFUSED, when=failed),
        to_value,
        *on_command("invalidate off", "clear", pci.COMMAND_INVALIDATE, had & ~has(wanted, pci.COMMAND_INVALIDATE)),
        *guarded(intx, known.interrupt_control),
        Set(mine.command.becomes(value), name="virtual"),
        Load(final, COMMAND, when=known.permissive),
        Store(
            COMMAND,
            (value & GUEST) | but(final, GUEST),
            when=known.permissive & (final != value),
            name="permissive",
        ),
    )


_CHANGES: Final = has(mine.command ^ NEW[2], pci.COMMAND_INTX_DISABLE)
_SETS: Final = _CHANGES & has(NEW[2], pci.COMMAND_INTX_DISABLE)
_CLEARS: Final = _CHANGES & ~has(NEW[2], pci.COMMAND_INTX_DISABLE)


def _intx_follows() -> Program:
    """From 6.1.63 on: as the device model says."""
    return (
        *on_command("intx off", "set", pci.COMMAND_INTX_DISABLE, _SETS),
        *on_command("intx on again", "clear", pci.COMMAND_INTX_DISABLE, _CLEARS),
    )


def _intx_excluded() -> Program:
    """Before: the line may come back only if nothing else is on. By then the rest of the write is done."""
    now = local("command_intx", 16)
    messages, look = messages_on(_CLEARS)
    line = ~has(now, pci.COMMAND_INTX_DISABLE)
    return (
        *on_command("intx off", "set", pci.COMMAND_INTX_DISABLE, _SETS),
        *look,
        Load(now, COMMAND, when=_CLEARS),
        refuse(Err.ACCESS_DENIED, _CLEARS & messages, "one kind at a time"),
        Store(
            COMMAND,
            but(now, pci.COMMAND_INTX_DISABLE),
            when=_CLEARS & ~messages & ~line,
            name="intx on again",
        ),
    )


def _flags(one: Messages, other: Messages, allowed: int, *, line_excludes: bool) -> Program:
    """``msi_msix_flags_write``."""
    wanted, old, others, command = NEW[2], local("old", 16), local("other", 16), local("command_now", 16)
    own = local("own", 16)
    asking, to_asking = test("asking", ~known.permissive & (wanted != old) & has(wanted, one.enable))
    busy = has(others, other.enable)
    if line_excludes:
        busy = busy | ~has(command, pci.COMMAND_INTX_DISABLE)
    return (
        Store(one.flags, wanted, when=known.permissive, name="permissive"),
        Finish(when=known.permissive),
        Load(old, one.flags),
        Finish(when=wanted == old),
        refuse(Err.ACCESS_DENIED, ~known.interrupt_control, "not the guest's"),
        refuse(Err.ACCESS_DENIED, has(wanted ^ old, 0xFFFF & ~allowed), "fixed bits"),
        to_asking,
        Load(own, one.flags, when=asking),
        Load(others, other.flags, when=asking & other.present),
        Load(command, COMMAND, when=asking),
        refuse(Err.ACCESS_DENIED, asking & busy, "one kind at a time"),
        Store(one.flags, wanted, name="flags"),
    )


def _power() -> Program:
    """``pm_ctrl_write`` and ``pci_set_power_state``, without a platform that manages the function."""
    wanted, old = NEW[2], local("old", 16)
    word, after = local("word", 16), local("after", 16)
    state, to_state = let("state", (wanted & pci.PM_CTRL_STATE).resize(2))
    skipped = (((state == D1) | (state == D2)) & known.no_d1d2) | (state == host.power)
    going, to_going = test("going", ~skipped)
    down = going & (state != D0) & ~((state == D3HOT) & known.no_d3)
    lower, to_lower = test("lower", down)
    return (
        Load(old, PMCSR),
        Store(PMCSR, but(old, PM_OK) | (wanted & PM_OK), when=has((old ^ wanted) & PM_OK, 0xFFFF)),
        to_state,
        to_going,
        to_lower,
        *power_up(going & (state == D0)),
        refuse(Err.ACCESS_DENIED, lower & (host.power > state), "shallower"),
        refuse(Err.ACCESS_DENIED, lower & unsupported(state.resize(16)), "unsupported"),
        Load(word, PMCSR, when=lower),
        Store(PMCSR, but(word, pci.PM_CTRL_STATE) | state.resize(16), when=lower, name="pmcsr"),
        *settle(host.power.resize(16), state.resize(16), lower),
        Load(after, PMCSR, when=lower),
        Set(host.power.becomes((after & pci.PM_CTRL_STATE).resize(2)), when=lower),
    )


def _bar(place: int, bridge: bool = False) -> Edit:
    """``bar_write``: a write of the host's own value reaches a function that has lost it."""
    bar, at = bars[place], bar_place(place, bridge)
    now = local("register", 32)
    asks = (NEW[4] | bar.ignored) == WORD
    steps = (
        Load(now, at, when=~asks),
        Store(at, bar.address, when=~asks & (now != bar.address) & (NEW[4] == bar.address), name="restore"),
        Set(bar.sizing.becomes(asks), name="sizing"),
    )
    what = Writes("all ones ask for the size mask, all else ends that; the host's own value is written if lost", steps)
    name = "ROM_ADDRESS" if place == ROM else f"BAR{place}"
    return on_rows(name, lambda row: replace(row, writes=what) if row.offset == at.offset else row)


_BIST: Final = local("bist", 8)
_BIST_AT: Final = Place(Structure.HEADER, pci.BIST, 1)
_BIST_WRITES: Final = Writes(
    "the self test may be started",
    (
        Load(_BIST, _BIST_AT),
        Store(
            _BIST_AT,
            NEW[1],
            when=(but(_BIST, pci.BIST_START) == but(NEW[1], pci.BIST_START)) | (NEW[1] == pci.BIST_START),
            name="start",
        ),
    ),
)
_COMMAND_READS: Final = Reads(
    "MASTER, SPECIAL, INVALIDATE, VGA_PALETTE, WAIT, FAST_BACK: the register; all others: as last written",
    (RAW[2] & GUEST) | but(mine.command, GUEST),
)


def _seize() -> Program:
    """``pcistub_init_device``: the virtual COMMAND is what was found; enabled once, and disabled again."""
    found, now = local("found", 16), local("now", 16)
    return (
        Load(found, COMMAND),
        Set(mine.command.becomes(found), name="virtual command"),
        *quiet(),
        Load(now, COMMAND),
        Store(COMMAND, but(now | known.decode, pci.COMMAND_MASTER), name="enabled once"),
    )


def _put() -> Program:
    """``xen_pcibk_reset_device``. What the host's saved state restores is the host's affair."""
    on = host.enabled != 0
    return (
        *on_command("put", "clear", pci.COMMAND_MASTER, on & ~known.bridge),
        Set(host.enabled.becomes(0), when=~known.bridge),
        Set(host.master.becomes(NEVER), when=~known.bridge),
    )


_ALL: Final = pci.MSIX_FLAGS_ENABLE | pci.MSIX_FLAGS_MASKALL
_SAYS: Final = "permissive: written; else a change is refused (-3), except for a device model: {}"


def messages_are(*, line_excludes: bool, msix: int = _ALL) -> tuple[Edit, Edit]:
    """How a device model changes the flag words. `msix`: the bits of MSI-X's that are its own."""
    return (
        writes(
            "MSI_FLAGS",
            Writes(_SAYS.format("ENABLE"), _flags(MSI, MSIX, MSI.allowed, line_excludes=line_excludes)),
        ),
        writes(
            "MSIX_FLAGS",
            Writes(_SAYS.format("ENABLE and MASKALL"), _flags(MSIX, MSI, msix, line_excludes=line_excludes)),
        ),
    )


_COMMAND_SAYS: Final = (
    "IO or MEMORY: the function is enabled or disabled, as the host counts it; MASTER and INVALIDATE take effect; "
    "permissive: MASTER, SPECIAL, INVALIDATE, VGA_PALETTE, WAIT and FAST_BACK are written"
)
_RAW_BYTE: Final = Writes("written", (Store(CACHE_LINE, NEW[1], name="raw"),))

LINUX_6_1_63: Final = dialect(
    STRICT,
    "linux-6.1.63",
    rule(bounded=False, cut=False, first_refusal=False),
    layout(chain=False, own_messages=False, extended=True, bridges=True, quirks_checked=False, quirks_fit=False),
    reads("COMMAND", _COMMAND_READS),
    writes("COMMAND", Writes(_COMMAND_SAYS, _command(_intx_follows()))),
    reads("INTERRUPT_LINE", Reads("the routed interrupt's low byte", known.line)),
    writes("INTERRUPT_LINE", DROPPED),
    reads("INTERRUPT_PIN", raw(1)),
    reads("CACHE_LINE_SIZE", raw(1)),
    writes("CACHE_LINE_SIZE", _RAW_BYTE),
    reads("LATENCY_TIMER", raw(1)),
    writes("LATENCY_TIMER", DROPPED),
    writes("BIST", _BIST_WRITES),
    *map(_bar, range(ROM + 1)),
    _bar(ROM, bridge=True),
    writes("PMCSR", Writes("DATA_SEL and PME_STATUS are written if they change; the state is entered", _power())),
    *messages_are(line_excludes=False),
    in_program("placing", "upper half of nothing", lambda step: None),
    program("attach", _seize()),
    program("detach", _put()),
    in_program("forget", "virtual command", lambda step: None),
    in_program("forget", "permissive", lambda step: None),
)

LINUX_6_1_0: Final = dialect(
    LINUX_6_1_63,
    "linux-6.1.0",
    writes("COMMAND", Writes(_COMMAND_SAYS, _command(_intx_excluded()))),
    *messages_are(line_excludes=True),
)

#: What `pvpci serve --profile` takes.
PROFILES: Final[dict[str, Profile]] = {one.name: one for one in (STRICT, LINUX_6_1_63, LINUX_6_1_0)}
