# SPDX-License-Identifier: Apache-2.0
"""The manual's page on configuration space, written from the tables and the rules, so that it cannot say anything else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pvpci.model.config import constants as pci
from pvpci.model.config.capabilities import SHOWN, head, linked, message_rows
from pvpci.model.config.linux import LINUX_6_1_63
from pvpci.model.config.profiles import STRICT, Profile
from pvpci.model.config.programs import Field, Structure
from pvpci.model.config.strict import ALL, EACH, RULES, Seen
from pvpci.model.config.table import header_row
from pvpci.model.kernel.terms import number

_INTRODUCTION: Final = """\
# Configuration space

What a guest reads and what its writes do. A request is 1, 2 or 4 aligned bytes inside what the guest is shown of the
function, 256 bytes or all of it; anything else is answered with -2, a read then with value 0. Bytes in no row are read
from the function. A write that meets no row is accepted and dropped, and the first one of each guest is reported
(permissive: it is written, and the first one is reported). A write that meets a row changes nothing beside it.

## Fields in the profile `strict`

In the order of registration. Offsets and widths are in bytes; a capability's offsets count from its start.

"""

_TABLE: Final = """\
| Offset | Width | Field | The guest reads | A write does | Source (drivers/xen/xen-pciback) |
|---|---|---|---|---|---|
"""

_CHAIN: Final = """
A capability without fields stays in the guest's list only if reading it is harmless and drivers depend on it:

| Id | Why it is shown |
|---|---|
"""

_LINUX: Final = """
## Fields that Linux serves otherwise

The profile `linux-6.1.63`, where it differs from the table above. It also has the registers of a bridge's header: BAR0,
BAR1 and the ROM at `38`.

"""

_RULES: Final = """
## Where this differs from Linux, and why

`pciback` of Linux 6.1, not permissive. The last column is where a guest can read the difference: bytes, or
a register and its bits; what stands without a capability counts from the start of the function. A dump may differ from
one taken under Linux there and nowhere else.

| Rule | Here | Linux 6.1 | Why | Seen at |
|---|---|---|---|---|
"""


def render_table() -> str:
    """The whole page, as Markdown."""
    strict = [_row(row) for row in rows(STRICT)]
    shown = [f"| `{id:02x}` | {why} |" for id, why in SHOWN.items()]
    ours = {row.name: row for row in rows(STRICT)}
    linux = [_row(row) for row in rows(LINUX_6_1_63) if row.name not in ours or not _alike(row, ours[row.name])]
    rules = [
        f"| `{rule.name}` | {rule.strict} | {rule.linux} | {rule.why} | {', '.join(map(_seen, rule.seen)) or '-'} |"
        for rule in RULES
    ]
    return (
        _INTRODUCTION + _TABLE + "\n".join(strict) + "\n" + _CHAIN + "\n".join(shown) + "\n" + _LINUX + _TABLE
        + "\n".join(linux) + "\n" + _RULES + "\n".join(rules) + "\n"
    )  # fmt: skip


def rows(profile: Profile) -> Iterator[Field]:
    """Every row that a function with a normal header can have, in the order of registration."""
    yield from profile.normal
    if profile.layout.chain:
        yield head(number(8, 0))
    for structure, found in profile.structures.items():
        yield linked(structure, number(16, 0)) if profile.layout.chain else header_row(structure)
        yield from found
        if structure is Structure.MSI and profile.layout.own_messages:
            yield from message_rows(pci.MSI_FLAGS_64BIT | pci.MSI_FLAGS_MASKBIT)


def _alike(one: Field, two: Field) -> bool:
    return one.reads.says == two.reads.says and one.writes.says == two.writes.says


def _row(row: Field) -> str:
    base = "" if row.structure is Structure.HEADER else f"{row.structure.name} + "
    where = f"{base}`{row.offset:02x}`"
    return f"| {where} | {row.width} | {row.name} | {row.reads.says} | {row.writes.says} | `{row.cite}` |"


def _seen(seen: Seen) -> str:
    base = {0: "", EACH: "each capability + "}.get(seen.capability, f"capability {seen.capability:02x} + ")
    if seen.bits == ALL:
        last = seen.offset + seen.width - 1
        return f"{base}`{seen.offset:02x}`" if seen.width == 1 else f"{base}`{seen.offset:02x}-{last:02x}`"
    return f"{base}`{seen.offset:02x}` `{seen.bits:0{seen.width * 2}x}`"
