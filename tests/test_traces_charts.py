# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re

import pytest

from pvpci.model import connection, frontend, issue, op, toolstack
from pvpci.model.kernel.tables import Machine
from pvpci.traces.charts import dot, label, mermaid, plain

MACHINES = [op.MACHINE, connection.MACHINE, frontend.MACHINE, toolstack.MACHINE, issue.MACHINE]
machines = pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)


def arrows(machine: Machine) -> set[tuple[str, str]]:
    return {(row.source.name, row.next.name) for row in machine.table}


@machines
def test_mermaid_has_every_way_of_the_table_once(machine: Machine) -> None:
    first, start, *rest = mermaid(machine).splitlines()
    found = [re.fullmatch(r"    (\w+) --> (\w+)( : [^:;]+)?", line) for line in rest]

    assert ("stateDiagram-v2", f"    [*] --> {machine.places[0].name}") == (first, start)
    assert None not in found
    assert sorted(arrows(machine)) == sorted((one[1], one[2]) for one in found if one)


@machines
def test_dot_has_every_place_and_way(machine: Machine) -> None:
    text = dot(machine)
    rest = {place.name for place in machine.places if f'{place.name} [label="{place.name}", peripheries=2]' in text}

    assert sorted(arrows(machine)) == sorted(re.findall(r"^    (\w+) -> (\w+) \[label=\"[^\n]*\"\];$", text, re.M))
    assert {place.name for place in machine.resting} == rest
    assert (1, 1) == (text.count("{"), text.count("}"))


@machines
def test_text_has_every_row_with_its_source(machine: Machine) -> None:
    text = plain(machine)

    assert len(machine.table) == len(re.findall(r"^  (?:\w+ )?-> \w+.*  \[.+\]$", text, re.M))
    assert text.startswith(
        f"{machine.name}, taken by the {machine.party}: {len(machine.places)} places, {len(machine.table)} rows\n"
    )


def test_labels_say_what_happens() -> None:
    assert "Rang" == label(op.MACHINE.row("IDLE->TAKEN"))
    assert "notify" == label(op.MACHINE.row("CLEARED->TOLD"))
    assert "AtRest / unbind" == label(connection.MACHINE.row("QUIET->UNBOUND"))
    assert "nodes.own := CONNECTED" == label(connection.MACHINE.row("CONNECTING->HERE"))
    assert "bad read" == label(op.MACHINE.row("FOUND->ANSWERED (bad read)"))
