# SPDX-License-Identifier: Apache-2.0
"""Regular expressions over kinds of characters, as a grammar writes them, and the automaton that each one is.

For saying what a recogniser must accept, not for running: `proofs.languages` compares the two. A place of the automaton is
the set of points in the expression that can be reached; no point left is None.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Place = frozenset[int]


@dataclass(frozen=True)
class Regular:
    """An expression: `build(graph, start, end)` adds its points and edges."""

    build: Callable[[_Graph, int, int], None]

    def __add__(self, other: Regular) -> Regular:
        """This and then the other."""

        def build(graph: _Graph, start: int, end: int) -> None:
            middle = graph.point()
            self.build(graph, start, middle)
            other.build(graph, middle, end)

        return Regular(build)

    def __or__(self, other: Regular) -> Regular:
        def build(graph: _Graph, start: int, end: int) -> None:
            self.build(graph, start, end)
            other.build(graph, start, end)

        return Regular(build)

    @property
    def repeated(self) -> Regular:
        """Any number of times, none included."""

        def build(graph: _Graph, start: int, end: int) -> None:
            middle = graph.point()
            graph.free[start].add(middle)
            graph.free[middle].add(end)
            self.build(graph, middle, middle)

        return Regular(build)

    @property
    def at_least_once(self) -> Regular:
        return self + self.repeated

    @property
    def optional(self) -> Regular:
        return self | NOTHING


@dataclass
class _Graph:
    free: list[set[int]] = field(default_factory=list)  #: edges that take nothing
    edges: list[dict[str, set[int]]] = field(default_factory=list)

    def point(self) -> int:
        self.free.append(set())
        self.edges.append({})
        return len(self.free) - 1

    def closed(self, points: set[int]) -> Place:
        found, waiting = set(points), list(points)
        while waiting:
            new = self.free[waiting.pop()] - found
            found |= new
            waiting += new
        return frozenset(found)


def kind(name: str) -> Regular:
    """One character of that kind."""

    def build(graph: _Graph, start: int, end: int) -> None:
        graph.edges[start].setdefault(name, set()).add(end)

    return Regular(build)


NOTHING = Regular(lambda graph, start, end: graph.free[start].add(end))


def automaton(
    expression: Regular,
) -> tuple[Place, Callable[[Any, str], Place | None], Callable[[Any], bool]]:
    """Start, step and test for the end, as `kernel.algorithms.SameLanguage` wants them."""
    graph = _Graph()
    start, end = graph.point(), graph.point()
    expression.build(graph, start, end)

    def step(place: Place, name: str) -> Place | None:
        found = {target for point in place for target in graph.edges[point].get(name, ())}
        return graph.closed(found) if found else None

    return graph.closed({start}), step, lambda place: end in place
