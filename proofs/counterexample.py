# SPDX-License-Identifier: Apache-2.0
"""Counterexamples: numbered states in the words of the model, with only what changed.

Nothing is shown that was not run again first: each step is evaluated by the compiled terms, and for a row also taken by the
generated code that runs the machine. An engine whose answer cannot be repeated so has a bug, and says so. A counterexample
to induction starts at a state of which nobody knows whether it can be reached; it is named as such and never called a bug.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

from pvpci.model.kernel.compiled import Group, evaluate, group
from pvpci.model.kernel.systems import Action, System
from pvpci.model.kernel.tables import Machine
from pvpci.model.kernel.terms import Flag, Term, Var
from pvpci.model.kernel.visible import Visible, visible
from pvpci.model.kernel.words import value

Values = Mapping[Var, int]
Taken = tuple[Action, Values]  #: a step: the action and the value of each of its parameters


class NotRepeated(Exception):
    """The concrete machine does not do what an engine says it does. Our own bug."""


@dataclass(frozen=True)
class Stage:
    """A state, and the step that led to it (None for the first)."""

    action: Action | None
    inputs: Values
    state: Values
    overlap: str = ""  #: another row that can be taken there too, and that the running machine takes


@dataclass(frozen=True)
class Counterexample:
    """`loop`: the number of the state to which the last one leads back. `induction`: nobody says that it can be reached."""

    system: str
    title: str
    stages: tuple[Stage, ...]
    loop: int | None = None
    induction: bool = False

    @property
    def steps(self) -> int:
        return len(self.stages) - 1

    @property
    def overlaps(self) -> bool:
        """Some step is one of two that the table allows, and the running machine takes the other."""
        return any(stage.overlap for stage in self.stages)


def replay(
    system: System, path: Sequence[Taken], title: str, *, start: Values | None = None, loop: int | None = None
) -> Counterexample:
    """The path run on the compiled machines, from the initial state or from `start` (then it is one to induction)."""
    state = dict(system.initial if start is None else start)
    stages = [Stage(None, {}, dict(state))]
    for number, (action, inputs) in enumerate(path, 1):
        inputs = {var: inputs.get(var, 0) for var in action.parameters}
        seen = {**state, **inputs}
        where = f"{system.name}, step {number}, {action.name}"
        if not evaluate(action.guard, seen):
            raise NotRepeated(f"{where}: its guard does not hold")
        state = {**state, **{var: evaluate(term, seen) for var, term in action.updates.items()}}
        overlap = _run_row(where, action, seen, state)
        stages.append(Stage(action, inputs, dict(state), overlap))
    return Counterexample(system.name, title, tuple(stages), loop, start is not None)


def confirm(found: Counterexample, holds: Flag, given: Flag | None = None) -> Counterexample:
    """The counterexample, once its last state (or, if `holds` speaks of primed variables, its last step) violates it.

    Variables that are no part of the state (memory that others may rewrite at any time) are taken from the last step.
    """
    last = found.stages[-1]
    before = found.stages[-2].state if found.steps else last.state
    flags = [holds] if given is None else [holds, given]
    step = given is not None or any(var.primed for var in holds.variables())
    values = {**(before if step else last.state), **last.inputs}
    for var in {v for flag in flags for v in flag.variables()}:
        if var.primed is not None:
            values[var] = last.state.get(var.primed, last.inputs.get(var.primed, 0))
    for var in {v for flag in flags for v in flag.variables()} - set(values):
        values[var] = 0
    if given is not None and not evaluate(given, values):
        raise NotRepeated(f"{found.system}: {found.title}: the last step is not one that it speaks of")
    if evaluate(holds, values):
        raise NotRepeated(f"{found.system}: {found.title} is not violated when the steps are run")
    return found


@lru_cache(maxsize=256)
def _group(machine: Machine) -> Group:
    return group([machine])


def _run_row(where: str, action: Action, seen: Values, after: Values) -> str:
    """Let the generated code take the step too. The key of the row that it prefers, if two can be taken."""
    machine, row = action.machine, action.row
    if machine is None or row is None:
        return ""
    running = _group(machine)
    state = running.state()
    for var, name in running.names.items():
        setattr(state, name, seen.get(var, 0))
    place = machine.places.index(row.source)
    stepper = running.steppers[machine.name]
    step = stepper.steps[place, row.event]
    number, _ = step.choose(state, *(seen[var] for var in row.event.parameters.values()))
    taken = step.rows[number] if number >= 0 else None
    if taken is not None and taken is not row and evaluate(taken.when, seen):
        return taken.key
    if taken is not row:
        raise NotRepeated(f"{where}: the running machine takes {taken.key if taken else 'no row'}")
    if getattr(state, stepper.place) != machine.places.index(row.next):
        raise NotRepeated(f"{where}: the running machine does not arrive at {row.next.name}")
    for update in row.then:
        if update.var in after and getattr(state, running.names[update.var]) != after[update.var]:
            raise NotRepeated(f"{where}: the running machine gives {update.var.name} another value")
    return ""


def show(found: Counterexample, also: Iterable[Var] = ()) -> str:
    """Numbered states. The first one with all that is not 0 (and `also` those), then what each step changed."""
    chosen = set(also)
    out = []
    if found.induction:
        out.append("a counterexample to induction: the first state need not be reachable, so this is no bug yet")
    before: Values = {}
    for number, stage in enumerate(found.stages):
        if number == 0:
            changed = {v: n for v, n in stage.state.items() if n or v in chosen}
        else:
            changed = {v: n for v, n in stage.state.items() if before.get(v) != n}
        if stage.action is not None:
            given = ", ".join(f"{v.name}={value(v.sort, n)}" for v, n in stage.inputs.items())
            out.append(f"    {stage.action.party}: {stage.action.name}" + (f" with {given}" if given else ""))
        if stage.overlap:
            out.append(f"    although {stage.overlap} can be taken there too, and is what the running machine takes")
        what = ", ".join(f"{v.name} = {value(v.sort, n)}" for v, n in changed.items())
        out.append(f"{number:3d} {what or ('all is 0' if number == 0 else 'nothing changes')}")
        before = stage.state
    if found.loop is not None:
        out.append(_ending(found))
    return "\n".join(out)


def _ending(found: Counterexample) -> str:
    if found.loop == found.steps:
        return "    and there it stays: nobody who is fair can move"
    return f"    and again from {found.loop}, for ever"


def as_dicts(found: Counterexample) -> tuple[dict[str, Any], ...]:
    """One dict for each step: its number, who, which row or move, the parameters and what changed, in the model's words."""
    out: list[dict[str, Any]] = []
    before: Values = {}
    for number, stage in enumerate(found.stages):
        changed = {v.name: value(v.sort, n) for v, n in stage.state.items() if before.get(v) != n}
        entry: dict[str, Any] = {"seq": number, "kind": "state" if stage.action is None else "step"}
        if stage.action is not None:
            entry["party"] = stage.action.party
            entry["action"] = stage.action.name
            entry["parameters"] = {v.name: value(v.sort, n) for v, n in stage.inputs.items()}
        entry["changed"] = changed
        out.append(entry)
        before = stage.state
    return tuple(out)


def borders(found: Counterexample, party: str = "backend") -> tuple[tuple[Visible, tuple[int, ...]], ...]:
    """What a recorder of that party would have kept: each step of its machines that can be seen, with its values."""
    out: list[tuple[Visible, tuple[int, ...]]] = []
    for before, stage in pairwise(found.stages):
        action = stage.action
        if action is None or action.row is None or action.machine is None or action.party != party:
            continue
        border = visible(action.machine, action.row)
        seen = {**before.state, **stage.inputs}
        written = {update.var: update.value for update in action.row.then}
        values = [seen.get(var, 0) for var in (*border.given, *border.found)]
        values += [evaluate(written[var], _filled(written[var], seen)) for var in border.wrote]
        values += [evaluate(term, _filled(term, seen)) for ask in action.row.asks for term in ask.arguments]
        if not border.hidden:
            out.append((border, tuple(values)))
    return tuple(out)


def _filled(term: Term, values: Values) -> Values:
    """The values of the term's variables; 0 for memory that this step did not look at."""
    return {var: values.get(var, 0) for var in term.variables()}


__all__ = [
    "Counterexample",
    "NotRepeated",
    "Stage",
    "Taken",
    "Values",
    "as_dicts",
    "borders",
    "confirm",
    "replay",
    "show",
]
