# SPDX-License-Identifier: Apache-2.0
"""Nothing of the protocol notes is forgotten, and nothing that is claimed goes unbroken."""

from __future__ import annotations

import pytest

from pvpci.model.catalogue import PROPERTIES, Needs
from pvpci.model.dialects import ALL, DIALECTS
from pvpci.model.kernel.dialects import Dialect
from pvpci.proofs.systems import SUBJECTS, SYSTEMS

CLAIMED = {claim.id for subject in SUBJECTS for claim in subject.claims}


def test_the_catalogue_has_all_81() -> None:
    safety = [f"I-{number:02}" for number in range(1, 66)]
    progress = [f"L-{number:02}" for number in range(1, 17)]

    assert [name for name in PROPERTIES if not name.startswith("C-")] == safety + progress


def test_what_the_catalogue_calls_claimed_is_claimed() -> None:
    said = {name for name, (_, needs) in PROPERTIES.items() if needs is Needs.NOTHING}

    assert said == {name for name in CLAIMED if not name.startswith("D-")}


def test_every_claimed_property_is_broken_by_a_dialect() -> None:
    broken = {name for dialect in ALL for name in dialect.breaks}

    assert sorted(CLAIMED - broken) == []


def test_dialects_have_names_of_their_own() -> None:
    names = [dialect.id for dialect in ALL]

    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.id)
def test_a_dialect_names_a_system_and_properties_that_there_are(dialect: Dialect) -> None:
    systems = {system.name: system for system in SYSTEMS}

    assert dialect.system in systems
    changed = dialect.system_of(systems[dialect.system])
    everywhere = {claim.id for system in SYSTEMS for claim in system.claims}
    assert set(dialect.breaks) <= everywhere
    assert changed is not systems[dialect.system]
