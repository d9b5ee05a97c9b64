# SPDX-License-Identifier: Apache-2.0
"""The profile `linux-6.1.63` answers as the running kernel did, and does to the function what the kernel did.

Each operation is compared in its error, its value as it stood in the page (not cut to the size), every write that reached
the function in its order, how often the host had the function enabled, and all of configuration space afterwards. Nothing
is taken from the record but the requests: the registers react as the image says.
"""

from __future__ import annotations

import pytest
from tests.recorded import OPERATIONS, Entry, Function, device, dword, programs, put, targeted

from pvpci.impl.embedded.image import Image
from pvpci.impl.embedded.registers import BehindXen
from pvpci.model.config import constants as pci
from pvpci.model.config.grants import Grants
from pvpci.model.config.identity import survey
from pvpci.model.config.state import host, known, mine
from pvpci.model.config.view import ConfigView

PROFILE = "linux-6.1.63"
#: By device and seed of the program. A bridge stays enabled once more for each time that it was bound; its first program
#: ran after the first time, and the image is of the second.
ENABLED_BEFORE = {("edu-type1", 65): 1}
READ, WRITE = "r", "w"
ENABLE_MSI, DISABLE_MSI, ENABLE_MSIX, DISABLE_MSIX = "2", "3", "4", "5"


class Played:
    """One program's function, and the kernel that serves it."""

    def __init__(self, image: Image, memory: bytearray, grants: Grants, command: int, enabled: int) -> None:
        self.function = Function(image, memory)
        self.hardware = BehindXen(self.function, self.function.capabilities.get(pci.CAP_ID_MSIX), image.size)
        self.view = ConfigView(survey(self.function, bridges=True), PROFILE, grants)
        # The image was taken after the bind, in which the virtual COMMAND became what was there before.
        self.view.state[mine.command.variable] = command
        self.view.state[host.enabled.variable] = enabled

    def play(self, one: Entry) -> list[object]:
        """What came of it: error, value, bus writes, enable count."""
        self.function.writes.clear()
        if one["op"] == READ:
            answer = self.view.read(one["o"], one["s"], self.hardware)
        else:
            answer = self.view.write(one["o"], one["s"], int(one["w"], 16), self.hardware)
        writes = [[f"{offset:x}", f"{value:x}"] for offset, _, value in self.function.writes]
        return [answer.err, answer.value, writes, self.view.state[host.enabled.variable]]

    def recorded(self, one: Entry) -> list[object]:
        enabled = one.get("en", self.view.state[host.enabled.variable])  # a sweep of reads did not look
        return [one["e"], int(one["a"], 16), one.get("hw", []), enabled]


def after(memory: bytearray, one: Entry) -> bytearray:
    """Configuration space as it was recorded after the operation."""
    expected = bytearray(memory)
    if "ha" in one:
        put(expected, one["o"] & ~3, one["ha"])
    for at, _, value in one.get("hx", ()):
        put(expected, int(at, 16), value)
    return expected


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_recorded_operation_is_answered_and_carried_out_as_recorded(name: str) -> None:
    image, compared = device(name), 0
    for program, operations in programs(name):
        memory = bytearray(image.registers)
        for at, value in program["base"]:
            put(memory, int(at, 16), value)
        grants = Grants(permissive=bool(program["P"]), interrupt_control=bool(program["A"]))
        enabled = ENABLED_BEFORE.get((name, program["seed"]), image.enable_count)
        played = Played(image, memory, grants, int(program["V0"], 16), enabled)
        for one in operations:
            assert one.get("hb", dword(memory, one["o"] & ~3)) == dword(memory, one["o"] & ~3), (program, one)
            expected = after(memory, one)

            assert played.recorded(one) == played.play(one), (program, one)
            assert expected == memory, (program, one)
            compared += 1

    assert OPERATIONS[name] == compared


#: Operations of `targeted` that configuration space has no part in, and why.
LEFT_OUT = {67: "the function was taken from its driver while in use, so that the topology no longer knows it"}
#: What was done to registers before an operation, where the operation itself does not show it.
MEANWHILE = {
    25: {0xA0: "80040011"},  # MSI-X is on
    35: {0x04: "00100000"},  # COMMAND was zeroed behind the driver
}
PUT, RESTORED = "put changed ", 0x0C


def test_the_targeted_program_is_answered_as_recorded() -> None:
    """What happened between its operations, and what the message operations did, is taken from the record."""
    image = device("e1000e")
    memory = bytearray(image.registers)
    played = Played(image, memory, Grants(), 0x0103, image.enable_count)
    state, compared, left_out = played.view.state, 0, []
    for one in targeted():
        if str(one.get("note", "")).startswith(PUT):
            played.view.detach(played.hardware)
            put(memory, RESTORED, "00000000")  # of what the kernel saved when it took the function, this had changed
        if "op" not in one:
            continue
        for at, before in MEANWHILE.get(one["i"], {}).items():
            put(memory, at, before)
        for at, before, _ in one.get("hx", ()):
            put(memory, int(at, 16), before)
        expected = after(memory, one)
        if one["op"] in (ENABLE_MSI, ENABLE_MSIX, DISABLE_MSI, DISABLE_MSIX):
            memory[:] = expected
            if one["e"] == 0:
                state[host.messages.variable] = one["op"] in (ENABLE_MSI, ENABLE_MSIX)
        elif one["i"] in LEFT_OUT:
            left_out.append(one["i"])
        else:
            if (one["op"], one["o"]) == (READ, pci.INTERRUPT_LINE):
                state[known.line.variable] = int(one["a"], 16)  # while the host has MSI on, its interrupt is another
            assert played.recorded(one) == played.play(one), one
            assert expected == memory, one
            compared += 1

    assert (60, [*LEFT_OUT]) == (compared, left_out)
