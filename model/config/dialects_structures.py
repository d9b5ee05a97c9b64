# SPDX-License-Identifier: Apache-2.0
"""Bugs of BARs, of capabilities, of added fields and of what is left of a guest. See `dialects`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from pvpci.model.config import constants as pci
from pvpci.model.config.bugs import ConfigDialect, after
from pvpci.model.config.lanes import WORD
from pvpci.model.config.linux import LINUX_6_1_0, LINUX_6_1_63, messages_are
from pvpci.model.config.placing import IGNORED_MEM
from pvpci.model.config.profiles import Edit, in_program, layout, on_rows, program, reads, skip, steps, writes
from pvpci.model.config.programs import DROPPED, NEW, Place, Set, Step, Store, Structure, Writes, raw
from pvpci.model.config.state import ROM, bars, host
from pvpci.model.config.steps import bar_place
from pvpci.model.config.walk import Walk
from pvpci.model.kernel.terms import Bits, Update, choose, number

_HEADER: Final = "conf_space_header.c:"
_CAPABILITY: Final = "conf_space_capability.c:"
_STUB: Final = "pci_stub.c:"
_ALL_ONES: Final = NEW[4] == WORD
_SIZING: Final = {bar.sizing.variable for bar in bars}
_VPD_DATA: Final = Place(Structure.VPD, pci.VPD_DATA, 4)


def _gone(which: str, name: str) -> Edit:
    """One of the programs without the steps of that name."""
    return in_program(which, name, lambda step: None)


def _otherwise(change: Callable[[Bits], Bits]) -> Callable[[Step], Step]:
    """Something else is remembered."""

    def changed(step: Step) -> Step:
        assert isinstance(step, Set) and isinstance(step.update.value, Bits)
        return replace(step, update=Update(step.update.var, change(step.update.value)))

    return changed


def _still_sizing(step: Step) -> Step | None:
    return None if isinstance(step, Set) and step.update.var in _SIZING else step


def _bars_stay_lost(step: Step) -> bool:
    return step.name != "bar"


_NO_BARS: Final = on_rows(
    "PMCSR",
    lambda row: replace(row, writes=replace(row.writes, steps=tuple(filter(_bars_stay_lost, row.writes.steps)))),
)
_BYTES_MERGED: Final = on_rows("PMCSR", lambda row: replace(row, writes=replace(row.writes, ones=0)))
_COUNTED: Final = Set(host.enabled.becomes(host.enabled + 1))

STRUCTURE_DIALECTS: Final[tuple[ConfigDialect, ...]] = (
    # What Linux does, or did
    ConfigDialect(
        "CM14",
        "low bits that a kind of BAR does not have need not be ones",
        _HEADER + "bar_write, until 2016",
        ("C-31",),
        (writes("BAR0", Writes("all ones", (Set(bars[0].sizing.becomes(_ALL_ONES), name="sizing"),))),),
    ),
    ConfigDialect(
        "CM15",
        "a BAR is sized by a mask and not by the size",
        _HEADER + "read_dev_bar, 3.1 to 4.7",
        ("C-32",),
        (in_program("placing", "length", _otherwise(lambda was: number(32, 0) - was)),),
    ),
    ConfigDialect(
        "CM16",
        "the function's own BAR is not sized",
        _HEADER + "read_dev_bar, until 3.0",
        ("C-29", "C-35"),
        (after("BAR0", Store(bar_place(0), NEW[4], when=_ALL_ONES)),),
    ),
    ConfigDialect(
        "CM17",
        "PME_STATUS is cleared by the one that was read",
        _CAPABILITY + "pm_ctrl_write",
        ("C-44",),
        (writes("PMCSR", LINUX_6_1_63.row("PMCSR").writes),),
    ),
    ConfigDialect(
        "CM18",
        "a write of message control that has no effect is refused",
        _CAPABILITY + "until 5.5",
        ("C-45",),
        (writes("MSI_FLAGS", DROPPED), writes("MSIX_FLAGS", DROPPED)),
    ),
    ConfigDialect(
        "CM19",
        "messages may start while the line interrupt is on",
        _CAPABILITY + "msi_msix_flags_write, 5.6 to 6.1.62",
        ("C-48",),
        tuple(writes(row, LINUX_6_1_0.row(row).writes) for row in ("MSI_FLAGS", "MSIX_FLAGS")),
        LINUX_6_1_63,
    ),
    ConfigDialect(
        "M31",
        "a device model may mask all messages, and enable them again while the line counts as on",
        _CAPABILITY + "msi_msix_flags_write, 5.6 to 5.16",
        ("C-48",),
        messages_are(line_excludes=True, msix=pci.MSIX_FLAGS_ENABLE),
        LINUX_6_1_63,
    ),
    ConfigDialect(
        "CM26",
        "permissive mode ends with the guest",
        _STUB + "pcistub_put_pci_dev",
        ("C-65",),
        (_gone("forget", "permissive"),),
    ),
    ConfigDialect(
        "CM35",
        "enabling a function to look at it is taken back",
        _STUB + "pcistub_init_device, of a bridge",
        ("C-21",),
        (program("attach", (*LINUX_6_1_63.attach, _COUNTED)),),
        LINUX_6_1_63,
    ),
    ConfigDialect(
        "CM36",
        "no message is on when a guest is gone, whoever enabled it",
        _STUB + "pcistub_put_pci_dev",
        ("C-64",),
        (_gone("detach", "silence"),),
    ),
    ConfigDialect(
        "CM37",
        "a function that a guest leaves in D3hot is woken",
        _STUB + "pcistub_put_pci_dev",
        ("C-64",),
        (_gone("detach", "pmcsr"),),
    ),
    # Our own: BARs
    ConfigDialect("CX50", "no write moves a BAR", "C-29", ("C-29",), (after("BAR0", Store(bar_place(0), NEW[4])),)),
    ConfigDialect("CX51", "a BAR is the host's picture of it", "C-30", ("C-30",), (reads("BAR0", raw(4)),)),
    ConfigDialect(
        "CX52", "where no resource is, there is no BAR", "C-33", ("C-33",), (_gone("placing", "nothing here"),)
    ),
    ConfigDialect(
        "CX53",
        "each BAR is sized by itself",
        "C-34",
        ("C-34",),
        (after("BAR0", Set(bars[1].sizing.becomes(_ALL_ONES))),),
    ),
    ConfigDialect(
        "CX54",
        "the ROM's decoder is the host's",
        "C-36",
        ("C-36",),
        (after("ROM_ADDRESS", Store(bar_place(ROM), bars[ROM].address | (NEW[4] & pci.RESOURCE_ROM_ENABLE))),),
    ),
    ConfigDialect(
        "CX55",
        "an upper half has no low bits of its own",
        "C-37",
        ("C-37",),
        (in_program("placing", "ignored", _otherwise(lambda was: choose(was == 0, number(32, IGNORED_MEM), was))),),
    ),
    ConfigDialect(
        "CX56", "sizing ends with the guest", "C-38", ("C-38",), (in_program("forget", "forget", _still_sizing),)
    ),
    # Power management
    ConfigDialect(
        "CX57",
        "no write enables PME",
        "C-39",
        ("C-39",),
        (steps("PMCSR", "value", _otherwise(lambda was: was | (NEW[2] & pci.PM_CTRL_PME_ENABLE))),),
    ),
    ConfigDialect("CX58", "PME is off at the start", "C-39", ("C-39",), (_gone("attach", "no wake-up"),)),
    ConfigDialect("CX59", "PME is not offered", "C-40", ("C-40",), (reads("PMC", raw(2)),)),
    ConfigDialect("CX60", "from a deep state the way leads to D0", "C-41", ("C-41",), (skip("PMCSR", "shallower"),)),
    ConfigDialect(
        "CX61", "a function is asked only for states that it has", "C-41", ("C-41",), (skip("PMCSR", "unsupported"),)
    ),
    ConfigDialect("CX62", "waking up brings the BARs back", "C-42", ("C-42",), (_NO_BARS,)),
    ConfigDialect("CX63", "a byte that was not sent clears nothing", "C-44", ("C-44",), (_BYTES_MERGED,)),
    # Other capabilities
    ConfigDialect("CX64", "F is never set", "C-43", ("C-43",), (skip("VPD_ADDR", "no writing"),)),
    ConfigDialect(
        "CX65", "vital product data is read only", "C-43", ("C-43",), (after("VPD_DATA", Store(_VPD_DATA, NEW[4])),)
    ),
    ConfigDialect(
        "CX66", "messages are set up by operations", "C-45", ("C-45",), (skip("MSI_FLAGS", "not the guest's"),)
    ),
    ConfigDialect(
        "CX67", "one kind of message at a time", "C-46", ("C-46",), (skip("MSIX_FLAGS", "one kind at a time"),)
    ),
    ConfigDialect(
        "CX68",
        "how many messages there are is not a guest's to say",
        "C-47",
        ("C-47",),
        (skip("MSI_FLAGS", "fixed bits"),),
    ),
    ConfigDialect(
        "CX69", "interrupt control ends with the guest", "C-49", ("C-49",), (_gone("forget", "interrupt control"),)
    ),
    ConfigDialect("CX70", "a capability's header is never written", "C-50", ("C-50",), (layout(headers_stay=False),)),
    ConfigDialect("CX71", "the walk is bounded", "C-51", ("C-51",), (layout(walk=Walk(bounded=False)),)),
    ConfigDialect("CX72", "the walk stays out of the header", "C-51", ("C-51",), (layout(walk=Walk(outside=False)),)),
    ConfigDialect("CX73", "a place is named once", "C-51", ("C-51",), (layout(walk=Walk(once=False)),)),
    # Added fields, and what is left of a guest
    ConfigDialect("CX74", "the row that is first stays", "C-52", ("C-52",), (layout(first_stays=False),), LINUX_6_1_63),
    ConfigDialect("CX75", "added fields end with the guest", "C-54", ("C-54",), (_gone("forget", "added fields"),)),
    ConfigDialect("CX76", "the header is put back", "C-64", ("C-64",), (_gone("detach", "restore"),)),
    ConfigDialect(
        "CX77",
        "the interrupt line is a note to software, and kept",
        "C-64",
        ("C-64",),
        (after("INTERRUPT_LINE", Store(Place(Structure.HEADER, pci.INTERRUPT_LINE, 1), NEW[1])),),
    ),
    ConfigDialect("CX78", "each guest's first dropped write is told", "C-65", ("C-65",), (_gone("forget", "told"),)),
)
