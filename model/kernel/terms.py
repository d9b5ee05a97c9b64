# SPDX-License-Identifier: Apache-2.0
"""The little language in which guards, updates and properties are written.

A term is a value of one of three sorts that is not known yet: a :class:`Flag` (true or false), :class:`Bits` of a
width (unsigned, wrapping) or a :class:`Choice` among the members of an enumeration. Terms are data. They are
compiled to Python to run, translated for a solver to be proved, printed for people and changed by machine for
mutation tests, and all of these must mean the same. So the language is kept as small as the protocol allows,
operators have one meaning each, and operands have the same width or it is an error here and now.

Python's own connectives cannot be overloaded: write ``&``, ``|`` and ``~`` for *and*, *or* and *not*. Using a term
where Python wants a truth value raises, because it would silently decide something that is not decided yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Generic, NoReturn, TypeVar, cast, overload

E = TypeVar("E", bound=Enum)
T = TypeVar("T", bound="Term")


class SortError(TypeError):
    """Terms of different sorts or widths were put together."""


@dataclass(frozen=True)
class Sort:
    """`width` 0 is a flag; `members` is set for a choice, which is held as an index into it."""

    width: int
    members: tuple[Enum, ...] = ()

    def __str__(self) -> str:
        if self.members:
            return type(self.members[0]).__name__
        return f"{self.width} bits" if self.width else "flag"

    @property
    def size(self) -> int:
        """How many values there are."""
        return len(self.members) or 2 ** (self.width or 1)

    def encode(self, value: object) -> int:
        """A value as people write it (bool, int, member) as the integer that machines hold."""
        if self.members:
            if value in self.members:
                return self.members.index(value)
        elif self.width == 0:
            if isinstance(value, bool):
                return int(value)
        elif isinstance(value, int) and -(1 << (self.width - 1)) <= value < 1 << self.width:
            return value & ((1 << self.width) - 1)
        raise SortError(f"{value!r} is not a value of sort {self}")

    def decode(self, value: int) -> bool | int | Enum:
        if self.members:
            return self.members[value]
        return value if self.width else bool(value)


FLAG = Sort(0)


@dataclass(frozen=True, eq=False)
class Var:
    """A named variable. Variables are the same only if they are the same object."""

    name: str
    sort: Sort
    cell: str = ""  #: the piece of shared memory or store that it belongs to; empty: ours alone
    ghost: bool = False  #: written for the proofs; nothing that runs may read it
    primed: Var | None = None  #: set on "the value after the step": the variable that it is the next value of

    def __repr__(self) -> str:
        return self.name


#: operator -> how many operands. `lt` is unsigned; shifts are by the constant in `Term.number`; `resize` truncates or adds zeros.
OPERATORS: Mapping[str, int] = {
    "not": 1, "and": 2, "or": 2, "eq": 2, "if": 3,
    "lt": 2, "add": 2, "sub": 2, "band": 2, "bor": 2, "bxor": 2, "bnot": 1, "shl": 1, "shr": 1, "resize": 1,
}  # fmt: skip


class Term:
    """A node: a constant (`number`), a variable (`var`) or an operator with `args`. Compared by `same`, not by ``==``."""

    __slots__ = ("args", "number", "op", "sort", "var")

    def __init__(
        self, sort: Sort, op: str = "", args: tuple[Term, ...] = (), *, var: Var | None = None, number: int = 0
    ) -> None:
        self.sort, self.op, self.args, self.var, self.number = sort, op, args, var, number

    def __bool__(self) -> NoReturn:
        raise TypeError(f"({self!r}) is a term, not a truth value: use &, | and ~, never 'and', 'or', 'not' or 'if'")

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        from pvpci.model.kernel.words import show

        return show(self)

    @property
    def variable(self) -> Var:
        if self.var is None:
            raise SortError(f"({self!r}) is not a variable")
        return self.var

    def variables(self) -> Iterator[Var]:
        """All variables in it, in the order they are written, repeated as often as they are."""
        if self.var is not None:
            yield self.var
        for arg in self.args:
            yield from arg.variables()

    def becomes(self: T, value: T | bool | int | Enum) -> Update:
        """The update that gives this variable the value that `value` had before the step."""
        return Update(self.variable, cast(Term, like(self, value)))


@dataclass(frozen=True, eq=False)
class Update:
    """In the step, `var` gets the value of `value` from before the step. All updates of a row happen at once."""

    var: Var
    value: Term

    def __post_init__(self) -> None:
        if self.var.sort != self.value.sort:
            raise SortError(
                f"{self.var.name} is of sort {self.var.sort}, ({self.value!r}) is of sort {self.value.sort}"
            )


def like(term: T, value: object) -> T:
    """`value` as a term of the same sort: terms are checked, plain values become constants."""
    if isinstance(value, Term):
        if value.sort != term.sort:
            raise SortError(f"({term!r}) is of sort {term.sort}, ({value!r}) is of sort {value.sort}")
        return cast(T, value)
    return cast(T, constant(term.sort, value))


def constant(sort: Sort, value: object) -> Term:
    return cast(Term, _CLASS(sort)(sort, number=sort.encode(value), op="const"))


def variable(var: Var) -> Term:
    return cast(Term, _CLASS(var.sort)(var.sort, op="var", var=var))


def rebuild(term: T, args: tuple[Term, ...]) -> T:
    """The same operator over other operands."""
    return type(term)(term.sort, term.op, args, var=term.var, number=term.number)


def substitute(term: T, values: Mapping[Var, Term]) -> T:
    """The term with variables replaced."""
    if term.var is not None:
        return cast(T, values.get(term.var, term))
    if not term.args:
        return term
    return rebuild(term, tuple(substitute(arg, values) for arg in term.args))


class Flag(Term):
    """True or false. ``Flag()`` in a record's body declares one."""

    __slots__ = ()
    __hash__ = Term.__hash__

    def __init__(
        self, sort: Sort = FLAG, op: str = "", args: tuple[Term, ...] = (), *, var: Var | None = None, number: int = 0
    ) -> None:
        super().__init__(sort, op, args, var=var, number=number)

    def __and__(self, other: Flag) -> Flag:
        return Flag(FLAG, "and", (self, like(self, other)))

    def __or__(self, other: Flag) -> Flag:
        return Flag(FLAG, "or", (self, like(self, other)))

    def __invert__(self) -> Flag:
        return Flag(FLAG, "not", (self,))

    def implies(self, other: Flag) -> Flag:
        return ~self | other

    def __eq__(self, other: Flag | bool) -> Flag:  # type: ignore[override]
        return Flag(FLAG, "eq", (self, like(self, other)))

    def __ne__(self, other: Flag | bool) -> Flag:  # type: ignore[override]
        return ~(self == other)


class Bits(Term):
    """An unsigned number of a width; arithmetic wraps. ``Bits(32)`` in a record's body declares one."""

    __slots__ = ()
    __hash__ = Term.__hash__

    def __init__(
        self, sort: Sort | int, op: str = "", args: tuple[Term, ...] = (), *, var: Var | None = None, number: int = 0
    ) -> None:
        super().__init__(Sort(sort) if isinstance(sort, int) else sort, op, args, var=var, number=number)

    def _two(self, op: str, other: Bits | int) -> Bits:
        return Bits(self.sort, op, (self, like(self, other)))

    def __add__(self, other: Bits | int) -> Bits:
        return self._two("add", other)

    def __sub__(self, other: Bits | int) -> Bits:
        return self._two("sub", other)

    def __and__(self, other: Bits | int) -> Bits:
        return self._two("band", other)

    def __or__(self, other: Bits | int) -> Bits:
        return self._two("bor", other)

    def __xor__(self, other: Bits | int) -> Bits:
        return self._two("bxor", other)

    def __invert__(self) -> Bits:
        return Bits(self.sort, "bnot", (self,))

    def __lshift__(self, places: int) -> Bits:
        return Bits(self.sort, "shl", (self,), number=places)

    def __rshift__(self, places: int) -> Bits:
        """Zeros come in from the left."""
        return Bits(self.sort, "shr", (self,), number=places)

    def resize(self, width: int) -> Bits:
        return Bits(width, "resize", (self,))

    def __eq__(self, other: Bits | int) -> Flag:  # type: ignore[override]
        return Flag(FLAG, "eq", (self, like(self, other)))

    def __ne__(self, other: Bits | int) -> Flag:  # type: ignore[override]
        return ~(self == other)

    def __lt__(self, other: Bits | int) -> Flag:
        return Flag(FLAG, "lt", (self, like(self, other)))

    def __gt__(self, other: Bits | int) -> Flag:
        return Flag(FLAG, "lt", (like(self, other), self))

    def __le__(self, other: Bits | int) -> Flag:
        return ~(self > other)

    def __ge__(self, other: Bits | int) -> Flag:
        return ~(self < other)

    def among(self, *values: int) -> Flag:
        return any_of(self == value for value in values)


class Choice(Term, Generic[E]):
    """One member of an enumeration. ``Choice(At)`` in a record's body declares one."""

    __slots__ = ()
    __hash__ = Term.__hash__

    def __init__(
        self,
        sort: Sort | type[E],
        op: str = "",
        args: tuple[Term, ...] = (),
        *,
        var: Var | None = None,
        number: int = 0,
    ) -> None:
        if not isinstance(sort, Sort):
            members = tuple(sort)
            sort = Sort(max(1, (len(members) - 1).bit_length()), members)
        super().__init__(sort, op, args, var=var, number=number)

    def __eq__(self, other: Choice[E] | E) -> Flag:  # type: ignore[override]
        return Flag(FLAG, "eq", (self, like(self, other)))

    def __ne__(self, other: Choice[E] | E) -> Flag:  # type: ignore[override]
        return ~(self == other)

    def among(self, *members: E) -> Flag:
        return any_of(self == member for member in members)


def _CLASS(sort: Sort) -> Any:
    return Choice if sort.members else Bits if sort.width else Flag


ALWAYS = cast(Flag, constant(FLAG, True))
NEVER = cast(Flag, constant(FLAG, False))


def all_of(flags: Iterable[Flag]) -> Flag:
    result: Flag | None = None
    for flag in flags:
        result = flag if result is None else result & flag
    return ALWAYS if result is None else result


def any_of(flags: Iterable[Flag]) -> Flag:
    result: Flag | None = None
    for flag in flags:
        result = flag if result is None else result | flag
    return NEVER if result is None else result


@overload
def choose(test: Flag, yes: Bits, no: Bits | int) -> Bits: ...
@overload
def choose(test: Flag, yes: Flag, no: Flag | bool) -> Flag: ...
@overload
def choose(test: Flag, yes: Choice[E], no: Choice[E] | E) -> Choice[E]: ...
def choose(test: Flag, yes: Any, no: Any) -> Any:
    """`yes` where `test` holds, else `no`."""
    return _CLASS(yes.sort)(yes.sort, "if", (test, yes, like(yes, no)))


def number(width: int, value: int) -> Bits:
    """A constant."""
    return cast(Bits, constant(Sort(width), value))


def after(term: T) -> T:
    """The term's value after the step; only properties of steps may speak of it."""
    return substitute(term, {v: variable(prime(v)) for v in term.variables()})


_PRIMES: dict[Var, Var] = {}


def prime(var: Var) -> Var:
    if var not in _PRIMES:
        _PRIMES[var] = Var(var.name + "'", var.sort, var.cell, var.ghost, primed=var)
    return _PRIMES[var]


def same(one: Term, two: Term) -> bool:
    """Written alike."""
    return (
        one.op == two.op
        and one.sort == two.sort
        and one.var is two.var
        and one.number == two.number
        and len(one.args) == len(two.args)
        and all(map(same, one.args, two.args))
    )
