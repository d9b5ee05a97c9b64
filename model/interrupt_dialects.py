# SPDX-License-Identifier: Apache-2.0
"""Bugs of interrupts as differences against the reference; see `model.dialects`."""

from __future__ import annotations

from typing import Final

from pvpci.model.interrupts import (
    LET_GO,
    LOOK,
    MAP,
    MOST_PIRQ,
    OPEN_BLOCK,
    SWITCH,
    At,
    EnableMsix,
    Kind,
    Line,
    Looked,
    Mapped,
    Resume,
    choice,
    entries,
    irq,
    last,
    msi,
    msix,
    one_message,
    sane,
)
from pvpci.model.kernel.dialects import Dialect, Edit, change, drop
from pvpci.model.kernel.terms import NEVER, choose

_MACHINE: Final = "interrupts"
_SILENT: Final = SWITCH(choice(Kind.NONE), choice(Line.QUIET))
_WIDE: Final = SWITCH(choice(Kind.NONE), choice(Line.OPEN))
_first_fits: Final = (Mapped.pirq != 0) & (Mapped.pirq <= MOST_PIRQ)
_SAME: Final = SWITCH(choose(irq.msix, choice(Kind.MSIX), Kind.MSI), choice(Line.LEAVE))


def _one(id: str, title: str, cite: str, breaks: str, *edits: Edit) -> Dialect:
    return Dialect(id, title, _MACHINE, cite, edits, tuple(breaks.split()), _MACHINE)


def _decoding(own: bool) -> tuple[Edit, ...]:
    """Whether memory is decoded is asked of the function's own COMMAND, or not at all."""
    asked = irq.msix & Looked.own if own else irq.msix
    name = "LOOKING->OFF (not decoding)"
    refused = change(name, when=irq.msix & ~Looked.own) if own else drop(name)
    return (
        refused,
        change("LOOKING->OFF (entries)", when=asked & ~entries),
        change("LOOKING->OFF (not prepared)", when=asked & entries & ~Looked.prepared),
        change("LOOKING->MASKING", when=asked & entries & Looked.prepared),
    )


INTERRUPT_DIALECTS: Final = (
    _one("M03", "MSI that is on is not enabled again", "XSA-157", "I-42",
         change("MSI->MSI", then=msi, asks=(LOOK(False, 1),), next=At.LOOKING)),
    _one("M04", "MSI-X is not enabled over MSI", "XSA-157", "I-41 I-42",
         change("MSI->MSI (MSI-X)", then=msix, asks=(LOOK(True, EnableMsix.count),), next=At.LOOKING)),
    _one("M05", "the line is quiet while messages are on", "XSA-157", "I-43",
         change("MAPPING->OPENING", asks=(_SAME,))),
    _one("M06", "turning off what is off leaves the line alone", "XSA-157", "I-44",
         change("OFF->OFF (disable MSI)", asks=(LET_GO,), next=At.QUIETING)),
    _one("M07", "MSI-X needs memory decoding", "CVE-2015-8553", "I-45", *_decoding(own=False)),
    _one("M08", "the physical function decodes for a virtual one", "8d47065f7d19", "I-45", *_decoding(own=True)),
    _one("M36", "what an error leaves mapped is given back", "XSA-237", "I-47 I-49",
         change("QUIETING->UNMAPPING", asks=(), next=At.OFF, name="forgotten")),
    _one("R08", "a vector is the guest's from the start", "xen.c:xen_initdom_setup_msi_irqs", "I-48",
         change("LOOKING->MAPPING (MSI)", asks=(MAP(0, False),))),
    _one("R09", "a failed enable leaves the line as it was", "pciback_ops.c:xen_pcibk_enable_msix", "I-44",
         change("MAPPING->QUIETING (MSI-X)", asks=(_SILENT,))),
    _one("R21", "a line that is shared stays quiet", "pci_stub.c:irq_handler_state_store", "I-51",
         change("MSI->QUIETING (disable)", asks=(_WIDE,))),
    _one("R26", "an enable that fails at its end is undone", "pciback_ops.c:xen_pcibk_do_one_op", "I-52 I-47",
         change("OPENING->QUIETING", asks=(), next=At.OFF)),
    _one("X41", "a frontend that says MSI and means MSI-X gets its vectors back", "D-06",
         "D-06", change("MSIX->QUIETING (disable MSI)", asks=(), next=At.MSIX)),
    _one("X42", "a function that goes is silent", "pciback_ops.c:xen_pcibk_reset_device", "I-49",
         change("MSIX->QUIETING (reset)", asks=(), next=At.OFF)),
    _one("X43", "a number that does not fit its entry is none", "pciif.h:struct xen_msix_entry", "I-50",
         change("MAPPING->OPENING", when=Mapped.ok & last & one_message), drop("MAPPING->QUIETING (no number)"),
         change("MAPPING->MAPPING", when=Mapped.ok & ~last)),
    _one("X44", "the answer is the number of the vector", "D-05", "D-05",
         change("MAPPING->OPENING", then=(irq.vectors.becomes(irq.vectors + 1), irq.err.becomes(0), irq.value.becomes(1)))),
    _one("X45", "a vector is given back once", "D-07", "D-07",
         change("UNMAPPING->UNMAPPING", then=())),
    _one("X47", "what was kept half-way is not believed", "I-47", "I-47",
         change("LOST->MSIX", when=Resume.on & irq.msix), change("LOST->QUIETING (taken up in part)", when=NEVER),
         change("LOST->MSI", when=Resume.on & ~irq.msix), change("LOST->OFF", when=~Resume.on)),
    _one("X48", "what a dead process had is given back", "I-49", "I-49 I-47",
         change("LOST->QUIETING (taken up in part)", then=(), asks=(), next=At.OFF)),
    _one("X49", "a block has as many messages as were asked for", "RB-16", "D-16 D-17",
         change("LOOKING->MAPPING (block)", asks=(MAP(0, True),))),
    _one("X50", "the last number of a block fits too", "pciif.h:struct xen_msix_entry", "I-50",
         change("MAPPING->OPENING (block)", when=Mapped.ok & _first_fits & last & ~one_message),
         change("MAPPING->QUIETING (no number)", when=Mapped.ok & ~sane & (one_message | ~_first_fits))),
    _one("X51", "no more messages are told apart than are mapped", "RB-16", "D-17",
         change("MAPPING->OPENING (block)", asks=(OPEN_BLOCK(irq.block + irq.block),))),
    _one("X52", "a function has as many messages as are mapped", "RB-16", "D-16",
         change("LOOKING->MAPPING (block)", when=~irq.msix & Looked.present & ~one_message),
         change("LOOKING->OFF (not so many)", when=~irq.msix & Looked.present & ~Looked.fits & one_message)),
    _one("X55", "a block that there is not is a failure", "RB-16", "D-05",
         change("OFF->OFF (no such block)", then=())),
    _one("X46", "what cannot be given back is kept in mind", "physdev.h:PHYSDEVOP_unmap_pirq", "I-49",
         change("UNMAPPING->STUCK (kept)", next=At.OFF)),
)  # fmt: skip
