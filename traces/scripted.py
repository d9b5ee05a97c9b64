# SPDX-License-Identifier: Apache-2.0
"""A function that answers as it did when it was recorded."""

from __future__ import annotations

from pvpci.traces.format import Hardware


class Ended(Exception):
    """The trace has no such access next."""


class Scripted:
    """The hardware as it was. `asked`: what was done to it, in words; `done`: how much of the script was used."""

    def __init__(self, script: list[Hardware]) -> None:
        self.script, self.done = script, 0
        self.asked: list[str] = []

    def _next(self, access: str, offset: int, size: int) -> Hardware:
        if self.done >= len(self.script):
            raise Ended
        found = self.script[self.done]
        self.done += 1
        if (found.access, found.offset, found.size) != (access, offset, size):
            raise Ended
        return found

    def read(self, offset: int, size: int) -> int:
        self.asked.append(f"read {offset:#x}/{size}")
        return self._next("read", offset, size).value

    def write(self, offset: int, size: int, value: int) -> None:
        self.asked.append(f"write {offset:#x}/{size} {value:#x}")
        self._next("write", offset, size)

    def differs(self) -> tuple[str, str] | None:
        """What was recorded and what was done now, if that is not the same."""
        then = [
            f"{line.access} {line.offset:#x}/{line.size}" + (f" {line.value:#x}" if line.access == "write" else "")
            for line in self.script
        ]
        if self.asked == then:
            return None
        recorded, now = (", ".join(accesses) or "nothing" for accesses in (then, self.asked))
        return f"hardware: {recorded}", f"hardware: {now}"
