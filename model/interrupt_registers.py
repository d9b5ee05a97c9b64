# SPDX-License-Identifier: Apache-2.0
"""What of a function's interrupts is in its own registers: which kinds it has, enable bits, how many messages, INTX_DISABLE.

What `model.interrupts` asks for by `look` and `switch` is done here, over anything that has registers, so that a recorded life
can be lived again. A change that fails half-way is taken back as far as that is possible.
"""

from __future__ import annotations

from collections.abc import Mapping

from pvpci.model.config import constants as pci
from pvpci.model.config.compiled import HardwareAccess
from pvpci.model.config.messages import MOST_MESSAGES, capable, with_enabled
from pvpci.model.interrupts import Kind, Line


class Messages:
    """The places of the two capabilities in one function; `capabilities`: by identifier, as a walk found them."""

    def __init__(self, capabilities: Mapping[int, int]) -> None:
        self.msi = capabilities.get(pci.CAP_ID_MSI, 0)
        self.msix = capabilities.get(pci.CAP_ID_MSIX, 0)

    def decodes(self, hardware: HardwareAccess) -> bool:
        """Whether memory decoding is on in the function's own COMMAND."""
        return bool(hardware.read(pci.COMMAND, 2) & pci.COMMAND_MEMORY)

    def entries(self, hardware: HardwareAccess) -> int:
        """How long its table is; 0 without one."""
        return (hardware.read(self.msix + pci.MSIX_FLAGS, 2) & pci.MSIX_FLAGS_QSIZE) + 1 if self.msix else 0

    def has(self, hardware: HardwareAccess, count: int) -> bool:
        """Whether it has so many messages of MSI, Multiple Message Capable; it is asked only about more than one."""
        if not self.msi or count == 1:
            return bool(self.msi)
        return 0 < count <= min(capable(hardware.read(self.msi + pci.MSI_FLAGS, 2)), MOST_MESSAGES)

    def on(self, hardware: HardwareAccess) -> bool:
        """Whether either kind is enabled."""
        msi = hardware.read(self.msi + pci.MSI_FLAGS, 2) & pci.MSI_FLAGS_ENABLE if self.msi else 0
        msix = hardware.read(self.msix + pci.MSIX_FLAGS, 2) & pci.MSIX_FLAGS_ENABLE if self.msix else 0
        return bool(msi | msix)

    def switch(self, hardware: HardwareAccess, kind: Kind, line: Line, messages: int = 1) -> None:
        """Raises what the accesses raise; the line is then as it was. `messages`: of MSI, a power of two."""
        before = hardware.read(pci.COMMAND, 2)
        if line is Line.QUIET:
            _command(hardware, before, before | pci.COMMAND_INTX_DISABLE)
        try:
            self._messages(hardware, kind, messages)
        except Exception:
            if line is Line.QUIET:
                _command(hardware, before | pci.COMMAND_INTX_DISABLE, before)
            raise
        if line is Line.OPEN:
            now = hardware.read(pci.COMMAND, 2)
            _command(hardware, now, now & ~pci.COMMAND_INTX_DISABLE)

    def _messages(self, hardware: HardwareAccess, kind: Kind, messages: int) -> None:
        match kind:
            case Kind.NONE:
                _flags(hardware, self.msi, 0, pci.MSI_FLAGS_ENABLE | pci.MSI_FLAGS_QSIZE)
                _flags(hardware, self.msix, 0, pci.MSIX_FLAGS_ENABLE | pci.MSIX_FLAGS_MASKALL)
            case Kind.MSI:
                # Multiple Message Enable goes with the enable bit: with one write, so that neither is seen without the other.
                multiple = with_enabled(0, messages)
                _flags(hardware, self.msi, pci.MSI_FLAGS_ENABLE | multiple, pci.MSI_FLAGS_QSIZE & ~multiple)
            case Kind.MASKED:
                _flags(hardware, self.msix, pci.MSIX_FLAGS_ENABLE | pci.MSIX_FLAGS_MASKALL, 0)
            case Kind.MSIX:
                _flags(hardware, self.msix, 0, pci.MSIX_FLAGS_MASKALL)


def _flags(hardware: HardwareAccess, capability: int, on: int, off: int) -> None:
    """Change the flag word, which is at the same place in both capabilities; nothing without the capability."""
    if not capability:
        return
    now = hardware.read(capability + pci.MSI_FLAGS, 2)
    if (new := (now | on) & ~off) != now:
        hardware.write(capability + pci.MSI_FLAGS, 2, new)


def _command(hardware: HardwareAccess, now: int, new: int) -> None:
    if new != now:
        hardware.write(pci.COMMAND, 2, new)
