# SPDX-License-Identifier: Apache-2.0
"""What is claimed of the interrupt machine, against a guest that asks for anything at any time and a hypervisor that
refuses anything.

The notes speak of Linux's handler on the line, which a backend in user space cannot have: what they say of its
acknowledging is said here of the line itself, INTX_DISABLE.
"""

from __future__ import annotations

from typing import Final

from pvpci.model.config.messages import MOST_MESSAGES
from pvpci.model.interrupts import BUSY, MOST_PIRQ, REST, At, fn, irq, refused_msi, seen, world
from pvpci.model.kernel.claims import Claim, always, leads_to
from pvpci.model.kernel.tables import Machine
from pvpci.model.wire import Err

_ON: Final = (At.MSI, At.MSIX)


def claims(machine: Machine) -> tuple[Claim, ...]:
    """The safety properties, and that every operation ends."""
    rest = machine.at.among(*REST)
    failed = rest & seen.enabling & (irq.err != 0)
    in_use = machine.at.among(*_ON) & (seen.one < irq.vectors)
    return (
        always("one_kind_at_a_time", "I-41", ~(world.msi & world.msix)),
        always("enabling_what_is_on_changes_nothing", "I-42",
               (rest & seen.enabling & seen.before.among(*_ON)).implies(~seen.moved & (machine.at == seen.before))),
        always("the_line_is_quiet_while_messages_are_on", "I-43",
               ((world.msi | (world.msix & ~world.masked)) & ~irq.loud & rest).implies(~world.open)),
        always("the_line_changes_only_with_the_kind", "I-44",
               (machine.at.among(At.OFF, *_ON) & (machine.at == seen.before)).implies(world.open == seen.open_before)),
        always("the_table_is_touched_only_while_memory_is_decoded", "I-45",
               (machine.at.among(At.MASKING, At.MAPPING, At.OPENING) & irq.msix).implies(seen.decoding)),
        always("what_is_mapped_is_what_was_handed_out", "I-47",
               (machine.at == At.OFF).implies(world.mapped == 0)
               & ((machine.at == At.MSI) & ~world.dead).implies(world.mapped == 1)
               & ((machine.at == At.MSIX) & ~world.dead).implies(world.mapped == irq.count)
               & (in_use & ~world.dead).implies(seen.mapped)),
        always("every_vector_is_the_guests", "I-48", ~seen.for_host),
        always("off_means_silent_and_empty", "I-49",
               (machine.at == At.OFF).implies(~world.msi & ~world.msix & (world.mapped == 0))),
        always("a_vectors_number_fits_its_entry", "I-50", in_use.implies((seen.pirq != 0) & (seen.pirq <= MOST_PIRQ))),
        always("every_number_of_a_block_can_be_told", "I-50",
               in_use.implies((world.block != 0) & (seen.pirq + world.block - 1 <= MOST_PIRQ))),
        always("a_block_has_as_many_messages_as_were_asked_for", "D-16",
               ((machine.at == At.MSI) & seen.enabling & (seen.before == At.OFF)).implies(
                   (seen.wanted != 0) & (seen.wanted <= world.block) & (world.block < seen.wanted + seen.wanted)
                   & (world.block & (world.block - 1) == 0) & (world.block <= MOST_MESSAGES) & seen.capable)),
        always("no_message_is_told_apart_that_is_not_mapped", "D-17", world.msi.implies(world.multiple <= world.block)),
        always("as_many_are_told_apart_as_are_mapped", "D-17", (machine.at == At.MSI).implies(world.multiple == world.block)),
        always("a_line_that_is_shared_is_never_opened", "I-51", fn.shared.implies(~seen.opened)),
        always("a_failed_enable_leaves_nothing_behind", "I-52",
               (failed & (seen.before == At.OFF)).implies(
                   machine.at.among(At.OFF, At.STUCK)
                   & (machine.at == At.OFF).implies((world.mapped == 0) & ~world.msi & ~world.msix))),
        always("the_answer_is_what_happened", "D-05",
               ((machine.at == At.MSI) & seen.enabling & (seen.before == At.OFF) & (seen.one == 0) & ~world.dead).implies(
                   (irq.err == 0) & (irq.value == seen.pirq))
               & ((machine.at == At.MSIX) & seen.enabling & (seen.before == At.OFF)).implies(
                   (irq.err == 0) & (irq.value == 0))),
        always("an_enable_of_msi_that_did_not_turn_it_on_is_told_to_have_failed", "D-05",
               (rest & refused_msi).implies((irq.err == Err.OP_FAILED) & (irq.value == 0))),
        always("turned_off_is_off", "D-06", (rest & seen.turning_off).implies(machine.at.among(At.OFF, At.STUCK))),
        leads_to("every_operation_ends", "D-07", machine.at.among(*BUSY), rest | (machine.at == At.LOST), fair=("backend",)),
    )  # fmt: skip
