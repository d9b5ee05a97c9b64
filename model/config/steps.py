# SPDX-License-Identifier: Apache-2.0
"""Pieces of programs that more than one register needs."""

from __future__ import annotations

from typing import Final

from pvpci.model.config import constants as pci
from pvpci.model.config.programs import (
    Load,
    Place,
    Program,
    Set,
    Step,
    Store,
    Structure,
    Wait,
    guarded,
    has,
    local,
    mark,
)
from pvpci.model.config.state import ROM, bars, known
from pvpci.model.kernel.terms import ALWAYS, Bits, Flag, any_of

COMMAND: Final = Place(Structure.HEADER, pci.COMMAND, 2)
LATENCY: Final = Place(Structure.HEADER, pci.LATENCY_TIMER, 1)
CACHE_LINE: Final = Place(Structure.HEADER, pci.CACHE_LINE_SIZE, 1)
CACHE_AND_LATENCY: Final = Place(Structure.HEADER, pci.CACHE_LINE_SIZE, 2)
INTERRUPT_LINE: Final = Place(Structure.HEADER, pci.INTERRUPT_LINE, 1)
INTERRUPT_PIN: Final = Place(Structure.HEADER, pci.INTERRUPT_PIN, 1)
PMCSR: Final = Place(Structure.PM, pci.PM_CTRL, 2)
MSI_FLAGS: Final = Place(Structure.MSI, pci.MSI_FLAGS, 2)
MSIX_FLAGS: Final = Place(Structure.MSIX, pci.MSIX_FLAGS, 2)

D0: Final = 0
D1: Final = 1
D2: Final = 2
D3HOT: Final = 3
#: What the specification demands after a change of power state.
SETTLE_D3_US: Final = 10_000
SETTLE_D2_US: Final = 200


def let(name: str, value: Bits) -> tuple[Bits, Step]:
    """A name for a value, so that it is computed once."""
    found = local(name, value.sort.width)
    return found, Set(found.becomes(value), name=name)


def test(name: str, value: Flag) -> tuple[Flag, Step]:
    """A name for a condition, as it is now."""
    found = mark(name)
    return found, Set(found.becomes(value), name=name)


def bar_place(place: int, bridge: bool = False) -> Place:
    """Where the header has BAR `place` (6: the ROM)."""
    if place == ROM:
        return Place(Structure.HEADER, pci.ROM_ADDRESS1 if bridge else pci.ROM_ADDRESS, 4)
    return Place(Structure.HEADER, pci.BASE_ADDRESS_0 + 4 * place, 4)


def messages_on(when: Flag) -> tuple[Flag, Program]:
    """Whether MSI or MSI-X is enabled in the hardware, whoever did it."""
    msi, msix = local("msi_flags", 16), local("msix_flags", 16)
    on = has(msi, pci.MSI_FLAGS_ENABLE) | has(msix, pci.MSIX_FLAGS_ENABLE)
    return on, (Load(msi, MSI_FLAGS, when=when & known.msi), Load(msix, MSIX_FLAGS, when=when & known.msix))


def settle(one: Bits, two: Bits, when: Flag = ALWAYS) -> Program:
    """What the specification demands between these two power states before the function is touched."""
    deep = any_of(state == D3HOT for state in (one, two))
    middle = any_of(state == D2 for state in (one, two))
    changed = when & (one != two)
    return (
        Wait(SETTLE_D3_US, when=changed & deep),
        Wait(SETTLE_D2_US, when=changed & ~deep & middle),
    )


def place_bars(when: Flag) -> Program:
    """The host's addresses, written again."""
    steps: list[Step] = []
    for place, bar in enumerate(bars):
        if place == ROM:
            steps.append(Store(bar_place(ROM), bar.address, when=bar.movable & ~known.bridge, name="bar"))
            steps.append(Store(bar_place(ROM, bridge=True), bar.address, when=bar.movable & known.bridge, name="bar"))
        else:
            steps.append(Store(bar_place(place), bar.address, when=bar.movable, name="bar"))
        if 0 < place < ROM:
            steps.append(
                Store(bar_place(place), bar.address, when=bars[place - 1].wide & bars[place - 1].movable, name="bar")
            )
    return guarded(steps, when)
