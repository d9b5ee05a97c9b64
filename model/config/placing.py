# SPDX-License-Identifier: Apache-2.0
"""From what the host's kernel decided (its resources) to what guests read: BARs, their sizes, what COMMAND must decode.

A program like any other, so that what runs is what is proved: addresses and sizes have 64 bits there, and are cut into
registers here. It runs once for each attachment, before anything else.
"""

from __future__ import annotations

from typing import Final

from pvpci.model.config import constants as pci
from pvpci.model.config.programs import Program, Set, Step, has
from pvpci.model.config.state import BARS, ROM, bars, known, resources
from pvpci.model.config.steps import let, test
from pvpci.model.kernel.terms import NEVER, Bits, Flag, any_of, choose, number

#: Resources in these states have no address that a guest could use (conf_space_header.c:bar_init).
NOT_PLACED: Final = pci.RESOURCE_DISABLED | pci.RESOURCE_UNSET | pci.RESOURCE_BUSY
#: Low bits that need not be ones to ask for the size.
IGNORED_IO: Final = 0x3
IGNORED_MEM: Final = 0xF
IGNORED_ROM: Final = 0x7FF


def decoded(place: int) -> Flag:
    """The function answers to this resource as soon as it decodes."""
    flags = resources[place].flags
    called_for = has(flags, pci.RESOURCE_IO | pci.RESOURCE_MEM)
    return called_for & has(flags, pci.RESOURCE_ROM_ENABLE) if place == ROM else called_for


def _bar(place: int) -> Program:
    own, bar = resources[place], bars[place]
    flags = own.flags
    # The register behind the lower half of a 64-bit BAR is its upper half; nothing else is.
    upper: Flag = bars[place - 1].wide if 0 < place < ROM else NEVER
    below = resources[place - 1] if 0 < place < ROM else own
    low = flags & pci.RESOURCE_BITS
    nothing = ~upper & ((flags == 0) | has(flags, NOT_PLACED))
    fixed = has(flags, NOT_PLACED | pci.RESOURCE_PCI_FIXED)
    movable = (flags != 0) & ~upper & ~fixed & ~known.virtual
    wide = has(flags, pci.RESOURCE_MEM_64) & ~upper if place < BARS - 1 else NEVER
    kind = choose(has(flags, pci.RESOURCE_IO), number(32, IGNORED_IO), IGNORED_MEM)
    if place == ROM:
        movable = movable & has(flags, pci.RESOURCE_ROM_ENABLE)
        kind = number(32, IGNORED_ROM)
    elif place > 0:
        # A bridge has two BARs; what follows them is something else.
        wide = wide & ~known.bridge
        movable = movable & ~known.bridge if place > 1 else movable
    return (
        Set(bar.wide.becomes(wide)),
        Set(bar.movable.becomes(movable)),
        Set(
            bar.address.becomes(choose(upper, _upper(below.start), own.start.resize(32) | low)),
            name="address",
        ),
        Set(
            bar.length.becomes(
                choose(upper, _upper(_mask(below.start, below.end)), _mask(own.start, own.end).resize(32) | low)
            ),
            name="length",
        ),
        Set(bar.ignored.becomes(choose(upper, number(32, 0), kind)), name="ignored"),
        Set(bar.address.becomes(0), when=nothing, name="nothing here"),
        Set(bar.length.becomes(0), when=nothing, name="nothing here"),
        Set(bar.address.becomes(0), when=upper & has(below.flags, NOT_PLACED), name="upper half of nothing"),
        Set(bar.length.becomes(0), when=upper & has(below.flags, NOT_PLACED), name="upper half of nothing"),
    )


def _mask(start: Bits, end: Bits) -> Bits:
    """Minus the size."""
    return start - end - 1


def _upper(value: Bits) -> Bits:
    return (value >> 32).resize(32)


def _decoding() -> Program:
    places = range(ROM + 1)
    io, to_io = test("io", any_of(decoded(at) & has(resources[at].flags, pci.RESOURCE_IO) for at in places))
    memory, to_memory = test(
        "memory", any_of(decoded(at) & ~has(resources[at].flags, pci.RESOURCE_IO) for at in places)
    )
    calls, to_calls = let(
        "calls", choose(io, number(16, pci.COMMAND_IO), 0) | choose(memory, number(16, pci.COMMAND_MEMORY), 0)
    )
    lost = any_of(decoded(at) & has(resources[at].flags, pci.RESOURCE_UNSET) for at in places)
    return (
        to_io,
        to_memory,
        to_calls,
        # A virtual function has no decode bits of its own: its physical function decodes for it.
        Set(known.decode.becomes(choose(known.virtual, number(16, 0), calls))),
        Set(known.placed.becomes(~lost)),
    )


def _placing() -> Program:
    steps: list[Step] = []
    for place in range(ROM + 1):
        steps += _bar(place)
    return (*steps, *_decoding())


PLACING: Final = _placing()
