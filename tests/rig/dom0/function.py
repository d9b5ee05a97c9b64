# SPDX-License-Identifier: Apache-2.0
"""A function of the rig as dom0's sysfs has it, and the way back to one known state between two programs.

Linux's backend remembers the guest's COMMAND until the function is unbound from its driver, and neither unbinding nor a
reset brings everything back: the power state, the enable bits of MSI and MSI-X and what a permissive guest wrote stay.
So the registers are written by hand while no driver is bound, and after the next bind all of configuration space must
be what it was the first time.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from pathlib import Path
from typing import Final

from tests.rig.programs import Target

from pvpci.model.config import constants as pci

DRIVER: Final = Path("/sys/bus/pci/drivers/pciback")
#: What each function was like when it was first looked at, for all programs of one boot.
KNOWN: Final = Path("/run/known-functions.json")


class NotRestored(Exception):
    """The function could not be brought back to its known state."""


class Function:
    def __init__(self, bdf: str) -> None:
        self.bdf, self._path = bdf, Path("/sys/bus/pci/devices", bdf)

    def image(self) -> bytes:
        """All of configuration space, read through dom0's kernel."""
        return (self._path / "config").read_bytes()

    def settle(self) -> bytes:
        """Give it a new life with the driver, in the known state; returns its image. Raises NotRestored."""
        known = json.loads(KNOWN.read_text()) if KNOWN.exists() else {}
        self._unbind()
        free = bytes.fromhex(known[self.bdf]["free"]) if self.bdf in known else _quiet(self.image())
        self._restore(free)
        (DRIVER / "bind").write_text(self.bdf)
        bound = self.image()
        if self.bdf not in known:
            known[self.bdf] = {"free": free.hex(), "bound": bound.hex()}
            KNOWN.write_text(json.dumps(known))
        self._same(bytes.fromhex(known[self.bdf]["bound"]), bound, "after the bind")
        return bound

    def allow(self, attribute: str) -> None:
        """Set one of Linux's switches for its own backend; others pay no heed. See `play` for when."""
        (DRIVER / attribute).write_text(self.bdf)

    def wait_until_free(self, guest: int, devid: int, limit: float = 20.0) -> None:
        """Until neither backend has it any more for that pair of folders: Linux's device is gone, our lock is."""
        end = time.monotonic() + limit
        while Path(f"/sys/devices/pci-{guest}-{devid}").exists() or self._held():
            if time.monotonic() > end:
                raise NotRestored(f"{self.bdf} is still held for guest {guest} after {limit:.0f} s")
            time.sleep(0.02)

    def _held(self) -> bool:
        with (self._path / "config").open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            return False

    def _unbind(self) -> None:
        if (DRIVER / self.bdf).exists():
            (DRIVER / "unbind").write_text(self.bdf)

    def _restore(self, wanted: bytes) -> None:
        descriptor = os.open(self._path / "config", os.O_RDWR)
        try:
            power = Target("", wanted).places().get(pci.CAP_ID_PM)
            # A function that sleeps may lose what is written to it when it wakes.
            first = [power + pci.PM_CTRL] if power else []
            for offset in (*first, *range(0, len(wanted), 2)):
                target = wanted[offset : offset + 2]
                if (now := os.pread(descriptor, 2, offset)) != target:
                    os.pwrite(descriptor, target, offset)
                    # Bits that a one clears.
                    if os.pread(descriptor, 2, offset) != target:
                        os.pwrite(descriptor, now, offset)
        finally:
            os.close(descriptor)
        self._same(wanted, self.image(), "without a driver")

    def _same(self, wanted: bytes, found: bytes, when: str) -> None:
        places = [place for place, (one, two) in enumerate(zip(wanted, found, strict=True)) if one != two]
        if places:
            shown = ", ".join(f"{place:#x}: {found[place]:02x}, not {wanted[place]:02x}" for place in places[:8])
            raise NotRestored(f"{self.bdf} {when} is not as it was: {shown}")


def _quiet(image: bytes) -> bytes:
    """The image awake and with no message enabled, whatever the tests before have left."""
    made, places = bytearray(image), Target("", image).places()
    for kind, at, bits in (
        (pci.CAP_ID_PM, pci.PM_CTRL, pci.PM_CTRL_STATE),
        (pci.CAP_ID_MSI, pci.MSI_FLAGS, pci.MSI_FLAGS_ENABLE),
        (pci.CAP_ID_MSIX, pci.MSIX_FLAGS, pci.MSIX_FLAGS_ENABLE),
    ):
        if kind in places:
            place = places[kind] + at
            word = int.from_bytes(image[place : place + 2], "little") & ~bits
            made[place : place + 2] = word.to_bytes(2, "little")
    return bytes(made)
