# SPDX-License-Identifier: Apache-2.0
"""What is claimed of the request machine. The identifiers are those of the protocol notes, D-nn are about data.

Claims are made from the machine that is looked at, not from the reference: a dialect with rows of its own is asked
about those rows too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Final

from pvpci.model.kernel.claims import Claim, always, by_construction, each_step, leads_to
from pvpci.model.kernel.tables import Access, Machine, Row, access_of
from pvpci.model.kernel.terms import Flag, after, all_of, any_of, choose
from pvpci.model.op import (
    ANSWERING,
    DISPATCH,
    HAND_OUT,
    LONGEST_PAUSE,
    NOTIFY,
    PERFORM,
    PERFORM_BLOCK,
    SEEK,
    UNMASK,
    At,
    allowed,
    answer,
    copy,
    enables_block,
    enables_msix,
    implemented,
    my,
    reads,
    seen,
    sound,
    too_many,
    writes,
)  # fmt: skip
from pvpci.model.shared import channel, flags, link, page
from pvpci.model.wire import EINVAL, MAX_VECTORS, Cmd, Err

PAGE_CELLS: Final = ("flags", "request")


def _at(machine: Machine, places: Iterable[Enum]) -> Flag:
    return machine.at.among(*dict.fromkeys(places))


def _using_page(machine: Machine) -> Flag:
    """Somewhere from where the next step touches the page."""
    return _at(machine, (
        row.source for row in machine.table
        if machine.cell(row.source, row.event) in PAGE_CELLS or any(ask.effect is HAND_OUT for ask in row.asks)
    ))  # fmt: skip


def _using_port(machine: Machine) -> Flag:
    return _at(
        machine, (row.source for row in machine.table if any(ask.effect in (NOTIFY, UNMASK) for ask in row.asks))
    )


def _decides_on_the_page(machine: Machine) -> Sequence[tuple[str, str]]:
    """In dispatch only the question "is it still the same?" may look at the request in the page."""
    looks = {At.CLAIMED, At.STANDING}
    return [
        (row.key, f"looks at {', '.join(sorted(var.name for var in row.reads if var.cell == 'request'))}")
        for row in machine.table
        if row.source not in looks and any(var.cell == "request" for var in row.reads)
    ]


def _writes_elsewhere(machine: Machine) -> Sequence[tuple[str, str]]:
    """The answer, and the one flag bit: nothing else in the page is ours to write."""
    allowed = {page.err.variable, page.value.variable, flags.active.variable}
    return [
        (row.key, f"writes {var.name}") for row in machine.table for var in row.writes
        if var.cell in PAGE_CELLS and var not in allowed
    ]  # fmt: skip


def _follows(machine: Machine, start: Row, stop: Enum) -> list[Row]:
    """All rows that can follow `start` before `stop` is entered again."""
    found: list[Row] = []
    waiting = [start.next]
    while waiting:
        place = waiting.pop()
        for row in machine.table:
            if row.source is place and row not in found:
                found.append(row)
                if row.next is not stop:
                    waiting.append(row.next)
    return found


def _out_of_order(machine: Machine) -> Sequence[tuple[str, str]]:
    """Results, then the flag, then the ring, then not busy; the flag is tested again only after that."""
    complaints: list[tuple[str, str]] = []
    for row in machine.table:
        if any(update.var is flags.active.variable for update in row.then):
            for later in _follows(machine, row, At.CLAIMED):
                if any(var.cell == "request" for var in later.writes) or any(a.effect is HAND_OUT for a in later.asks):
                    complaints.append((later.key, "stores an answer after the flag was cleared"))
        elif row.next is At.CLEARED and row.source is not At.CLEARED:
            complaints.append((row.key, "goes on without having cleared the flag"))
        clears_busy = any(u.var is my.busy.variable and u.value.op == "const" and not u.value.number for u in row.then)
        if clears_busy and any(a.effect is NOTIFY for later in _follows(machine, row, At.CLAIMED) for a in later.asks):
            complaints.append((row.key, "lets go before the guest is rung"))
    return complaints


def _not_locked(machine: Machine) -> Sequence[tuple[str, str]]:
    return [
        (row.key, "changes the flag word without a locked instruction") for row in machine.table
        if any(var.cell == "flags" for var in row.writes) and access_of(row) is not Access.LOCKED
    ]  # fmt: skip


def _works_in_the_upcall(machine: Machine) -> Sequence[tuple[str, str]]:
    """What may sleep is asked for only once the request is ours and the event is out of the way."""
    return [
        (row.key, f"asks for {ask.effect.name} while the event is being judged") for row in machine.table for ask in row.asks
        if ask.effect in (PERFORM, PERFORM_BLOCK, SEEK) and row.source not in DISPATCH
    ]  # fmt: skip


def _copies_in_part(machine: Machine) -> Sequence[tuple[str, str]]:
    """A copy takes every field of the header from the field of the same name."""
    return [
        (row.key, f"does not take {name} as it stands in the page")
        for row in machine.table
        if access_of(row) is Access.COPY
        for name, field in copy.fields.items()
        if not any(u.var is field.variable and u.value.var is page.fields[name].variable for u in row.then)
    ]


def claims(machine: Machine) -> tuple[Claim, ...]:
    """Against any guest. The page is not remembered: whatever is found in it at any look is possible."""
    place = machine.at
    dispatch = place.among(*DISPATCH[2:])
    answering = place.among(*ANSWERING)
    over = place.among(At.CLEARED, At.TOLD)
    storing = place.among(At.MATCHED, At.ERR_STORED, At.VALUE_STORED, At.STORED)
    msix_done = enables_msix & (answer.err == 0) & seen.performed
    asked = all_of((
        seen.asked_cmd == copy.cmd, seen.asked_domain == copy.domain, seen.asked_bus == copy.bus,
        seen.asked_devfn == copy.devfn, seen.asked_offset == copy.offset, seen.asked_size == copy.size,
        seen.asked_value == copy.value, enables_block.implies(seen.asked_info == copy.info),
    ))  # fmt: skip
    sought = (seen.sought_domain == copy.domain) & (seen.sought_bus == copy.bus) & (seen.sought_devfn == copy.devfn)
    config = reads | writes
    enough = any_of((seen.idle == k) & (after(seen.waited) >= min(1 << (k - 2), LONGEST_PAUSE)) for k in range(2, 21))
    return (
        always("what_is_asked_is_what_was_copied", "I-26", (dispatch & seen.performed).implies(asked) & dispatch.implies(sought)),
        by_construction("the_whole_request_is_copied", "I-26", machine.name, _copies_in_part),
        by_construction("only_the_copy_decides", "I-26", machine.name, _decides_on_the_page),
        always(
            "as_many_vectors_as_were_asked_for", "I-27",
            place.among(At.STORED, At.CLEARED, At.TOLD).implies(seen.handed == choose(msix_done, seen.posted_value, 0))
            & (seen.handed <= MAX_VECTORS),
        ),
        by_construction("only_the_answer_is_written", "I-28", machine.name, _writes_elsewhere),
        always(
            "too_many_vectors_are_refused", "I-27",
            (answering & seen.known & enables_msix & too_many).implies(
                (answer.err == -EINVAL) & (answer.value == copy.value) & ~seen.performed
            ),
        ),
        always("busy_is_in_dispatch", "I-29", place.among(*DISPATCH).implies(my.busy)),
        each_step(
            "one_request_at_a_time", "I-29", ~my.busy, by="backend",
            given=(place != At.CLAIMED) & (after(place) == At.CLAIMED),
        ),
        by_construction("results_flag_ring_and_only_then_idle", "I-30", machine.name, _out_of_order),
        always("not_busy_when_the_flag_is_tested", "I-30", place.among(At.TAKEN, At.AGAIN, At.RETAKEN).implies(~my.busy)),
        always("answered_at_most_once", "I-31", seen.cleared <= 1),
        always("cleared_only_after_the_answer", "I-31", over.implies(seen.stored & (seen.cleared == 1))),
        each_step("stored_only_after_the_last_check", "I-31", place == At.STANDING, by="backend",
                  given=(place != At.MATCHED) & (after(place) == At.MATCHED)),
        each_step("the_last_check_follows_the_flag", "I-31", place == At.TIMELY, by="backend",
                  given=(place != At.STANDING) & (after(place) == At.STANDING)),
        each_step("the_flag_follows_the_clock", "I-31", place == At.TIMED, by="backend",
                  given=(place != At.TIMELY) & (after(place) == At.TIMELY)),
        always("stored_in_time", "I-31", storing.implies(~seen.late)),
        always("stored_while_it_is_asked", "I-31", storing.implies(seen.standing)),
        always("stored_over_its_own_request", "I-31", storing.implies(seen.matched)),
        by_construction("flags_change_by_locked_instructions", "I-32", machine.name, _not_locked),
        always("no_page_no_access", "I-33", _using_page(machine).implies(link.mapped)),
        always("no_channel_no_use", "I-33", _using_port(machine).implies(link.bound)),
        always("looked_up_before_anything_is_done", "I-34", (place == At.ASKED).implies(seen.known)),
        always(
            "unknown_functions_are_not_found", "I-34",
            (answering & ~seen.known).implies((answer.err == Err.DEV_NOT_FOUND) & ~seen.performed),
        ),
        always("only_aligned_and_inside", "I-35", (dispatch & seen.performed & config).implies(sound)),
        always("the_function_s_own_size_counts", "I-35", place.among(At.FOUND, At.ASKED).implies(my.reach == seen.reach)),
        always(
            "refused_as_invalid_offset", "I-35",
            (answering & seen.known & config & ~sound).implies((answer.err == Err.INVALID_OFFSET) & (answer.value == choose(~reads, copy.value, 0)) & ~seen.performed),
        ),
        always(
            "what_is_refused_is_echoed", "I-36",
            (answering & ~seen.known).implies(answer.value == copy.value)
            & (answering & seen.known & ~implemented).implies(
                (answer.err == Err.NOT_IMPLEMENTED) & (answer.value == copy.value)
            ),
        ),
        always(
            "several_messages_are_unknown_unless_that_was_asked_for", "I-36",
            (answering & seen.known & (copy.cmd == Cmd.ENABLE_MULTI_MSI) & ~allowed.multi_msi).implies(
                (answer.err == Err.NOT_IMPLEMENTED) & (answer.value == copy.value) & ~seen.performed
            ),
        ),
        always("every_refusal_is_written", "I-36", over.implies(seen.stored)),
        by_construction("nothing_sleeps_in_the_upcall", "I-38", machine.name, _works_in_the_upcall),
        always("an_event_is_given_back_at_most_once", "I-39", seen.returned <= 1),
        always("an_event_is_held_while_we_are_at_it", "I-39", my.held == (place != At.IDLE)),
        always("an_idle_port_is_open", "I-39", ((place == At.IDLE) & link.bound).implies(~channel.masked)),
        always("nothing_was_overlooked", "I-40", (place == At.NOTHING).implies(~seen.overlooked)),
        always("every_answer_is_rung", "L-05", (place == At.TOLD).implies((seen.cleared == 1) & (seen.rung == 1))),
        always("nothing_dropped_is_rung", "L-05", (place == At.DROPPED).implies((seen.cleared == 0) & (seen.rung == 0))),
        always("one_request_a_turn", "L-09", seen.turns <= 1),
        each_step(
            "idle_rings_cost_more_and_more", "L-11", (after(place) == At.PAUSED) & enough, by="backend",
            given=(place == At.NOTHING) & (after(place) != At.NOTHING) & (seen.idle >= 2),
        ),
        always(
            "what_is_answered_is_what_the_host_said", "D-01",
            (answering & seen.performed).implies(
                (answer.err == seen.done_err) & (answer.value == choose(writes, copy.value, seen.done_value))
            ),
        ),
    )  # fmt: skip


def progress(machine: Machine) -> tuple[Claim, ...]:
    """With an honest guest that waits, over the page as it is."""
    return (
        leads_to(
            "every_request_is_answered", "L-04",
            flags.active & link.bound & ~link.closing & (channel.pending | my.busy), ~flags.active | link.closing,
            fair=("backend",),
        ),
        leads_to(
            "no_path_loses_the_end_of_interrupt", "L-10",
            channel.masked & link.bound & ~flags.active, ~channel.masked | ~link.bound, fair=("backend",),
            within=~flags.active,
        ),
    )  # fmt: skip


def dies(machine: Machine) -> tuple[Claim, ...]:
    """With an honest guest that waits, and a backend that dies at any step: nothing is done twice, and all is answered."""
    return (
        always("a_change_is_begun_at_most_once", "D-10", ~seen.repeated),
        *progress(machine),
    )
