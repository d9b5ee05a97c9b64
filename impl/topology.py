# SPDX-License-Identifier: Apache-2.0
"""The functions that one guest has, and where it sees them: the virtual bus of ``vpci.c``.

A guest sees one bus, 0000:00. Functions of one physical slot share a virtual slot and keep their function numbers,
others get the lowest free slot. The address is compared as a whole: a `devfn` with bits above 7 is nobody's.
"""

from __future__ import annotations

from dataclasses import dataclass
from errno import EBUSY, ENOSPC
from typing import Final

from pvpci.impl.host import Bdf, Function, HostError
from pvpci.impl.interrupts import Interrupts
from pvpci.model.config.compiled import HardwareAccess
from pvpci.model.config.view import ConfigView

SLOTS: Final = 32
ROOT: Final = "0000:00"


@dataclass(slots=True)
class Attached:
    """One function while a guest has it. `hardware` is `function`, or something that records what passes to it."""

    function: Function
    view: ConfigView
    hardware: HardwareAccess
    devfn: int  #: where the guest sees it
    interrupts: Interrupts

    @property
    def bdf(self) -> Bdf:
        return self.function.bdf

    @property
    def vdev(self) -> str:
        """As `vdev-N` has it: two digits for the function."""
        return f"{ROOT}:{self.devfn >> 3:02x}.{self.devfn & 7:02x}"


class Topology:
    """Where the guest sees what."""

    def __init__(self) -> None:
        self.by_devfn: dict[int, Attached] = {}

    def place(self, bdf: Bdf) -> int:
        """The virtual devfn for a new function. HostError(ENOSPC): 32 slots are taken; HostError(EBUSY): it is here."""
        taken: dict[int, Bdf] = {}
        for devfn, attached in self.by_devfn.items():
            if attached.bdf == bdf:
                raise HostError(f"{bdf} is attached to this guest already", EBUSY)
            taken.setdefault(devfn >> 3, attached.bdf)
        for slot, other in taken.items():
            if (other.segment, other.bus, other.slot) == (bdf.segment, bdf.bus, bdf.slot):
                return slot << 3 | bdf.function
        for slot in range(SLOTS):
            if slot not in taken:
                return slot << 3 | bdf.function
        raise HostError(f"no virtual slot is free for {bdf}: the guest has functions in all {SLOTS}", ENOSPC)

    def add(self, attached: Attached) -> None:
        self.by_devfn[attached.devfn] = attached

    def find(self, domain: int, bus: int, devfn: int) -> Attached | None:
        return self.by_devfn.get(devfn) if domain == 0 and bus == 0 else None

    def of(self, bdf: Bdf) -> Attached | None:
        return next((one for one in self.by_devfn.values() if one.bdf == bdf), None)

    def remove(self, attached: Attached) -> None:
        del self.by_devfn[attached.devfn]
