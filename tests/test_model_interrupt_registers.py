# SPDX-License-Identifier: Apache-2.0
"""Bits of the two flag words and of COMMAND, and what is left when an access fails."""

from __future__ import annotations

import pytest

from pvpci.model.config import constants as pci
from pvpci.model.interrupt_registers import Messages
from pvpci.model.interrupts import Kind, Line

MSI, MSIX = 0x50, 0x70
BOTH = Messages({pci.CAP_ID_MSI: MSI, pci.CAP_ID_MSIX: MSIX})


class Words:
    """Registers by offset. `fails`: accesses until one fails."""

    def __init__(self, **words: int) -> None:
        self.words = {pci.COMMAND: 0x2, MSI + 2: 0x80, MSIX + 2: 0x40}
        self.words |= {{"command": pci.COMMAND, "msi": MSI + 2, "msix": MSIX + 2}[name]: n for name, n in words.items()}
        self.fails = 1000

    def _pass(self) -> None:
        self.fails -= 1
        if self.fails == 0:
            raise OSError("no answer")

    def read(self, offset: int, size: int) -> int:
        self._pass()
        return self.words[offset]

    def write(self, offset: int, size: int, value: int) -> None:
        self._pass()
        self.words[offset] = value

    @property
    def all(self) -> tuple[int, ...]:
        return tuple(self.words.values())


@pytest.mark.parametrize(
    ("before", "kind", "line", "after"),
    [
        ((0x2, 0x80, 0x40), Kind.MSI, Line.QUIET, (0x402, 0x81, 0x40)),
        ((0x2, 0x80, 0x40), Kind.MASKED, Line.LEAVE, (0x2, 0x80, 0xC040)),
        ((0x2, 0x80, 0xC040), Kind.MSIX, Line.QUIET, (0x402, 0x80, 0x8040)),
        ((0x402, 0x81, 0xC040), Kind.NONE, Line.OPEN, (0x2, 0x80, 0x40)),
        ((0x402, 0x81, 0x40), Kind.NONE, Line.LEAVE, (0x402, 0x80, 0x40)),
    ],
)
def test_only_the_bits_of_the_kind_change(
    before: tuple[int, ...], kind: Kind, line: Line, after: tuple[int, ...]
) -> None:
    function = Words(command=before[0], msi=before[1], msix=before[2])
    BOTH.switch(function, kind, line)

    assert after == function.all


def test_a_function_without_capabilities_has_its_line_only() -> None:
    function, none = Words(command=0x402), Messages({})
    none.switch(function, Kind.NONE, Line.OPEN)

    assert (0x2, 0x80, 0x40) == function.all
    assert (0, 0x41) == (none.entries(function), BOTH.entries(function))


@pytest.mark.parametrize(("messages", "after"), [(1, 0x81), (2, 0x91), (4, 0xA1), (32, 0xD1)])
@pytest.mark.parametrize("before", [0x80, 0xA0, 0xF0])
def test_msi_tells_as_many_messages_apart_as_it_is_told(before: int, messages: int, after: int) -> None:
    """Whatever was there: the hypervisor has written it, or whoever had the function before."""
    function = Words(msi=before)
    BOTH.switch(function, Kind.MSI, Line.QUIET, messages)
    on = function.words[MSI + 2]
    BOTH.switch(function, Kind.NONE, Line.LEAVE)

    assert (after, 0x80) == (on, function.words[MSI + 2])


def test_the_enable_bit_and_the_messages_are_written_together() -> None:
    function = Words(msi=0x80)
    function.fails = 5  # COMMAND read and written, the flags read and written
    BOTH.switch(function, Kind.MSI, Line.QUIET, 8)

    assert 0xB1 == function.words[MSI + 2]


@pytest.mark.parametrize(
    ("flags", "most"), [(0x80, 1), (0x82, 2), (0x86, 8), (0x8A, 32), (0x8C, 32), (0x8E, 32)]
)  # the last two are reserved
def test_how_many_messages_a_function_has(flags: int, most: int) -> None:
    counts = (0, 1, 2, 8, 9, 32, 33, 0xFFFFFFFF)

    assert [0 < n <= most for n in counts] == [BOTH.has(Words(msi=flags), n) for n in counts]
    assert not any(Messages({pci.CAP_ID_MSIX: MSIX}).has(Words(), n) for n in counts)


@pytest.mark.parametrize("fails", [3, 4])
def test_a_change_that_fails_leaves_the_line_as_it_was(fails: int) -> None:
    function = Words()
    function.fails = fails
    with pytest.raises(OSError, match="no answer"):
        BOTH.switch(function, Kind.MSI, Line.QUIET)

    assert (0x2, 0x80, 0x40) == function.all
