# SPDX-License-Identifier: Apache-2.0
"""What is claimed of the connection: what its states mean, who may write what, and that nothing waits for ever."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pvpci.model.connection import (
    NOBODYS,
    REPORT,
    WARN,
    After,
    At,
    attached,
    fe,
    mine,
    online,
    open_,
    own,
    posted,
    unclosed,
)
from pvpci.model.frontend import At as Front
from pvpci.model.frontend import front
from pvpci.model.kernel.claims import Claim, always, by_construction, each_step, leads_to
from pvpci.model.kernel.tables import Machine
from pvpci.model.kernel.terms import Flag, after
from pvpci.model.shared import kept, link, nodes, watches
from pvpci.model.states import Xenbus as S

#: what we may write over what (`I-10`); 1 to 5 and 6 after a node was replaced does not occur, we start anew
EDGES: Final = {
    S.INITIALISING: (S.INIT_WAIT,),
    S.INIT_WAIT: (S.INITIALISED, S.CLOSING, S.CLOSED),
    S.INITIALISED: (S.CONNECTED, S.CLOSING, S.CLOSED),
    S.CONNECTED: (S.CLOSING, S.CLOSED),
    S.CLOSING: (S.CLOSED,),
    S.CLOSED: (S.INIT_WAIT,),
    S.RECONFIGURING: (S.RECONFIGURED, S.CLOSING, S.CLOSED),
    S.RECONFIGURED: (S.CONNECTED, S.CLOSING, S.CLOSED),
}

_wrote: Final = own != after(own)  # a step that changed our state
_relooks: Final = mine.at.among(At.LOOK, At.FRESH, At.CLOSE, At.QUIET, At.UNBOUND, At.SETTLE, At.RELEASING)


def _edges() -> Flag:
    allowed = [(own == old) & after(own).among(*new) for old, new in EDGES.items()]
    result = allowed[0]
    for flag in allowed[1:]:
        result = result | flag
    return result


def _logs_freely(machine: Machine) -> Sequence[tuple[str, str]]:
    """A line that a guest can cause is written once for each instance."""
    return [
        (row.key, "warns as often as the guest likes")
        for row in machine.table
        if any(ask.effect is WARN for ask in row.asks) and mine.told.variable not in row.writes
    ]


def _fails_silently(machine: Machine) -> Sequence[tuple[str, str]]:
    return [
        (row.key, "gives up without a report")
        for row in machine.table
        if row.source is At.SETTLE
        and any(ask.effect is REPORT for ask in row.asks) is ("failed" not in row.name)
    ]  # fmt: skip


def claims(machine: Machine) -> tuple[Claim, ...]:
    """Against any guest and any toolstack, over the store as it is."""
    del machine
    by = "backend"
    return (
        each_step("connected_is_written_attached", "I-01", attached, by=by, given=_wrote & (after(own) == S.CONNECTED)),
        always("closed_means_nothing_is_held", "I-02", ((own == S.CLOSED) & link.mapped).implies(watches.back | _relooks)),
        always("an_orphaned_page_is_let_go", "I-02",
               (own.among(S.UNKNOWN, S.INITIALISING) & link.mapped).implies(watches.back | _relooks)
               | ~mine.at.among(At.HERE)),
        always("one_event_waits_however_many_writes", "L-09", watches.waiting <= 1),
        always("no_channel_without_a_page", "I-03", link.bound.implies(link.mapped)),
        each_step("the_page_goes_last", "I-03", ~link.bound, by=by, given=link.mapped & ~after(link.mapped)),
        each_step("attach_only_when_both_are_initialised", "I-04",
                  posted & nodes.sound, by=by, given=(mine.at == At.LOOK) & (after(mine.at) == At.MAPPING)),
        each_step("attach_at_most_once", "I-04", ~link.mapped, by=by, given=after(mine.at) == At.MAPPING),
        each_step("what_was_attached_is_attached_again_with_its_own_keys", "D-09",
                  own.among(S.CONNECTED, S.RECONFIGURING, S.RECONFIGURED) & nodes.sound
                  & (after(mine.ref) == nodes.ref) & (after(mine.port) == nodes.port),
                  by=by, given=(mine.at == At.TAKEN) & (after(mine.at) == At.MAPPING)),
        each_step("what_was_attached_before_is_marked_so", "D-09", after(link.resumed) == mine.again, by=by,
                  given=~link.bound & after(link.bound)),
        each_step("connected_only_over_initialised_or_reconfigured", "I-04",
                  own.among(S.INITIALISED, S.RECONFIGURED), by=by, given=_wrote & (after(own) == S.CONNECTED)),
        each_step("nothing_is_held_when_closed_is_written", "I-06",
                  ~link.mapped & ~link.bound, by=by, given=_wrote & (after(own) == S.CLOSED)),
        each_step("nothing_is_held_when_the_instance_ends", "I-06",
                  ~link.mapped & ~link.bound, by=by, given=(mine.at != At.RELEASING) & (after(mine.at) == At.RELEASING)),
        always("functions_go_with_the_instance", "I-07", mine.at.among(*NOBODYS).implies(~mine.holds)),
        each_step("offline_and_closed_releases", "I-07", after(mine.at) == At.RELEASING, by=by,
                  given=(mine.at == At.SETTLE) & (mine.after == After.CLOSED) & unclosed & ~online),
        each_step("never_creates_its_own_node", "I-08", after(own) == S.UNKNOWN, by=by, given=own == S.UNKNOWN),
        each_step("writes_only_its_own_states", "I-09",
                  after(own).among(S.INIT_WAIT, S.INITIALISED, S.CONNECTED, S.CLOSING, S.CLOSED, S.RECONFIGURED),
                  by=by, given=_wrote),
        each_step("writes_only_along_its_edges", "I-10",
                  _edges() | (mine.at.among(At.FRESH, At.STRANGE) & (after(own) == S.CLOSED)), by=by, given=_wrote),
        each_step("a_round_does_not_keep_it_from_closing", "I-11", after(mine.at) == At.CLOSE, by=by,
                  given=(mine.at == At.LOOK) & fe.among(S.CLOSING, S.CLOSED) & own.among(S.RECONFIGURING, S.RECONFIGURED)),
        each_step("what_is_stored_decides_to_close", "I-12", after(own) == S.CLOSING, by=by,
                  given=(mine.at == At.SETTLE) & mine.after.among(After.CLOSING, After.FAILED) & open_),
        each_step("what_is_stored_decides_to_be_closed", "I-12", after(own) == S.CLOSED, by=by,
                  given=(mine.at == At.SETTLE) & (mine.after == After.CLOSED) & unclosed),
        each_step("what_is_stored_decides_to_connect", "I-12", after(own) == S.CONNECTED, by=by,
                  given=(mine.at == At.CONNECTING) & (own == S.INITIALISED)),
        each_step("a_failure_closes", "I-13", after(own) == S.CLOSING, by=by,
                  given=(mine.at == At.SETTLE) & (mine.after == After.FAILED) & open_),
        each_step("a_failed_setup_is_a_failure", "I-14", after(mine.after) == After.FAILED, by=by,
                  given=mine.at.among(At.TAKING, At.EXPORTING, At.RECONFIGURING, At.MAPPING, At.BINDING) & (after(mine.at) == At.CLOSE)),
        each_step("unexpected_states_change_nothing", "I-15",
                  (after(mine.at) == At.HERE) & ~_wrote, by=by,
                  given=(mine.at == At.LOOK) & fe.among(S.INIT_WAIT, S.RECONFIGURED, S.ODD) & own.among(S.CONNECTED, S.CLOSING, S.CLOSED)),
        each_step("missing_is_not_closed", "I-15", after(mine.after) == After.REMOVE, by=by,
                  given=(mine.at == At.LOOK) & (fe == S.UNKNOWN) & unclosed),
    )  # fmt: skip


def of_the_table(machine: Machine) -> tuple[Claim, ...]:
    """What is read off the rows."""
    return (
        by_construction("failures_are_reported", "I-13", machine.name, _fails_silently),
        by_construction("a_guest_cannot_fill_the_log", "I-37", machine.name, _logs_freely),
    )


def ends(machine: Machine) -> tuple[Claim, ...]:
    """That the backend lets go, whoever else stops, lies or changes its mind."""
    del machine
    fair = ("backend",)
    return (
        leads_to("a_guest_that_goes_is_let_go", "L-08", fe.among(S.UNKNOWN, S.CLOSING, S.CLOSED) & link.mapped,
                 ~link.mapped | ~fe.among(S.UNKNOWN, S.CLOSING, S.CLOSED), fair=fair),
        leads_to("a_deleted_node_frees_everything", "L-13", (own == S.UNKNOWN) & (mine.holds | link.mapped),
                 (~mine.holds & ~link.mapped) | (own != S.UNKNOWN), fair=fair),
    )  # fmt: skip


def handshake(machine: Machine) -> tuple[Claim, ...]:
    """That an honest frontend and an honest toolstack, however impatient, get where they want to go."""
    del machine
    both = ("backend", "frontend")
    open_front = fe.among(S.INITIALISING, S.INITIALISED, S.CONNECTED, S.RECONFIGURING, S.RECONFIGURED)
    alone = ("backend",)
    reopened = own.among(S.UNKNOWN, S.INITIALISING)
    return (
        each_step("a_frontend_in_a_round_closes_too", "I-11", after(fe) == S.CLOSED, by="frontend",
                  given=(front.at == Front.LOOK) & own.among(S.CLOSING, S.CLOSED) & open_front),
        leads_to("setup_ends", "L-01", (own == S.INIT_WAIT) & fe.among(S.INITIALISING, S.INITIALISED), own != S.INIT_WAIT, fair=alone),
        leads_to("a_posted_page_is_answered", "L-02", (own == S.INITIALISED) & (fe == S.INITIALISED) & nodes.sound,
                 (own != S.INITIALISED) | (fe != S.INITIALISED) | ~nodes.sound, fair=alone),
        leads_to("a_round_that_the_frontend_answered_goes_on", "L-06", (own == S.RECONFIGURING) & (fe == S.RECONFIGURING),
                 (own != S.RECONFIGURING) | (fe != S.RECONFIGURING), fair=alone),
        leads_to("a_scanned_round_ends", "L-07", (own == S.RECONFIGURED) & (fe == S.CONNECTED),
                 (own != S.RECONFIGURED) | (fe != S.CONNECTED), fair=alone),
        leads_to("reconfiguring_is_never_the_end", "I-14", own == S.RECONFIGURING, own != S.RECONFIGURING, fair=both,
                 within=fe.among(S.INITIALISED, S.CONNECTED, S.RECONFIGURING, S.CLOSING, S.CLOSED, S.UNKNOWN)),
        leads_to("closing_ends", "L-12", own == S.CLOSING, (own != S.CLOSING) | reopened, fair=both,
                 within=fe != S.CLOSING),
    )  # fmt: skip


def stops(machine: Machine) -> tuple[Claim, ...]:
    """That a backend which is stopped says so, and holds nothing of that guest any more."""
    del machine
    stopping = (mine.at == At.HERE) & (after(mine.at) == At.CLOSE)
    return (
        each_step("stopping_lets_go", "I-06", after(mine.after) == After.REMOVE, by="backend", given=stopping),
        each_step("a_stopped_backend_does_not_stay_connected", "I-01", after(own).among(S.UNKNOWN, S.INITIALISING, S.CLOSED),
                  by="backend", given=(mine.at == At.SETTLE) & (mine.after == After.REMOVE) & (own != S.ODD)),
    )  # fmt: skip


def restarts(machine: Machine) -> tuple[Claim, ...]:
    """That the keys of one attach belong together, whenever the frontend restarts in between."""
    del machine
    pair = mine.at.among(At.MAPPING, At.BINDING, At.CALMING, At.CONNECTING)
    return (always("grant_and_port_of_one_generation", "I-05", pair.implies(mine.ref == mine.port)),)


def dies(machine: Machine) -> tuple[Claim, ...]:
    """That a guest whose backend died is not left waiting."""
    del machine
    nobody = mine.at.among(*NOBODYS) & ~mine.left
    busy = own.among(S.CONNECTED, S.RECONFIGURED, S.INIT_WAIT)
    attached_before = nobody & kept.ours & watches.back & (own == S.CONNECTED) & (fe == S.CONNECTED)
    return (
        leads_to("a_guest_whose_backend_died_is_served_or_told", "D-08", nobody & kept.ours & watches.back & busy,
                 link.mapped | ~busy | ~kept.ours, fair=("backend",)),
        leads_to("a_guest_that_stays_attached_is_attached_again", "D-09", attached_before, link.bound | (own != S.CONNECTED)
                 | (fe != S.CONNECTED), fair=("backend",)),
    )  # fmt: skip
