# SPDX-License-Identifier: Apache-2.0
"""What an administrator allows one guest with one function, beyond what everybody may.

Written with the device, in the toolstack's own words (``opts-N``: ``permissive=1,msitranslate=0``); keys that are not
about configuration space are left alone. A grant is for one attachment: it is logged, and gone with the guest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pvpci.model.config.lanes import MASK, REACH

_FLAGS: Final = ("permissive", "interrupt_control", "extended")
#: The keys that are ours, and how each is written.
KEYS: Final = {**{flag: f"{flag}=1" for flag in _FLAGS}, "quirk": "quirk=OFFSET:WIDTH:MASK"}


class GrantError(ValueError):
    """A grant that cannot be; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Quirk:
    """A field that an administrator added: `width` bytes at `offset`; `mask`: the bits that a guest may change."""

    offset: int
    width: int
    mask: int

    def __str__(self) -> str:
        return f"{self.offset:x}:{self.width}:{self.mask:x}"


@dataclass(frozen=True, slots=True)
class Grants:
    """`permissive`: writes to registers without rules reach the function. `interrupt_control`: the guest, a device model,
    enables messages by itself. `extended`: it sees the space past 256 bytes. `quirks`: fields that are its own."""

    permissive: bool = False
    interrupt_control: bool = False
    extended: bool = False
    quirks: tuple[Quirk, ...] = ()

    def __str__(self) -> str:
        words = [f"{name}=1" for name in _FLAGS if getattr(self, name)]
        return ",".join([*words, *(f"quirk={quirk}" for quirk in self.quirks)])


NOTHING: Final = Grants()


def parse(text: str) -> Grants:
    """Read ``opts-N``: ``permissive=1,extended=1,quirk=40:2:ffff``. GrantError for a grant that makes no sense."""
    found: dict[str, bool] = {}
    quirks: list[Quirk] = []
    for part in text.split(","):
        key, _, value = part.strip().partition("=")
        if key in _FLAGS:
            if value not in ("0", "1"):
                raise GrantError(f"{key}={value[:20]!a}: expected {key}=0 or {key}=1")
            found[key] = value == "1"
        elif key == "quirk":
            quirks.append(parse_quirk(value))
    return Grants(**found, quirks=tuple(quirks))


def parse_quirk(text: str) -> Quirk:
    """``OFFSET:WIDTH:MASK``, hexadecimal but for the width. GrantError for anything else."""
    right = f"{text[:30]!a}: expected OFFSET:WIDTH:MASK, for example 40:2:ffff"
    parts = text.split(":")
    if len(parts) != 3 or not all(part.isascii() and part.isalnum() and len(part) <= 8 for part in parts):
        raise GrantError(right)
    try:
        offset, width, mask = int(parts[0], 16), int(parts[1]), int(parts[2], 16)
    except ValueError:
        raise GrantError(right) from None
    if width not in MASK:
        raise GrantError(f"{right}; the width is 1, 2 or 4")
    if offset + width > REACH or mask > MASK[width]:
        raise GrantError(f"{right}; inside {REACH} bytes, and with a mask of {width} bytes")
    return Quirk(offset, width, mask)
