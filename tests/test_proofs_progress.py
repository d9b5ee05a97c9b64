# SPDX-License-Identifier: Apache-2.0
"""Promises: kept under fairness, broken by a fair loop or by standing still; and the same by ranks, at full width."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum, auto

import pytest
from tests import proofs_toys as toys

from pvpci.model.kernel.claims import LeadsTo, leads_to
from pvpci.model.kernel.records import Record
from pvpci.model.kernel.systems import Move, System
from pvpci.model.kernel.terms import ALWAYS, NEVER, Choice, Flag
from pvpci.proofs.counterexample import Counterexample
from pvpci.proofs.judge import judge, promised
from pvpci.proofs.progress import Graph, broken_promise
from pvpci.proofs.ranks import RANKED, Ranked
from pvpci.proofs.search import explore, slice_of


def broken(system: System, claim: LeadsTo) -> Counterexample | None:
    return broken_promise(Graph.of(explore(slice_of(system, [claim]), edges=True)), claim)


def claim_of(system: System, id: str) -> LeadsTo:
    return next(claim for claim in system.claims if claim.id == id and isinstance(claim, LeadsTo))


def test_who_keeps_moving_leaves() -> None:
    assert None is broken(toys.mutex(), claim_of(toys.mutex(), "T-3"))


def test_who_is_not_fair_may_stay() -> None:
    system = toys.mutex()
    found = broken(system, replace(claim_of(system, "T-3"), fair=("two",)))

    assert found is not None and found.loop is not None


def test_who_never_leaves_breaks_it_by_standing_still() -> None:
    system = toys.mutex(leaves=False)
    found = broken(system, claim_of(system, "T-3"))

    assert found is not None
    assert (2, 2) == (found.steps, found.loop)


def test_a_lock_that_others_may_always_take_first_starves() -> None:
    # Weak fairness is not enough: the shortest way shows the other one going round.
    system = toys.mutex()
    found = broken(system, claim_of(system, "T-4"))

    assert found is not None and found.loop is not None
    parties = [stage.action.party for stage in found.stages[found.loop + 1 :] if stage.action]
    assert ["two", "two", "two"] == parties
    start, end = found.stages[found.loop].state, found.stages[-1].state
    assert start == end


def test_only_behaviours_within_the_limits_are_owed_anything() -> None:
    system = toys.mutex()
    limited = replace(claim_of(system, "T-4"), within=toys.two.at == toys.Spot.IDLE)

    assert None is broken(system, limited)


class Lamp(Enum):
    OFF = auto()
    ON = auto()


class Room(Record):
    lamp = Choice(Lamp)
    noise = Flag()


room = Room("room")


def waiting(*, works: bool) -> System:
    """Somebody looks again and again, which changes nothing; somebody else makes noise; the lamp is lit or is not."""
    look = Move("look", "watcher", room.lamp == Lamp.OFF, (), "toy")
    noise = Move("noise", "neighbour", ALWAYS, (room.noise.becomes(~room.noise),), "toy")
    light = Move(
        "light",
        "lamp",
        (room.lamp == Lamp.OFF) & (ALWAYS if works else room.noise),
        (room.lamp.becomes(Lamp.ON),),
        "toy",
    )
    return System("room", (), (look, noise, light), lambda _: (lit(),))


def lit(*fair: str) -> LeadsTo:
    return leads_to("the_lamp_is_lit", "T-9", room.lamp == Lamp.OFF, room.lamp == Lamp.ON, fair=fair or ("lamp",))


def test_a_party_that_can_always_move_does() -> None:
    assert None is broken(waiting(works=True), lit())


def test_a_party_that_can_move_only_now_and_then_need_not() -> None:
    assert None is not broken(waiting(works=False), lit())


def test_looking_again_is_no_move() -> None:
    # The watcher alone is fair, and all it can do changes nothing: nobody lights the lamp.
    found = broken(waiting(works=True), lit("watcher"))

    assert found is not None
    assert found.loop == found.steps == 0


def test_a_step_or_a_machine_may_be_fair_by_name() -> None:
    assert None is broken(waiting(works=True), lit("light"))
    with pytest.raises(ValueError, match="no party, machine or step called moon"):
        broken(waiting(works=True), lit("moon"))


def test_a_promise_that_never_starts_is_not_shown() -> None:
    never = leads_to("nothing", "T", NEVER, ALWAYS, fair=("lamp",))
    obligations, _ = judge(replace(waiting(works=True), claims_of=lambda _: (never,)))

    assert ["unknown"] == [one.verdict for one in obligations]
    assert "never starts" in obligations[0].detail


def test_a_search_that_was_cut_short_decides_no_promise() -> None:
    with pytest.raises(ValueError, match="was not cut short"):
        Graph.of(explore(slice_of(toys.mutex(), toys.mutex().claims), edges=True, limit=2))


def ranked(system: System, **more: object) -> list[tuple[str, str]]:
    claim = replace(claim_of(system, "T-7"), **more)  # type: ignore[arg-type]
    return [(one.row, one.verdict) for one in Ranked(system, claim).obligations() if one.verdict != "proved"]


def test_a_rank_proves_progress_at_full_width() -> None:
    system = toys.hostile()
    made = list(Ranked(system, claim_of(system, "T-7")).obligations())

    assert [] == [one for one in made if one.verdict != "proved"]
    assert {RANKED} == {one.method for one in made}
    assert len(system.actions) < len(made)


def test_a_rank_that_does_not_go_down_is_rejected() -> None:
    flat = {**toys.RANK, toys.Stage.ASKED: 3}

    assert [("clerk READ --GO--> ASKED", "unknown")] == ranked(toys.hostile(), rank=flat)


def test_a_place_without_a_rank_leads_out_of_the_region() -> None:
    short = {place: rank for place, rank in toys.RANK.items() if place is not toys.Stage.ASKED}

    assert [("clerk READ --GO--> ASKED", "unknown")] == ranked(toys.hostile(), rank=short)


def test_a_party_that_may_be_stuck_proves_nothing() -> None:
    system = toys.hostile()
    machine = system.machines[0].with_table(lambda row: None if row.name == "answered" else row)
    deaf = machine.with_table(
        lambda row: replace(row, when=row.when & (toys.desk.copy == 0)) if row.name == "refused" else row
    )

    assert [] == ranked(replace(system, machines=(machine,)))
    assert [("able to move at ASKED", "unknown")] == ranked(replace(system, machines=(deaf,)))


def test_somebody_else_must_not_raise_the_rank() -> None:
    back = Move(
        "pushed back", "guest", toys.desk.at == toys.Stage.ASKED, (toys.desk.at.becomes(toys.Stage.READ),), "toy"
    )

    assert [("pushed back", "unknown")] == ranked(replace(toys.hostile(), moves=(back,)))


def test_promises_without_rank_or_samples_are_unknown_where_induction_decides() -> None:
    system = toys.hostile()
    claim = replace(claim_of(system, "T-7"), rank={})
    (made,) = promised(system, [claim], 1000)

    assert ("unknown", "none") == (made.verdict, made.method)
    assert "shared.word" in made.detail
