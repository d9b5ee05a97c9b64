# SPDX-License-Identifier: Apache-2.0
"""Power management: the guest's requests are real, and what they cost is given back.

A guest may put its function to sleep and wake it. A function that wakes from D3hot may have reset itself on the way
(it says so with NO_SOFT_RESET clear), and then its BARs and COMMAND are gone while everybody believes the function
enabled. So whoever wakes it writes them again: the BARs are the host's addresses, COMMAND is what it held just before.

What a guest may not do is wake the host: PME is neither offered (PMC) nor enabled.

PME_STATUS is cleared by writing a one to it, as the specification has it, and by nothing else.
"""

from __future__ import annotations

from typing import Final

from pvpci.model.config import constants as pci
from pvpci.model.config.programs import (
    DROPPED,
    NEW,
    RAW,
    Field,
    Load,
    Program,
    Reads,
    Store,
    Structure,
    Writes,
    but,
    guarded,
    has,
    local,
    raw,
    refuse,
)
from pvpci.model.config.state import known
from pvpci.model.config.steps import (
    CACHE_AND_LATENCY,
    COMMAND,
    D0,
    D1,
    D2,
    D3HOT,
    INTERRUPT_LINE,
    PMCSR,
    let,
    place_bars,
    settle,
    test,
)
from pvpci.model.kernel.terms import Bits, Flag, choose, number
from pvpci.model.wire import Err

#: Bits of PMCSR that a guest may write besides the state.
GUESTS: Final = pci.PM_CTRL_DATA_SEL | pci.PM_CTRL_PME_STATUS


def wake(now: Bits, to: Bits, value: Bits, changed: Flag) -> Program:
    """Write PMCSR (`value`), wait as the specification says, and give back what the function lost on the way.

    `now`: PMCSR as it is; `to`: the state that `value` asks for; `changed`: whether to write at all.
    """
    command, latency, line = local("command", 16), local("latency", 16), local("line", 8)
    was = now & pci.PM_CTRL_STATE
    resets = changed & (was == D3HOT) & (to == D0) & ~has(now, pci.PM_CTRL_NO_SOFT_RESET)
    losing, to_losing = test("losing", resets)
    return (
        to_losing,
        Load(command, COMMAND, when=losing),
        Load(latency, CACHE_AND_LATENCY, when=losing),
        Load(line, INTERRUPT_LINE, when=losing),
        Store(PMCSR, value, when=changed, name="pmcsr"),
        *settle(was, to, changed),
        # A 64-bit address is written in two halves, and must not be decoded in between.
        Store(COMMAND, but(command, pci.COMMAND_DECODE), when=losing, name="decode off"),
        *place_bars(losing),
        Store(CACHE_AND_LATENCY, latency, when=losing),
        Store(INTERRUPT_LINE, line, when=losing),
        Store(COMMAND, command, when=losing, name="command restored"),
    )


def awake() -> Program:
    """Bring the function to D0, whatever its guest left it in."""
    now = local("now", 16)
    asleep = known.pm & has(now, pci.PM_CTRL_STATE)
    value = but(now, pci.PM_CTRL_STATE | pci.PM_CTRL_PME_STATUS | pci.PM_CTRL_PME_ENABLE)
    return (Load(now, PMCSR, when=known.pm), *wake(now, number(16, D0), value, asleep))


def quiet() -> Program:
    """A function must not wake the host for its guest."""
    now = local("now", 16)
    return guarded(
        (
            Load(now, PMCSR),
            Store(PMCSR, but(now, pci.PM_CTRL_PME_ENABLE), when=has(now, pci.PM_CTRL_PME_ENABLE), name="no wake-up"),
        ),
        known.pm,
    )


def unsupported(state: Bits) -> Flag:
    return ((state == D1) & ~known.d1) | ((state == D2) & ~known.d2)


def unwanted(state: Bits) -> Flag:
    """The host's own quirks: it stays as it is, and that is no error."""
    return ((state == D1) | (state == D2)) & known.no_d1d2 | (state == D3HOT) & known.no_d3


def _write() -> Program:
    wanted, old = NEW[2], local("old", 16)
    was, to_was = let("was", old & pci.PM_CTRL_STATE)
    asked = wanted & pci.PM_CTRL_STATE
    state, to_state = let("state", choose(unwanted(asked), was, asked))
    value, to_value = let(
        "value",
        but(old, pci.PM_CTRL_STATE | GUESTS | pci.PM_CTRL_PME_ENABLE) | (wanted & GUESTS) | state,
    )
    # A one in PME_STATUS is there only because the guest wrote it, and it does something even if nothing changes.
    changed, to_changed = test(
        "changed", has(value ^ old, 0xFFFF & ~pci.PM_CTRL_PME_STATUS) | has(value, pci.PM_CTRL_PME_STATUS)
    )
    return (
        Load(old, PMCSR),
        to_was,
        to_state,
        refuse(Err.ACCESS_DENIED, (state != D0) & (state < was), "shallower"),
        refuse(Err.ACCESS_DENIED, (state != was) & unsupported(state), "unsupported"),
        to_value,
        to_changed,
        *wake(old, state, value, changed),
    )


_SOURCE: Final = "conf_space_capability.c:"
_PMC: Final = Reads("the register without its PME bits", but(RAW[2], pci.PM_CAP_PME_MASK))
_PMCSR: Final = Writes(
    "the state is entered, if it can be from the present one (else -3), and what waking up loses is restored; DATA_SEL "
    "is written; PME_STATUS is cleared by a one; PME_ENABLE never set",
    _write(),
    ones=pci.PM_CTRL_PME_STATUS,
)


def _row(offset: int, width: int, name: str, reads: Reads, writes: Writes, cite: str) -> Field:
    return Field(offset, width, name, reads, writes, _SOURCE + cite, Structure.PM)


# fmt: off
ROWS: Final = (
    _row(pci.PM_PMC,            2, "PMC",                _PMC,   DROPPED, "pm_caps_read"),
    _row(pci.PM_CTRL,           2, "PMCSR",              raw(2), _PMCSR,  "pm_ctrl_write"),
    _row(pci.PM_PPB_EXTENSIONS, 1, "PMCSR_BSE",          raw(1), DROPPED, "caplist_pm"),
    _row(pci.PM_DATA,           1, "PM_DATA",            raw(1), DROPPED, "caplist_pm"),
)
# fmt: on
