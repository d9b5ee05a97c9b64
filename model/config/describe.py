# SPDX-License-Identifier: Apache-2.0
"""The manual's page on the header, written from the table and the rules, so that it cannot say anything else."""

from __future__ import annotations

from typing import Final

from pvpci.model.config.fields import Field
from pvpci.model.config.header import HEADER, power_capabilities
from pvpci.model.config.strict import RULES, Seen

_INTRODUCTION: Final = """\
<!-- Generated from model/config by pvpci.model.config.describe.render_table; a test keeps it up to date. -->
# Configuration space: the type-0 header

What a guest reads and what its writes do, in the profile `strict`. A request is 1, 2 or 4 aligned bytes inside the
function's own 256 or 4096 bytes; anything else is answered with -2, a read then with value 0. Bytes in no row are read
from the function. A write that meets no row is accepted and dropped, and the first one of each guest is reported; a
write that meets a row changes nothing beside it.

## Fields

In the order of registration. Offsets and widths are in bytes.

| Offset | Width | Field | The guest reads | A write does | Source (drivers/xen/xen-pciback) |
|---|---|---|---|---|---|
"""

_RULES: Final = """
PMC is there only if the function has the power management capability.

Enabling, that is the first write of COMMAND with IO or MEMORY set, turns on the decoding that the function's resources
need and clears INTX_DISABLE if the function has an interrupt pin and neither MSI nor MSI-X is enabled. A conventional
function that becomes master with a latency timer below 16 gets 64. Before INVALIDATE is turned on, a function whose
cache line size does not suit the host is given the host's; if it does not keep it, INVALIDATE stays off and that is
reported once.

## Where this differs from Linux

`pciback` of Linux 6.1, not permissive. The last column is where a guest can read the difference, as register and bits;
the header in a dump may differ from one taken under Linux there and nowhere else.

| Rule | Here | Linux 6.1 | Why | Seen at |
|---|---|---|---|---|
"""


def render_table() -> str:
    """The whole page, as Markdown."""
    rows = [_row(field, f"`{field.offset:02x}`") for field in HEADER]
    rows.append(_row(power_capabilities(0x40), "PM + 2"))
    rules = [
        f"| `{rule.name}` | {rule.strict} | {rule.linux} | {rule.why} | {', '.join(map(_seen, rule.seen)) or '-'} |"
        for rule in RULES
    ]
    return _INTRODUCTION + "\n".join(rows) + "\n" + _RULES + "\n".join(rules) + "\n"


def _row(field: Field, where: str) -> str:
    return f"| {where} | {field.width} | {field.name} | {field.reads.says} | {field.writes.says} | `{field.cite}` |"


def _seen(seen: Seen) -> str:
    return f"`{seen.offset:02x}` `{seen.bits:0{seen.width * 2}x}`"
