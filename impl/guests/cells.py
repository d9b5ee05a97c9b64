# SPDX-License-Identifier: Apache-2.0
"""The cells of a guest's machines: the same page and store as `pvpci.impl.cells`, from the other side.

A guest writes what the backend reads: it fills in the request, sets the flag, and says in its own directory where page and
doorbell are. The model numbers a guest's lives; here a life is the reference and the port that it has.
"""

from __future__ import annotations

from typing import Any, Final

from pvpci.impl.host import GrantRef, Page, Port, Store, Transaction
from pvpci.model import wire
from pvpci.model.kernel.tables import Row
from pvpci.model.shared import flags, nodes, page
from pvpci.model.states import Xenbus, parse
from pvpci.model.wire import PageFlag

_WORD: Final = 0xFFFFFFFF
_STATES: Final = tuple(Xenbus)
_WORDS: Final = ("cmd", "err", "domain", "bus", "devfn", "offset", "size", "value", "info")
_PLACES: Final = {
    getattr(page, name).variable: (wire.OP + 4 * index, f"page_{name}") for index, name in enumerate(_WORDS)
}


class GuestFlags:
    """The flag word; a guest sets the active bit, and clears it when it gives up."""

    def __init__(self) -> None:
        self.page: Page | None = None

    def load(self, state: Any) -> None:
        word = _there(self.page).load32(wire.FLAGS)
        state.flags_active, state.flags_handler, state.flags_aer = word & 1, word >> 1 & 1, word >> 2 & 1

    def carry_out(self, state: Any, row: Row) -> bool:
        (update,) = row.then
        assert update.var is flags.active.variable
        if state.flags_active:
            _there(self.page).fetch_or(wire.FLAGS, PageFlag.PCIF_ACTIVE)
        else:
            _there(self.page).fetch_and(wire.FLAGS, _WORD ^ PageFlag.PCIF_ACTIVE)
        return True

    def leave(self) -> bool:
        """A word that was read needs no more."""
        return True


class GuestRequest:
    """The request. Which function it is for is no part of the table: `at` (domain << 16 | bus << 8 | devfn) goes with each.

    So does `info`, which says something in one request only.
    """

    def __init__(self) -> None:
        self.page: Page | None = None
        self.at = self.info = 0

    def load(self, state: Any) -> None:
        data = _there(self.page).copy(wire.OP, wire.OP_HEADER.size)
        for name, word in zip(_WORDS, wire.OP_WORDS.unpack(data), strict=True):
            setattr(state, f"page_{name}", word)

    def carry_out(self, state: Any, row: Row) -> bool:
        there = _there(self.page)
        domain, bus, devfn = self.at >> 16, self.at >> 8 & 0xFF, self.at & 0xFF
        for name, word in (("domain", domain), ("bus", bus), ("devfn", devfn), ("info", self.info)):
            there.store32(_PLACES[getattr(page, name).variable][0], word)
        for update in row.then:
            if (found := _PLACES.get(update.var)) is not None:
                there.store32(found[0], getattr(state, found[1]))
        return True

    def leave(self) -> bool:
        """Nothing to give back."""
        return True


class GuestStore:
    """Both states in one transaction, and what the frontend writes, in the same one.

    front, back: the two directories; `back` is known once the frontend's directory has been looked at.
    """

    def __init__(self, store: Store, front: str) -> None:
        self._store, self.front, self.back = store, front, ""
        self.life: tuple[GrantRef, Port] = GrantRef(0), Port(0)
        self.own = self.fe = Xenbus.UNKNOWN  #: what the last look found, or what was written since
        self._transaction: Transaction | None = None

    def load(self, state: Any) -> None:
        tx = self._transaction = self._store.begin()
        try:
            self.back = tx.read(f"{self.front}/backend") or self.back
            self.own = parse(tx.read(f"{self.back}/state")) if self.back else Xenbus.UNKNOWN
            self.fe = parse(tx.read(f"{self.front}/state"))
            state.nodes_sound = int(tx.read(f"{self.front}/magic") == wire.MAGIC)
        except BaseException:
            self._transaction = None
            tx.abort()
            raise
        state.nodes_own, state.nodes_fe = _STATES.index(self.own), _STATES.index(self.fe)
        state.nodes_ref, state.nodes_port = self.life

    def carry_out(self, state: Any, row: Row) -> bool:
        tx, self._transaction = self._transaction, None
        assert tx is not None
        said = self.fe
        try:
            for update in row.then:
                if update.var is nodes.sound.variable:
                    self._publish(tx, bool(state.nodes_sound))
                elif update.var is nodes.fe.variable:
                    said = _STATES[state.nodes_fe]
                    tx.write(f"{self.front}/state", str(said.value))
        except BaseException:
            tx.abort()
            raise
        if not tx.commit():
            return False
        self.fe = said
        return True

    def leave(self) -> bool:
        tx, self._transaction = self._transaction, None
        return tx is None or tx.commit()

    def _publish(self, tx: Transaction, sound: bool) -> None:
        texts = {"pci-op-ref": str(self.life[0]), "event-channel": str(self.life[1]), "magic": wire.MAGIC}
        for key, text in texts.items():
            if sound:
                tx.write(f"{self.front}/{key}", text)
            else:
                tx.remove(f"{self.front}/{key}")


def _there(page: Page | None) -> Page:
    assert page is not None
    return page
