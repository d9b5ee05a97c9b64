# SPDX-License-Identifier: Apache-2.0
"""An emulated PCI function: its registers in memory that the box hands from holder to holder.

So a function is found as it was left, by the next backend as well as by a test that wants to know what reached the
hardware. How the registers react is in `impl.embedded.registers`.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Final

from pvpci.impl.embedded import wire
from pvpci.impl.embedded.image import Image
from pvpci.impl.embedded.link import Link, map_memory
from pvpci.impl.embedded.registers import Registers
from pvpci.impl.host import HostError, Resource
from pvpci.model.config import constants as pci

#: The capabilities whose registers decide what an interrupt does, and how long the longer one is.
_MESSAGES: Final = frozenset({pci.CAP_ID_MSI, pci.CAP_ID_MSIX})
_CAPABILITY: Final = 24


class EmbeddedFunction:
    """`host.Function` over an image. HostError(EINVAL): a bad offset or size; HostError(EBADF): closed."""

    def __init__(self, link: Link, image: Image, bdf_text: str, descriptor: int) -> None:
        self.bdf = image.bdf
        self.config_size = image.size
        self.resources: Sequence[Resource] = image.resources
        self.vendor, self.device = image.vendor, image.device
        self.irq = image.irq
        self.is_virtual = image.is_virtual
        self._link, self._image, self._bdf_text = link, image, bdf_text
        self._config = map_memory(descriptor, image.size, f"configuration space of {bdf_text}")
        self._registers = Registers(image, self._config)
        self._deciding = tuple(
            range(at, at + size)
            for at, size in (
                (pci.COMMAND, 2),
                *((place, _CAPABILITY) for id, place in self._registers.capabilities.items() if id in _MESSAGES),
            )
        )

    def read(self, offset: int, size: int) -> int:
        self._check(offset, size)
        return self._registers.read(offset, size)

    def write(self, offset: int, size: int, value: int) -> None:
        self._check(offset, size)
        self._registers.write(offset, size, value)
        if any(offset < each.stop and each.start < offset + size for each in self._deciding):
            self._link.call(wire.Settle(self._bdf_text))

    def decodes_memory(self) -> bool:
        """A virtual function's BARs are decoded as long as there is a physical one."""
        return self.is_virtual or bool(self.read(pci.COMMAND, 2) & pci.COMMAND_MEMORY)

    def reset(self) -> None:
        """All registers as in the image: reset, then restored by the host.

        HostError(ENOTTY) where the recorded function has no reset.
        """
        self._check(0, 1)
        if not self._image.resets:
            raise HostError(f"{self._bdf_text} has no reset", errno.ENOTTY)
        self._config[:] = self._image.registers
        self._link.call(wire.Settle(self._bdf_text))

    def close(self) -> None:
        """Let somebody else have it. Idempotent."""
        if not self._config.closed:
            self._config.close()
            self._link.call(wire.CloseFunction(self._bdf_text))

    def _check(self, offset: int, size: int) -> None:
        if self._config.closed:
            raise HostError(f"{self._bdf_text} is closed", errno.EBADF)
        if size not in (1, 2, 4) or offset % size or not 0 <= offset < self.config_size:
            raise HostError(
                f"{self._bdf_text}: access of {size} bytes at {offset:#x}: expected 1, 2 or 4 aligned bytes "
                f"below {self.config_size:#x}",
                errno.EINVAL,
            )
