# SPDX-License-Identifier: Apache-2.0
"""How long it takes to turn a function's messages on and off, on the embedded host.

What the backend adds stands against what the machine asks for anyway: the same vectors mapped and given back, the same enable
bits set and cleared, by hand and without any of the looking around. On real Xen the hypervisor's calls cost other than the
box's; that comparison is the rig's.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Final

from pvpci.impl.bench import Figure, rate
from pvpci.impl.embedded.box import Box
from pvpci.impl.embedded.function import EmbeddedFunction
from pvpci.impl.embedded.host import EmbeddedHost
from pvpci.impl.embedded.image import parse_bdf
from pvpci.impl.host import DomId
from pvpci.impl.interrupts import Interrupts
from pvpci.impl.log import Log
from pvpci.model.config import constants as pci
from pvpci.model.config.walk import capabilities
from pvpci.model.interrupt_registers import Messages
from pvpci.model.interrupts import Kind, Line
from pvpci.traces.recorder import Recorder

_GUEST: Final = DomId(1)
_AHCI, _NVME = "0000:00:04.0", "0000:00:06.0"
_VECTORS: Final = 2  #: entries of MSI-X: an nvme's queue for commands and one for data
Once = Callable[[], None]


class _Stage:
    """One function that a guest has, with memory decoding on."""

    def __init__(self, host: EmbeddedHost, name: str) -> None:
        self.host, self.function = host, host.open_function(parse_bdf(name))
        host.give(_GUEST, self.function)
        self.function.write(pci.COMMAND, 2, pci.COMMAND_MEMORY | pci.COMMAND_MASTER)
        self.places = dict(capabilities(self.function))
        self.messages = Messages(self.places)
        self.interrupts = Interrupts(
            host, _GUEST, self.function, self.function, self.places, Log(io.StringIO()), f"{_GUEST}/0",
            Recorder(f"{_GUEST}/0").of(name),
        )  # fmt: skip

    def served(self, entries: Sequence[int]) -> Once:
        """On and off by the machine; with `entries` it is MSI-X."""
        interrupts = self.interrupts

        def once() -> None:
            answer = interrupts.enable_msix(entries) if entries else interrupts.enable_msi()
            assert answer[0] == 0, answer
            interrupts.disable_msix() if entries else interrupts.disable_msi()

        return once

    def bare(self, entries: Sequence[int]) -> Once:
        """The same calls and register writes, by hand."""
        host, function, messages = self.host, self.function, self.messages
        wanted: Sequence[int | None] = entries or (None,)

        def once() -> None:
            mapped = self._mapped(host, function, wanted, masked=bool(entries))
            messages.switch(function, Kind.MSIX if entries else Kind.MSI, Line.QUIET)
            messages.switch(function, Kind.NONE, Line.OPEN)
            for pirq in reversed(mapped):
                host.unmap_vector(_GUEST, function, pirq)

        return once

    def _mapped(
        self, host: EmbeddedHost, function: EmbeddedFunction, wanted: Sequence[int | None], *, masked: bool
    ) -> list[int]:
        if masked:
            self.messages.switch(function, Kind.MASKED, Line.LEAVE)
        return [host.map_vector(_GUEST, function, entry) for entry in wanted]


def messages(seconds: float = 1.0) -> list[Figure]:
    """Microseconds of one enable and disable. `seconds`: for each figure."""
    found = []
    with Box({_AHCI: "ahci", _NVME: "nvme"}) as box:
        host = EmbeddedHost(box.path, label="bench")
        host.create_domain(_GUEST)
        for title, name, entries in (("MSI", _AHCI, ()), (f"MSI-X, {_VECTORS} vectors", _NVME, range(_VECTORS))):
            stage = _Stage(host, name)
            bare, served = (1e6 / rate(run, seconds) for run in (stage.bare(entries), stage.served(entries)))
            what = f"{title} enabled and disabled, embedded host"
            found.append(Figure(what, served, "us", served / bare, "the box's calls alone"))
        host.close()
    return found
