# SPDX-License-Identifier: Apache-2.0
"""Recorded operations on a function's interrupts, carried out once more.

The machine of the function runs again from its attachment on. What the hypervisor and the function answered is given to it
as recorded; what it asks for must be what was asked for, and what reaches the function's registers must be what reached them.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

from pvpci.model import interrupts
from pvpci.model.interrupt_registers import Messages
from pvpci.model.interrupts import Kind, Line
from pvpci.model.kernel.compiled import group
from pvpci.model.kernel.tables import Machine
from pvpci.model.kernel.visible import parameter, visible
from pvpci.traces import format as traces
from pvpci.traces.findings import describe
from pvpci.traces.format import Hardware
from pvpci.traces.recorder import line_of
from pvpci.traces.scripted import Ended, Scripted

#: What begins an operation; everything else is an answer to what the machine asked for.
OPERATIONS: Final = {
    event.__name__
    for event in (
        interrupts.EnableMsi, interrupts.EnableMultiMsi, interrupts.EnableMsix, interrupts.DisableMsi,
        interrupts.DisableMsix, interrupts.Reset, interrupts.Resume,
    )
}  # fmt: skip
_ON: Final = "on"  #: what is looked at before a function is taken up
_KINDS: Final = tuple(Kind)
_LINES: Final = tuple(Line)


class Interrupts:
    """One function while one guest has it. `line`: where it was attached, with `shared` known."""

    def __init__(self, machine: Machine, function: str, irq: int, shared: bool, messages: Messages) -> None:
        self.function = function
        made = group([machine], extra=[interrupts.world, interrupts.seen])
        self._machine, self._stepper, self._state = machine, made.steppers[machine.name], made.state()
        self._state.fn_line, self._state.fn_shared = irq & 0xFFFFFFFF, int(shared)
        self._events = {event.__name__: event for event in machine.events}
        self._messages = messages
        self._asked: tuple[str, tuple[int, ...]] = ("", ())
        self._script: list[Hardware] = []
        self.lost = False  #: something differed, so that what follows says nothing

    def kept(self, line: traces.Kept) -> None:
        """It begins with what another process had kept."""
        interrupts.lose(self._state, msix=line.msix, whole=line.whole, vectors=len(line.numbers))
        self._asked = _ON, ()

    @property
    def answer(self) -> tuple[int, int] | None:
        """Error and value as they go on the wire; None if it is not known."""
        return None if self.lost else (self._state.irq_err, self._state.irq_value)

    def reaches(self, line: Hardware) -> bool:
        """An access of the function; True if it is of what was asked for last."""
        if self._asked[0] in ("look", "switch", "open_block", _ON):
            self._script.append(line)
            return True
        return False

    def step(self, line: traces.Line) -> tuple[str, str] | None:
        """A step as recorded; what was recorded and what is done now, if that is not the same."""
        if self.lost:
            return None
        differs = self._registers(line) or self._choice(line)
        self.lost = differs is not None
        return differs

    def _registers(self, line: traces.Line) -> tuple[str, str] | None:
        (effect, arguments), script, given = self._asked, self._script, line.given or {}
        self._asked, self._script = ("", ()), []
        hardware = Scripted(script)
        if effect in ("switch", "open_block") and given.get("ok"):
            with suppress(Ended):
                if effect == "switch":
                    self._messages.switch(hardware, _KINDS[arguments[0]], _LINES[arguments[1]])
                else:
                    self._messages.switch(hardware, Kind.MSI, Line.QUIET, arguments[0])
            return hardware.differs()
        if effect == _ON and script:
            on = False
            with suppress(Ended):
                on = self._messages.on(hardware)
            found, recorded = f"on={on}", f"on={bool(given.get('on'))}"
            return hardware.differs() or (None if found == recorded else (f"resumed {recorded}", f"resumed {found}"))
        # What the function did not answer is in no trace, so only what was answered can be compared.
        if effect == "look" and (script or given.get("own")):
            own = entries = 0
            fits = bool(given.get("fits"))
            with suppress(Ended):
                own = int(self._messages.decodes(hardware))
                entries = self._messages.entries(hardware) if arguments[0] else int(self._messages.msi != 0)
                if not arguments[0]:
                    fits = self._messages.has(hardware, arguments[1])
            found = f"own={bool(own)}, present={bool(entries)}, fits={fits}"
            recorded = (
                f"own={bool(given.get('own'))}, present={bool(given.get('present'))}, fits={bool(given.get('fits'))}"
            )
            return hardware.differs() or (None if found == recorded else (f"looked {recorded}", f"looked {found}"))
        return None

    def _choice(self, line: traces.Line) -> tuple[str, str] | None:
        recorded, event = describe(line), self._events.get(line.event)
        step = None if event is None else self._stepper.steps.get((getattr(self._state, self._stepper.place), event))
        if step is None or event is None:
            return recorded, "nothing: it does not expect that"
        given = tuple(int((line.given or {})[parameter(var)]) for var in event.parameters.values())
        index, arguments = step.choose(self._state, *given)
        if index < 0:
            return recorded, "nothing: no row for what it was told"
        row = step.rows[index]
        values = [*given, *(value for each in arguments for value in each)]
        now = describe(line_of(0, 0, "", visible(self._machine, row), values))
        if row.asks:
            self._asked = row.asks[-1].effect.name, tuple(arguments[-1])
        return None if now == recorded else (recorded, now)


def interrupts_of(machine: Machine, line: traces.Function, capabilities: Any) -> Interrupts | None:
    """The function's machine as it starts; None if the trace does not have its interrupts."""
    irq = line.identity.get("irq")
    if line.shared is None or not isinstance(irq, int):
        return None
    return Interrupts(machine, line.function, irq, line.shared, Messages(capabilities))
