# SPDX-License-Identifier: Apache-2.0
"""The cells of the backend's machines: two of the shared page, one of the store.

Each method is one access, of the kind that the row names. The numbers of `pvpci.model.wire` meet the variables of
`pvpci.model.shared` here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Any, Final

from pvpci.impl.host import Page, Store, Transaction, Words
from pvpci.model import wire
from pvpci.model.kernel.tables import Row
from pvpci.model.kernel.terms import Term
from pvpci.model.shared import flags, nodes, page
from pvpci.model.states import Xenbus, parse
from pvpci.model.wire import PageFlag

_WORD: Final = 0xFFFFFFFF
_NOT_ACTIVE: Final = _WORD ^ int(PageFlag.PCIF_ACTIVE)
_NOT_AER: Final = _WORD ^ int(PageFlag.PCIB_ACTIVE)
_ACTIVE: Final = flags.active.variable
_STATES: Final = tuple(Xenbus)
_OWN: Final = nodes.own.variable
_ERR, _VALUE = page.err.variable, page.value.variable
_PLACES: Final = {_ERR: wire.OP_ERR, _VALUE: wire.OP_VALUE}
#: as `wire.OP_WORDS`, but each word is one access: the guest may be writing it
_HEADER_WORDS: Final = Struct("9I")


class PageCell:
    """What both cells of the page share: they have a page while it is mapped, and are printed into the hot path."""

    def __init__(self) -> None:
        self._page: Page | None = None
        self.words: Words | None = None
        self.clear: Callable[[], object] | None = None
        self.copy: Callable[[], tuple[int, ...]] | None = None

    @property
    def page(self) -> Page | None:
        return self._page

    @page.setter
    def page(self, page: Page | None) -> None:
        self._page = page
        self.words = None if page is None else page.words()
        self.clear = None if page is None else page.locked_and(wire.FLAGS, _NOT_ACTIVE)
        self.copy = None if page is None else page.reader(_HEADER_WORDS, wire.OP)

    def leave(self) -> bool:
        """Memory that was read needs no more."""
        return True


class FlagsCell(PageCell):
    """The word at offset 0. A backend only clears bits in it, locked: the active bit, or a dead one's error report."""

    def load(self, state: Any) -> None:
        word = self.page.load32(wire.FLAGS)  # type: ignore[union-attr] # proved: no page, no access (I-33)
        state.flags_active = word & 1
        state.flags_handler = word >> 1 & 1
        state.flags_aer = word >> 2 & 1

    def carry_out(self, state: Any, row: Row) -> bool:
        gone = _NOT_ACTIVE if row.then[0].var is _ACTIVE else _NOT_AER
        self.page.fetch_and(wire.FLAGS, gone)  # type: ignore[union-attr]
        return True

    order = (flags.active.variable, flags.handler.variable, flags.aer.variable)
    bits = tuple((word & 1, word >> 1 & 1, word >> 2 & 1) for word in range(8))

    def print_load(self, me: str) -> str:
        return f"{me}.bits[{me}.words[{wire.FLAGS // 4}] & 7]"

    def print_write(self, me: str, row: Row, value: Callable[[Term], str]) -> list[str]:
        return [f"{me}.clear()"]


class RequestCell(PageCell):
    """The header of the request: 36 bytes from offset 4, copied or compared as one, the answer stored word by word."""

    def load(self, state: Any) -> None:
        data = self.page.copy(wire.OP, wire.OP_HEADER.size)  # type: ignore[union-attr]
        (
            state.page_cmd, state.page_err, state.page_domain, state.page_bus, state.page_devfn,
            state.page_offset, state.page_size, state.page_value, state.page_info,
        ) = wire.OP_WORDS.unpack(data)  # fmt: skip

    def carry_out(self, state: Any, row: Row) -> bool:
        for update in row.then:
            if update.var is _ERR:
                self.page.store32(wire.OP_ERR, state.page_err)  # type: ignore[union-attr]
            elif update.var is _VALUE:
                self.page.store32(wire.OP_VALUE, state.page_value)  # type: ignore[union-attr]
        return True

    order = tuple(
        page.fields[name].variable
        for name in ("cmd", "err", "domain", "bus", "devfn", "offset", "size", "value", "info")
    )

    def print_load(self, me: str) -> str:
        return f"{me}.copy()"

    def print_write(self, me: str, row: Row, value: Callable[[Term], str]) -> list[str]:
        return [f"{me}.words[{_PLACES[u.var] // 4}] = {value(u.value)}" for u in row.then if u.var in _PLACES]


class StoreCell:
    """The nodes that decide about the connection, read in one transaction, and our own state, written in the same."""

    def __init__(self, store: Store, back: str, front: str) -> None:
        self._store, self.back, self.front = store, back, front
        self._transaction: Transaction | None = None

    def load(self, state: Any) -> None:
        tx = self._transaction = self._store.begin()
        try:
            state.nodes_own = _STATES.index(parse(tx.read(f"{self.back}/state")))
            state.nodes_fe = _STATES.index(parse(tx.read(f"{self.front}/state")))
            state.nodes_online = int(tx.read(f"{self.back}/online") == "1")
            ref, port = _number(tx.read(f"{self.front}/pci-op-ref")), _number(tx.read(f"{self.front}/event-channel"))
            sound = ref is not None and port is not None and tx.read(f"{self.front}/magic") == wire.MAGIC
            state.nodes_sound, state.nodes_ref, state.nodes_port = int(sound), ref or 0, port or 0
            state.nodes_listed = int(self._listed(tx))
        except BaseException:
            self._transaction = None
            tx.abort()
            raise

    def _listed(self, tx: Transaction) -> bool:
        """Some function is to be attached (1) or detached (5)."""
        names = [name for name in tx.directory(self.back) if name.startswith("state-")]
        return any(tx.read(f"{self.back}/{name}") in ("1", "5") for name in names)

    def carry_out(self, state: Any, row: Row) -> bool:
        tx, self._transaction = self._transaction, None
        assert tx is not None
        try:
            tx.write(f"{self.back}/state", str(_STATES[state.nodes_own].value))
        except BaseException:
            tx.abort()
            raise
        return tx.commit()

    def leave(self) -> bool:
        """Only a commit says that what was read belongs together: xenstored's transactions are no snapshots."""
        tx, self._transaction = self._transaction, None
        return tx is None or tx.commit()


def _number(text: str | None) -> int | None:
    """``%u`` of a 32-bit number; None for anything else. At most ten digits are looked at."""
    if text is None or not (text.isascii() and text.isdigit() and len(text) <= 10) or int(text) > _WORD:
        return None
    return int(text)
