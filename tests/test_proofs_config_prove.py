# SPDX-License-Identifier: Apache-2.0
"""What a proof about configuration space has to say for itself: vacuity, agreement with what runs, what is written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import z3

from pvpci.impl.cli import make_group, run
from pvpci.model.config.linux import LINUX_6_1_0, LINUX_6_1_63
from pvpci.model.config.profiles import STRICT, Profile
from pvpci.proofs.config import prove as proving
from pvpci.proofs.config.cases import Case, cases
from pvpci.proofs.config.claims import SIZE, Asked, Claim, OtherClaim, ProgramClaim, Question, RequestClaim
from pvpci.proofs.config.prove import CONFIGURATIONS, HAPPENS, Judge, tasks
from pvpci.proofs.prove import prove, select
from pvpci.proofs.report import Obligation
from pvpci.proofs.systems import SUBJECTS

YES, NO = z3.BoolVal(True), z3.BoolVal(False)


def judged(claim: Claim, profile: Profile = STRICT) -> list[Obligation]:
    return [one for part in Judge(profile).parts([claim]) for one in part()]


def on(name: str, holds: object) -> RequestClaim:
    """A claim about writes to one dword."""
    return RequestClaim("C-01", lambda asked: holds, kind="write", about=lambda asked: asked.route == name)


def test_of_what_cannot_happen_nothing_is_proved(monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = Case("nowhere", cases_of(STRICT)["no rows"].structure, 0, ())
    monkeypatch.setattr(Case, "somewhere", lambda case: NO)
    monkeypatch.setattr(proving, "cases", lambda profile: [nowhere])

    (happens, claimed) = judged(on("nowhere", NO))

    assert (HAPPENS, "violated", "proved") == (happens.property, happens.verdict, claimed.verdict)
    assert "no such request is possible" in happens.detail


def cases_of(profile: Profile) -> dict[str, Case]:
    return {case.name: case for case in cases(profile)}


def test_a_question_whose_givens_contradict_each_other_is_none() -> None:
    found = judged(OtherClaim("C-07", lambda profile: [Question("never", YES, (NO,))]))

    assert [(HAPPENS, "violated"), ("C-07", "proved")] == [(one.property, one.verdict) for one in found]


def test_a_counterexample_has_nothing_that_does_not_matter() -> None:
    (_, found) = judged(on("header 04", NO))

    assert "violated" == found.verdict
    lines = found.detail.splitlines()
    assert re.fullmatch("header 04: write [124] bytes at 0x[4-7]: 0x0", lines[0])
    # There is no cache line of no size, and no space of no size.
    assert ["known.cache_line", "limit"] == [line.split()[1] for line in lines if line.startswith("  before: ")]


def test_one_violation_does_not_hide_another() -> None:
    """Each claim is asked by itself, of the same requests."""
    first, second = (on("header 04", SIZE == size) for size in (1, 4))
    found = [one for part in Judge(STRICT).parts([first, second]) for one in part()]

    assert ["proved", "violated", "violated"] == [one.verdict for one in found]


def test_a_program_is_shown_by_its_name() -> None:
    (happens, found) = judged(ProgramClaim("C-25", "detach", lambda ran: NO))

    assert ("detach", "proved", "violated") == (found.row, happens.verdict, found.verdict)
    assert "detach" == found.detail.splitlines()[0]


def test_what_runs_has_the_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proving, "agrees", lambda model, of: False)

    (_, found) = judged(on("header 04", NO))

    assert "unknown" == found.verdict
    assert found.detail.startswith("what runs does otherwise:\n")


def test_a_question_may_say_itself_what_runs() -> None:
    asked = z3.BitVec("asked", 8) == 0

    def verdict(says: bool) -> str:
        question = Question("row", asked, again=lambda model: says)
        return judged(OtherClaim("C-07", lambda profile: [question]))[0].verdict

    assert ("unknown", "violated") == (verdict(False), verdict(True))


def test_a_solver_that_gives_up_has_proved_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = z3.BitVecs("x y", 256)
    hard = z3.Implies(z3.And(x != 1, y != 1, z3.ULT(x, 1 << 127), z3.ULT(y, 1 << 127)), x * y != (1 << 127) - 1 << 90)
    monkeypatch.setattr(proving, "TIMEOUT_MS", 1)

    (found,) = judged(OtherClaim("C-07", lambda profile: [("hard", hard)]))

    assert "unknown" == found.verdict
    assert found.detail.startswith("the solver gave up: ")


def test_what_two_profiles_share_is_judged_once() -> None:
    claims = [RequestClaim("C-01", lambda asked: YES)]
    alone, beside = (list(Judge(LINUX_6_1_0).parts(claims, like)) for like in (None, LINUX_6_1_63))
    rows = {one.row for part in beside for one in part()}

    assert len(beside) < len(alone) / 4
    assert {"write header 04", "write MSI+0", "write MSIX+0", "all that has the same rows"} <= rows
    assert not any("header 10" in row for row in rows)


def test_alone_a_profile_is_judged_whole() -> None:
    subject = CONFIGURATIONS[2]
    alone, beside = (len(tasks(subject, among=among)) for among in ([subject], CONFIGURATIONS))

    assert alone > 3 * beside


def test_all_profiles_go_by_one_name() -> None:
    assert list(CONFIGURATIONS) == select(SUBJECTS, ["config"])
    assert [CONFIGURATIONS[1]] == select(SUBJECTS, ["config-linux-6.1.63"])


def test_one_property_of_all_profiles_is_written_for_other_solvers(tmp_path: Path) -> None:
    report = prove(SUBJECTS, among=SUBJECTS, property="c-25", smt2=tmp_path, processes=2)

    assert report.good
    assert {"config"} == {one.machine for one in report.obligations}
    assert [f"config-{name}_detach_C-25.smt2" for name in ("linux-6.1.0", "linux-6.1.63", "strict")] == sorted(
        path.name for path in tmp_path.iterdir()
    )
    assert "(set-info :status unsat)" in (tmp_path / "config-strict_detach_C-25.smt2").read_text()


def test_the_command_shows_what_breaks(capsys: pytest.CaptureFixture[str]) -> None:
    code = run(make_group(), ["prove", "--dialect", "cm03"])
    out = capsys.readouterr().out

    assert 1 == code
    assert "CM03: the value that is read has no bit beyond its size [conf_space.c:xen_pcibk_config_read]" in out
    assert "C-06 the value of a read has no bit beyond its size... VIOLATED at read header 00" in out
    size, value = re.search(r"read ([12]) bytes .* value (0x[0-9a-f]+)", out, re.DOTALL).groups()  # type: ignore[union-attr]
    assert int(value, 16) >> 8 * int(size), "more than was asked for"


def test_a_claim_about_no_request_shows_nothing() -> None:
    def nothing(asked: Asked) -> bool:
        del asked
        return False

    assert [] == judged(RequestClaim("C-01", lambda asked: YES, about=nothing))
