# SPDX-License-Identifier: Apache-2.0
"""The report: one line a property, a final line, and nothing that was not shown is called proved."""

from __future__ import annotations

import json

from pvpci.proofs.report import SAMPLED, Obligation, Report, Verdict, every_claim_has_one, final, lines


def made(verdict: Verdict = "proved", *, row: str = "A->B", method: str = "induction", id: str = "I-1") -> Obligation:
    return Obligation("toy", "machine", id, "a_sentence", row, verdict, method, 0.25, "why\nand where")


def test_json_has_the_promised_keys() -> None:
    data = json.loads(Report((made(), made("violated"), made("unknown")), 1.0).text_json())

    assert {"proved": 1, "violated": 1, "unknown": 1} == {key: data[key] for key in ("proved", "violated", "unknown")}
    assert {"machine", "property", "row", "verdict", "seconds", "method"} <= set(data["obligations"][0])
    assert "why\nand where" == data["obligations"][1]["detail"]
    assert "detail" not in data["obligations"][0]


def test_only_a_report_in_which_everything_is_proved_is_good() -> None:
    assert Report((made(),), 0.0).good
    assert not Report((made(), made("unknown")), 0.0).good
    assert not Report((made("violated"),), 0.0).good
    assert not Report((), 0.0).good


def test_a_property_about_which_nothing_was_shown_is_unknown() -> None:
    missing = every_claim_has_one([made()], "toy", [("I-1", "a_sentence"), ("I-2", "another")])

    assert [("I-2", "unknown")] == [(one.property, one.verdict) for one in missing]


def test_lines_for_people() -> None:
    expected = ["checking toy", "  I-1 a_sentence... ok (2 obligations, induction, 0.500 s)"]

    assert expected == list(lines(Report((made(), made(row="B->C")), 1.0)))[:2]


def test_lines_by_row_when_all_are_wanted() -> None:
    expected = ["checking toy", "  A->B", "    I-1 a_sentence... ok (induction, 0.250 s)"]

    assert expected == list(lines(Report((made(),), 1.0), verbose=True))[:3]


def test_failures_are_shown_with_their_reason() -> None:
    text = list(lines(Report((made("violated"),), 1.0)))

    assert "toy: I-1 a_sentence, A->B: violated (induction)" in text
    assert ["  why", "  and where"] == text[text.index("  why") :][:2]


def test_the_final_line_says_how_it_is() -> None:
    assert "all is well: 1 obligations proved, none violated, none unknown, 1.0 s" == final(Report((made(),), 1.0))
    assert "(1 of them over sampled values only)" in final(Report((made(method=SAMPLED),), 1.0))
    assert final(Report((made("unknown"),), 1.0)).startswith("NOT PROVED: 0 violated, 1 unknown")
    assert "nothing was to be proved: that is a failure" == final(Report((), 1.0))
