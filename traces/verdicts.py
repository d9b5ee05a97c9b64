# SPDX-License-Identifier: Apache-2.0
"""What a judge says of a trace."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pvpci.traces.findings import Finding

CONFORMS, VIOLATES, UNDECIDED = "conforms", "violates", "undecided"


@dataclass(frozen=True)
class Note:
    """Something worth knowing that breaks no rule of the judged party. `line`: where it was first, 0 for the whole."""

    text: str
    party: str = ""
    guest: str = ""
    line: int = 0
    times: int = 1


@dataclass(frozen=True)
class Verdict:
    verdict: str
    findings: tuple[Finding, ...]
    notes: tuple[Note, ...]
    needs: tuple[str, ...]  #: what would decide it
    lines: int  #: lines after the header
    judged: int  #: of these, steps of machines that the judge knows

    def as_dict(self) -> dict[str, Any]:
        """What ``check --json`` prints, the name of the file apart."""
        first = self.findings[0] if self.findings else None
        return {
            "verdict": self.verdict,
            "party": first.party if first else None,
            "rule": first.rule if first else None,
            "line": first.line if first else None,
            "why": f"{first.sentence}: {first.why}" if first else None,
            "needs": list(self.needs),
            "guest": first.guest if first else None,
            "lines": self.lines,
            "judged": self.judged,
            "findings": [
                {
                    "party": one.party, "guest": one.guest, "machine": one.machine, "function": one.function,
                    "rule": one.rule, "line": one.line, "why": f"{one.sentence}: {one.why}",
                    "details": list(one.details), "allowed": list(one.allowed),
                }
                for one in self.findings
            ],
            "notes": [
                {"text": note.text, "party": note.party, "guest": note.guest, "line": note.line, "times": note.times}
                for note in self.notes
            ],
        }  # fmt: skip
