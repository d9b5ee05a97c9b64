# SPDX-License-Identifier: Apache-2.0
"""What the tests of claims about configuration space ask: that a claim is proved where it is asked, and broken elsewhere."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from pvpci.model.config.bugs import ConfigDialect
from pvpci.model.config.dialects import CONFIG_DIALECTS
from pvpci.proofs.config.claims import Claim
from pvpci.proofs.config.prove import CONFIGURATIONS, HAPPENS, broken, tasks
from pvpci.proofs.report import Obligation


def ids_of(claims: Sequence[Claim]) -> list[str]:
    return list(dict.fromkeys(claim.id for claim in claims))


def dialects_of(ids: Collection[str]) -> list[ConfigDialect]:
    """Those that break one of these properties."""
    return [dialect for dialect in CONFIG_DIALECTS if set(dialect.breaks) & set(ids)]


def judged(name: str, ids: Collection[str]) -> list[Obligation]:
    """All that is to be shown of these properties in the profile `name`."""
    subject = next(one for one in CONFIGURATIONS if one.profile.name == name)
    found = tasks(subject, lambda claim: claim.id in ids, among=CONFIGURATIONS)
    return [obligation for task in found for obligation in task()[0]]


def unproved(obligations: Sequence[Obligation]) -> list[tuple[str, str, str]]:
    return [(one.property, one.row, one.verdict) for one in obligations if one.verdict != "proved"]


def shown(obligations: Sequence[Obligation]) -> set[str]:
    """The properties of which something was shown."""
    return {one.property for one in obligations} - {HAPPENS}


def unbroken(dialect: ConfigDialect, ids: Collection[str]) -> list[tuple[str, str, str]]:
    """Those of these properties that the dialect should break, and does not."""
    found = broken(replace(dialect, breaks=tuple(id for id in dialect.breaks if id in ids)))
    return [(one.property, one.row, one.detail) for one in found if one.verdict != "violated"]
