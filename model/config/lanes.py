# SPDX-License-Identifier: Apache-2.0
"""Where a request and a field meet, whatever the field is.

A guest asks for 1, 2 or 4 aligned bytes, so a request lies in one aligned dword, and so does every field. Everything
is therefore computed in the position that it has in that dword: a request and a field are each a mask of *lanes*
(``0x0000ff00`` is byte 1), they meet where the masks do, and merging is one line.

The functions here are written with operators that numbers and terms share, and decide nothing themselves: what runs
is what is proved. That is why they are not written with ``if`` and ``not``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

WORD: Final = 0xFFFFFFFF
#: All bits of a value of so many bytes.
MASK: Final[Mapping[int, int]] = {1: 0xFF, 2: 0xFFFF, 4: WORD}
#: All that a request can ask for of its dword, with its size: four bytes, two words, the whole; and the odd word.
ASKED: Final[Mapping[int, int]] = {
    0xFF: 1, 0xFF00: 1, 0xFF0000: 1, 0xFF000000: 1, 0xFFFF: 2, 0xFFFF0000: 2, WORD: 4, 0xFFFF00: 2,
}  # fmt: skip
#: What any accessor of configuration space can reach.
REACH: Final = 4096


def aligned(offset: Any, size: Any) -> Any:
    """Whether a request is 1, 2 or 4 bytes in their natural place. `offset`, `size`: 32 bits, signed or not."""
    o, s = offset & WORD, size & WORD
    return (s == 1) | ((s == 2) & ((o & 1) == 0)) | ((s == 4) & ((o & 3) == 0))


def contained(offset: Any, size: Any) -> Any:
    """Whether a request is 1, 2 or 4 bytes of one dword; a word may start at an odd byte."""
    o, s = offset & WORD, size & WORD
    return (s == 1) | ((s == 2) & ((o & 3) != 3)) | ((s == 4) & ((o & 3) == 0))


def inside(offset: Any, size: Any, limit: Any) -> Any:
    """Whether a request ends within `limit` bytes. A negative offset is a large one, and one that wraps starts late."""
    o = offset & WORD
    return (o < limit) & (o + (size & WORD) <= limit)


def positive(offset: Any) -> Any:
    """Whether the offset, as the signed number that it is on the wire, is none below 0."""
    return (offset & WORD) < 0x80000000


def lanes(offset: int, size: int) -> int:
    """The bytes of its dword that a request or a field covers, as a mask."""
    return MASK[size] << 8 * (offset & 3)


def first(lanes: int) -> int:
    """How far up in the dword these lanes begin, in bits."""
    return (lanes & -lanes).bit_length() - 1
