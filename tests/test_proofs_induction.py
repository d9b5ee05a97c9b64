# SPDX-License-Identifier: Apache-2.0
"""Induction proves what holds, and rejects what does not, what is contradictory and what is only probably true."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from tests import proofs_toys as toys

from pvpci.model import op, op_claims
from pvpci.model.kernel.claims import Claim, always, each_step
from pvpci.model.kernel.systems import Move, System
from pvpci.model.kernel.tables import Row
from pvpci.model.kernel.terms import ALWAYS, NEVER, after
from pvpci.model.shared import channel, link
from pvpci.proofs.induction import FRAME, INDUCTION, INITIAL, WITNESS, Induction
from pvpci.proofs.report import Obligation

ATTACH = Move(
    "attach", "connection", ~link.mapped & ~link.closing & ~channel.masked,
    (link.mapped.becomes(True), link.bound.becomes(True), channel.pending.becomes(True)), "toy",
)  # fmt: skip
CLOSE = Move("close", "connection", link.bound, (link.closing.becomes(True),), "toy")
RING = Move("ring", "guest", link.bound, (channel.pending.becomes(True),), "toy")


def op_system(**more: object) -> System:
    """The request machine against any guest, its connection as moves."""
    made = System(
        "op",
        (op.MACHINE,),
        (ATTACH, CLOSE, RING),
        lambda m: op_claims.claims(m["op"]),
        hostile=frozenset({"flags", "request"}),
    )
    return replace(made, **more)  # type: ignore[arg-type]


def failed(system: System, **more: object) -> list[Obligation]:
    return [one for one in Induction(system).obligations(**more) if one.verdict != "proved"]  # type: ignore[arg-type]


def test_the_request_machine_is_proved_against_any_guest() -> None:
    obligations = list(Induction(op_system()).obligations())
    steps = len(op_system().actions)
    state_claims = len(op_system().lemmas) + sum(type(c).__name__ == "Always" for c in op_system().claims)

    assert [] == [one for one in obligations if one.verdict != "proved"]
    assert {INDUCTION, FRAME, INITIAL} == {one.method for one in obligations}
    # One obligation for each property and each step, and one for the beginning.
    assert state_claims * (steps + 1) == sum(one.title not in _steps() for one in obligations)


def _steps() -> set[str]:
    return {claim.name for claim in op_system().claims if type(claim).__name__ == "EachStep"}


def test_a_forgotten_guard_breaks_a_lemma() -> None:
    def careless(row: Row) -> Row:
        return replace(row, when=op.enables_msix) if row.key == "FOUND->ASKED (MSI-X)" else row

    broken = op_system(machines=(op.MACHINE.with_table(careless),))

    assert {"op FOUND --GO--> ASKED (MSI-X)"} == {one.row for one in failed(broken)}
    assert "only what is implemented is asked for" in " ".join(one.title for one in failed(broken))


def test_a_counterexample_to_induction_is_named_as_such_and_no_bug() -> None:
    # True in every state that can be reached, but not shown: nothing says that a free lock means nobody is inside.
    system = toys.mutex(lemmas=False)
    found = failed(system)

    assert {"unknown"} == {one.verdict for one in found}
    assert {"only_one_is_inside"} == {one.title for one in found}
    assert found[0].detail.startswith("a counterexample to induction")
    assert "INSIDE" in found[0].detail
    assert [] == failed(toys.mutex(), lemmas=True, claims=system.claims[:2])


def test_values_that_are_no_members_are_no_counterexample() -> None:
    # Three members are held in two bits; the fourth pattern must not turn up.
    system = System("members", (), (), lambda _: (always("a_member", "T", toys.one.at.among(*toys.Spot)),))
    move = Move("nothing", "nobody", ALWAYS, (toys.one.at.becomes(toys.one.at),), "toy")

    assert [] == failed(replace(system, moves=(move,)))


def test_what_is_false_at_the_start_is_violated() -> None:
    system = replace(toys.mutex(), claims_of=lambda _: (always("taken", "T", toys.lock.taken),))
    found = [one for one in failed(system) if one.row == "init"]

    assert [("taken", "violated", INITIAL)] == [(one.title, one.verdict, one.method) for one in found]


def test_a_step_is_judged_by_what_it_read_of_memory_that_may_change() -> None:
    right, wrong = toys.hostile(), replace(toys.hostile(), claims_of=lambda _: (_copies_another_word(),))

    assert [] == failed(right)
    assert ["clerk REST --GO--> READ"] == [one.row for one in failed(wrong)]


def _copies_another_word() -> Claim:
    given = (toys.desk.at == toys.Stage.REST) & (after(toys.desk.at) != toys.Stage.REST)
    return each_step(
        "copies_the_successor", "T", after(toys.desk.copy) == toys.shared.word + 1, by="clerk", given=given
    )


def test_nothing_can_be_said_of_the_memory_of_others_after_a_step() -> None:
    # What we wrote may already be overwritten.
    claim = each_step("still_there", "T", after(toys.shared.word) == toys.shared.word, by="clerk")

    assert len(failed(replace(toys.hostile(), claims_of=lambda _: (claim,)))) == len(toys.hostile().actions)


def test_nothing_is_proved_from_a_contradiction() -> None:
    contradictory = replace(toys.mutex(), known={"never": NEVER})
    impossible = replace(toys.mutex(), known={**toys.LEMMAS, "never inside": toys.two.at != toys.Spot.INSIDE})

    assert all(one.verdict == "violated" for one in Induction(contradictory).witnesses())
    assert ["INSIDE", "two INSIDE --GO--> IDLE"] == [
        one.row for one in Induction(impossible).witnesses() if one.verdict != "proved"
    ]
    assert [] == [one for one in Induction(op_system()).witnesses() if one.verdict != "proved" and one.machine != "op"]
    assert {WITNESS} == {one.method for one in Induction(toys.mutex()).witnesses()}


def test_a_solver_that_gives_up_proves_nothing() -> None:
    verdict, model = Induction(toys.hostile())._refute(_Undecided(), [])

    assert ("unknown", None) == (verdict, model)


class _Undecided:
    """A solver that never knows."""

    def push(self) -> None:
        return

    def pop(self) -> None:
        return

    def add(self, _: object) -> None:
        return

    def check(self) -> object:
        import z3

        return z3.unknown


def test_obligations_are_written_for_other_solvers(tmp_path: Path) -> None:
    list(Induction(toys.hostile(), smt2=tmp_path).obligations())
    files = sorted(tmp_path.iterdir())
    first = files[0].read_text()

    assert len(files) > 3
    assert first.count("(check-sat)") == 1
    assert "(set-info :status unsat)" in first
    assert "unsat" == _answer(files[0])


def _answer(path: Path) -> str:
    import z3

    solver = z3.Solver()
    solver.from_string(path.read_text())
    return str(solver.check())


def test_the_written_text_has_no_conjunction_of_one() -> None:
    import z3

    from pvpci.proofs.induction import smt2_text

    class Text:
        def to_smt2(self) -> str:
            return "(set-info :status unknown)\n(assert (and |a.b|))\n(assert (and x y))\n(check-sat)\n"

    assert "; t\n(set-info :status unsat)\n(assert |a.b|)\n(assert (and x y))\n(check-sat)\n" == smt2_text(Text(), "t")
    assert z3.get_version_string()


@pytest.mark.parametrize("tool", ["cvc5"])
def test_another_solver_agrees_if_there_is_one(tool: str, tmp_path: Path) -> None:
    import shutil

    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    list(Induction(toys.hostile(), smt2=tmp_path).obligations())
    for path in sorted(tmp_path.iterdir()):
        said = subprocess.run([tool, str(path)], capture_output=True, text=True, check=True).stdout.strip()

        assert "unsat" == said
