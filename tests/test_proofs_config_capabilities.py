# SPDX-License-Identifier: Apache-2.0
"""C-39 to C-51, each proved where it is asked and broken by a dialect."""

from __future__ import annotations

import pytest
from tests.config_claims import dialects_of, ids_of, judged, shown, unbroken, unproved

from pvpci.model.config.bugs import ConfigDialect
from pvpci.model.config.linux import LINUX_6_1_63
from pvpci.model.config.profiles import skip
from pvpci.proofs.config.capabilities import CLAIMS
from pvpci.proofs.config.claims import StoryClaim
from pvpci.proofs.config.prove import CONFIGURATIONS, Judge, is_asked

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


def test_what_linux_is_not_asked() -> None:
    strict, newer, older = PROFILES

    assert ["C-42", "C-44"] == [id for id in IDS if not is_asked(id, newer)]
    assert ["C-42", "C-44", "C-48"] == [id for id in IDS if not is_asked(id, older)]
    assert all(is_asked(id, strict) for id in IDS)


@pytest.mark.parametrize("id", ["C-42", "C-44"])
def test_linux_does_not_do_what_strict_was_made_to_do(id: str) -> None:
    linux = ConfigDialect("LINUX", "", "", (id,), (), LINUX_6_1_63)
    judge = Judge(linux.profile)
    verdicts = [
        one.verdict
        for part in judge.parts([claim for claim in CLAIMS if claim.id == id])
        for one in part()
        if one.property == id
    ]

    assert "violated" in verdicts


def test_going_to_sleep_and_waking_loses_something() -> None:
    """The story is of a function that does: without the program's restoring, COMMAND is gone."""
    sleepy = ConfigDialect("SLEEPY", "", "", ("C-42",), (skip("PMCSR", "command restored"),))

    assert [] == unbroken(sleepy, ["C-42"])
    story = [claim for claim in CLAIMS if isinstance(claim, StoryClaim)]
    assert ["violated"] == [
        one.verdict for part in Judge(sleepy.profile).parts(story) for one in part() if one.property == "C-42"
    ]
