# SPDX-License-Identifier: Apache-2.0
"""Several parties together: the tables and the moves of everybody else, over shared variables.

A system is a list of **actions**, each with a guard, the updates that happen at once, and parameters that somebody
else chooses. Every engine (search, induction, the exporter, the judge of traces) reads only this list, so a row
means the same to all of them. An action made from a row also carries what its event takes from the world, what its
effects do to it and the ghosts' notes.

Against the worst guest a shared page need not be remembered: each look at it may find anything.
``System(hostile={"flags"})`` turns the variables of those cells into parameters of every action that looks at them,
and forgets what is written there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pvpci.model.kernel.claims import Always, Claim, EachStep, LeadsTo
from pvpci.model.kernel.records import Event
from pvpci.model.kernel.tables import Machine, Row, TableError
from pvpci.model.kernel.terms import ALWAYS, Flag, Term, Update, Var, constant, same


@dataclass(frozen=True, eq=False)
class Move:
    """A step that somebody without a table may take at any time when `when` holds. `event` only brings parameters."""

    name: str
    party: str
    when: Flag
    then: tuple[Update, ...]
    cite: str
    event: type[Event] = Event


@dataclass(frozen=True, eq=False)
class Bond:
    """Where an event of one machine is what another machine did: when it can come, and what it changes besides."""

    when: Flag
    then: tuple[Update, ...] = ()


@dataclass(frozen=True, eq=False)
class Action:
    """One kind of step. `parameters` are chosen freely by whoever the step depends on."""

    name: str
    party: str
    guard: Flag
    updates: Mapping[Var, Term]
    parameters: tuple[Var, ...]
    cite: str
    machine: Machine | None = None
    row: Row | None = None

    @property
    def reads(self) -> set[Var]:
        found = set(self.guard.variables())
        for value in self.updates.values():
            found.update(value.variables())
        return found - set(self.parameters)


@dataclass(frozen=True, eq=False)
class System:
    """Machines and moves over shared variables, what holds at the start, and what is claimed."""

    name: str
    machines: tuple[Machine, ...]
    moves: tuple[Move, ...] = ()
    claims_of: Callable[[Mapping[str, Machine]], tuple[Claim, ...]] = lambda _: ()  #: from the machines, by name
    known: Mapping[str, Flag] = field(default_factory=dict)  #: lemmas that need several machines to be said
    start: tuple[Update, ...] = ()
    hostile: frozenset[str] = frozenset()
    #: what a change of a variable does besides, whoever makes it: a write to the store fires the watches on it
    ripples: Mapping[Var, tuple[Update, ...]] = field(default_factory=dict)
    #: for search, which needs finitely many: the values that a parameter may take (all values of a flag or a choice otherwise)
    samples: Mapping[Var, Sequence[int]] = field(default_factory=dict)
    bonds: Mapping[type[Event], Bond] = field(default_factory=dict)
    inductive: bool = False  #: safety is decided by induction, although there are samples to search over
    doc: str = ""

    @property
    def actions(self) -> tuple[Action, ...]:
        made = [
            _from_row(machine, row, self.bonds.get(row.event)) for machine in self.machines for row in machine.table
        ]
        made += [_from_move(move) for move in self.moves]
        return tuple(_havoc(_rippled(action, self.ripples), self.hostile) for action in made)

    @property
    def variables(self) -> tuple[Var, ...]:
        """In a stable order: as they are first met."""
        found: dict[Var, None] = {}
        for machine in self.machines:
            found[machine.at.variable] = None
        for action in self.actions:
            for var in (*action.guard.variables(), *action.updates):
                found[var] = None
            for value in action.updates.values():
                found.update(dict.fromkeys(value.variables()))
            for var in action.parameters:
                found.pop(var, None)
        for flag in (*self.lemmas.values(), *(flag for claim in self.claims for flag in flags_of(claim))):
            found.update(dict.fromkeys(v.primed or v for v in flag.variables()))
        return tuple(found)

    @property
    def lemmas(self) -> dict[str, Flag]:
        found = {f"{machine.name}: {name}": flag for machine in self.machines for name, flag in machine.known.items()}
        return {**found, **self.known}

    @property
    def initial(self) -> dict[Var, int]:
        values = dict.fromkeys(self.variables, 0)
        for update in (*(u for machine in self.machines for u in machine.start), *self.start):
            if update.value.op != "const":
                raise TableError(f"{self.name}: {update.var.name} must start with a constant, not ({update.value!r})")
            values[update.var] = update.value.number
        return values

    @property
    def claims(self) -> tuple[Claim, ...]:
        return self.claims_of({machine.name: machine for machine in self.machines})

    def machine(self, name: str) -> Machine:
        return next(machine for machine in self.machines if machine.name == name)


def _merge(where: str, groups: Iterable[Iterable[Update]]) -> dict[Var, Term]:
    merged: dict[Var, Term] = {}
    for group in groups:
        for update in group:
            if update.var in merged and not same(merged[update.var], update.value):
                raise TableError(f"{where}: {update.var.name} is given two values in one step")
            merged[update.var] = update.value
    return merged


def _from_row(machine: Machine, row: Row, bond: Bond | None = None) -> Action:
    here = machine.at == row.source
    guard = here & row.event.offered & row.when if row.event.offered is not ALWAYS else here & row.when
    if bond is not None:
        guard &= bond.when
    arrival = (machine.at.becomes(row.next),) if row.next is not row.source else ()
    notes = machine.notes.get(row.next, ())
    updates = _merge(
        f"{machine.name}, {row.key}",
        (row.then, row.event.takes, *(ask.world() for ask in row.asks), notes, arrival, bond.then if bond else ()),
    )
    parameters = tuple(row.event.parameters.values())
    name = f"{machine.name} {row.source.name} --{row.event.__name__}--> {row.next.name}" + (
        f" ({row.name})" if row.name else ""
    )
    return Action(name, machine.party, guard, updates, parameters, row.cite, machine, row)


def _from_move(move: Move) -> Action:
    parameters = tuple(move.event.parameters.values())
    return Action(move.name, move.party, move.when, _merge(move.name, [move.then]), parameters, move.cite)


def _rippled(action: Action, ripples: Mapping[Var, tuple[Update, ...]]) -> Action:
    extra = {update.var: update.value for var in action.updates for update in ripples.get(var, ())}
    return replace(action, updates={**extra, **action.updates}) if extra else action


def _havoc(action: Action, cells: frozenset[str]) -> Action:
    if not cells:
        return action
    inputs = tuple(dict.fromkeys(
        var
        for term in (action.guard, *action.updates.values())
        for var in term.variables()
        if var.cell in cells and var not in action.parameters
    ))  # fmt: skip
    kept = {var: value for var, value in action.updates.items() if var.cell not in cells}
    return Action(
        action.name,
        action.party,
        action.guard,
        kept,
        action.parameters + inputs,
        action.cite,
        action.machine,
        action.row,
    )


def flags_of(claim: Claim) -> tuple[Flag, ...]:
    """The terms that a claim is about."""
    match claim:
        case Always():
            return (claim.holds,)
        case EachStep():
            return (claim.holds, claim.given)
        case LeadsTo():
            return (claim.start, claim.goal, claim.within)
    return ()


def value_of(var: Var, number: int) -> Term:
    """A constant of the variable's sort."""
    return constant(var.sort, var.sort.decode(number))
