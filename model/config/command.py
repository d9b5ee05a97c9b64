# SPDX-License-Identifier: Apache-2.0
"""The COMMAND register: the one place where a guest switches its function on.

A guest must be able to do that, and must not be able to switch decoding off while its neighbours' bus is configured for
it, nor to keep a line of the host's interrupt controller quiet, or to open one that the host uses itself. So COMMAND has
two bits that are the function's own, bus mastering and memory write and invalidate. The rest is what the guest last
wrote, and the bits that PCI reserves are 0. Decoding is real only in one direction: the first write that asks for any of
it turns on all that the function's resources need, and nothing that a guest writes turns it off again.

The program asks the hardware, not a memory of it, so after a reset that nobody told us of, the next write that wants
decoding or mastering brings it back. At the start of an attachment the virtual bits are 0, as after power-on: a guest
that relies on what firmware left would otherwise have a function that looks enabled and is not.

Turning on memory write and invalidate may fail, because it takes a cache line size that the function keeps: it is
written and read back, and if it is not held the bit stays off and people are told.
"""

from __future__ import annotations

from typing import Final

from pvpci.model.config import constants as pci
from pvpci.model.config.programs import (
    NEW,
    RAW,
    Load,
    Program,
    Reads,
    Set,
    Store,
    Tell,
    Writes,
    but,
    has,
    local,
    refuse,
)
from pvpci.model.config.state import Kind, known, mine
from pvpci.model.config.steps import CACHE_LINE, COMMAND, INTERRUPT_PIN, LATENCY, let, messages_on, test
from pvpci.model.kernel.terms import Bits, Flag, choose, number
from pvpci.model.wire import Err

#: Bits of COMMAND that the guest reads from, and writes to, the function itself.
REAL: Final = pci.COMMAND_MASTER | pci.COMMAND_INVALIDATE
#: Bits of COMMAND that are only what the guest wrote.
VIRTUAL: Final = 0xFFFF & ~pci.COMMAND_RESERVED & ~REAL
#: A conventional function that may become master without a share of the bus gets this one (pci.c:pcibios_set_master).
LEAST_LATENCY: Final = 16
DEFAULT_LATENCY: Final = 64


def suits(line: Bits) -> Flag:
    """A cache line size that memory write and invalidate can work with: a multiple of the host's, a power of two."""
    return (line >= known.cache_line) & ((line & (known.cache_line - 1)) == 0)


def _write() -> Program:
    wanted = NEW[2]
    was, line, held, latency = local("was", 16), local("cache_line", 8), local("held", 8), local("latency", 8)
    pin = local("pin", 8)
    decoding = has(wanted, pci.COMMAND_DECODE)
    asleep = has(known.decode & ~was, 0xFFFF)
    enabling, to_enabling = test("enabling", decoding & (~has(mine.command, pci.COMMAND_DECODE) | asleep))
    quiet = enabling & has(was, pci.COMMAND_INTX_DISABLE)
    messages, look = messages_on(quiet)
    rising, to_rising = let("rising", wanted & ~was)
    mastering = has(rising, pci.COMMAND_MASTER)
    invalidating = has(rising, pci.COMMAND_INVALIDATE)
    unsuited, to_unsuited = test("unsuited", invalidating & ~suits(line))
    lost, to_lost = test("lost", unsuited & (held != known.cache_line))
    target, to_target = let(
        "target",
        (but(was, REAL) | (wanted & REAL) | choose(decoding, known.decode, number(16, 0)))
        & ~choose(quiet & (pin != 0) & ~messages & ~known.line_shared, number(16, pci.COMMAND_INTX_DISABLE), 0)
        & ~choose(lost, number(16, pci.COMMAND_INVALIDATE), 0),
    )
    return (
        refuse(Err.OP_FAILED, decoding & ~known.placed, "no address"),
        Load(was, COMMAND),
        to_enabling,
        Load(pin, INTERRUPT_PIN, when=quiet),
        *look,
        to_rising,
        Load(line, CACHE_LINE, when=invalidating),
        to_unsuited,
        Store(CACHE_LINE, known.cache_line, when=unsuited, name="cache line"),
        Load(held, CACHE_LINE, when=unsuited),
        to_lost,
        Tell(Kind.MWI_REFUSED, when=lost),
        to_target,
        Store(COMMAND, target, when=target != was, name="command"),
        Load(latency, LATENCY, when=mastering & known.conventional),
        Store(
            LATENCY,
            number(8, DEFAULT_LATENCY),
            when=mastering & known.conventional & (latency < LEAST_LATENCY),
            name="latency",
        ),
        Set(mine.command.becomes(wanted & VIRTUAL), name="virtual"),
    )


READS: Final = Reads(
    "MASTER, INVALIDATE: the register; reserved bits: 0; all others: as last written",
    (RAW[2] & REAL) | (mine.command & VIRTUAL),
)
WRITES: Final = Writes("MASTER and INVALIDATE take effect; decoding is turned on, never off", _write())
