# SPDX-License-Identifier: Apache-2.0
"""Programs of configuration requests as short text, because a guest and dom0 exchange them through xenstore's nodes.

A read is ``4.2`` (offset and size, hexadecimal), a write ``4.2=107``. An answer is ``-2.0``: `err` and the whole `value`
as they stood in the page; ``-`` if there was none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

#: So many answers fit into one node that a guest writes, whatever they are.
BATCH = 128


class Operation(NamedTuple):
    """`offset` and `size` as they are put into the page, valid or not; `value` is None for a read."""

    offset: int
    size: int
    value: int | None = None

    def __str__(self) -> str:
        return f"{self.offset:x}.{self.size:x}" + ("" if self.value is None else f"={self.value:x}")


class Answer(NamedTuple):
    """`err`, and `value` with all its bits, however few were asked for."""

    err: int
    value: int

    def __str__(self) -> str:
        return f"{self.err:x}.{self.value:x}"


def operation(text: str) -> Operation:
    where, found, value = text.partition("=")
    offset, _, size = where.partition(".")
    return Operation(int(offset, 16), int(size, 16), int(value, 16) if found else None)


def answer(text: str) -> Answer | None:
    if text == "-":
        return None
    err, _, value = text.partition(".")
    return Answer(int(err, 16), int(value, 16))


def pack(items: Iterable[Operation | Answer | None]) -> str:
    return " ".join("-" if item is None else str(item) for item in items)


def operations(text: str) -> list[Operation]:
    return [operation(word) for word in text.split()]


def answers(text: str) -> list[Answer | None]:
    return [answer(word) for word in text.split()]


def batches(program: Sequence[Operation]) -> Iterator[Sequence[Operation]]:
    for start in range(0, len(program), BATCH):
        yield program[start : start + BATCH]
