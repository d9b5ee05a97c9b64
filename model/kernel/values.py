# SPDX-License-Identifier: Apache-2.0
"""Values that are numbers when a function runs, and terms when it is proved.

Where an algorithm is a loop over a table, rows would only say it a second time. It is written as one function instead,
over values of which it does not matter what they are: compared with ``==``, joined by `every`, `some` and `no`, chosen by
`pick`. Python's ``if``, ``and``, ``or`` and ``not`` would decide something that is not decided yet, so a term refuses them.

A state is a tree: tuples and named tuples, with a value at each leaf. The same tree with a sort at each leaf is its shape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import reduce
from typing import Any

from pvpci.model.kernel.terms import ALWAYS, FLAG, Bits, Flag, Sort, SortError, Term, Var, choose, constant, variable

V = Any  #: a number or a flag as Python has it, or a term
Tree = Any  #: a value, or a tuple of trees


def no(flag: V) -> V:
    return ~flag if isinstance(flag, Flag) else not flag


def every(*flags: V) -> V:
    """All of them hold; what is decided already is left out."""
    return _joined(flags, lambda one, two: one & two, neutral=True)


def some(*flags: V) -> V:
    """At least one of them holds."""
    return _joined(flags, lambda one, two: one | two, neutral=False)


def _joined(flags: Iterable[V], join: Callable[[Flag, Flag], Flag], *, neutral: bool) -> V:
    open_: list[Flag] = []
    for flag in flags:
        if isinstance(flag, Flag):
            open_.append(flag)
        elif bool(flag) is not neutral:
            return not neutral
    while len(open_) > 1:  # a balanced tree: nothing that walks it goes deep
        pairs = [reduce(join, open_[at : at + 2]) for at in range(0, len(open_), 2)]
        open_ = pairs
    return open_[0] if open_ else neutral


def same(one: Tree, two: Tree) -> V:
    """Two trees of one shape have equal leaves."""
    return every(*(a == b for a, b in zip(leaves(one), leaves(two), strict=True)))


def pick(test: V, yes: Tree, other: Tree) -> Tree:
    """`yes` where `test` holds, else `other`; trees leaf by leaf."""
    if not isinstance(test, Flag):
        return yes if test else other
    if isinstance(yes, tuple):
        return rebuilt(yes, [pick(test, one, two) for one, two in zip(yes, other, strict=True)])
    if yes is other:
        return yes
    if isinstance(yes, bool) and isinstance(other, bool):
        return yes if yes is other else test if yes else ~test
    if isinstance(yes, Term):
        return choose(test, yes, other)  # type: ignore[call-overload]
    if isinstance(other, Term):
        return choose(~test, other, yes)  # type: ignore[call-overload]
    raise SortError(f"neither {yes!r} nor {other!r} says how wide it is")


def put(test: V, make: Callable[[], Tree], other: Tree) -> Tree:
    """As `pick`, but what is put in is only made where it may be wanted: with numbers, hardly anywhere in a loop."""
    return other if test is False else pick(test, make(), other)


def wide(value: V, width: int) -> V:
    """The same number in more bits, or its low bits."""
    return value.resize(width) if isinstance(value, Bits) else value & ((1 << width) - 1)


def bit(place: V, width: int) -> V:
    """The mask with one bit set; `place` is below `width`."""
    if not isinstance(place, Bits):
        return 1 << place
    masks: list[Bits] = [constant(Sort(width), 1 << number) for number in range(width)]  # type: ignore[misc]
    return reduce(lambda rest, number: choose(place == number, masks[number], rest), range(1, width), masks[0])


def rebuilt(tree: Tree, parts: Iterable[Tree]) -> Tree:
    """A tuple of the same kind with other parts."""
    return tree._make(parts) if hasattr(tree, "_make") else tuple(parts)


def leaves(tree: Tree) -> Iterator[Any]:
    if isinstance(tree, tuple):
        for part in tree:
            yield from leaves(part)
    else:
        yield tree


def names(tree: Tree, name: str = "") -> Iterator[str]:
    """What each leaf is called: ``slots[3].bus``."""
    if not isinstance(tree, tuple):
        yield name
        return
    fields = getattr(tree, "_fields", None)
    for number, part in enumerate(tree):
        here = f"[{number}]" if fields is None else f".{fields[number]}" if name else fields[number]
        yield from names(part, name + here)


def filled(shape: Tree, values: Iterable[Any]) -> Tree:
    """The shape with these values at its leaves, in order."""
    found = iter(values)

    def fill(part: Tree) -> Tree:
        return rebuilt(part, [fill(one) for one in part]) if isinstance(part, tuple) else next(found)

    return fill(shape)


def unknowns(shape: Tree, name: str) -> Tree:
    """The shape with a new variable at each leaf."""
    return filled(
        shape, [variable(Var(label, sort)) for label, sort in zip(names(shape, name), leaves(shape), strict=True)]
    )


def terms(shape: Tree, tree: Tree) -> Tree:
    """Plain values as constants of the sorts that the shape says; terms as they are."""
    return filled(shape, [
        value if isinstance(value, Term) else constant(sort, bool(value) if sort == FLAG else value)
        for sort, value in zip(leaves(shape), leaves(tree), strict=True)
    ])  # fmt: skip


def flag(value: V) -> Flag:
    """What a function answered as a term."""
    return value if isinstance(value, Flag) else ALWAYS if value else ~ALWAYS
