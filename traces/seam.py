# SPDX-License-Identifier: Apache-2.0
"""Where two machines meet: a request about interrupts, and the machine of the function that it is for.

Each machine is judged by its own table, and between them a backend could still lie: ask the function for one vector where
the guest asked for two, answer success after a refusal, hand out numbers that nobody mapped. So for each guest is kept which
function it finds where, which request about interrupts is being performed, and which numbers are mapped.

What was not seen from its beginning is not complained about.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from pvpci.model import interrupts, op
from pvpci.model.wire import Cmd, Err
from pvpci.traces.format import Function, Kept, Line, Vectors

#: The event that each operation must bring to the function.
EVENTS: Final = {
    int(Cmd.ENABLE_MSI): interrupts.EnableMsi.__name__, int(Cmd.DISABLE_MSI): interrupts.DisableMsi.__name__,
    int(Cmd.ENABLE_MULTI_MSI): interrupts.EnableMultiMsi.__name__,
    int(Cmd.ENABLE_MSIX): interrupts.EnableMsix.__name__, int(Cmd.DISABLE_MSIX): interrupts.DisableMsix.__name__,
}  # fmt: skip
#: How a request is performed: by effects, and where they say how many vectors or messages are asked for.
PERFORMS: Final = frozenset({op.PERFORM.name, op.PERFORM_BLOCK.name})
_COUNTS: Final = {interrupts.EnableMsix.__name__: "value", interrupts.EnableMultiMsi.__name__: "info"}
_OPERATIONS: Final = frozenset(EVENTS.values())
_DONE: Final = interrupts.Mapped.__name__, interrupts.Unmapped.__name__
_FAILED: Final = int(Err.OP_FAILED) & 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Complaint:
    """The two machines do not fit together. `function`: whose."""

    rule: str
    sentence: str
    why: str
    function: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What the function's machine says, as far as it is known (None). `at` is empty where it is not at rest."""

    at: str
    err: int | None
    value: int | None


@dataclass(slots=True)
class _Performing:
    function: str
    event: str
    count: int
    taken: bool = False


@dataclass(slots=True)
class _Guest:
    functions: dict[tuple[object, ...], str] = field(default_factory=dict)  #: by domain, bus and devfn
    mapped: dict[str, list[object]] = field(default_factory=dict)  #: numbers, by function
    performing: _Performing | None = None
    enabled: str = ""  #: the function that was last asked for several vectors


class Seam:
    """Takes what is about interrupts, in order. A function whose attachment was not seen is not looked at."""

    def __init__(self) -> None:
        self._guests: dict[str, _Guest] = {}

    def begin(self, guest: str) -> None:
        """It starts anew, without functions."""
        self._guests.pop(guest, None)

    def attached(self, line: Function) -> None:
        """`line` says that its interrupts are recorded."""
        guest = self._guests.setdefault(line.guest, _Guest())
        guest.functions[line.domain, line.bus, line.slot << 3 | line.number] = line.function
        guest.mapped[line.function] = []

    def kept(self, line: Kept) -> None:
        """Numbers that were mapped before the function's machine began."""
        guest = self._guests.get(line.guest)
        if guest is not None and line.function in guest.mapped:
            guest.mapped[line.function] = list(line.numbers)

    def gone(self, name: str, function: str) -> None:
        if (guest := self._guests.get(name)) is not None:
            guest.functions = {place: one for place, one in guest.functions.items() if one != function}
            guest.mapped.pop(function, None)

    def performs(self, line: Line) -> None:
        """A step of the request machine that asks for the operation itself."""
        guest = self._guests.get(line.guest)
        what = line.asked[0].arguments if line.asked else {}
        if guest is None:
            return
        cmd = what.get("cmd")
        event = EVENTS.get(cmd) if isinstance(cmd, int) else None
        guest.performing = None
        function = guest.functions.get((what.get("domain"), what.get("bus"), what.get("devfn")))
        if event is not None and function is not None:
            count = what.get(_COUNTS[event], 0) if event in _COUNTS else 0
            guest.performing = _Performing(function, event, int(count))
            if event == interrupts.EnableMsix.__name__:
                guest.enabled = function

    def step(self, line: Line) -> Complaint | None:
        """A step of a function's machine."""
        guest = self._guests.get(line.guest)
        if guest is None or line.function not in guest.mapped:
            return None
        if line.event in _DONE:
            self._count(guest.mapped[line.function], line)
        if line.event not in _OPERATIONS:
            return None
        due, sentence = guest.performing, "what is asked of a function is what its guest asked for"
        if due is None or due.taken or (due.function, due.event) != (line.function, line.event):
            right = f"{due.event} of {due.function} is" if due is not None and not due.taken else "nothing is"
            return Complaint(
                "I-26", sentence, f"{line.event} of {line.function}, where {right} being performed", line.function
            )
        due.taken = True
        count = (line.given or {}).get("count", 0)
        if count != due.count:
            if line.event == interrupts.EnableMultiMsi.__name__:
                rule, right = "D-16", "a block is as large as was asked for"
            else:
                rule, right = "I-47", "as many vectors are mapped as are handed out"
            why = f"{line.event} of {line.function} for {count} vectors, where the guest asked for {due.count}"
            return Complaint(rule, right, why, line.function)
        return None

    def _count(self, mapped: list[object], line: Line) -> None:
        given = line.given or {}
        if given.get("ok"):
            mapped.append(given.get("pirq"))
        elif given.get("gone") and mapped:
            mapped.pop()

    def performed(self, line: Line) -> str:
        """The function whose answer this step of the request machine must bring; empty if it is about none."""
        guest = self._guests.get(line.guest)
        return "" if guest is None or guest.performing is None else guest.performing.function

    def done(self, line: Line, answer: Answer | None) -> Complaint | None:
        """The host says that it has done what it was asked for. `answer`: of the function's machine, if it is known."""
        guest = self._guests[line.guest]
        due, guest.performing = guest.performing, None
        if due is None:
            return None
        given, sentence = line.given or {}, "the answer is what happened"
        err, value = given.get("err"), given.get("value")
        if not due.taken:
            # The list of entries could not be read, say: the operation failed before the function heard of it.
            why = f"done, with err={err}, but {due.function} was asked for nothing"
            return None if err == _FAILED else Complaint("D-05", sentence, why, due.function)
        if answer is None:
            return None
        if not answer.at:
            why = f"done, while the interrupts of {due.function} are being changed"
            return Complaint("D-05", sentence, why, due.function)
        for name, said, right in (("err", err, answer.err), ("value", value, answer.value)):
            if right is not None and said != right:
                why = f"done with {name}={said}, where the interrupts of {due.function}, now {answer.at}, say {right}"
                return Complaint("D-05", sentence, why, due.function)
        return None

    def handed_out(self, line: Vectors) -> Complaint | None:
        """Numbers were stored into the page."""
        guest = self._guests.get(line.guest)
        mapped = None if guest is None else guest.mapped.get(guest.enabled)
        if guest is None or mapped is None or line.numbers == mapped:
            return None
        why = f"handed out {line.numbers}, where {mapped} are mapped of {guest.enabled}"
        return Complaint("I-47", "the vectors that are handed out are those that are mapped", why, guest.enabled)
