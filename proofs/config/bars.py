# SPDX-License-Identifier: Apache-2.0
"""C-29 to C-38: BARs and the expansion ROM.

What a guest reads of them follows from the host's resources (`placing`), for any address and size of 64 bits. That it gets
the right ones is said in the words of the sizing protocol: what a guest computes from the mask is the size. A field that
an administrator of Linux adds over a BAR is the administrator's affair.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import z3

from pvpci.model.config import constants as pci
from pvpci.model.config.placing import IGNORED_IO, IGNORED_MEM, IGNORED_ROM, NOT_PLACED
from pvpci.model.config.programs import Structure
from pvpci.model.config.state import BARS, ROM, Bar, bars, known, resources
from pvpci.model.config.steps import D3HOT, PMCSR, bar_place
from pvpci.proofs.config.claims import Asked, Claim, ProgramClaim, Ran, RequestClaim, known_facts, shift
from pvpci.proofs.translate import Formula

#: Where each kind of header has its BARs and the ROM, by place in the list of resources.
_NORMAL: Final = {bar_place(place).offset: place for place in range(ROM + 1)}
_BRIDGE: Final = {bar_place(place, bridge=True).offset: place for place in (0, 1, ROM)}
_ONES: Final = z3.BitVecVal(0xFFFFFFFF, 32)


def bytes_written(of: Asked | Ran) -> Iterator[tuple[Formula, Structure, int, Formula]]:
    """Every byte that is written to the function: when, where, what."""
    for one in of.written:
        for n in range(one.place.width):
            when = one.when if one.lanes is None else z3.And(one.when, z3.Extract(8 * n, 8 * n, one.lanes) == 1)
            yield when, one.place.structure, one.place.offset + n, z3.Extract(8 * n + 7, 8 * n, one.value)


def added(asked: Asked) -> bool:
    """An administrator's field is in the dword."""
    return asked.case is not None and any(row.name.startswith("ADDED") for row in asked.case.rows)


def _place(asked: Asked) -> int | None:
    """Which BAR is in the dword of the request."""
    if asked.case is None or asked.case.structure is not Structure.HEADER:
        return None
    return (_BRIDGE if asked.case.bridge else _NORMAL).get(asked.case.offset)


def bar_of(asked: Asked) -> int | None:
    """The same, unless an added field lies over it."""
    return None if added(asked) else _place(asked)


def _bar(asked: Asked) -> Bar:
    place = bar_of(asked)
    assert place is not None
    return bars[place]


def _seen(asked: Asked) -> Formula:
    bar = _bar(asked)
    return z3.If(asked.was(bar.sizing), asked.was(bar.length), asked.was(bar.address))


def _all_of(formulas: list[Formula]) -> Formula:
    return z3.And(formulas or [z3.BoolVal(True)])


def _only_the_hosts(asked: Asked) -> Formula:
    parts = []
    for when, structure, offset, byte in bytes_written(asked):
        for is_bridge, places in ((False, _NORMAL), (True, _BRIDGE)):
            place = places.get(offset & ~3)
            if structure is Structure.HEADER and place is not None:
                n = 8 * (offset & 3)
                of_host = byte == z3.Extract(n + 7, n, asked.was(bars[place].address))
                parts.append(z3.Implies(z3.And(when, asked.was(known.bridge) == is_bridge), of_host))
    return _all_of(parts)


def _one_of_two(asked: Asked) -> Formula:
    assert asked.answer is not None
    found = (asked.answer << shift()) & asked.lanes
    return z3.And(asked.err == 0, found == _seen(asked) & asked.lanes)


def _all_ones(asked: Asked) -> Formula:
    bar = _bar(asked)
    whole = (_seen(asked) & ~asked.lanes) | asked.brought
    return asked.now(bar.sizing) == ((whole | asked.was(bar.ignored)) == _ONES)


def _others_stay(asked: Asked) -> Formula:
    return asked.same(bar.sizing.variable for place, bar in enumerate(bars) if place != _place(asked))


def _intact_is_left_alone(asked: Asked) -> Formula:
    assert asked.case is not None
    return z3.Implies(asked.held(asked.case.window) == asked.was(_bar(asked).address), asked.untouched)


def resets(asked: Asked | Ran) -> Formula:
    """A function that would lose its header on the way to D0."""
    held = asked.held(PMCSR)
    return z3.And(held & pci.PM_CTRL_STATE == D3HOT, held & pci.PM_CTRL_NO_SOFT_RESET == 0)


def _rom_stays(asked: Asked) -> Formula:
    parts = []
    for is_bridge in (False, True):
        place = bar_place(ROM, is_bridge)
        before, after = (z3.Extract(0, 0, of(place)) for of in (asked.held, asked.holds))
        hosts = z3.Extract(0, 0, asked.was(bars[ROM].address))
        kept = z3.Or(after == before, after == hosts, z3.And(after == 0, resets(asked)))
        parts.append(z3.Implies(asked.was(known.bridge) == is_bridge, kept))
    return z3.And(parts)


# What follows from the resources


def _flag(ran: Ran, place: int, bits: int) -> Formula:
    return ran.was(resources[place].flags) & bits != 0


def _upper(ran: Ran, place: int) -> Formula:
    return ran.now(bars[place - 1].wide) if 0 < place < ROM else z3.BoolVal(False)


def _there(ran: Ran, place: int) -> Formula:
    """The resource has an address, and the register is the lower half or all of it."""
    flags = ran.was(resources[place].flags)
    return z3.And(z3.Not(_upper(ran, place)), flags != 0, flags & NOT_PLACED == 0)


def _by_size(ran: Ran, formula: Formula) -> Formula:
    """The same formula over first address and size: each last address is that of one size, and linear terms cancel."""
    ends = [(_end(ran, place), ran.was(of.start) + _size(place) - 1) for place, of in enumerate(resources)]
    of_size = z3.simplify(z3.substitute(formula, *ends))
    return z3.Implies(z3.And([end == last for end, last in ends]), of_size)


def _end(ran: Ran, place: int) -> Formula:
    return ran.was(resources[place].end)


def _size(place: int) -> Formula:
    return z3.BitVec(f"resource{place}.size", 64)


def _sized(ran: Ran) -> Formula:
    """What a guest computes is where the resource is, and how large, if the register can say so: both are multiples of
    what the low bits leave. (PCI has powers of two; that is not needed.)"""
    parts = []
    for place, bar in enumerate(bars):
        start, size, flags = ran.was(resources[place].start), _size(place), ran.was(resources[place].flags)
        low = z3.BitVecVal(IGNORED_ROM, 32) if place == ROM else _low(ran, place)
        regular = z3.And(
            _there(ran, place),
            size != 0,
            (size | start) & z3.ZeroExt(32, low) == 0,
            flags & pci.RESOURCE_BITS & ~low == 0,
        )
        address, length = ran.now(bar.address), ran.now(bar.length)
        if place < BARS - 1:
            upper = bars[place + 1]
            both = z3.Concat(ran.now(upper.length), length & ~low)
            where = z3.Concat(ran.now(upper.address), address & ~low)
            parts.append(z3.Implies(z3.And(regular, ran.now(bar.wide)), z3.And(-both == size, where == start)))
        narrow = z3.And(_fits(start), _fits(size), z3.Not(ran.now(bar.wide)))
        one = z3.And(-(length & ~low) == z3.Extract(31, 0, size), address & ~low == z3.Extract(31, 0, start))
        parts.append(z3.Implies(z3.And(regular, narrow), z3.And(one, address & low == length & low)))
    return _by_size(ran, z3.And(parts))


def _fits(value: Formula) -> Formula:
    return z3.Extract(63, 32, value) == 0


def _low(ran: Ran, place: int) -> Formula:
    """Low bits of a BAR that are not of its address."""
    io = _flag(ran, place, pci.RESOURCE_IO)
    return z3.If(io, z3.BitVecVal(IGNORED_IO, 32), z3.BitVecVal(IGNORED_MEM, 32))


def _masks(ran: Ran) -> Formula:
    """The masks as registers, whatever the size is."""
    parts = []
    for place, bar in enumerate(bars):
        minus = -_size(place)
        low = ran.was(resources[place].flags) & pci.RESOURCE_BITS
        here = ran.now(bar.length) == (z3.Extract(31, 0, minus) | low)
        parts.append(z3.Implies(_there(ran, place), here))
        if place < BARS - 1:
            above = ran.now(bars[place + 1].length) == z3.Extract(63, 32, minus)
            parts.append(z3.Implies(z3.And(_there(ran, place), ran.now(bar.wide)), above))
    return _by_size(ran, z3.And(parts))


def _nothing_there(ran: Ran) -> Formula:
    parts = []
    for place, bar in enumerate(bars):
        nothing = z3.And(z3.Not(_upper(ran, place)), z3.Not(_there(ran, place)))
        parts.append(z3.Implies(nothing, z3.And(ran.now(bar.address) == 0, ran.now(bar.length) == 0)))
    return z3.And(parts)


def _kinds(ran: Ran) -> Formula:
    parts = [ran.now(bars[ROM].ignored) == IGNORED_ROM]
    for place, bar in enumerate(bars[:BARS]):
        asks = z3.If(_upper(ran, place), z3.BitVecVal(0, 32), _low(ran, place))
        parts.append(ran.now(bar.ignored) == asks)
    return z3.And(parts)


def _not_sizing(ran: Ran) -> Formula:
    return z3.And([z3.Not(ran.now(bar.sizing)) for bar in bars])


CLAIMS: Final[tuple[Claim, ...]] = (
    RequestClaim("C-29", _only_the_hosts, kind="write", about=lambda a: not added(a)),
    RequestClaim("C-30", _one_of_two, kind="read", about=lambda a: bar_of(a) is not None),
    RequestClaim("C-31", _all_ones, kind="write", about=lambda a: bar_of(a) is not None),
    ProgramClaim("C-32", "placing", _sized),
    ProgramClaim("C-32", "placing", _masks),
    # What all other claims are given of the function is a consequence too.
    ProgramClaim("C-32", "placing", lambda ran: z3.And(known_facts(ran.after))),
    ProgramClaim("C-33", "placing", _nothing_there),
    RequestClaim("C-34", _others_stay, kind="write"),
    RequestClaim("C-35", _intact_is_left_alone, kind="write", about=lambda a: bar_of(a) is not None),
    RequestClaim("C-36", _rom_stays, kind="write"),
    ProgramClaim("C-37", "placing", _kinds),
    ProgramClaim("C-38", "forget+attach", _not_sizing),
    ProgramClaim("C-38", "renew+attach", _not_sizing),
)
