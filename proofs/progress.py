# SPDX-License-Identifier: Apache-2.0
"""Progress: what starts also ends.

On the explicit graph a promise is broken by a *fair* behaviour that starts and never reaches the goal: a stem, then a loop
in which each party that is promised to keep moving either moves or is somewhere unable to. Standing still counts as a loop,
for nobody else is obliged to do anything. So fair components come first; stem and loop are read off them.

A step that by its text changes nothing (waiting by looking again) is neither a move nor an ability to move.

At full width a rank proves the same: every step of the fair party lowers it or reaches the goal, nobody else raises it, and
the fair party is never stuck.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pvpci.model.kernel.claims import LeadsTo
from pvpci.model.kernel.compiled import State, evaluate
from pvpci.model.kernel.systems import Action
from pvpci.model.kernel.terms import Flag
from pvpci.proofs.counterexample import Counterexample, NotRepeated, Taken, replay
from pvpci.proofs.search import STATE_MASK, Explored, unpack


def is_of(action: Action, name: str) -> bool:
    """`name` is the party of the step, its machine, or the step itself."""
    return name in (action.party, action.machine.name if action.machine else "", action.name)


def moves(action: Action) -> bool:
    """By its text the step changes something."""
    return any(value.var is not var for var, value in action.updates.items())


@dataclass
class Graph:
    """The states of a search by number, and their edges as it packed them."""

    explored: Explored
    states: list[State]

    @classmethod
    def of(cls, explored: Explored) -> Graph:
        if not explored.complete or len(explored.edges) != explored.states:
            raise ValueError(
                f"{explored.view.system.name}: progress needs a search that was not cut short, with its edges"
            )
        return cls(explored, list(explored.index))

    def edges(self, state: int) -> Iterator[tuple[int, int]]:
        """Which action leads to which state."""
        return map(unpack, self.explored.edges[state])

    def after(self, state: int) -> Iterator[int]:
        """Which states follow."""
        return (packed & STATE_MASK for packed in self.explored.edges[state])


def broken_promise(graph: Graph, claim: LeadsTo) -> Counterexample | None:
    """A fair behaviour that starts and never reaches the goal, with the shortest stem; None if there is none."""
    test, actions = graph.explored.space.test, graph.explored.space.actions
    start, wanted = test(claim.start), test(claim.within & ~claim.goal)
    region = [wanted(state) for state in graph.states]
    begins = [inside and start(state) for inside, state in zip(region, graph.states, strict=True)]
    if not any(begins):
        return None
    for name in claim.fair:
        if not any(is_of(action, name) for action in actions):
            raise ValueError(
                f"{claim.name}: {graph.explored.view.system.name} has no party, machine or step called {name}"
            )
    owed = _reached(graph, region, begins)
    fair = [{n for n, action in enumerate(actions) if is_of(action, name) and moves(action)} for name in claim.fair]
    bad = {
        state: component
        for component in _components(graph, owed)
        if _is_fair(graph, component, fair)
        for state in component
    }
    if not bad:
        return None
    stem, end = _stem(graph, region, begins, set(bad))
    loop = _loop(graph, end, bad[end], fair)
    path = _named(graph, stem, 0) + _named(graph, loop, end)
    return _confirmed(replay(graph.explored.view.system, path, claim.name, loop=len(stem)), claim)


def _confirmed(found: Counterexample, claim: LeadsTo) -> Counterexample:
    """The states, run again, do begin before the loop and never reach the goal after that."""
    owed = [bool(evaluate(claim.within & ~claim.goal, stage.state)) for stage in found.stages]
    starts = [
        number for number, stage in enumerate(found.stages) if owed[number] and evaluate(claim.start, stage.state)
    ]
    if not any(number <= (found.loop or 0) and all(owed[number:]) for number in starts):
        raise NotRepeated(f"{found.system}: {claim.name} is not broken when the steps are run")
    return found


def _reached(graph: Graph, region: Sequence[bool], begins: Sequence[bool]) -> set[int]:
    """States that a behaviour that has begun can be in without having reached the goal."""
    seen = {number for number, first in enumerate(begins) if first}
    waiting = list(seen)
    while waiting:
        for after in graph.after(waiting.pop()):
            if region[after] and after not in seen:
                seen.add(after)
                waiting.append(after)
    return seen


def _components(graph: Graph, inside: set[int]) -> Iterator[set[int]]:
    """Strongly connected components (Tarjan, without recursion)."""
    order: dict[int, int] = {}
    low: dict[int, int] = {}
    stack: list[int] = []
    on_stack: set[int] = set()
    for root in inside:
        if root in order:
            continue
        work: list[tuple[int, Iterator[int]]] = [(root, graph.after(root))]
        order[root] = low[root] = len(order)
        stack.append(root)
        on_stack.add(root)
        while work:
            state, rest = work[-1]
            for after in rest:
                if after not in inside:
                    continue
                if after not in order:
                    order[after] = low[after] = len(order)
                    stack.append(after)
                    on_stack.add(after)
                    work.append((after, graph.after(after)))
                    break
                if after in on_stack:
                    low[state] = min(low[state], order[after])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[state])
                if low[state] == order[state]:
                    component: set[int] = set()
                    while True:
                        member = stack.pop()
                        on_stack.discard(member)
                        component.add(member)
                        if member == state:
                            break
                    yield component


def _is_fair(graph: Graph, component: set[int], fair: Sequence[set[int]]) -> bool:
    """A behaviour may stay in it for ever although each fair party keeps moving whenever it can."""
    return all(_witness(graph, component, party) is not None for party in fair)


def _witness(graph: Graph, component: Iterable[int], party: set[int]) -> tuple[int, tuple[int, int] | None] | None:
    """A state of the component where the party cannot move, or one with a move of the party that stays inside."""
    inside = set(component)
    for state in component:
        if not any(action in party for action, _ in graph.edges(state)):
            return state, None
    for state in component:
        for action, after in graph.edges(state):
            if action in party and after in inside:
                return state, (action, after)
    return None


def _stem(
    graph: Graph, region: Sequence[bool], begins: Sequence[bool], goal: set[int]
) -> tuple[list[tuple[int, int]], int]:
    """The shortest way from the first state through a beginning into the goal without leaving the region after it."""
    first = (0, begins[0])
    parents: dict[tuple[int, bool], tuple[tuple[int, bool], int] | None] = {first: None}
    waiting = deque([first])
    while waiting:
        node = waiting.popleft()
        state, begun = node
        if begun and state in goal:
            path: list[tuple[int, int]] = []
            here = node
            while (came := parents[here]) is not None:
                path.append((came[1], here[0]))
                here = came[0]
            return path[::-1], state
        for action, after in graph.edges(state):
            nexts = [(after, True)] if begun and region[after] else []
            if not begun:
                nexts = [(after, False)] + ([(after, True)] if begins[after] else [])
            for following in nexts:
                if following not in parents:
                    parents[following] = (node, action)
                    waiting.append(following)
    raise AssertionError("a component that was reached cannot be reached")


def _loop(graph: Graph, start: int, component: set[int], fair: Sequence[set[int]]) -> list[tuple[int, int]]:
    """From `start` and back; empty if it just stays. The shortest way round if that is fair, else past all witnesses."""
    if all(not any(action in party for action, _ in graph.edges(start)) for party in fair):
        return []
    around = min(
        ([step, *_way(graph, step[1], start, component)] for step in graph.edges(start) if step[1] in component),
        key=len,
        default=[],
    )
    visited = {start, *(after for _, after in around)}
    if around and all(
        any(action in party for action, _ in around)
        or any(not any(action in party for action, _ in graph.edges(state)) for state in visited)
        for party in fair
    ):
        return around
    path: list[tuple[int, int]] = []
    here = start
    for party in fair:
        found = _witness(graph, component, party)
        assert found is not None
        state, step = found
        path += _way(graph, here, state, component)
        here = state
        if step is not None:
            path.append(step)
            here = step[1]
    return path + _way(graph, here, start, component)


def _way(graph: Graph, start: int, end: int, inside: set[int]) -> list[tuple[int, int]]:
    parents: dict[int, tuple[int, int] | None] = {start: None}
    waiting = deque([start])
    while end not in parents:
        state = waiting.popleft()
        for action, after in graph.edges(state):
            if after in inside and after not in parents:
                parents[after] = (state, action)
                waiting.append(after)
    path: list[tuple[int, int]] = []
    while (came := parents[end]) is not None:
        path.append((came[1], end))
        end = came[0]
    return path[::-1]


def _named(graph: Graph, path: Sequence[tuple[int, int]], start: int) -> list[Taken]:
    """The steps with their parameters, found again by taking them."""
    space, here = graph.explored.space, start
    taken: list[Taken] = []
    for number, after in path:
        wanted = graph.states[after]
        inputs = next(i for n, i, state in space.follow(graph.states[here]) if n == number and state == wanted)
        action = space.actions[number]
        taken.append((action, dict(zip(action.parameters, inputs, strict=True))))
        here = after
    return taken


def begins_somewhere(graph: Graph, start: Flag) -> bool:
    """A promise about something that never starts is kept by everybody."""
    return any(map(graph.explored.space.test(start), graph.states))
