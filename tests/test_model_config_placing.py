# SPDX-License-Identifier: Apache-2.0
"""What guests read of what the host placed."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from tests.config_registers import IO, MEM, MEM_64, NONE, UNSET, Range, placed

from pvpci.model.config.identity import Identity
from pvpci.model.config.state import bars, known
from pvpci.model.config.view import ConfigView


def view(resources: Sequence[Range], profile: str = "strict") -> ConfigView:
    return ConfigView(Identity(0x10EC, 0x8139, 19, 256, False, resources), profile)


def bar(of: ConfigView, place: int) -> tuple[int, int]:
    """Its address and its size mask."""
    return of.state[bars[place].address.variable], of.state[bars[place].length.variable]


@pytest.mark.parametrize(("rom", "expected"), [(MEM, 0x1), (MEM | 1, 0x3), (0, 0x1)])
def test_a_rom_is_decoded_only_if_it_was_enabled(rom: int, expected: int) -> None:
    resources = [placed(0xD000, 256, IO | 1), *[NONE] * 5, placed(0xFE340000, 0x40000, rom)]

    assert expected == view(resources).state[known.decode.variable]


def test_the_rom_is_nobodys_upper_half() -> None:
    rom = placed(0xFE340000, 0x40000, MEM)
    found = view([*[NONE] * 5, placed(0x2F0000000, 0x10000000, MEM | MEM_64 | 4), rom])

    assert (0xFE340000, 0xFFFC0000) == bar(found, 6)


@pytest.mark.parametrize(
    ("resource", "low", "high"),
    [
        (placed(0xFE200000, 0x100000, MEM), (0xFE200000, 0xFFF00000), (0, 0)),
        (placed(0xD000, 256, IO | 1), (0xD001, 0xFFFFFF01), (0, 0)),
        (placed(0x2F0000000, 1 << 28, MEM | MEM_64 | 0xC), (0xF000000C, 0xF000000C), (2, 0xFFFFFFFF)),
        (placed(0x4000000000, 1 << 34, MEM | MEM_64 | 4), (4, 4), (0x40, 0xFFFFFFFC)),
        (placed(0, 1 << 28, MEM | MEM_64 | UNSET | 4), (0, 0), (0, 0)),
        (placed(0, 1 << 20, MEM | UNSET), (0, 0), (0, 0)),
    ],
)
def test_bars_of_resources(resource: Range, low: tuple[int, int], high: tuple[int, int]) -> None:
    found = view([resource, *[NONE] * 6])

    assert (low, high) == (bar(found, 0), bar(found, 1))


def test_linux_computes_the_upper_half_of_a_bar_without_an_address() -> None:
    resources = [placed(0, 1 << 28, MEM | MEM_64 | UNSET | 4), *[NONE] * 6]

    assert (0, 0xFFFFFFFF) == bar(view(resources, "linux-6.1.63"), 1)


def test_a_function_without_resources_has_no_bars_and_decodes_nothing() -> None:
    found = view(())

    assert [(0, 0)] * 7 == [bar(found, place) for place in range(7)]
    assert 0 == found.state[known.decode.variable]
