# SPDX-License-Identifier: Apache-2.0
"""Requests a second of configuration space in the profile `strict`, over registers in memory.

What a request costs beside the registers is what its dword's compiled program costs, so each figure stands against one access
of the same kind to the registers alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from pvpci.impl.bench import Figure, rate
from pvpci.impl.embedded.image import Image, load
from pvpci.impl.embedded.registers import Registers
from pvpci.model.config import constants as pci
from pvpci.model.config.identity import survey
from pvpci.model.config.steps import D0, D3HOT
from pvpci.model.config.view import ConfigView

_ALL_ONES: Final = 0xFFFFFFFF


class _Function(Registers):
    """An image as a host holds it."""

    def __init__(self, image: Image) -> None:
        super().__init__(image, bytearray(image.registers))
        self.config_size, self.resources, self.irq = image.size, image.resources, image.irq
        self.vendor, self.device, self.is_virtual = image.vendor, image.device, image.is_virtual


def configuration(seconds: float = 1.0) -> list[Figure]:
    """Reads and writes of an e1000e's registers. `seconds`: for each figure."""
    function = _Function(load("e1000e"))
    view = ConfigView(survey(function))
    view.attach(function)
    power = view.identity.capabilities[pci.CAP_ID_PM] + pci.PM_CTRL

    def read_alone() -> None:
        function.read(pci.CLASS_REVISION, 4)

    def write_alone() -> None:
        function.write(pci.BASE_ADDRESS_0, 4, _ALL_ONES)

    def plain() -> None:
        view.read(pci.CLASS_REVISION, 4, function)

    def command() -> None:
        view.read(pci.COMMAND, 2, function)

    def sizing() -> None:
        view.write(pci.BASE_ADDRESS_0, 4, _ALL_ONES, function)

    def sleep_and_wake() -> None:
        view.write(power, 2, D3HOT, function)
        view.write(power, 2, D0, function)

    reads, writes = rate(read_alone, seconds), rate(write_alone, seconds)
    measured: tuple[tuple[str, Callable[[], None], int, float], ...] = (
        ("configuration reads of a register without rules", plain, 1, reads),
        ("configuration reads of COMMAND", command, 1, reads),
        ("configuration writes that size a BAR", sizing, 1, writes),
        ("configuration writes of PMCSR, to D3hot and back", sleep_and_wake, 2, writes),
    )
    found = []
    for name, once, requests, alone in measured:
        each = rate(once, seconds) * requests
        found.append(Figure(name, each, "1/s", each / alone, "the registers alone"))
    return found
