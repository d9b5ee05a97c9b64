# SPDX-License-Identifier: Apache-2.0
"""One function's interrupts, for the guest that has it: what `pvpci.model.interrupts` asks of the host.

The numbers of the vectors are kept here, in the order of the guest's list. What is in the function's own registers is done by
`pvpci.model.interrupt_registers`; a change that fails half-way is taken back, so that what the machine is told, done or not
done, is so.

What another process would have to know to take the vectors up is said at each change (`keep`), at the moments that the
machine's essay names.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal

from pvpci.impl.engine import Engine, FunctionWatcher, Handler, Result
from pvpci.impl.host import DomId, Function, Host, HostError
from pvpci.impl.log import Log
from pvpci.model import interrupts
from pvpci.model.config.compiled import HardwareAccess
from pvpci.model.interrupt_registers import Messages
from pvpci.model.interrupts import At, Kind, Line, Looked, Mapped, Switched, Unmapped
from pvpci.model.kernel.compiled import Group, group
from pvpci.model.kernel.records import Event

_MACHINE: Final = interrupts.MACHINE.name
_WORD: Final = 0xFFFFFFFF
#: What the hypervisor answers when a vector is not, or no longer, mapped.
_GONE: Final = frozenset({errno.ESRCH, errno.EINVAL, errno.ENODEV})
_KINDS: Final = tuple(Kind)
_LINES: Final = tuple(Line)
_NONE: Final = _KINDS.index(Kind.NONE)


@cache
def _group() -> Group:
    return group([interrupts.MACHINE], extra=[interrupts.world, interrupts.seen])


@dataclass(frozen=True, slots=True)
class Vectors:
    """What is kept of a function's vectors."""

    kind: Literal["", "msi", "msix"] = ""
    whole: bool = False  #: all that was asked for is mapped and on
    pirqs: tuple[int, ...] = ()
    mapping: bool = False  #: one more was, or was about to be


class Interrupts:
    """One function while one guest has it. Every operation ends at rest, and raises nothing but `impl.engine.Fault`."""

    def __init__(
        self, host: Host, domain: DomId, function: Function, hardware: HardwareAccess, capabilities: Mapping[int, int],
        log: Log, guest: str, recorder: FunctionWatcher, *, shared: bool = False,
        keep: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        self.pirqs: list[int] = []
        self._host, self._domain, self._function, self._hardware = host, domain, function, hardware
        self._messages = Messages(capabilities)
        self._entries: Sequence[int] = ()
        self._log, self._guest, self._keep = log, guest, keep
        self._recorder = recorder
        self._engine = Engine(_group(), self.handlers, {}, recorder)
        self._engine.state.fn_line = function.irq & _WORD
        self._engine.state.fn_shared = int(shared)

    @property
    def handlers(self) -> dict[str, Handler]:
        return {
            "look": self.look, "map_vector": self.map_vector, "map_block": self.map_block,
            "unmap_vector": self.unmap_vector, "switch": self.switch, "open_block": self.open_block,
        }  # fmt: skip

    @property
    def at(self) -> At:
        found = self._engine.at(_MACHINE)
        assert isinstance(found, At)
        return found

    def enable_msi(self) -> tuple[int, int]:
        """Error and value as they go on the wire, 32 bits each; so also the next four."""
        self._entries = (0,)
        return self._do(interrupts.EnableMsi)

    def enable_multi_msi(self, count: int) -> tuple[int, int]:
        """Several messages of MSI in one block. `count`: any 32 bits."""
        return self._do(interrupts.EnableMultiMsi, count)

    def enable_msix(self, entries: Sequence[int]) -> tuple[int, int]:
        """`entries`: the places in the function's table that the guest wants, at most 128."""
        if self.at is At.OFF:
            self._entries = entries
        return self._do(interrupts.EnableMsix, len(entries))

    def disable_msi(self) -> tuple[int, int]:
        return self._do(interrupts.DisableMsi)

    def disable_msix(self) -> tuple[int, int]:
        return self._do(interrupts.DisableMsix)

    def reset(self) -> bool:
        """Nothing is on or mapped afterwards; False if the machine would not have it so."""
        self._do(interrupts.Reset)
        return self.at is At.OFF

    def end(self) -> None:
        """The function goes; nothing is asked of this any more."""
        self._recorder.gone()

    @property
    def vectors(self) -> Vectors:
        state, mapping = self._engine.state, self.at is At.MAPPING
        if not self.pirqs and not mapping:
            return Vectors()
        return Vectors("msix" if state.irq_msix else "msi", bool(state.irq_whole), tuple(self.pirqs), mapping)

    def resume(self, vectors: Vectors, known: Callable[[], Collection[int] | None] = lambda: None) -> bool:
        """Take up what a process that died had; False if something of it can be neither used nor given back.

        known: looks up the numbers of all the guest's messages that are noted, for it is seldom asked; None: others map
        some, too.
        """
        if vectors.mapping and (noted := known()) is not None:
            try:
                if (lost := self._host.reclaim(self._domain, self._function, noted)) is not None:
                    self._log.info("took a vector back that nobody had noted", guest=self._guest, vector=lost)
            except HostError as error:
                self._say("the hypervisor does not take a vector back", error)
        state, is_msix = self._engine.state, vectors.kind == "msix"
        self._recorder.kept(vectors.pirqs, msix=is_msix, whole=vectors.whole)
        self.pirqs = list(vectors.pirqs)
        interrupts.lose(state, msix=is_msix, whole=vectors.whole, vectors=len(vectors.pirqs))
        state.world_mapped = len(vectors.pirqs)
        try:
            on = self._messages.on(self._hardware)
        except HostError as error:
            self._say("cannot look at the function", error)
            on = not vectors.whole  # then it is turned off
        self._do(interrupts.Resume, int(on))
        return self.at is not At.STUCK

    def _do(self, event: type[Event], *parameters: int) -> tuple[int, int]:
        before = self.at
        self._engine.deliver(_MACHINE, event, *parameters)
        if self.at is not before:
            self._keep()
        return self._engine.state.irq_err, self._engine.state.irq_value

    # What the machine asks for

    def look(self, msix: int, count: int) -> Result:
        messages, hardware = self._messages, self._hardware
        try:
            own = messages.decodes(hardware)
            decodes = self._function.decodes_memory() if self._function.is_virtual else own
            if not msix:
                fits = messages.has(hardware, count)
                return Looked, (int(messages.msi != 0), int(decodes), int(own), int(fits), 1)
            size = messages.entries(hardware)
            fits = len(set(self._entries)) == len(self._entries) and all(entry < size for entry in self._entries)
            prepared = size > 0 and self._host.prepared(self._function)
            return Looked, (int(size > 0), int(decodes), int(own), int(fits), int(prepared))
        except HostError as error:
            self._say("cannot look at the function", error)
            return Looked, (0, 0, 0, 0, 0)

    def map_vector(self, index: int, guests: int) -> Result:
        assert guests  # proved: no vector is ever the host's (I-48)
        entry = self._entries[index] if self._engine.state.irq_msix else None
        return self._map(lambda: self._host.map_vector(self._domain, self._function, entry))

    def map_block(self, messages: int, guests: int) -> Result:
        assert guests  # as above
        return self._map(lambda: self._host.map_block(self._domain, self._function, messages))

    def _map(self, call: Callable[[], int]) -> Result:
        self._keep()
        try:
            pirq = call()
        except HostError as error:
            self._say("the hypervisor refuses a vector", error)
            return Mapped, (0, error.errno or errno.EIO, 0)
        self.pirqs.append(pirq)
        self._keep()
        return Mapped, (1, 0, pirq & _WORD)

    def unmap_vector(self, index: int) -> Result:
        assert index == len(self.pirqs) - 1  # proved: last first
        try:
            self._host.unmap_vector(self._domain, self._function, self.pirqs[index])
        except HostError as error:
            if error.errno not in _GONE:
                self._say("the hypervisor does not take a vector back", error)
                return Unmapped, (0,)
        self.pirqs.pop()
        self._keep()
        return Unmapped, (1,)

    def switch(self, kind: int, line: int) -> Result:
        if kind == _NONE:
            self._keep()
        return self._switch(_KINDS[kind], _LINES[line], 1)

    def open_block(self, messages: int) -> Result:
        return self._switch(Kind.MSI, Line.QUIET, messages)

    def _switch(self, kind: Kind, line: Line, messages: int) -> Result:
        try:
            self._messages.switch(self._hardware, kind, line, messages)
        except HostError as error:
            self._say("cannot set the function's enable bits", error)
            return Switched, (0,)
        return Switched, (1,)

    def _say(self, event: str, error: HostError) -> None:
        self._log.warning(
            event, key=f"interrupts {self._guest}", guest=self._guest, function=str(self._function.bdf), why=error.what
        )
