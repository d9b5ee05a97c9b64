# SPDX-License-Identifier: Apache-2.0
"""Each property of configuration space is there, claimed where it says, and broken by a dialect."""

from __future__ import annotations

import pytest

from pvpci.model.catalogue import PROPERTIES as CATALOGUE
from pvpci.model.config.bugs import ConfigDialect
from pvpci.model.config.dialects import CONFIG_DIALECTS
from pvpci.model.config.linux import PROFILES
from pvpci.model.config.properties import PROPERTIES
from pvpci.proofs.config.prove import CLAIMS, CONFIGURATIONS

#: About topology and assignment: not asked of configuration space.
ELSEWHERE = {14, *range(55, 64), 66, 67, 68}


def test_every_property_is_there_in_its_order() -> None:
    assert [f"C-{number:02}" for number in range(1, 69) if number not in ELSEWHERE] == list(PROPERTIES)
    assert set(PROPERTIES) <= set(CATALOGUE)


def test_every_property_has_a_claim() -> None:
    assert set(PROPERTIES) == {claim.id for claim in CLAIMS}


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_is_asked_what_the_property_says(name: str) -> None:
    subject = next(one for one in CONFIGURATIONS if one.profile.name == name)
    left_out = {
        id for id, known in PROPERTIES.items() if (known.strict and name != "strict") or name in dict(known.but)
    }

    assert set(PROPERTIES) - left_out == {claim.id for claim in subject.claims}


def test_an_exception_has_a_reason_and_a_profile_that_there_is() -> None:
    exceptions = [exception for known in PROPERTIES.values() for exception in known.but]

    assert all(profile in PROFILES and len(why.split()) > 3 for profile, why in exceptions)


def test_every_property_is_broken_by_a_dialect() -> None:
    broken = {id for dialect in CONFIG_DIALECTS for id in dialect.breaks}

    assert set(PROPERTIES) == broken


@pytest.mark.parametrize("dialect", CONFIG_DIALECTS, ids=lambda dialect: dialect.id)
def test_a_dialect_breaks_what_is_asked_of_the_profile_that_it_changes(dialect: ConfigDialect) -> None:
    assert dialect.breaks
    for id in dialect.breaks:
        known = PROPERTIES[id]
        assert dialect.base.name not in dict(known.but)
        assert not known.strict or dialect.base.name == "strict"
    assert dialect.profile.name == f"{dialect.base.name} with {dialect.id}"
