# SPDX-License-Identifier: Apache-2.0
"""What a proof has to say for itself: obligations, their verdicts, and how each was reached.

`unknown` is never a shade of `proved`, and every "no bug found" carries its kind in `method`: a proof at full width, an
exhaustive search, one over sampled values only.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from pvpci.model.kernel.visible import Visible

Verdict = Literal["proved", "violated", "unknown"]

EXHAUSTIVE: Final = "exhaustive"
SAMPLED: Final = "exhaustive over samples"


@dataclass(frozen=True)
class Obligation:
    """One thing that was to be shown. `row` is a step, ``init``, or ``*`` for all of them at once.

    `title` is the property's name, a sentence; `property` its identifier. `detail` is for people (a counterexample, a
    reason); `trace` the same as one dict for each step.
    """

    system: str
    machine: str
    property: str
    title: str
    row: str
    verdict: Verdict
    method: str
    seconds: float = 0.0
    detail: str = ""
    trace: tuple[dict[str, Any], ...] = ()
    borders: tuple[tuple[Visible, tuple[int, ...]], ...] = ()  #: the same as a recorder of the backend would have it

    def as_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "machine": self.machine,
            "property": self.property,
            "row": self.row,
            "verdict": self.verdict,
            "seconds": round(self.seconds, 6),
            "method": self.method,
            "system": self.system,
            "title": self.title,
        }
        if self.verdict != "proved" and self.detail:
            found["detail"] = self.detail
        return found


@dataclass(frozen=True)
class Report:
    obligations: tuple[Obligation, ...]
    seconds: float

    def count(self, verdict: Verdict) -> int:
        return sum(one.verdict == verdict for one in self.obligations)

    @property
    def failed(self) -> tuple[Obligation, ...]:
        return tuple(one for one in self.obligations if one.verdict != "proved")

    @property
    def good(self) -> bool:
        """Something was shown, and nothing is violated or unknown."""
        return bool(self.obligations) and not self.failed

    def as_json(self) -> dict[str, Any]:
        return {
            "obligations": [one.as_json() for one in self.obligations],
            "proved": self.count("proved"),
            "violated": self.count("violated"),
            "unknown": self.count("unknown"),
            "seconds": round(self.seconds, 3),
        }

    def text_json(self) -> str:
        return json.dumps(self.as_json(), ensure_ascii=False, indent=1)


def every_claim_has_one(
    obligations: Sequence[Obligation], system: str, claims: Iterable[tuple[str, str]]
) -> list[Obligation]:
    """A property about which nothing was to be shown is not proved: one `unknown` for each such (identifier, name)."""
    shown = {(one.property, one.title) for one in obligations}
    return [
        Obligation(
            system, system, id, name, "*", "unknown", "none", detail="no obligation: it says nothing about this system"
        )
        for id, name in claims
        if (id, name) not in shown
    ]


def lines(report: Report, *, verbose: bool = False) -> Iterator[str]:
    """For people: one line for each property of a system, or with `verbose` for each obligation; then what failed."""
    for system, group in _grouped(list(report.obligations), lambda one: one.system).items():
        yield f"checking {system}"
        yield from _by_row(group) if verbose else _by_property(group)
    for one in report.failed:
        yield ""
        yield f"{one.system}: {_named(one)}, {one.row}: {one.verdict} ({one.method})"
        yield from (f"  {line}" for line in one.detail.splitlines())
    yield ""
    yield final(report)


def _named(one: Obligation) -> str:
    return f"{one.property} {one.title}" if one.property != one.title else one.title


def _by_property(obligations: list[Obligation]) -> Iterator[str]:
    for name, group in _grouped(obligations, _named).items():
        bad = [one for one in group if one.verdict != "proved"]
        methods = ", ".join(dict.fromkeys(one.method for one in group))
        seconds = sum(one.seconds for one in group)
        count = f"{len(group)} obligation{'s' if len(group) > 1 else ''}"
        verdict = "ok" if not bad else ", ".join(f"{one.verdict.upper()} at {one.row}" for one in bad[:3])
        yield f"  {name}... {verdict} ({count}, {methods}, {seconds:.3f} s)"


def _by_row(obligations: list[Obligation]) -> Iterator[str]:
    for row, group in _grouped(obligations, lambda one: one.row).items():
        yield f"  {'every step' if row == '*' else row}"
        for one in group:
            verdict = "ok" if one.verdict == "proved" else one.verdict.upper()
            yield f"    {_named(one)}... {verdict} ({one.method}, {one.seconds:.3f} s)"


def _grouped(obligations: list[Obligation], key: Callable[[Obligation], str]) -> dict[str, list[Obligation]]:
    groups: dict[str, list[Obligation]] = {}
    for one in obligations:
        groups.setdefault(key(one), []).append(one)
    return groups


def final(report: Report) -> str:
    proved, violated, unknown = (report.count(verdict) for verdict in ("proved", "violated", "unknown"))
    sampled = sum(one.verdict == "proved" and one.method == SAMPLED for one in report.obligations)
    kinds = f" ({sampled} of them over sampled values only)" if sampled else ""
    if not report.obligations:
        return "nothing was to be proved: that is a failure"
    if report.good:
        return f"all is well: {proved} obligations proved{kinds}, none violated, none unknown, {report.seconds:.1f} s"
    return f"NOT PROVED: {violated} violated, {unknown} unknown, {proved} proved{kinds}, {report.seconds:.1f} s"


def timed(one: Obligation, seconds: float) -> Obligation:
    return replace(one, seconds=seconds)
