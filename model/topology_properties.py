# SPDX-License-Identifier: Apache-2.0
"""The properties of topology, of texts that name functions, and of holding them, by the identifiers of the protocol notes."""

from __future__ import annotations

from typing import Final

PROPERTIES: Final = {
    "C-14": "a function is reached at its own address only, and what is not there is not reached",
    "C-55": "vpci: no two functions share an address, each keeps its number, there are 32 slots",
    "C-56": "vpci: what is published is where the function is found, and leads back to it",
    "C-57": "vpci: functions share a slot if they share a physical one, but a virtual function 0 stays alone",
    "C-58": "vpci: what is added or released moves nobody else",
    "C-59": "passthrough: functions are where they are, and each of their buses is told once",
    "C-60": "passthrough: what is not attached is not found",
    "C-61": "an attempt to attach that fails leaves no trace",
    "C-62": "bridges are refused",
    "C-63": "a function has one holder, and what is held is not given away",
    "C-66": "texts are read as the grammar says, and a text that is refused adds nothing",
    "C-67": "ids are a set",
    "C-68": "look-ups compare slot and function apart, and whole",
}
