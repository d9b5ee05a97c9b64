# SPDX-License-Identifier: Apache-2.0
"""One function's interrupts, for the guest that has it: what `pvpci.model.interrupts` asks of the host.

The numbers of the vectors are kept here, in the order of the guest's list. Enable bits and INTX_DISABLE are the function's
own registers and are written there; a change that fails half-way is taken back, so that what the machine is told, done or
not done, is so.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Final

from pvpci.impl.engine import Engine, Handler, Result
from pvpci.impl.host import DomId, Function, Host, HostError
from pvpci.impl.log import Log
from pvpci.model import interrupts
from pvpci.model.config import constants as pci
from pvpci.model.config.compiled import HardwareAccess
from pvpci.model.interrupts import At, Kind, Line, Looked, Mapped, Switched, Unmapped
from pvpci.model.kernel.compiled import Group, group
from pvpci.model.kernel.records import Event
from pvpci.model.kernel.visible import Visible

_MACHINE: Final = interrupts.MACHINE.name
_WORD: Final = 0xFFFFFFFF
#: What the hypervisor answers when a vector is not, or no longer, mapped.
_GONE: Final = frozenset({errno.ESRCH, errno.EINVAL, errno.ENODEV})
_KINDS: Final = tuple(Kind)
_LINES: Final = tuple(Line)


@cache
def _group() -> Group:
    return group([interrupts.MACHINE], extra=[interrupts.world, interrupts.seen])


class _Silent:
    """Steps of this machine are not recorded; the accesses that they make are."""

    def step(self, visible: Visible, values: tuple[int, ...]) -> None:
        del visible, values


class Interrupts:
    """One function while one guest has it. Every operation ends at rest, and raises nothing but `impl.engine.Fault`."""

    def __init__(
        self, host: Host, domain: DomId, function: Function, hardware: HardwareAccess, capabilities: Mapping[int, int],
        log: Log, guest: str, *, shared: bool = False,
    ) -> None:  # fmt: skip
        self.pirqs: list[int] = []
        self._host, self._domain, self._function, self._hardware = host, domain, function, hardware
        self._msi = capabilities.get(pci.CAP_ID_MSI, 0)
        self._msix = capabilities.get(pci.CAP_ID_MSIX, 0)
        self._entries: Sequence[int] = ()
        self._log, self._guest = log, guest
        self._engine = Engine(_group(), self.handlers, {}, _Silent())
        self._engine.state.fn_line = function.irq & _WORD
        self._engine.state.fn_shared = int(shared)

    @property
    def handlers(self) -> dict[str, Handler]:
        return {
            "look": self.look, "map_vector": self.map_vector, "unmap_vector": self.unmap_vector, "switch": self.switch,
        }  # fmt: skip

    @property
    def at(self) -> At:
        found = self._engine.at(_MACHINE)
        assert isinstance(found, At)
        return found

    def enable_msi(self) -> tuple[int, int]:
        """Error and value as they go on the wire, 32 bits each; so also the next three."""
        self._entries = (0,)
        return self._do(interrupts.EnableMsi)

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

    def _do(self, event: type[Event], *parameters: int) -> tuple[int, int]:
        self._engine.deliver(_MACHINE, event, *parameters)
        return self._engine.state.irq_err, self._engine.state.irq_value

    # What the machine asks for

    def look(self, msix: int, count: int) -> Result:
        del count
        try:
            own = bool(self._hardware.read(pci.COMMAND, 2) & pci.COMMAND_MEMORY)
            decodes = self._function.decodes_memory() if self._function.is_virtual else own
            if not msix:
                return Looked, (int(self._msi != 0), int(decodes), int(own), 1, 1)
            size = (self._hardware.read(self._msix + pci.MSIX_FLAGS, 2) & pci.MSIX_FLAGS_QSIZE) + 1 if self._msix else 0
            fits = len(set(self._entries)) == len(self._entries) and all(entry < size for entry in self._entries)
            prepared = bool(self._msix) and self._host.prepared(self._function)
            return Looked, (int(self._msix != 0), int(decodes), int(own), int(fits), int(prepared))
        except HostError as error:
            self._say("cannot look at the function", error)
            return Looked, (0, 0, 0, 0, 0)

    def map_vector(self, index: int, guests: int) -> Result:
        assert guests  # proved: no vector is ever the host's (I-48)
        entry = self._entries[index] if self._engine.state.irq_msix else None
        try:
            pirq = self._host.map_vector(self._domain, self._function, entry)
        except HostError as error:
            self._say("the hypervisor refuses a vector", error)
            return Mapped, (0, error.errno or errno.EIO, 0)
        self.pirqs.append(pirq)
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
        return Unmapped, (1,)

    def switch(self, kind: int, line: int) -> Result:
        try:
            self._switch(_KINDS[kind], _LINES[line])
        except HostError as error:
            self._say("cannot set the function's enable bits", error)
            return Switched, (0,)
        return Switched, (1,)

    def _switch(self, kind: Kind, line: Line) -> None:
        before = self._hardware.read(pci.COMMAND, 2)
        if line is Line.QUIET:
            self._command(before, before | pci.COMMAND_INTX_DISABLE)
        try:
            match kind:
                case Kind.NONE:
                    self._flags(self._msi, 0, pci.MSI_FLAGS_ENABLE)
                    self._flags(self._msix, 0, pci.MSIX_FLAGS_ENABLE | pci.MSIX_FLAGS_MASKALL)
                case Kind.MSI:
                    self._flags(self._msi, pci.MSI_FLAGS_ENABLE, 0)
                case Kind.MASKED:
                    self._flags(self._msix, pci.MSIX_FLAGS_ENABLE | pci.MSIX_FLAGS_MASKALL, 0)
                case Kind.MSIX:
                    self._flags(self._msix, 0, pci.MSIX_FLAGS_MASKALL)
        except HostError:
            if line is Line.QUIET:
                self._command(before | pci.COMMAND_INTX_DISABLE, before)
            raise
        if line is Line.OPEN:
            now = self._hardware.read(pci.COMMAND, 2)
            self._command(now, now & ~pci.COMMAND_INTX_DISABLE)

    def _flags(self, capability: int, on: int, off: int) -> None:
        """Change the flag word, which is at the same place in both capabilities; nothing without the capability."""
        if not capability:
            return
        now = self._hardware.read(capability + pci.MSI_FLAGS, 2)
        if (new := (now | on) & ~off) != now:
            self._hardware.write(capability + pci.MSI_FLAGS, 2, new)

    def _command(self, now: int, new: int) -> None:
        if new != now:
            self._hardware.write(pci.COMMAND, 2, new)

    def _say(self, event: str, error: HostError) -> None:
        self._log.warning(
            event, key=f"interrupts {self._guest}", guest=self._guest, function=str(self._function.bdf), why=error.what
        )
