# SPDX-License-Identifier: Apache-2.0
"""The pages of the manual that are made from the tables: ``python -m pvpci.impl.manual`` writes them.

A page for each machine (its essay, its picture, its table, what is known at each place) and for each family of algorithms,
and one each for the properties, the dialects, our decisions, configuration space, and the registers that `explain` knows. A
test compares what is in the tree with what would be written, so none of them can grow stale.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pvpci.model import (
    bookkeeping,
    connection,
    frontend,
    interrupts,
    issue,
    op,
    slots,
    slots_claims,
    toolstack,
    topology,
    topology_claims,
)
from pvpci.model.catalogue import PROPERTIES, Needs
from pvpci.model.config.constants import CAP_ID_MSI
from pvpci.model.config.describe import render_table
from pvpci.model.config.properties import PROPERTIES as CONFIG
from pvpci.model.config.registers import CAPABILITIES, MSI_32, MSI_64, TYPE_0, TYPE_1, Register
from pvpci.model.config.registers_extended import EXTENDED
from pvpci.model.decisions import DECISIONS, SOURCES, Decision
from pvpci.model.dialects import ALL
from pvpci.model.kernel.algorithms import Algorithm
from pvpci.model.kernel.records import GO
from pvpci.model.kernel.tables import Machine, Row
from pvpci.model.kernel.words import show, show_update
from pvpci.traces.charts import mermaid

MACHINES: Final = (
    connection.MACHINE,
    op.MACHINE,
    interrupts.MACHINE,
    frontend.IMPATIENT,
    toolstack.IMPATIENT,
    issue.IMPATIENT,
)
ESSAYS: Final = {
    "connection": connection,
    "op": op,
    "interrupts": interrupts,
    "frontend": frontend,
    "toolstack": toolstack,
    "issue": issue,
}
ALGORITHMS: Final = {
    "topology": ("The virtual buses", topology, topology_claims.ALGORITHMS),
    "slots": ("Texts that name functions", slots, slots_claims.ALGORITHMS),
    "bookkeeping": ("What a host remembers of a function", bookkeeping, bookkeeping.ALGORITHMS),
}
_MADE: Final = (
    "<!-- SPDX-License-Identifier: Apache-2.0 -->\n<!-- Made by `python -m pvpci.impl.manual`; do not edit. -->"
)


def pages() -> dict[str, str]:
    """The text of each page by its path below ``docs/``."""
    made = {f"reference/machine-{machine.name}.md": "\n".join(_machine(machine)) + "\n" for machine in MACHINES}
    for name, (title, essay, algorithms) in ALGORITHMS.items():
        made[f"reference/{name}.md"] = "\n".join(_algorithms(title, essay, algorithms)) + "\n"
    made["reference/properties.md"] = "\n".join(_properties()) + "\n"
    made["reference/dialects.md"] = "\n".join(_dialects()) + "\n"
    made["reference/decisions.md"] = "\n".join(_decisions()) + "\n"
    made["reference/registers.md"] = "\n".join(_registers()) + "\n"
    made["reference/config-space.md"] = f"{_MADE}\n{render_table()}"
    return made


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _machine(machine: Machine) -> Iterator[str]:
    yield _MADE
    yield f"# The machine `{machine.name}`\n"
    yield (ESSAYS[machine.name].__doc__ or "").strip() + "\n"
    yield "```mermaid"
    yield mermaid(machine).rstrip()
    yield "```\n"
    yield f"Taken by: {machine.party}. At rest in: {', '.join(p.name for p in machine.places if p in machine.resting)}."
    yield "`RB-n` in the last column of the table is [a decision of ours](decisions.md), and so are the other sources there.\n"
    yield "## Rows\n"
    yield "| at | event | when | then | asks | next | cites |"
    yield "|---|---|---|---|---|---|---|"
    for row in machine.table:
        yield _row(row)
    if machine.ignored:
        yield "\n## Left alone, on purpose\n"
        yield "| at | event | why |"
        yield "|---|---|---|"
        for pair in machine.ignored:
            yield f"| {pair.source.name} | {pair.event.__name__} | {_cell(pair.reason)} |"
    if machine.known:
        yield "\n## What is known\n"
        yield "Each line holds in every state that can be reached; together they are the outline of the proofs.\n"
        for name, flag in machine.known.items():
            yield f"- **{name}**: `{show(flag)}`"


def _algorithms(title: str, essay: object, algorithms: tuple[Algorithm, ...]) -> Iterator[str]:
    yield _MADE
    yield f"# {title}\n"
    yield (essay.__doc__ or "").strip() + "\n"
    yield "## What is proved\n"
    yield "By `pvpci prove NAME`. In italics: what is known in every state, on which the other lines rest."
    for one in algorithms:
        steps = ", ".join(step.name for step in one.steps) or "none"
        yield f"\n### `{one.name}`\n"
        yield f"Of {one.says}. Steps: {steps}.\n"
        yield "| id | says | at | broken by |"
        yield "|---|---|---|---|"
        for name in one.known:
            yield f"| | *{name}* | always | |"
        for claim in one.claims:
            at = ", ".join(getattr(claim, "steps", ())) or "always"
            broken = ", ".join(each.id for each in ALL if each.machine == one.name and claim.id in each.breaks)
            yield f"| {claim.id} | {claim.name.replace('_', ' ')} | {at} | {broken} |"


def _row(row: Row) -> str:
    when = "always" if row.when.op == "const" else f"`{show(row.when)}`"
    then = "<br>".join(f"`{show_update(update)}`" for update in row.then)
    asks = "<br>".join(f"`{ask!r}`" for ask in row.asks)
    event = "" if row.event is GO else row.event.__name__
    name = f"<br>*{row.name}*" if row.name else ""
    return f"| {row.source.name}{name} | {event} | {_cell(when)} | {_cell(then)} | {_cell(asks)} | {row.next.name} | {row.cite} |"


def _properties() -> Iterator[str]:
    yield _MADE
    yield "# Properties\n"
    yield "I is safety, L is progress, C is configuration space, topology and assignment. A property is claimed where"
    yield "`pvpci prove --property ID` proves it, or it waits for a part of the protocol that is not modelled yet.\n"
    yield "| id | says | status | broken by |"
    yield "|---|---|---|---|"
    for name in sorted(PROPERTIES, key=lambda name: ("ILC".index(name[0]), name)):
        text, needs = PROPERTIES[name]
        broken = ", ".join(dialect.id for dialect in ALL if name in dialect.breaks)
        status = f"claimed{_where(name)}" if needs is Needs.NOTHING else f"waits for {needs.value}"
        yield f"| {name} | {text} | {status} | {broken} |"


def _where(name: str) -> str:
    """Of which profiles of configuration space a property is not claimed, and why."""
    known = CONFIG.get(name)
    if known is None:
        return ""
    if known.strict:
        return " of `strict`; Linux does otherwise"
    return "".join(f"; not of `{profile}`: {why}" for profile, why in known.but)


def _dialects() -> Iterator[str]:
    yield _MADE
    yield "# Dialects\n"
    yield "Small differences against the reference, each named after the rule that it breaks. `pvpci prove --dialect ID` shows a"
    yield "shortest counterexample. RB-n and the other sources are [explained](decisions.md).\n"
    yield "| id | the rule | machine | breaks | seen in | cites |"
    yield "|---|---|---|---|---|---|"
    for one in ALL:
        yield f"| {one.id} | {one.title} | {one.machine} | {', '.join(one.breaks)} | `{one.system}` | {one.cite} |"


def _decisions() -> Iterator[str]:
    yield _MADE
    yield "# Decisions of the reference\n"
    yield "Where the reference departs from what other backends do, or decides what the protocol leaves open. The rows are named"
    yield "by where they lead from and to; `pvpci prove --dialect ID` shows what happens without the decision, and the"
    yield "[cases](cases.md) what happened when Linux's backend and ours met the same guest."
    for name, one in DECISIONS.items():
        yield f"\n## {name}: {one.title}\n"
        yield f"{one.decided}\n"
        yield f"*Why:* {one.why}\n"
        yield f"*Prevents:* {one.prevents}\n"
        rows = [
            f"[{machine.name}](machine-{machine.name}.md): {', '.join(f'`{row.key}`' for row in cited)}"
            for machine in MACHINES
            if (cited := [row for row in machine.table if row.cite == name])
        ]
        yield f"*Stands in:* {'; '.join([*rows, *([one.elsewhere] if one.elsewhere else [])])}.\n"
        yield f"*Proved:* {'; '.join(_proof(name, one)) or 'with the machine; no property or dialect is about it alone'}."
    yield "\n## Other sources\n"
    yield "Advisories, changes and properties of data that rows and dialects cite. Names of files are those of Linux, Xen and"
    yield "NetBSD. [M, R and X](dialects.md) are dialects, [I and L](properties.md) are properties.\n"
    yield "| id | what it is about |"
    yield "|---|---|"
    for name, text in SOURCES.items():
        yield f"| {name} | {text} |"


def _proof(name: str, one: Decision) -> Iterator[str]:
    if one.needs:
        yield f"not yet, for want of {one.needs}"
    if one.properties:
        yield f"{'it is for' if one.needs else 'part of what proves'} {', '.join(one.properties)}"
    for dialect in ALL:
        if dialect.cite == name:
            yield f"{dialect.id}, the machine without it, breaks {', '.join(dialect.breaks)}"


def _registers() -> Iterator[str]:
    yield _MADE
    yield "# Registers of configuration space\n"
    yield "What `pvpci explain` knows of each register when the kernel says that a guest's write to it was dropped: what the"
    yield "driver loses, and the remedy (`host`: set it in dom0; `quirk`: open this register if the device misbehaves; `served`:"
    yield "xen-pciback has a field there, so that the notice cannot be about it). Offsets and widths are in bytes; the source is"
    yield "the name in Linux's `include/uapi/linux/pci_regs.h`. A capability without rows here is known by name only."
    yield from _register_rows("Header of type 0", TYPE_0)
    yield from _register_rows("Header of type 1 (bridges)", TYPE_1)
    for id_, kind in CAPABILITIES.items():
        title = f"`{id_:02x}` {kind.name}"
        if id_ == CAP_ID_MSI:
            yield from _register_rows(f"{title}, 32-bit address", MSI_32)
            yield from _register_rows(f"{title}, 64-bit address", MSI_64)
        elif kind.registers:
            yield from _register_rows(title, kind.registers)
    for id_, kind in EXTENDED.items():
        if kind.registers:
            yield from _register_rows(f"`{id_:04x}` {kind.name} (extended)", kind.registers)


def _register_rows(title: str, rows: tuple[Register, ...]) -> Iterator[str]:
    yield f"\n## {title}\n"
    yield "| offset | width | register | a driver whose write is dropped loses | remedy | source |"
    yield "|---|---|---|---|---|---|"
    for row in sorted(rows, key=lambda row: row.offset):
        yield f"| `{row.offset:02x}` | {row.width} | {row.name} | {row.loses} | {row.remedy.value} | `{row.cite}` |"


def write(docs: Path) -> list[Path]:
    """Write the pages below `docs`; the paths of those that changed."""
    changed = []
    for name, text in pages().items():
        path = docs / name
        if not path.exists() or path.read_text() != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            changed.append(path)
    return changed


if __name__ == "__main__":
    for written in write(Path(__file__).resolve().parents[1] / "docs"):
        print(written)
