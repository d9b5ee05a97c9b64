# SPDX-License-Identifier: Apache-2.0
"""Writing images: the form of the file, and nothing of what is in it. Reading one is `impl.embedded.image`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import groupby
from typing import Final

_ROW: Final = 16


def rows(content: bytes, said: bytes | None = None) -> dict[str, str]:
    """Bytes as an image has them: place to hexadecimal digits, at most 16 bytes a row, a long repetition as a range.

    `said`: non-zero for each byte that is to be mentioned; None: whole dwords that hold anything.
    """
    if said is None:
        said = b"".join((b"\1" if any(content[at : at + 4]) else b"\0") * 4 for at in range(0, len(content), 4))
    found: dict[str, str] = {}
    for first, end in _runs(said):
        at = first
        while at < end:
            same = at
            while same < end and content[same] == content[at]:
                same += 1
            if same - at >= _ROW:
                found[f"{at:03x}-{same - 1:03x}"] = content[at : at + 1].hex()
                at = same
            else:
                row = min(end, (at // _ROW + 1) * _ROW)
                found[f"{at:03x}"] = content[at:row].hex()
                at = row
    return found


def _runs(said: bytes) -> list[tuple[int, int]]:
    """First byte, and the one after the last, of each stretch that is mentioned."""
    found = []
    for mentioned, places in groupby(range(len(said)), key=lambda at: bool(said[at])):
        if mentioned:
            stretch = list(places)
            found.append((stretch[0], stretch[-1] + 1))
    return found


def text_of(image: Mapping[str, object]) -> str:
    """The file: one line for a key, a resource, a row."""
    return "{\n" + ",\n".join(f" {json.dumps(key)}: {_value(value)}" for key, value in image.items()) + "\n}\n"


def _value(value: object) -> str:
    if isinstance(value, Mapping) and value:
        return "{\n" + ",\n".join(f"  {json.dumps(key)}: {json.dumps(each)}" for key, each in value.items()) + "\n }"
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n" + ",\n".join(f"  {json.dumps(each)}" for each in value) + "\n ]"
    return json.dumps(value)
