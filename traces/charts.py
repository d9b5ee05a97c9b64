# SPDX-License-Identifier: Apache-2.0
"""A machine drawn from its table: Mermaid, Graphviz, or plain text. Nothing here is drawn by hand.

Rows that lead from and to the same places are one arrow with several labels: who looks at a picture wants to see the
places, and finds the rows in the table.
"""

from __future__ import annotations

from collections.abc import Iterator

from pvpci.model.kernel.records import GO
from pvpci.model.kernel.tables import Machine, Row
from pvpci.model.kernel.words import show, show_update


def label(row: Row) -> str:
    """What happens: the event (unless the machine moves by itself), and what is asked for; else the row's name."""
    event = "" if row.event is GO else row.event.__name__
    asks = ", ".join(ask.effect.name for ask in row.asks)
    writes = ", ".join(f"{update.var.name} := {show(update.value)}" for update in row.then if update.var.cell)
    does = "; ".join(part for part in (writes, asks) if part)
    return (f"{event} / {does}" if event and does else event or does) or row.name


def _arrows(machine: Machine) -> Iterator[tuple[str, str, list[str]]]:
    found: dict[tuple[str, str], list[str]] = {}
    for row in machine.table:
        texts = found.setdefault((row.source.name, row.next.name), [])
        if (text := label(row)) not in texts:
            texts.append(text)
    for (source, target), texts in found.items():
        yield source, target, [text for text in texts if text]


def mermaid(machine: Machine) -> str:
    """A Mermaid state diagram."""
    out = ["stateDiagram-v2", f"    [*] --> {machine.places[0].name}"]
    for source, target, texts in _arrows(machine):
        words = " | ".join(texts).replace(":=", "=").replace(":", " ").replace(";", ",")
        out.append(f"    {source} --> {target}" + (f" : {words}" if words else ""))
    return "\n".join(out) + "\n"


def dot(machine: Machine) -> str:
    """A Graphviz digraph; places of rest have a double border."""
    out = [
        f'digraph "{machine.name}" {{',
        "    rankdir=TB;",
        '    node [shape=box, style=rounded, fontname="sans-serif"];',
        '    edge [fontname="sans-serif", fontsize=10];',
    ]
    for place in machine.places:
        rest = ", peripheries=2" if place in machine.resting else ""
        out.append(f'    {place.name} [label="{place.name}"{rest}];')
    for source, target, texts in _arrows(machine):
        words = "\\n".join(text.replace("\\", "\\\\").replace('"', '\\"') for text in texts)
        out.append(f'    {source} -> {target} [label="{words}"];')
    return "\n".join([*out, "}"]) + "\n"


def plain(machine: Machine) -> str:
    """Each place with the rows that leave it."""
    out = [f"{machine.name}, taken by the {machine.party}: {len(machine.places)} places, {len(machine.table)} rows"]
    for place in machine.places:
        rest = "  (at rest)" if place in machine.resting else ""
        out.append(f"\n{place.name}{rest}")
        for row in machine.table:
            if row.source is place:
                out += _row(row)
    return "\n".join(out) + "\n"


def _row(row: Row) -> Iterator[str]:
    event = "" if row.event is GO else f"{row.event.__name__} "
    name = f" ({row.name})" if row.name else ""
    yield f"  {event}-> {row.next.name}{name}  [{row.cite}]"
    if row.when.op != "const":
        yield f"      when {show(row.when)}"
    for update in row.then:
        yield f"      {show_update(update)}"
    for ask in row.asks:
        yield f"      asks {ask!r}"
