# SPDX-License-Identifier: Apache-2.0
"""The manual's table of the cases: what each backend was seen to do, and whether that keeps the rule.

    PVPCI_RIG_RECORD=1 pytest -m rig tests/rig/test_cases.py    write observed.json anew
    python -m tests.rig.table                                   write docs/reference/cases.md from it

Kept of what was seen is what the rule speaks of; counts that differ from run to run are in the run's `cases.json`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from tests.rig.cases import CASES, Case, Outcome

OBSERVED: Final = Path(__file__).with_name("observed.json")
PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "reference" / "cases.md"
#: By the name of the backend.
TITLES: Final = {"linux": "xen-pciback", "pvpci": "pvpci"}


def observed(versions: Mapping[str, str], played: Mapping[str, Mapping[str, Outcome]]) -> str:
    """The text of the results file. `played`: backend, case -> outcome."""
    cases = {case.name: {name: _kept(case, played[name][case.name]) for name in TITLES} for case in CASES}
    return json.dumps({"versions": dict(versions), "cases": cases}, indent=2) + "\n"


def page(results: Mapping[str, Any]) -> str:
    """The manual's page for what `observed` wrote, decoded."""
    return "\n".join(_page(results)) + "\n"


def _kept(case: Case, outcome: Outcome) -> Outcome:
    return {key: outcome.get(key) for key in case.reference}


def _page(results: Mapping[str, Any]) -> Iterator[str]:
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    yield "<!-- SPDX-License-Identifier: Apache-2.0 -->"
    yield "<!-- Made by `python -m tests.rig.table`; do not edit. -->"
    yield "# Cases\n"
    yield "Situations in which a backend is easily wrong. A scripted frontend plays each against Linux's backend and against"
    yield f"`pvpci serve` in one boot of real Xen ({versions}), in the same guest; this is what was seen."
    yield "How each is played stands in `tests/rig/cases.py`. `null` means that there was no such node, or no answer.\n"
    yield f"| case | rule | {' | '.join(TITLES.values())} |"
    yield "|---|---|---|---|"
    for case in CASES:
        seen = results["cases"][case.name]
        yield f"| {case.name} | {case.rule} | {' | '.join(_cell(case, seen[name]) for name in TITLES)} |"


def _cell(case: Case, outcome: Outcome) -> str:
    verdict = "keeps it" if outcome == case.reference else "**breaks it**"
    return "<br>".join([verdict, *(f"{key}: `{json.dumps(value)}`" for key, value in outcome.items())])


def main() -> None:
    PAGE.write_text(page(json.loads(OBSERVED.read_text())))
    print(PAGE)


if __name__ == "__main__":
    main()
