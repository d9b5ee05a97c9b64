# SPDX-License-Identifier: Apache-2.0
"""Programs of configuration requests that two backends must answer alike, made from a seed and one function.

A program is a shuffled list of phrases. The special ones know what a register is for: they toggle COMMAND, ask for the
size of a BAR and nearly ask for it, change the power state and the message control words. The plain ones go through
each dword of the space, reading and writing it in every way that a request can have. Which values are written depends
on the function's registers, so a program is reproducible from its seed and the image that it was made for.

What is never generated stands in :data:`EXCLUSIONS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from tests.rig.frontend.operations import Operation

from pvpci.model.config import constants as pci
from pvpci.model.config.identity import Identity
from pvpci.model.config.walk import capabilities, chain

#: Long enough for every way to read and to write each dword below 256, whatever the function has.
FULL: Final = 2400
ALL_ONES: Final = 0xFFFFFFFF
#: Every aligned request inside one dword: (place, size).
LANES: Final = ((0, 4), (0, 2), (2, 2), (0, 1), (1, 1), (2, 1), (3, 1))
BARS: Final = (0x10, 0x14, 0x18, 0x1C, 0x20, 0x24, pci.ROM_ADDRESS)
DEVICE_CONTROL: Final = 8  # from the PCI Express capability
DEVICE_CONTROL_FLR: Final = 0x8000

Phrase = list[Operation]


@dataclass(frozen=True)
class Target:
    """A function as it is before a program: its bytes, and how the backend has been told to treat it."""

    name: str
    image: bytes
    permissive: bool = False
    interrupt_control: bool = False

    @property
    def config_size(self) -> int:
        return len(self.image)

    @property
    def mode(self) -> str:
        return ("P" if self.permissive else "") + ("A" if self.interrupt_control else "") or "plain"

    def read(self, offset: int, size: int) -> int:
        return int.from_bytes(self.image[offset : offset + size], "little")

    def write(self, offset: int, size: int, value: int) -> None:
        raise TypeError("a recorded image is not written to")

    def places(self) -> dict[int, int]:
        """Capability id to offset."""
        return capabilities(self)

    @property
    def identity(self) -> Identity:
        """What a comparison of registers must know of the function, and no more."""
        msi = self.places().get(pci.CAP_ID_MSI)
        return Identity(
            vendor=self.read(pci.VENDOR_ID, 2), device=self.read(pci.DEVICE_ID, 2), irq=0, config_size=self.config_size,
            is_virtual=False, resources=(), chain=chain(self),
            msi_flags=0 if msi is None else self.read(msi + pci.MSI_FLAGS, 2),
        )  # fmt: skip


@dataclass(frozen=True)
class Exclusion:
    what: str
    reason: str
    holds: Callable[[Target, Operation], bool]


def _resets(target: Target, asked: Operation) -> bool:
    control = target.places().get(pci.CAP_ID_EXP, 0) + DEVICE_CONTROL + 1
    reached = asked.offset <= control < asked.offset + asked.size
    high = (asked.value or 0) >> 8 * (control - asked.offset) if reached else 0
    return target.permissive and pci.CAP_ID_EXP in target.places() and bool(high & DEVICE_CONTROL_FLR >> 8)


EXCLUSIONS: Final = (
    Exclusion(
        "negative offsets",
        "Linux passes them to the platform, where they are not an address in this function",
        lambda target, asked: asked.offset < 0,
    ),
    Exclusion(
        "permissive: the bit in PCI Express device control that resets the function",
        "what the registers hold next depends on when the function is ready again, not on the backend",
        _resets,
    ),
)


def program(seed: int, target: Target, length: int) -> list[Operation]:
    """At least `length` operations: each special phrase once, then plain ones, then both by chance."""
    dice = Random(f"{seed} {target.name} {target.mode}")
    phrases = [phrase for kind in SPECIAL for phrase in kind(target, dice)]
    plain = _plain(target, dice)
    while sum(map(len, phrases)) < length:
        phrases.append(next(plain, Phrase()) or dice.choice(dice.choice(SPECIAL)(target, dice) or [[]]))
    dice.shuffle(phrases)
    return [asked for phrase in phrases for asked in phrase if not any(no.holds(target, asked) for no in EXCLUSIONS)]


# ------------------------------------------------------------------ parts


def _value(dice: Random, now: int, size: int) -> int:
    """What to write over `now`: something else, something close, or the same."""
    whole = (1 << 8 * size) - 1
    return dice.choice((0, whole, now, now ^ 1 << dice.randrange(8 * size), dice.getrandbits(8 * size))) & whole


def _reads(dword: int) -> Phrase:
    return [Operation(dword + place, size) for place, size in LANES]


def _write(offset: int, size: int, value: int) -> Phrase:
    """A write, and what can be seen of it in the dword."""
    return [Operation(offset, size, value & (1 << 8 * size) - 1), Operation(offset & ~3, 4)]


def _each_way(target: Target, dice: Random, dword: int) -> Phrase:
    """Writes to the dword in every way a request can have."""
    writes = (_write(dword + p, s, _value(dice, target.read(dword + p, s), s)) for p, s in LANES)
    return [asked for one in writes for asked in one]


def _plain(target: Target, dice: Random) -> Iterator[Phrase]:
    """Each dword below 256 in all ways; then of extended space what is there, and some of the rest."""
    dwords = range(0, pci.CONVENTIONAL_SIZE, 4)
    near = [_reads(dword) for dword in dwords] + [_each_way(target, dice, dword) for dword in dwords]
    rest = range(pci.CONVENTIONAL_SIZE, target.config_size, 4)
    there = [dword for dword in rest if any(target.image[dword : dword + 4])]
    far = [[*_reads(dword), *_write(dword, 4, _value(dice, target.read(dword, 4), 4))] for dword in there]
    for dword in dice.sample(rest, 24) if rest else ():
        place, size = dice.choice(LANES)
        far.append([Operation(dword + place, size), *_write(dword + place, size, dice.getrandbits(32))])
    dice.shuffle(near)
    dice.shuffle(far)
    yield from near + far


# ------------------------------------------------------------------ phrases that know what a register is for


def _command(target: Target, dice: Random) -> list[Phrase]:
    """Decoding, mastering, MWI and INTX_DISABLE on and off, one after the other and together, in words and bytes."""
    fixed = (0x0000, 0x0003, 0x0007, 0x0407, 0xFFFF, 0x0547, 0x0000, 0x0002, 0x0012, 0x0006, 0x0400, 0x0103)
    chance = [dice.choice((dice.getrandbits(16), dice.getrandbits(11), 1 << dice.randrange(16))) for _ in range(12)]
    words = [asked for value in (*fixed, *chance) for asked in _write(pci.COMMAND, 2, value)]
    bytewise = [Operation(pci.COMMAND, 1, 0x00), Operation(pci.COMMAND + 1, 1, 0x04), *_reads(pci.COMMAND)]
    bytewise += [*_write(pci.COMMAND, 1, 0x07), *_write(pci.COMMAND, 4, 0xFFFF0006), *_write(pci.STATUS, 2, 0xFFFF)]
    return [words, bytewise]


def _sizing(target: Target, dice: Random) -> list[Phrase]:
    """As a scan sizes a BAR; then what nearly asks for the size; then in pieces, which does not."""
    found = []
    for bar in BARS:
        now = target.read(bar, 4)
        scan = [Operation(bar, 4), *_write(bar, 4, ALL_ONES), *_write(bar, 4, now)]
        near = [*_write(bar, 4, ALL_ONES), *_write(bar, 4, dice.choice((0x12345678, 0, now ^ 0x1000)))]
        for value in (0xFFFFFFFE, 0xFFFFFFFC, 0xFFFFFFF0, 0xFFFFF800, 0xFFFFFFF8, 0xFFFFF000, 0x7FFFFFFF):
            near += _write(bar, 4, value)
        pieces = [asked for place in range(4) for asked in _write(bar + place, 1, 0xFF)]
        pieces += [*_write(bar, 2, 0xFFFF), *_write(bar + 2, 2, 0xFFFF)]
        # While the size is shown, a byte is merged with it.
        pieces += [*_write(bar, 4, ALL_ONES), *_write(bar + dice.randrange(4), 1, 0xFF), *_reads(bar)]
        pieces += [*_write(bar, 4, ALL_ONES), *_write(bar + 1, 1, 0x00), *_write(bar, 4, now)]
        found += [scan, near, pieces]
    return found


def _header(target: Target, dice: Random) -> list[Phrase]:
    """The bytes that a backend may keep, pass on or drop."""
    line = [asked for value in (0x10, 0x08, 0x00, 0x40) for asked in _write(pci.CACHE_LINE_SIZE, 1, value)]
    line += [*_write(pci.COMMAND, 2, 0x0010), *_write(pci.COMMAND, 2, 0x0000), Operation(pci.CACHE_LINE_SIZE, 1)]
    test = [asked for value in (0x00, 0x40, 0x41, 0x80) for asked in _write(pci.BIST, 1, value)]
    latency = [asked for value in (0x20, 0xFF, 0x00) for asked in _write(pci.LATENCY_TIMER, 1, value)]
    interrupt = [*_write(pci.INTERRUPT_LINE, 1, 0x0B), *_write(pci.INTERRUPT_PIN, 1, 0x02)]
    interrupt += [*_write(pci.INTERRUPT_LINE, 4, ALL_ONES), *_write(pci.INTERRUPT_LINE, 2, 0x0A0A)]
    whole = [*_write(pci.CACHE_LINE_SIZE, 4, 0x40FF2010), *_write(pci.VENDOR_ID, 4, 0), *_write(8, 4, ALL_ONES)]
    return [line, test, latency, interrupt, whole]


def _power(target: Target, dice: Random) -> list[Phrase]:
    """D0, D3hot and the states that may not exist; the wake bits; COMMAND and a BAR while the function sleeps."""
    place = target.places().get(pci.CAP_ID_PM)
    if place is None:
        return []
    control = place + pci.PM_CTRL
    states = [asked for value in (3, 0, 2, 1, 3, 1, 2, 0, 1, 0) for asked in _write(control, 2, value)]
    wake = [
        asked for value in (0x8100, 0x8000, 0x8200, 0x0200, 0x1E00, 0x0100, 0) for asked in _write(control, 2, value)
    ]
    pieces = [*_write(control, 1, 3), *_write(control + 1, 1, 0x81), *_write(control, 4, 2), *_write(control, 4, 0)]
    pieces += [*_write(place, 4, ALL_ONES), *_write(place + 2, 2, 0), *_reads(place), *_reads(control)]
    asleep = [*_write(pci.COMMAND, 2, 0x0007), *_write(control, 2, 3), *_write(pci.COMMAND, 2, 0x0400)]
    asleep += [*_write(0x10, 4, ALL_ONES), *_write(0x10, 4, target.read(0x10, 4)), *_write(pci.COMMAND, 2, 0x0006)]
    asleep += [*_write(control, 2, 0), *_write(pci.COMMAND, 2, 0x0007), *_write(0x10, 4, target.read(0x10, 4))]
    return [states, wake, pieces, asleep]


def _messages(target: Target, dice: Random) -> list[Phrase]:
    """The control words of MSI and MSI-X, in words, bytes and dwords, and the registers behind them."""
    found = []
    for kind, enable, others in (
        (pci.CAP_ID_MSI, 0x0001, (0x0010, 0x0070, 0x0080, 0x0100)),
        (pci.CAP_ID_MSIX, 0x8000, (0x4000, 0x0001, 0x2000)),
    ):
        if (place := target.places().get(kind)) is None:
            continue
        now = target.read(place + 2, 2)
        words = (now, now | enable, now | enable | others[0], now, *(now ^ other for other in others), now)
        phrase = [asked for value in words for asked in _write(place + 2, 2, value)]
        phrase += [
            *_write(pci.COMMAND, 2, 0x0407),
            *_write(place + 2, 2, now | enable),
            *_write(pci.COMMAND, 2, 0x0007),
        ]
        phrase += [*_write(pci.COMMAND, 2, 0x0003), *_write(place + 2, 2, now)]
        pieces = [*_write(place + 2, 1, now & 0xFF ^ enable & 0xFF), *_write(place + 3, 1, (now ^ enable) >> 8)]
        pieces += [*_write(place, 4, now << 16 | 0xFFFF), *_write(place, 4, (now ^ enable) << 16)]
        pieces += [*_write(place + 2, 2, now), *_write(place + 4, 4, 0xFEE00000), *_write(place + 8, 4, 0x4021)]
        pieces += [*_write(place + 0xC, 4, ALL_ONES), *_write(place + 0xC, 2, 0), *_reads(place)]
        found += [phrase, pieces]
    return found


def _product_data(target: Target, dice: Random) -> list[Phrase]:
    """Addresses without the flag that writes, the flag, and the data register."""
    if (place := target.places().get(pci.CAP_ID_VPD)) is None:
        return []
    writes = ((2, 2, 0x0010), (2, 2, 0x8010), (0, 4, 0x80100000), (0, 4, 0x00100000), (3, 1, 0x80), (4, 4, 0x11223344))
    return [[asked for at, size, value in writes for asked in _write(place + at, size, value)]]


def _unknown(target: Target, dice: Random) -> list[Phrase]:
    """Capabilities that no backend has fields for."""
    known = (pci.CAP_ID_PM, pci.CAP_ID_MSI, pci.CAP_ID_MSIX, pci.CAP_ID_VPD)
    places = [place for kind, place in target.places().items() if kind not in known]
    return [_reads(place) + _each_way(target, dice, place + 4 * dice.randrange(1, 5)) for place in places]


def _refused(target: Target, dice: Random) -> list[Phrase]:
    """Sizes that there are not, and offsets that do not fit the size."""
    sizes = (0, 3, 5, 8, 16, 0x101, 0x7FFFFFFF, -0x80000000, -1)
    asked = [Operation(dice.choice((0, 4, 0x10, 0x40)), size, dice.choice((None, 0xA5A5A5A5))) for size in sizes]
    for offset, size in ((1, 2), (3, 2), (1, 4), (2, 4), (3, 4), (5, 2), (0x12, 4), (0xFFF, 2)):
        asked += [Operation(offset, size), Operation(offset, size, ALL_ONES)]
    return [asked, [Operation(0, 4), Operation(pci.COMMAND, 4)]]


def _beyond(target: Target, dice: Random) -> list[Phrase]:
    """Aligned, and past the function's own space or past everybody's."""
    found = []
    for start in sorted({target.config_size, 0x800, pci.EXTENDED_SIZE, 0x10000, 0x7FFFFFFC}):
        if start >= target.config_size:
            place, size = dice.choice(LANES)
            found.append(
                [*_reads(start), Operation(start + place, size, dice.getrandbits(8 * size)), Operation(start, 4)]
            )
    return found


SPECIAL: Final[Sequence[Callable[[Target, Random], list[Phrase]]]] = (
    _command, _sizing, _header, _power, _messages, _product_data, _unknown, _refused, _beyond,
)  # fmt: skip
