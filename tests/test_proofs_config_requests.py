# SPDX-License-Identifier: Apache-2.0
"""C-01 to C-13, each proved where it is asked and broken by a dialect."""

from __future__ import annotations

import pytest
from tests.config_claims import dialects_of, ids_of, judged, shown, unbroken, unproved

from pvpci.model.config.bugs import ConfigDialect
from pvpci.proofs.config.prove import CONFIGURATIONS, is_asked
from pvpci.proofs.config.requests import CLAIMS

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
    assert ["C-02", "C-06", "C-11", "C-12", "C-13"] == sorted(id for id in IDS if not is_asked(id, "linux-6.1.63"))
