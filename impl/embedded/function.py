# SPDX-License-Identifier: Apache-2.0
"""An emulated PCI function: its configuration space, with the reactions of hardware and nothing else.

The registers live in memory that the box hands from holder to holder, so that a function is found as it was left, by
the next backend as well as by a test that wants to know what reached the hardware. Writes go through the image's masks:
sizing a BAR needs no more than that, because its low bits cannot be written. One bit does something: initiating a
function-level reset.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Final

from pvpci.impl.embedded import wire
from pvpci.impl.embedded.image import Image
from pvpci.impl.embedded.link import Link, map_memory
from pvpci.impl.host import HostError, Resource

_INITIATE_FLR: Final = 1 << 15


class EmbeddedFunction:
    """`host.Function` over an image. HostError(EINVAL): a bad offset or size; HostError(EBADF): closed."""

    def __init__(self, link: Link, image: Image, bdf_text: str, descriptor: int) -> None:
        self.bdf = image.bdf
        self.config_size = image.size
        self.resources: Sequence[Resource] = image.resources
        self.irq = image.irq
        self.is_virtual = image.is_virtual
        self._link, self._image, self._bdf_text = link, image, bdf_text
        self._config = map_memory(descriptor, image.size, f"configuration space of {bdf_text}")

    def read(self, offset: int, size: int) -> int:
        self._check(offset, size)
        return int.from_bytes(self._config[offset : offset + size], "little")

    def write(self, offset: int, size: int, value: int) -> None:
        self._check(offset, size)
        end, image = offset + size, self._image
        old = int.from_bytes(self._config[offset:end], "little")
        writable = int.from_bytes(image.writable[offset:end], "little")
        cleared = int.from_bytes(image.write_one_to_clear[offset:end], "little")
        new = (old & ~writable | value & writable) & ~(value & cleared)
        self._config[offset:end] = new.to_bytes(size, "little")
        if image.flr is not None and offset <= image.flr + 1 < end and self._flr(image.flr):
            self._restore()

    def reset(self) -> None:
        """All registers as in the image. HostError(ENOTTY) where the recorded function has no reset."""
        self._check(0, 1)
        if not self._image.resets:
            raise HostError(f"{self._bdf_text} has no reset", errno.ENOTTY)
        self._restore()

    def close(self) -> None:
        """Let somebody else have it. Idempotent."""
        if not self._config.closed:
            self._config.close()
            self._link.call(wire.CloseFunction(self._bdf_text))

    def _flr(self, word: int) -> bool:
        return bool(int.from_bytes(self._config[word : word + 2], "little") & _INITIATE_FLR)

    def _restore(self) -> None:
        self._config[:] = self._image.registers

    def _check(self, offset: int, size: int) -> None:
        if self._config.closed:
            raise HostError(f"{self._bdf_text} is closed", errno.EBADF)
        if size not in (1, 2, 4) or offset % size or not 0 <= offset < self.config_size:
            raise HostError(
                f"{self._bdf_text}: access of {size} bytes at {offset:#x}: expected 1, 2 or 4 aligned bytes "
                f"below {self.config_size:#x}",
                errno.EINVAL,
            )
