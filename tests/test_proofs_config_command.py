# SPDX-License-Identifier: Apache-2.0
"""C-15 to C-28, each proved where it is asked and broken by a dialect."""

from __future__ import annotations

import pytest
import z3
from tests.config_claims import dialects_of, ids_of, judged, shown, unbroken, unproved

from pvpci.model.config.bugs import ConfigDialect
from pvpci.model.config.profiles import STRICT
from pvpci.proofs.config.cases import cases
from pvpci.proofs.config.claims import ask
from pvpci.proofs.config.command import CLAIMS, changes
from pvpci.proofs.config.prove import CONFIGURATIONS, is_asked

IDS = ids_of(CLAIMS)
PROFILES = [one.profile.name for one in CONFIGURATIONS]


@pytest.mark.parametrize("profile", PROFILES)
def test_what_is_asked_is_proved(profile: str) -> None:
    found = judged(profile, IDS)

    assert [] == unproved(found)
    assert {id for id in IDS if is_asked(id, profile)} == shown(found)


@pytest.mark.parametrize("dialect", dialects_of(IDS), ids=lambda dialect: dialect.id)
def test_a_dialect_breaks_what_it_says(dialect: ConfigDialect) -> None:
    assert [] == unbroken(dialect, IDS)


def test_every_property_is_broken_by_a_dialect() -> None:
    assert set(IDS) <= {id for dialect in dialects_of(IDS) for id in dialect.breaks}


def test_strict_alone_is_asked_what_linux_does_otherwise() -> None:
    assert ["C-26", "C-27", "C-28"] == sorted(id for id in IDS if not is_asked(id, "linux-6.1.63"))


def test_a_write_that_puts_back_what_was_there_is_no_change() -> None:
    asked = ask(STRICT, next(case for case in cases(STRICT) if case.name == "PM+4"), is_read=False)
    solver = z3.SolverFor("QF_BV")
    solver.add(*asked.given, z3.Or([z3.And(when, old & ~new & 3 != 0) for when, old, new, _ in changes(asked)]))

    assert z3.sat == solver.check(), "waking a function turns decoding off for a moment"
