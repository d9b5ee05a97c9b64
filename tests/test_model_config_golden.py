# SPDX-License-Identifier: Apache-2.0
"""The golden vectors hold in the profiles of Linux: answers, writes that reach the function, COMMAND afterwards.

They were made with Linux's own code on a modelled function and a modelled PCI core.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from tests.config_registers import UNSET
from tests.recorded import DATA, MD1, Function, device

from pvpci.model.config import constants as pci
from pvpci.model.config.grants import GrantError, parse
from pvpci.model.config.identity import Identity, Refusal, Refused, survey
from pvpci.model.config.table import Table, table
from pvpci.model.config.view import ConfigView, profile_of

RECORDED: dict[str, str] = json.loads((DATA / "field-lists.json").read_text())
FILE: dict[str, Any] = json.loads((DATA / "golden-vectors.json").read_text())
GROUPS = [(group, profile) for group in FILE["groups"] for profile in group["profiles"]]
HEADER_TYPE, BRIDGE, CARDBUS = 0x0E, 1, 2
#: The model's PCI core knew of D1 only, whatever the register says.
PMC = 0xFE22 & ~pci.PM_CAP_D2


def function_of(header_type: int = 0) -> Function:
    """MD1."""
    function = Function(device(MD1))
    function.memory[HEADER_TYPE] = header_type
    return function


def identity_of(function: Function) -> Identity:
    return replace(survey(function, bridges=True), pmc=PMC)


def place(text: str) -> tuple[int, int]:
    """``04/2``: offset, hexadecimal, and size."""
    offset, _, size = text.partition("/")
    return int(offset, 16), int(size)


def do(view: ConfigView, function: Function, text: str) -> tuple[int, int]:
    kind, where, *value = text.split()
    if kind == "R":
        return view.read(*place(where), function)
    return view.write(*place(where), int(value[0], 16), function)


@pytest.mark.parametrize(("group", "profile"), GROUPS, ids=[f"{group['section']}-{name}" for group, name in GROUPS])
def test_vectors(group: dict[str, Any], profile: str) -> None:
    function = function_of()
    identity = identity_of(function)
    resources = list(identity.resources)
    for index in group.get("unassigned", ()):
        resources[index] = replace(resources[index], flags=resources[index].flags | UNSET)
    view = ConfigView(replace(identity, resources=resources), profile, parse(group.get("grants", "")))
    view.attach(function)
    assert 0 == function.read(0xCC, 2)  # the pending PME was acknowledged when its enable bit was cleared
    for text in group.get("before", ()):
        assert 0 == do(view, function, text)[0]

    for vector in group["vectors"]:
        for where, value in vector.get("set", {}).items():
            offset, size = place(where)
            function.memory[offset : offset + size] = int(value, 16).to_bytes(size, "little")
        function.writes.clear()
        err, value = do(view, function, vector["do"])

        assert vector["err"] == err, vector
        assert vector.get("value", f"{value:08x}") == f"{value:08x}", vector
        writes = [f"{offset:02x}<={value:0{2 * size}x}" for offset, size, value in function.writes]
        assert vector.get("hw", writes) == writes, vector
        assert vector.get("command", f"{function.read(0x04, 2):04x}") == f"{function.read(0x04, 2):04x}", vector
        for where, expected in vector.get("then", {}).items():
            assert (0, expected) == (0, f"{view.read(*place(where), function).value:08x}"), (vector, where)
        if "told" in vector:
            assert vector["told"] == [notice.kind.name for notice in view.warnings]


def fields(found: Table) -> str:
    return " ".join(f"{found.start(row):02x}/{row.width}" for row in found.rows)


@pytest.mark.parametrize(("kind", "header_type"), [("normal", 0), ("bridge", BRIDGE)])
def test_the_fields_are_those_that_linux_registers_in_its_order(kind: str, header_type: int) -> None:
    found = table(identity_of(function_of(header_type)), profile_of("linux-6.1.63"))

    assert FILE["fields"][kind] == fields(found)


@pytest.mark.parametrize("name", RECORDED)
def test_the_fields_of_recorded_functions_are_those_that_linux_had(name: str) -> None:
    identity = survey(Function(device(name)), bridges=True)

    assert RECORDED[name] == fields(table(identity, profile_of("linux-6.1.63")))


def test_a_header_of_type_2_is_refused() -> None:
    with pytest.raises(Refused) as caught:
        identity_of(function_of(CARDBUS))
    assert Refusal.CARDBUS is caught.value.refusal


def test_a_field_of_three_bytes_is_refused() -> None:
    with pytest.raises(GrantError, match="the width is 1, 2 or 4"):
        parse("quirk=44:3:ffffff")
