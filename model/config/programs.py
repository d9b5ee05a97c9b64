# SPDX-License-Identifier: Apache-2.0
"""What a register does, as data.

A write to a register of configuration space is a short program without loops: look at some registers, refuse or not,
write some registers, remember something. As data it has the readings of a machine's table: it is compiled to run
(`compiled`), executed over formulas to be proved, printed for the manual, and changed step by step by a dialect.

Steps happen in order, and each sees what the earlier ones did. `when` says whether a step happens; it is a term over
what is known of the function, what is remembered of the guest, and what was loaded before. A step may have a name of
its own, for dialects.

Registers are named by *place*: the structure that they belong to, an offset in it, and a width. Where a capability lies
is the function's affair and no program's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Final

from pvpci.model.config.lanes import MASK, lanes
from pvpci.model.config.state import Kind
from pvpci.model.kernel.terms import ALWAYS, Bits, Flag, Sort, Term, Update, Var, number, variable


class Structure(Enum):
    """What a place is relative to. Capabilities in the order in which their fields are registered."""

    HEADER = auto()
    VPD = auto()
    PM = auto()
    MSI = auto()
    MSIX = auto()
    SHOWN = auto()  #: any other capability that guests may see
    SPACE = auto()  #: anywhere: fields that an administrator added


@dataclass(frozen=True, slots=True)
class Place:
    """A register: `width` bytes (1, 2 or 4) at `offset` of a structure."""

    structure: Structure
    offset: int
    width: int

    def __str__(self) -> str:
        base = "" if self.structure in (Structure.HEADER, Structure.SPACE) else f"{self.structure.name}+"
        return f"{base}{self.offset:02x}/{self.width}"


def local(name: str, width: int) -> Bits:
    """A variable of one program, for what it loads; `width` in bits."""
    found = variable(Var(name, Sort(width)))
    assert isinstance(found, Bits)
    return found


def mark(name: str) -> Flag:
    """A flag of one program."""
    found = variable(Var(name, Sort(0)))
    assert isinstance(found, Flag)
    return found


def has(word: Bits, bits: int) -> Flag:
    """Any of these bits is set."""
    return (word & bits) != 0


def but(word: Bits, bits: int) -> Bits:
    """The word without these bits."""
    return word & (((1 << word.sort.width) - 1) & ~bits)


#: The register itself, for what a guest reads; by width in bytes.
RAW: Final = {width: local("raw", 8 * width) for width in MASK}
#: What a write makes of the whole field; bytes that were not written are as the guest reads them.
NEW: Final = {width: local("new", 8 * width) for width in MASK}


@dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    when: Flag = ALWAYS
    name: str = ""


@dataclass(frozen=True, eq=False)
class Load(Step):
    """`into` becomes what the register holds; 0 if the step does not happen."""

    into: Bits
    at: Place


@dataclass(frozen=True, eq=False)
class Store(Step):
    """One write to the real function."""

    at: Place
    value: Bits


@dataclass(frozen=True, eq=False)
class Set(Step):
    """Remember."""

    update: Update


@dataclass(frozen=True, eq=False)
class Finish(Step):
    """The program ends here. `err`: 0, or the answer, 32 bits."""

    err: Bits = field(default_factory=lambda: number(32, 0))


@dataclass(frozen=True, eq=False)
class Tell(Step):
    """People are told; once for each kind, between two guests."""

    kind: Kind


@dataclass(frozen=True, eq=False)
class TellAgain(Step):
    """What people were told is forgotten, so that they are told once more."""


@dataclass(frozen=True, eq=False)
class Wait(Step):
    """Nothing may touch the function for so long."""

    microseconds: int


Program = tuple[Step, ...]


def refuse(err: int, when: Flag = ALWAYS, name: str = "") -> Finish:
    return Finish(number(32, err & MASK[4]), when=when, name=name)


def guarded(steps: Iterable[Step], when: Flag) -> Program:
    """The same steps, if `when` holds."""
    return tuple(replace(step, when=when if step.when is ALWAYS else when & step.when) for step in steps)


@dataclass(frozen=True, eq=False)
class Reads:
    """What the guest reads: a term over `RAW` of the field's width, what is known and what is remembered."""

    says: str
    value: Bits
    #: Every read of it is answered with this and no value; 0: none is.
    refuses: int = 0

    @property
    def real(self) -> bool:
        """The register is looked at."""
        return any(var is raw.variable for raw in RAW.values() for var in self.value.variables())


@dataclass(frozen=True, eq=False)
class Writes:
    """What a write does: steps over `NEW` of the field's width. Without steps it is taken and dropped."""

    says: str
    steps: Program = ()
    #: Bits of which only a one that the guest sent means something: 0 in bytes that it did not send.
    ones: int = 0


DROPPED: Final = Writes("nothing; accepted")


class TableError(ValueError):
    """Rows that cannot stand in one table, or a change that fits no row."""


@dataclass(frozen=True, eq=False)
class Field:
    """One row: `width` bytes at `offset` of the structure, what the guest reads, what its writes do, and who says so."""

    offset: int
    width: int
    name: str
    reads: Reads
    writes: Writes
    cite: str
    structure: Structure = Structure.HEADER
    lanes: int = field(init=False, repr=False)
    shift: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.width not in MASK or (self.offset & 3) + self.width > 4 or self.offset < 0:
            raise TableError(f"{self.name}: {self.width} bytes at {self.offset:#x} are not inside one dword")
        if self.reads.value.sort.width != 8 * self.width:
            raise TableError(f"{self.name}: reads {self.reads.value.sort}, and is {self.width} bytes wide")
        object.__setattr__(self, "lanes", lanes(self.offset, self.width))
        object.__setattr__(self, "shift", 8 * (self.offset & 3))

    def alike(self, other: Field) -> bool:
        """The same in all that a guest can notice."""
        return (self.place, self.reads, self.writes) == (other.place, other.reads, other.writes)

    @property
    def place(self) -> Place:
        return Place(self.structure, self.offset, self.width)


def raw(width: int, says: str = "the register") -> Reads:
    return Reads(says, RAW[width])


def stored(at: Place, says: str) -> Writes:
    return Writes(says, (Store(at, NEW[at.width]),))


def variables(program: Program) -> Iterator[Var]:
    """Every variable that the program reads, sets or loads."""
    for step in program:
        yield from step.when.variables()
        for term in terms(step):
            yield from term.variables()


def terms(step: Step) -> tuple[Term, ...]:
    """The terms of a step, apart from `when`."""
    match step:
        case Load():
            return (step.into,)
        case Store():
            return (step.value,)
        case Set():
            return (variable(step.update.var), step.update.value)
        case Finish():
            return (step.err,)
    return ()
