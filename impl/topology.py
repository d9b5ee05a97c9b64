# SPDX-License-Identifier: Apache-2.0
"""The functions that one guest has, and where it sees them: a bus of `pvpci.model.topology`, run.

The bus decides where a function goes; that its addresses lead back to their functions and to nothing else is proved, so
what it published is kept as a table and a request costs one look into it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from errno import EBUSY, EINVAL, ENOSPC
from typing import Final

from pvpci.impl.host import Bdf, Function, HostError
from pvpci.impl.interrupts import Interrupts
from pvpci.model.config.compiled import HardwareAccess
from pvpci.model.config.view import ConfigView
from pvpci.model.kernel.values import Tree
from pvpci.model.topology import VPCI, Address, Bus, Newcomer, Root, publish
from pvpci.model.topology import Function as Physical

_GAP: Final = Root(False, 0, 0)
_ROOT: Final = re.compile("([0-9a-f]{1,4}):([0-9a-f]{1,2})")


_VDEV: Final = re.compile("([0-9a-f]{4}):([0-9a-f]{2}):([01][0-9a-f])[.]0([0-7])")


@dataclass(slots=True)
class Attached:
    """One function while a guest has it. `hardware` is `function`, or something that records what passes to it."""

    function: Function
    view: ConfigView
    hardware: HardwareAccess
    address: Address  #: where the guest sees it
    interrupts: Interrupts
    keep: Callable[[], None] = lambda: None  #: what the guest was told and has, where it outlives this process

    @property
    def bdf(self) -> Bdf:
        return self.function.bdf

    @property
    def vdev(self) -> str:
        """As `vdev-N` has it: two digits for the function."""
        domain, bus, devfn = self.address
        return f"{domain:04x}:{bus:02x}:{devfn >> 3:02x}.{devfn & 7:02x}"


#: Slots of one bus: no function is behind more.
_MOST_HELD: Final = 32


class Topology:
    """Where the guest sees what."""

    def __init__(self, bus: Bus = VPCI) -> None:
        self._bus, self._state = bus, bus.start()
        self._by_address: dict[tuple[int, int, int], Attached] = {}

    @property
    def attached(self) -> Collection[Attached]:
        return self._by_address.values()

    def place(self, bdf: Bdf, is_virtual: bool) -> Address:
        """Where a new function would be seen. HostError(ENOSPC): there is no room; HostError(EBUSY): it is here."""
        return self._with(bdf, is_virtual)[1]

    def add(self, attached: Attached) -> None:
        """To where `place` said. HostError as there."""
        state, address = self._with(attached.bdf, attached.function.is_virtual)
        assert address == attached.address, f"{attached.bdf} was placed at {attached.address}, not {address}"
        self._state, self._by_address[address] = state, attached

    def _with(self, bdf: Bdf, is_virtual: bool) -> tuple[Tree, Address]:
        state, added = self._bus.add(self._state, Newcomer(_physical(bdf), is_virtual))
        if added.here:
            raise HostError(f"{bdf} is attached to this guest already", EBUSY)
        if not added.ok:
            raise HostError(f"no virtual slot is free for {bdf}: the guest has functions in all of them", ENOSPC)
        return state, added.address

    def hold(self, bdf: Bdf, is_virtual: bool, wanted: Address) -> list[Bdf]:
        """Make `place` say `wanted` for this function; what to `let_go` of afterwards. HostError(EINVAL): it cannot be had.

        The rules of the bus decide as ever. They take the first free slot, so those before it are filled meanwhile.
        """
        held: list[Bdf] = []
        try:
            while self.place(bdf, is_virtual) != wanted:
                if len(held) == _MOST_HELD:
                    raise HostError(f"{bdf} cannot be at {wanted} again", EINVAL)
                filler = Bdf(0xFFFF, 0xFF, len(held), 0)
                self._state, _ = self._with(filler, False)
                held.append(filler)
        except HostError:
            self.let_go(held)
            raise
        return held

    def let_go(self, held: Sequence[Bdf]) -> None:
        for filler in held:
            self._state, _ = self._bus.release(self._state, _physical(filler))

    def find(self, domain: int, bus: int, devfn: int) -> Attached | None:
        return self._by_address.get((domain, bus, devfn))

    def of(self, bdf: Bdf) -> Attached | None:
        found, address = self._bus.find(self._state, _physical(bdf))
        return self._by_address[address] if found else None

    def remove(self, attached: Attached) -> None:
        self._state, _ = self._bus.release(self._state, _physical(attached.bdf))
        del self._by_address[attached.address]

    def new_roots(self, published: Sequence[str]) -> list[str]:
        """The root buses that the guest is still to be told, as `root-N` has them, once each."""
        roots, new = tuple(map(_root, published)), list[str]()
        for root in dict.fromkeys(self._bus.roots(_physical(one.bdf) for one in self.attached)):
            roots, is_new, _ = publish((*roots, _GAP), root)
            if is_new:
                new.append(f"{root.domain:04x}:{root.bus:02x}")
        return new


def _root(text: str) -> Root:
    """What a `root-N` says; a gap if that is no bus."""
    found = _ROOT.fullmatch(text)
    return Root(True, int(found[1], 16), int(found[2], 16)) if found else _GAP


def parse_vdev(text: str) -> Address:
    """`vdev-N` as `Attached.vdev` writes it. ValueError for anything else."""
    found = _VDEV.fullmatch(text)
    if found is None:
        raise ValueError(f"{text[:40]!a} is no address on a guest's bus")
    domain, bus, slot, function = (int(digits, 16) for digits in found.groups())
    return Address(domain, bus, slot << 3 | function)


def _physical(bdf: Bdf) -> Physical:
    return Physical(bdf.segment, bdf.bus, bdf.slot, bdf.function)
