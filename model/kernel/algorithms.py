# SPDX-License-Identifier: Apache-2.0
"""What is no table but a handful of functions over a state: its steps, what is known of it, what is claimed.

The functions are those that run (`model.kernel.values`), so there is nothing to translate and nothing to keep in step. A
law speaks of every state that satisfies what is known, and of *arbitrary* others: two devices, an address. Proving it for
those is proving it for all, however many there are.

A dialect of an algorithm is the same algorithm with one rule replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pvpci.model.kernel.claims import Claim
from pvpci.model.kernel.values import Tree, V


@dataclass(frozen=True)
class Known:
    """What holds in every state, of everything that has the shape `about` (of the state alone if that is empty).

    A proof may use it for each thing of that kind that it speaks of.
    """

    holds: Callable[[Any, Any], V]
    about: Tree = ()


@dataclass(frozen=True)
class Step:
    """`does(state, taken)` is the state after it and what it answers. `takes`: the shape of what others choose freely."""

    name: str
    takes: Tree
    does: Callable[[Any, Any], tuple[Tree, Tree]]
    party: str = "host"


@dataclass(frozen=True)
class Around:
    """One step, as a law sees it."""

    before: Any
    taken: Any
    after: Any
    answer: Any


@dataclass(frozen=True, eq=False)
class Law(Claim):
    """Whenever `given`, `holds`: both of (what it is about, the state), or if it names steps of (about, `Around`).

    `about` is the shape of the arbitrary others; `besides` names more things of which something is known.
    """

    about: Tree
    holds: Callable[[Any, Any], V]
    given: Callable[[Any, Any], V] = lambda about, seen: True
    steps: tuple[str, ...] = ()
    besides: Callable[[Any, Any], Tree] = lambda about, seen: ()


@dataclass(frozen=True, eq=False)
class SameLanguage(Claim):
    """Two recognisers accept the same texts. Each is a start and a step over kinds of characters, None being the way out.

    `kinds` maps each kind to a character of it, so that a text can be shown; every character is of one of them.
    """

    runs: tuple[Any, Callable[[Any, str], Any], Callable[[Any], bool]]
    says: tuple[Any, Callable[[Any, str], Any], Callable[[Any], bool]]
    kinds: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class Algorithm:
    """`shape`: the sorts of the state; `start`: its first values; `known`: what holds in every state, by name."""

    name: str
    shape: Tree
    start: Tree
    steps: tuple[Step, ...]
    claims: tuple[Claim, ...]
    known: Mapping[str, Known] = field(default_factory=dict)
    says: str = ""  #: what an arbitrary state of it stands for, where that is less than all of it
    called: str = ""  #: what the state is called, where it is a plain tuple
    machines: tuple[()] = ()  #: as a system has them

    def step(self, name: str) -> Step:
        return next(step for step in self.steps if step.name == name)


@dataclass(frozen=True, eq=False)
class Variant:
    """A dialect of an algorithm: `made` builds it with one rule replaced. The rest is as in `kernel.dialects.Dialect`."""

    id: str
    title: str  #: after the rule that is broken
    machine: str  #: the algorithm
    cite: str
    made: Callable[[], Algorithm]
    breaks: tuple[str, ...]

    @property
    def system(self) -> str:
        return self.machine
