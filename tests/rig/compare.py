# SPDX-License-Identifier: Apache-2.0
"""Where two backends differ in the same program, and which rule of a profile says that they may.

Compared are the errors; the values, cut to the bytes that were asked for; the spare bits beyond them; and, after each
batch, every byte of the real function's configuration space. A profile that copies Linux has no rules, so each
difference is a mistake. For `strict` a difference needs the name of one of its rules, and the rule must be able to act
there: that the guest's own cache line size is kept explains nothing before the guest has written one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from tests.rig.differential import Played
from tests.rig.frontend.operations import BATCH, Answer, Operation
from tests.rig.programs import Target

from pvpci.model.config import constants as pci
from pvpci.model.config.strict import RULES, explain
from pvpci.model.wire import Err

WORD: Final = 0xFFFFFFFF
EINVAL: Final = -22
#: What `strict` shows of a function to a guest without a grant.
SHOWN: Final = pci.CONVENTIONAL_SIZE


@dataclass(frozen=True)
class Difference:
    """`kind`: error, value, spare bits, register, or unanswered. `rules` is empty if nothing explains it."""

    where: str
    kind: str
    linux: str
    ours: str
    rules: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.where}: {self.kind}: Linux {self.linux}, ours {self.ours} ({', '.join(self.rules) or 'no rule'})"


class Judge(Protocol):
    """Names of the rules by which something may differ; none if it may not."""

    def error(self, asked: Operation, linux: Answer, ours: Answer) -> Sequence[str]: ...

    def value(self, place: int, linux: int, ours: int) -> Sequence[str]:
        """One byte of what a guest reads."""

    def spare(self, asked: Operation, linux: Answer, ours: Answer) -> Sequence[str]: ...

    def register(self, place: int, linux: int, ours: int) -> Sequence[str]:
        """One byte of the real function."""

    def done(self, asked: Operation, ours: Answer) -> None:
        """The operation is over, whatever came of it."""


class Exactly:
    """Nothing may differ."""

    def error(self, asked: Operation, linux: Answer, ours: Answer) -> Sequence[str]:
        return ()

    def value(self, place: int, linux: int, ours: int) -> Sequence[str]:
        return ()

    def spare(self, asked: Operation, linux: Answer, ours: Answer) -> Sequence[str]:
        return ()

    def register(self, place: int, linux: int, ours: int) -> Sequence[str]:
        return ()

    def done(self, asked: Operation, ours: Answer) -> None:
        return None


def mask(size: int) -> int:
    """The bits of a value that was asked for; all for a size that there is not."""
    return (1 << 8 * size) - 1 if size in (1, 2, 4) else WORD


def word(asked: Operation) -> str:
    verb = "read" if asked.value is None else f"write {asked.value:#x}"
    return f"{verb}, {asked.size} at {asked.offset:#05x}"


def differences(linux: Played, ours: Played, judge: Judge) -> list[Difference]:
    """All of them, in the order of the program. Both must have played the same program from the same state."""
    if (linux.program, linux.before) != (ours.program, ours.before):
        raise ValueError(f"{linux.run.name}: not the same program, or not from the same state")
    found: list[Difference] = []
    for number, state in enumerate(zip(linux.states, ours.states, strict=True)):
        first, last = number * BATCH, min((number + 1) * BATCH, len(linux.program))
        for place in range(first, last):
            asked = linux.program[place]
            answers = [each.answers[place] if place < len(each.answers) else None for each in (linux, ours)]
            found += _answers(f"operation {place}: {word(asked)}", asked, answers[0], answers[1], judge)
        found += _registers(f"after operation {last - 1}", linux.before, *state, judge)
    return found


def _answers(where: str, asked: Operation, linux: Answer | None, ours: Answer | None, judge: Judge) -> list[Difference]:
    if linux is None or ours is None:
        return [Difference(where, "unanswered", str(linux), str(ours))]
    found = []
    cut = mask(asked.size)
    if linux.err != ours.err:
        found.append(_difference(where, "error", linux, ours, judge.error(asked, linux, ours)))
    else:
        if linux.value & cut != ours.value & cut:
            rules = judge_bytes(asked, linux.value, ours.value, judge) if asked.value is None else ()
            found.append(_difference(where, "value", linux, ours, rules))
        if linux.value & ~cut != ours.value & ~cut:
            found.append(_difference(where, "spare bits", linux, ours, judge.spare(asked, linux, ours)))
    judge.done(asked, ours)
    return found


def _difference(where: str, kind: str, linux: Answer, ours: Answer, rules: Iterable[str]) -> Difference:
    shown = [f"{answer.err} {answer.value:#x}" for answer in (linux, ours)]
    return Difference(where, kind, shown[0], shown[1], tuple(dict.fromkeys(rules)))


def judge_bytes(asked: Operation, linux: int, ours: int, judge: Judge) -> list[str]:
    """Rules that together explain each byte that differs; none if one is left over."""
    names: list[str] = []
    for number in range(asked.size if asked.size in (1, 2, 4) else 4):
        theirs, mine = linux >> 8 * number & 0xFF, ours >> 8 * number & 0xFF
        if theirs != mine:
            rules = judge.value(asked.offset + number, theirs, mine)
            if not rules:
                return []
            names += rules
    return names


def _registers(
    where: str, before: bytes, linux: Mapping[int, int], ours: Mapping[int, int], judge: Judge
) -> Iterator[Difference]:
    for place in sorted(linux.keys() | ours.keys()):
        theirs, mine = linux.get(place, before[place]), ours.get(place, before[place])
        if theirs != mine:
            rules = tuple(judge.register(place, theirs, mine))
            yield Difference(f"{where}: {place:#05x}", "register", f"{theirs:02x}", f"{mine:02x}", rules)


# ------------------------------------------------------------------ strict


class Strictly:
    """The rules of `strict`, each where it can act. Raises ValueError for a rule that `strict` does not have (any more)."""

    def __init__(self, target: Target) -> None:
        self._size, self._places, self._identity = target.config_size, target.places(), target.identity
        self._written: set[int] = set()  # bytes the guest has written, and was not refused
        self._mastered = False
        self._power = self._places[pci.CAP_ID_PM] + pci.PM_CTRL if pci.CAP_ID_PM in self._places else None

    def error(self, asked: Operation, linux: Answer, ours: Answer) -> Sequence[str]:
        if asked.offset + asked.size > SHOWN:
            inside = asked.offset + asked.size <= self._size
            if ours.err == Err.INVALID_OFFSET and linux.err in (0, EINVAL):
                return named("extended-on-request" if inside else "bounds")
            return ()
        if asked.value is None:
            return ()
        if linux.err == EINVAL and ours.err == Err.OP_FAILED and asked.offset & ~3 == pci.COMMAND:
            return named("own-errors-only")
        # The state is in one field of a dword of three, and not in the last.
        if (asked.offset, asked.size) == (self._power, 4) and (linux.err, ours.err) == (0, Err.ACCESS_DENIED):
            return named("refused-means-nothing-done")
        return ()

    def value(self, place: int, linux: int, ours: int) -> Sequence[str]:
        acting = [rule for rule in RULES if self._can_act(rule.name, place)]
        return [rule.name for rule in explain(self._identity, place, ours, linux, acting)]

    def spare(self, asked: Operation, linux: Answer, ours: Answer) -> Sequence[str]:
        return named("truncated") if ours.value & ~mask(asked.size) == 0 else ()

    def register(self, place: int, linux: int, ours: int) -> Sequence[str]:
        if place == pci.CACHE_LINE_SIZE and place in self._written:
            return named("cache-line-kept")
        if place == pci.COMMAND and linux ^ ours == pci.COMMAND_MASTER and not ours & pci.COMMAND_MASTER:
            return named("starts-without-mastering") if not self._mastered else ()
        if place == self._power and linux ^ ours == pci.PM_CTRL_STATE and not linux & pci.PM_CTRL_STATE:
            return named("enabling-does-not-wake") if pci.COMMAND in self._written else ()
        return ()

    def done(self, asked: Operation, ours: Answer) -> None:
        if asked.value is not None and ours.err == Err.SUCCESS:
            self._written |= set(range(asked.offset, asked.offset + asked.size))
            if asked.offset == pci.COMMAND and asked.value & pci.COMMAND_MASTER:
                self._mastered = True

    def _can_act(self, rule: str, place: int) -> bool:
        written = place in self._written
        conditions = {
            "command-starts-clear": not written,
            "starts-without-mastering": not self._mastered,
            "cache-line-kept": written,
            "latency-kept": written,
            "line-kept": written,
            "messages-kept": written,
            "enabling-does-not-wake": pci.COMMAND in self._written,
            "given-back-awake-and-quiet": False,  # a program is one guest's, and starts from a quiet function
        }
        return conditions.get(rule, True)


def named(rule: str) -> tuple[str]:
    """The rule, which `strict` must have: a rule that is gone explains nothing."""
    if rule not in {each.name for each in RULES}:
        raise ValueError(f"strict has no rule {rule!r}")
    return (rule,)
