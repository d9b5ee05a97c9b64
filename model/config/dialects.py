# SPDX-License-Identifier: Apache-2.0
"""Bugs of configuration space, each named after the rule that it breaks.

CM01 to CM38 and M31 are the catalogues of the protocol notes, CX our own, so that no property goes unbroken. A dialect is a
profile with a few named things changed; `breaks` names the properties that must fail.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from pvpci.model.config import command
from pvpci.model.config import constants as pci
from pvpci.model.config.bugs import ConfigDialect, after, around, value
from pvpci.model.config.dialects_structures import STRUCTURE_DIALECTS
from pvpci.model.config.linux import LINUX_6_1_0, LINUX_6_1_63
from pvpci.model.config.pci_core import EINVAL
from pvpci.model.config.profiles import (
    STRICT,
    Edit,
    in_program,
    layout,
    program,
    reads,
    rule,
    skip,
    steps,
    without,
    writes,
)
from pvpci.model.config.programs import (
    NEW,
    RAW,
    Load,
    Reads,
    Set,
    Step,
    Store,
    but,
    has,
    local,
    refuse,
)
from pvpci.model.config.state import mine
from pvpci.model.config.steps import COMMAND
from pvpci.model.kernel.terms import number

_SOURCE: Final = "conf_space.c:"
_HEADER: Final = "conf_space_header.c:"


def _refuses_otherwise(step: Step) -> Step:
    return refuse(EINVAL, step.when, step.name)


def _counted_again(step: Step) -> Step:
    return replace(step, when=has(NEW[2], pci.COMMAND_DECODE))


def _never_cleared() -> Edit:
    """MASTER and INVALIDATE stay, once they are set."""
    held, now = local("held_before", 16), local("now_after", 16)
    return around("COMMAND", (Load(held, COMMAND),), (Load(now, COMMAND), Store(COMMAND, now | (held & command.REAL))))


_DECODE_SHOWN: Final = Reads("the register's decode bits too", command.READS.value | (RAW[2] & pci.COMMAND_DECODE))
_RESERVED_SHOWN: Final = Reads("reserved bits as written", (RAW[2] & command.REAL) | but(mine.command, command.REAL))
_RESERVED_KEPT: Final = Set(mine.command.becomes(but(NEW[2], command.REAL)), name="virtual")
_NOTHING_READ: Final = Reads("0", number(8, 0))

CONFIG_DIALECTS: Final[tuple[ConfigDialect, ...]] = (
    # Requests: what Linux does or did
    ConfigDialect(
        "CM01", "a request lies inside the function", _SOURCE + "valid_request", ("C-02",), (rule(bounded=False),)
    ),
    ConfigDialect(
        "CM02",
        "a request meets every row that it has a byte of",
        _SOURCE + "xen_pcibk_config_read, until 4.7",
        ("C-05",),
        (rule(inner=False),),
    ),
    ConfigDialect(
        "CM03",
        "the value that is read has no bit beyond its size",
        _SOURCE + "xen_pcibk_config_read",
        ("C-06",),
        (rule(cut=False),),
    ),
    ConfigDialect(
        "CM04",
        "a refusal is not forgotten over what follows",
        _SOURCE + "xen_pcibk_config_write",
        ("C-11",),
        (rule(first_refusal=False),),
    ),
    ConfigDialect(
        "CM05",
        "what is refused was not done in part",
        _HEADER + "command_write, 5.6 to 6.1.62",
        ("C-12",),
        (writes("COMMAND", LINUX_6_1_0.row("COMMAND").writes),),
    ),
    ConfigDialect(
        "CM06",
        "the host's own error numbers stay with the host",
        _SOURCE + "xen_pcibios_err_to_errno",
        ("C-13",),
        (steps("COMMAND", "no address", _refuses_otherwise),),
    ),
    # COMMAND: the same
    ConfigDialect(
        "CM08",
        "COMMAND is not the guest's to write",
        "XSA-120",
        ("C-15", "C-16", "C-17", "C-18"),
        (after("COMMAND", Store(COMMAND, NEW[2])),),
    ),
    ConfigDialect(
        "CM09",
        "what the guest wrote is what it reads",
        _HEADER + "command_read, 3.1 to 3.19",
        ("C-19",),
        (reads("COMMAND", _DECODE_SHOWN),),
    ),
    ConfigDialect(
        "CM10",
        "mastering that is switched off is off",
        _HEADER + "command_write, until 3.19",
        ("C-22",),
        (_never_cleared(),),
    ),
    ConfigDialect(
        "CM11",
        "a function that is put back is not switched off",
        "pciback_ops.c:xen_pcibk_reset_device, until 5.0",
        ("C-25",),
        (program("detach", (*STRICT.detach, Store(COMMAND, number(16, 0), name="all off"))),),
    ),
    ConfigDialect(
        "CM12",
        "what one guest wrote is not shown to the next",
        _HEADER + "command_init",
        ("C-26",),
        (in_program("forget", "virtual command", lambda step: None),),
    ),
    ConfigDialect(
        "CM13",
        "the function is asked, not a memory of it",
        _HEADER + "command_write",
        ("C-28", "C-42"),
        (writes("COMMAND", LINUX_6_1_63.row("COMMAND").writes), skip("PMCSR", "command restored")),
    ),
    ConfigDialect(
        "CM20",
        "an added field does not meet a row, and its mask counts",
        "conf_space_quirks.c",
        ("C-16", "C-17", "C-18", "C-53"),
        (layout(quirks_checked=False),),
    ),
    ConfigDialect(
        "CM21",
        "an added field lies in one dword",
        "conf_space_quirks.c",
        ("C-07", "C-53"),
        (layout(quirks_fit=False),),
    ),
    # Our own, so that nothing goes unbroken
    ConfigDialect("CX01", "a word starts at an even byte", "C-01", ("C-01",), (rule(aligned=False),)),
    ConfigDialect("CX03", "a read changes nothing", "C-03", ("C-03",), (rule(lasting=False),)),
    ConfigDialect("CX04", "a refused read has no value", "C-04", ("C-04",), (rule(zeroed=False),)),
    ConfigDialect("CX07", "every dword with rows has one that starts it", "C-07", ("C-07",), (without("PMCSR"),)),
    ConfigDialect("CX08", "what meets no row is dropped", "C-08", ("C-08",), (rule(drops=False),)),
    ConfigDialect("CX09", "bytes without a row stay as they are", "C-09", ("C-09",), (rule(stray=True),)),
    ConfigDialect(
        "CX10",
        "rows are met in the order of their registration",
        "C-10",
        ("C-10",),
        (rule(ordered=False), reads("BIST", _NOTHING_READ)),
        LINUX_6_1_63,
    ),
    ConfigDialect(
        "CX18",
        "permissive mode has a mask too",
        "C-18",
        ("C-18",),
        (steps("COMMAND", "permissive", lambda step: Store(COMMAND, NEW[2], when=step.when, name=step.name)),),
        LINUX_6_1_63,
    ),
    ConfigDialect("CX19", "what is written is kept", "C-19", ("C-19", "C-20"), (skip("COMMAND", "virtual"),)),
    ConfigDialect(
        "CX20",
        "switching decoding off is counted",
        "C-20",
        ("C-20",),
        (skip("COMMAND", "count down"),),
        LINUX_6_1_63,
    ),
    ConfigDialect(
        "CX21",
        "only the first write that asks for decoding is counted",
        "C-21",
        ("C-21",),
        (steps("COMMAND", "count up", _counted_again),),
        LINUX_6_1_63,
    ),
    ConfigDialect("CX22", "what has no address is not enabled", "C-20", ("C-20",), (skip("COMMAND", "no address"),)),
    ConfigDialect(
        "CX23",
        "without a cache line there is no memory write and invalidate",
        "C-23",
        ("C-23",),
        (value("COMMAND", "command", lambda was: was | (NEW[2] & pci.COMMAND_INVALIDATE)),),
    ),
    ConfigDialect(
        "CX24",
        "only enabling brings the line back",
        "C-24",
        ("C-24",),
        (value("COMMAND", "command", lambda was: but(was, pci.COMMAND_INTX_DISABLE)),),
    ),
    ConfigDialect(
        "CX26",
        "nothing is on when a guest starts",
        "C-26",
        ("C-26",),
        (in_program("attach", "calm", lambda step: None), in_program("attach", "silence", lambda step: None)),
    ),
    ConfigDialect(
        "CX27",
        "reserved bits are not a guest's memory",
        "C-27",
        ("C-27",),
        (reads("COMMAND", _RESERVED_SHOWN), steps("COMMAND", "virtual", lambda step: _RESERVED_KEPT)),
    ),
    *STRUCTURE_DIALECTS,
)
