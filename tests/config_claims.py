# SPDX-License-Identifier: Apache-2.0
"""What the tests of claims about configuration space ask: that a claim is proved where it is asked, and broken elsewhere."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cache, partial

from pvpci.model.config.bugs import ConfigDialect
from pvpci.model.config.dialects import CONFIG_DIALECTS
from pvpci.proofs.config.claims import Claim
from pvpci.proofs.config.prove import CONFIGURATIONS, HAPPENS, broken
from pvpci.proofs.judge import Done
from pvpci.proofs.prove import prove, side_by_side
from pvpci.proofs.reach import Reached
from pvpci.proofs.report import Obligation, Report


def ids_of(claims: Sequence[Claim]) -> list[str]:
    return list(dict.fromkeys(claim.id for claim in claims))


def dialects_of(ids: Collection[str]) -> list[ConfigDialect]:
    """Those that break one of these properties."""
    return [dialect for dialect in CONFIG_DIALECTS if set(dialect.breaks) & set(ids)]


@cache
def _report() -> Report:
    """Everything that is claimed of configuration space, for all tests that look at a part of it."""
    return prove(CONFIGURATIONS, among=CONFIGURATIONS)


def judged(name: str, ids: Collection[str]) -> list[Obligation]:
    """All that is to be shown of these properties in the profile `name`."""
    system = next(one.name for one in CONFIGURATIONS if one.profile.name == name)
    return [one for one in _report().obligations if one.system == system and one.property in (*ids, HAPPENS)]


def unproved(obligations: Sequence[Obligation]) -> list[tuple[str, str, str]]:
    return [(one.property, one.row, one.verdict) for one in obligations if one.verdict != "proved"]


def shown(obligations: Sequence[Obligation]) -> set[str]:
    """The properties of which something was shown."""
    return {one.property for one in obligations} - {HAPPENS}


@cache
def _broken() -> dict[str, list[Obligation]]:
    """What each dialect breaks, by its identifier."""
    jobs = [partial(_done, dialect) for dialect in CONFIG_DIALECTS]
    found = [obligations for obligations, _ in side_by_side(jobs)]
    return dict(zip((dialect.id for dialect in CONFIG_DIALECTS), found, strict=True))


def _done(dialect: ConfigDialect) -> Done:
    return broken(dialect), Reached()


def unbroken(dialect: ConfigDialect, ids: Collection[str]) -> list[tuple[str, str, str]]:
    """Those of these properties that the dialect should break, and does not."""
    found = _broken()[dialect.id] if dialect in CONFIG_DIALECTS else broken(dialect)
    return [(one.property, one.row, one.detail) for one in found if one.property in ids and one.verdict != "violated"]
