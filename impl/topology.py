# SPDX-License-Identifier: Apache-2.0
"""The functions that one guest has, and where it sees them: a bus of `pvpci.model.topology`, run.

The bus decides where a function goes; that its addresses lead back to their functions and to nothing else is proved, so
what it published is kept as a table and a request costs one look into it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from errno import EBUSY, ENOSPC

from pvpci.impl.host import Bdf, Function, HostError
from pvpci.impl.interrupts import Interrupts
from pvpci.model.config.compiled import HardwareAccess
from pvpci.model.config.view import ConfigView
from pvpci.model.topology import VPCI, Address, Bus, Newcomer
from pvpci.model.topology import Function as Physical


@dataclass(slots=True)
class Attached:
    """One function while a guest has it. `hardware` is `function`, or something that records what passes to it."""

    function: Function
    view: ConfigView
    hardware: HardwareAccess
    address: Address  #: where the guest sees it
    interrupts: Interrupts

    @property
    def bdf(self) -> Bdf:
        return self.function.bdf

    @property
    def vdev(self) -> str:
        """As `vdev-N` has it: two digits for the function."""
        domain, bus, devfn = self.address
        return f"{domain:04x}:{bus:02x}:{devfn >> 3:02x}.{devfn & 7:02x}"


class Topology:
    """Where the guest sees what."""

    def __init__(self, engine: Bus = VPCI) -> None:
        self._engine, self._state = engine, engine.start()
        self._by_address: dict[tuple[int, int, int], Attached] = {}

    @property
    def attached(self) -> Collection[Attached]:
        return self._by_address.values()

    def place(self, bdf: Bdf, is_virtual: bool) -> Address:
        """Where a new function would be seen. HostError(ENOSPC): there is no room; HostError(EBUSY): it is here."""
        _, added = self._engine.add(self._state, _newcomer(bdf, is_virtual))
        if added.here:
            raise HostError(f"{bdf} is attached to this guest already", EBUSY)
        if not added.ok:
            raise HostError(f"no virtual slot is free for {bdf}: the guest has functions in all of them", ENOSPC)
        return added.address

    def add(self, attached: Attached) -> None:
        """To where `place` said. HostError as there."""
        address = self.place(attached.bdf, attached.function.is_virtual)
        assert address == attached.address, f"{attached.bdf} was placed at {attached.address}, not {address}"
        self._state, _ = self._engine.add(self._state, _newcomer(attached.bdf, attached.function.is_virtual))
        self._by_address[address] = attached

    def find(self, domain: int, bus: int, devfn: int) -> Attached | None:
        return self._by_address.get((domain, bus, devfn))

    def of(self, bdf: Bdf) -> Attached | None:
        found, address = self._engine.find(self._state, _physical(bdf))
        return self._by_address[address] if found else None

    def remove(self, attached: Attached) -> None:
        self._state, _ = self._engine.release(self._state, _physical(attached.bdf))
        del self._by_address[attached.address]

    def new_roots(self, published: Sequence[str]) -> list[str]:
        """The root buses that the guest is still to be told, as `root-N` has them, once each."""
        wanted = self._engine.roots(_physical(one.bdf) for one in self.attached)
        texts = dict.fromkeys(f"{root.domain:04x}:{root.bus:02x}" for root in wanted)
        return [text for text in texts if text not in published]


def _physical(bdf: Bdf) -> Physical:
    return Physical(bdf.segment, bdf.bus, bdf.slot, bdf.function)


def _newcomer(bdf: Bdf, is_virtual: bool) -> Newcomer:
    return Newcomer(_physical(bdf), is_virtual)
