# SPDX-License-Identifier: Apache-2.0
"""C-52 to C-54, C-64 and C-65, each proved where it is asked and broken by a dialect."""

from __future__ import annotations

import pytest
from tests.config_claims import dialects_of, ids_of, judged, shown, unbroken, unproved

from pvpci.model.config.bugs import ConfigDialect
from pvpci.proofs.config.lives import CLAIMS
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
