# SPDX-License-Identifier: Apache-2.0
"""Records of variables, the events that a machine takes, and the effects that it asks for.

A record's body declares variables, each instance has its own::

    class Mine(Record):
        at = Choice(At)
        busy = Flag()  #: a request is being worked on

    my = Mine("my")

`my.busy` is then a term. A record with a `cell` describes memory that somebody else may change between any two steps;
one made with ``ghost=True`` is written for the proofs alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from pvpci.model.kernel.terms import ALWAYS, Flag, SortError, Term, Update, Var, all_of, like, variable


def _declared(owner: type) -> dict[str, Term]:
    found: dict[str, Term] = {}
    for base in reversed(owner.__mro__):
        found.update({name: value for name, value in vars(base).items() if isinstance(value, Term) and not value.op})
    return found


class Record:
    """Variables that belong together."""

    def __init__(self, name: str, *, cell: str = "", ghost: bool = False) -> None:
        self.record_name = name
        self.fields: dict[str, Term] = {}
        for key, declared in _declared(type(self)).items():
            self.fields[key] = variable(Var(f"{name}.{key}", declared.sort, cell, ghost))
            setattr(self, key, self.fields[key])

    @property
    def variables(self) -> tuple[Var, ...]:
        return tuple(term.variable for term in self.fields.values())

    def taken_from(self, other: Record) -> tuple[Update, ...]:
        """Updates that copy each field that both have."""
        return tuple(
            Update(mine.variable, other.fields[key]) for key, mine in self.fields.items() if key in other.fields
        )

    def same_as(self, other: Record, *, but: Sequence[str] = ()) -> Flag:
        """Every field that both have is equal."""
        pairs = [
            (mine, other.fields[key]) for key, mine in self.fields.items() if key in other.fields and key not in but
        ]
        return all_of(mine == theirs for mine, theirs in pairs)  # type: ignore[misc]


class Event:
    """Something that happened to the machine, with parameters of its own: ``class Done(Event): err = Bits(32)``.

    `offered` says when the modelled world can make it happen, `takes` what that changes in it.
    """

    parameters: ClassVar[dict[str, Var]] = {}
    offered: ClassVar[Flag] = ALWAYS
    takes: ClassVar[tuple[Update, ...]] = ()

    def __init_subclass__(cls) -> None:
        cls.parameters = {}
        for key, declared in _declared(cls).items():
            cls.parameters[key] = Var(f"{cls.__name__}.{key}", declared.sort)
            setattr(cls, key, variable(cls.parameters[key]))


class GO(Event):
    """Nothing happened: the machine takes its own next step."""


@dataclass(frozen=True)
class Effect:
    """What a machine may ask of the host: a name, parameters by sort, and the event that brings the result (if any).

    `does` gives the change of the modelled world from the arguments, in the order of the parameters.
    """

    name: str
    parameters: dict[str, Term] = field(default_factory=dict)
    answer: type[Event] | None = None
    does: Callable[..., tuple[Update, ...]] = lambda *_: ()
    doc: str = ""
    takes_time: bool = False  #: enough for a record to need a new time after it
    synchronous: bool = True  #: the answer is there when the host returns; else it comes as an event in its own time

    def __call__(self, *arguments: Term | int | bool) -> Ask:
        if len(arguments) != len(self.parameters):
            raise SortError(f"{self.name} takes {len(self.parameters)} arguments, {len(arguments)} given")
        return Ask(self, tuple(like(sort, arg) for sort, arg in zip(self.parameters.values(), arguments, strict=True)))


@dataclass(frozen=True, eq=False)
class Ask:
    """One effect with its arguments, terms over the state before the step."""

    effect: Effect
    arguments: tuple[Term, ...] = ()

    def world(self) -> tuple[Update, ...]:
        return self.effect.does(*self.arguments)

    def __repr__(self) -> str:
        return f"{self.effect.name}({', '.join(map(repr, self.arguments))})"
