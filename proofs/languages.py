# SPDX-License-Identifier: Apache-2.0
"""Do two recognisers accept the same texts? Decided by walking both at once, breadth first.

Each has finitely many places for the texts that are tried here, so the walk ends; what it finds first is a shortest text on
which they differ. Nothing is sampled: characters are taken by kind, and every character is of one kind.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, Final

from pvpci.model.kernel.algorithms import SameLanguage

LIMIT: Final = 100_000  #: pairs of places; more is no recogniser of ours


@dataclass(frozen=True)
class Compared:
    """`text`: a shortest one on which they differ, and whether what `runs` accepts it; `pairs`: how many were walked."""

    pairs: int
    text: str | None = None
    runs: bool = False


def compare(claim: SameLanguage) -> Compared:
    """ValueError if there are too many places."""
    (left, go_left, ends_left), (right, go_right, ends_right) = claim.runs, claim.says
    came: dict[tuple[Any, Any], tuple[tuple[Any, Any], str] | None] = {(left, right): None}
    waiting = deque(came)
    while waiting:
        pair = waiting.popleft()
        one, two = pair
        accepts = (one is not None and ends_left(one), two is not None and ends_right(two))
        if accepts[0] is not accepts[1]:
            return Compared(len(came), _text(came, pair, claim), accepts[0])
        for kind in claim.kinds:
            following = (
                None if one is None else go_left(one, kind),
                None if two is None else go_right(two, kind),
            )
            if following not in came and following != (None, None):
                came[following] = (pair, kind)
                waiting.append(following)
        if len(came) > LIMIT:
            raise ValueError(f"{claim.name}: more than {LIMIT} pairs of places")
    return Compared(len(came))


def _text(
    came: dict[tuple[Any, Any], tuple[tuple[Any, Any], str] | None], pair: tuple[Any, Any], claim: SameLanguage
) -> str:
    kinds: list[str] = []
    step = came[pair]
    while step is not None:
        pair, kind = step
        kinds.append(kind)
        step = came[pair]
    return "".join(claim.kinds[kind] for kind in reversed(kinds))
