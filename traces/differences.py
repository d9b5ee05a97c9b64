# SPDX-License-Identifier: Apache-2.0
"""What a replay found: how much was done again, and what was not as it was recorded."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

#: After so many differences the rest is only counted.
MOST: Final = 100


@dataclass(frozen=True)
class Difference:
    """One thing that is not as it was recorded. `line`: where the request was copied, or the operation began."""

    line: int
    guest: str
    request: str
    recorded: str
    now: str


@dataclass
class Report:
    """`compared`: requests that were served again; `skipped`: why others were not, with how many."""

    against: str
    compared: int = 0
    operations: int = 0  #: on interrupts, carried out again
    differences: list[Difference] = field(default_factory=list)
    more: int = 0  #: differences that are only counted
    skipped: dict[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return {
            "against": self.against,
            "verdict": "violates"
            if self.differences
            else "conforms"
            if self.compared or self.operations
            else "undecided",
            "compared": self.compared,
            "operations": self.operations,
            "differences": [
                {"line": d.line, "guest": d.guest, "request": d.request, "recorded": d.recorded, "now": d.now}
                for d in self.differences
            ],
            "more": self.more,
            "skipped": dict(sorted(self.skipped.items())),
        }

    def add(self, difference: Difference) -> None:
        if len(self.differences) >= MOST:
            self.more += 1
        else:
            self.differences.append(difference)
