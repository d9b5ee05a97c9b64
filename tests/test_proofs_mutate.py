# SPDX-License-Identifier: Apache-2.0
"""Mutation: every small change of a row is tried, noticed by the right means, or left and named."""

from __future__ import annotations

import json
from dataclasses import replace

from tests import proofs_toys as toys
from tests.test_proofs_induction import op_system

from pvpci.model import op
from pvpci.proofs.mutate import Mutations, mutants, mutations


def by_what(table: Mutations) -> dict[tuple[str, str], tuple[str, str]]:
    return {(one.row, one.what): (one.means, one.by) for one in table.outcomes}


def test_every_kind_of_change_is_made() -> None:
    made = list(mutants(toys.clerk()))

    assert {"guard", "update", "effect", "destination"} == {one.kind for one in made}
    assert ["no longer asks desk.copy < 0x3e8", "loses ask(desk.copy)"] == [
        one.what for one in made if one.row.key == "READ->ASKED" and one.kind != "destination"
    ]


def test_changes_are_noticed_by_lint_lemma_induction_and_search() -> None:
    clerk, mutex = by_what(mutations([toys.hostile()])), by_what(mutations([toys.mutex()]))

    assert ("lint", "guards_are_disjoint") == clerk["READ->ASKED", "no longer asks desk.copy < 0x3e8"]
    assert ("lint", "answers_are_awaited_where_they_were_asked_for") == clerk["READ->ASKED", "loses ask(desk.copy)"]
    assert ("induction", "T-6 copies_what_it_reads") == clerk["REST->READ", "loses desk.copy := shared.word"]
    assert ("lemma", "clerk: only small words are asked about") not in clerk.values()
    assert "search" == mutex["WANTS->INSIDE", "loses lock.taken := true"][0]


def test_what_nothing_notices_is_left_and_named() -> None:
    table = mutations([replace(toys.hostile(), claims_of=lambda _: ())])
    left = {(one.row, one.what) for one in table.left}

    assert ("REST->READ", "loses desk.copy := shared.word") in left
    assert any(line.endswith(": LEFT") for line in table.lines())
    assert len(table.left) == json.loads(table.text_json())["counts"]["left"]


def test_what_the_reference_breaks_itself_is_no_credit_to_a_mutant() -> None:
    # Starvation (T-4) is there already.
    assert not any("T-4" in by for _, by in by_what(mutations([toys.mutex()])).values())


def test_the_request_machine_is_mutated_in_seconds() -> None:
    table = mutations([op_system()])

    assert len(op.MACHINE.table) * 3 < len(table.outcomes)
    assert 120 < len(table.outcomes) - len(table.left)
    assert 60 > table.seconds
