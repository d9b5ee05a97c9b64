# SPDX-License-Identifier: Apache-2.0
"""A program of configuration space, run over formulas: every path at once.

Steps without loops become one formula for each thing that they change, so a question about a write is one question to the
solver, whatever the registers hold and whatever the guest sent.

The function is bytes by structure and offset, unknown at first. It is hardware: of what is written it takes what it
likes, which is an unknown mask for each byte, fixed for the run. Two registers do more, as the specification has them.
PME_STATUS is cleared by a one, and a function that goes from D3hot to D0 without NO_SOFT_RESET loses its header: COMMAND,
the BARs, cache line and latency become 0 in every bit that a write could change, and so do the message enables.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import z3

from pvpci.model.config import constants as pci
from pvpci.model.config.programs import Finish, Load, Place, Program, Set, Step, Store, Structure, Tell, TellAgain, Wait
from pvpci.model.config.rules import FOUND, LANES, Call, Fetch, Forward
from pvpci.model.config.state import Kind
from pvpci.model.config.steps import D0, D3HOT, PMCSR
from pvpci.model.kernel.terms import Sort, Term, Var
from pvpci.proofs.translate import Formula, apply

Byte = tuple[Structure, int]
#: What an internal reset of the function takes to 0.
LOST: Final[tuple[Byte, ...]] = (
    *((Structure.HEADER, at) for at in (pci.COMMAND, pci.COMMAND + 1, pci.CACHE_LINE_SIZE, pci.LATENCY_TIMER)),
    *((Structure.HEADER, at) for at in (*range(0x10, 0x28), *range(0x30, 0x34), pci.INTERRUPT_LINE)),
    (Structure.MSI, pci.MSI_FLAGS),
    (Structure.MSIX, pci.MSIX_FLAGS + 1),
)


def is_given(var: Var) -> bool:
    """It is no variable of one program: all others have a name of two parts, as those of a record do."""
    return "." in var.name


def unknown(name: str, sort: Sort) -> Formula:
    return z3.BitVec(name, sort.width) if sort.width else z3.Bool(name)


def constant(sort: Sort, value: int) -> Formula:
    return z3.BitVecVal(value, sort.width) if sort.width else z3.BoolVal(bool(value))


@dataclass(frozen=True)
class Written:
    """One write to the function that happens if `when` holds."""

    when: Formula
    place: Place
    value: Formula
    held: Formula  #: what the register held just before
    name: str
    lanes: Formula = None  #: which bits of the place are written, where that depends on the request; else all


@dataclass(frozen=True)
class Told:
    when: Formula
    kind: Kind


@dataclass
class World:
    """The function and what we remember. `taken` gives the mask of a byte, `values` what is fixed from the start."""

    values: dict[Var, Formula] = field(default_factory=dict)
    bytes: dict[Byte, Formula] = field(default_factory=dict)
    written: list[Written] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    waited: list[Formula] = field(default_factory=list)
    told_again: Formula = field(default_factory=lambda: z3.BoolVal(False))
    prefix: str = ""

    def copy(self) -> World:
        return World(
            dict(self.values),
            dict(self.bytes),
            list(self.written),
            list(self.told),
            list(self.waited),
            self.told_again,
            self.prefix,
        )

    def value(self, var: Var) -> Formula:
        """A variable; 0 for one of the program's own that no step has set."""
        if var not in self.values:
            return unknown(f"{self.prefix}{var.name}", var.sort) if is_given(var) else constant(var.sort, 0)
        return self.values[var]

    def byte(self, at: Byte) -> Formula:
        if at not in self.bytes:
            return z3.BitVec(f"{self.prefix}{at[0].name}+{at[1]:02x}", 8)
        return self.bytes[at]

    def register(self, place: Place) -> Formula:
        found = [self.byte((place.structure, place.offset + n)) for n in reversed(range(place.width))]
        return z3.Concat(*found) if len(found) > 1 else found[0]

    def evaluate(self, term: Term) -> Formula:
        return self._evaluate(term, {})

    def _evaluate(self, term: Term, known: dict[int, Formula]) -> Formula:
        found = known.get(id(term))
        if found is None:
            if term.op == "const":
                found = constant(term.sort, term.number)
            elif term.var is not None:
                found = self.value(term.var)
            else:
                found = apply(term, [self._evaluate(arg, known) for arg in term.args])
            known[id(term)] = found
        return found


def takes(at: Byte) -> Formula:
    """The bits of a byte that hardware lets one change."""
    return z3.BitVec(f"takes.{at[0].name}+{at[1]:02x}", 8)


@dataclass
class Run:
    """The end of a program: `err` (32 bits), and whether it was reached at all without a `Finish`."""

    world: World
    err: Formula
    running: Formula


def execute(
    program: Program,
    world: World,
    *,
    live: Formula = None,
    window: Place | None = None,
    sent: Mapping[Var, Formula] = {},
) -> Run:
    """Run `program` in `world`, which changes. `window`: the dword of the request; `sent`: its lanes and value."""
    # What is left of an earlier program is not this one's.
    world.values = {var: value for var, value in world.values.items() if is_given(var)} | dict(sent)
    run = Run(world, z3.BitVecVal(0, 32), z3.BoolVal(True) if live is None else live)
    for step in program:
        _step(step, run, window)
    return run


def _step(step: Step, run: Run, window: Place | None) -> None:
    world = run.world
    happens = z3.simplify(z3.And(run.running, world.evaluate(step.when)))
    if z3.is_false(happens):
        if isinstance(step, Load):
            world.values[step.into.variable] = constant(step.into.sort, 0)
        return
    match step:
        case Load():
            zero = constant(step.into.sort, 0)
            # Nothing after the end of the program reads what it loads, so whether it still runs does not matter here.
            world.values[step.into.variable] = _if(world.evaluate(step.when), world.register(step.at), zero)
        case Store():
            _store(world, happens, step.at, world.evaluate(step.value), step.name)
        case Set():
            var = step.update.var
            world.values[var] = _if(happens, world.evaluate(step.update.value), world.value(var))
        case Finish():
            run.err = _if(happens, world.evaluate(step.err), run.err)
            run.running = z3.simplify(z3.And(run.running, z3.Not(world.evaluate(step.when))))
        case Tell():
            world.told.append(Told(happens, step.kind))
        case TellAgain():
            world.told_again = z3.Or(world.told_again, happens)
        case Wait():
            world.waited.append(happens)
        case Call():
            inner = Run(world, z3.BitVecVal(0, 32), happens)
            for each in step.steps:
                _step(each, inner, window)
            var = step.err.variable
            world.values[var] = _if(happens, inner.err, world.value(var))
        case Fetch() | Forward():
            assert window is not None, "a request needs its dword"
            _request(step, world, happens, window)
        case _:
            raise TypeError(f"no such step: {step!r}")


def _request(step: Step, world: World, happens: Formula, window: Place) -> None:
    lanes = world.value(LANES.variable)
    if isinstance(step, Fetch):
        world.values[FOUND.variable] = _if(happens, world.register(window) & lanes, z3.BitVecVal(0, 32))
        return
    from pvpci.model.config.rules import BROUGHT

    held = world.register(window)
    world.written.append(Written(happens, window, world.value(BROUGHT.variable), held, "request", lanes))
    for n in range(4):
        here = z3.And(happens, z3.Extract(8 * n, 8 * n, lanes) == 1)
        _byte(world, here, (window.structure, window.offset + n), _extract(world.value(BROUGHT.variable), n))


def _store(world: World, happens: Formula, place: Place, value: Formula, name: str) -> None:
    held = world.register(place)
    world.written.append(Written(happens, place, value, held, name))
    for n in range(place.width):
        _byte(world, happens, (place.structure, place.offset + n), _extract(value, n))
    if place == PMCSR:
        _powered(world, held, value, happens)


def _byte(world: World, happens: Formula, at: Byte, new: Formula) -> None:
    old = world.byte(at)
    world.bytes[at] = _if(happens, (old & ~takes(at)) | (new & takes(at)), old)


def _powered(world: World, held: Formula, value: Formula, happens: Formula) -> None:
    """What the write of PMCSR does beside the register's plain bits."""
    status = (Structure.PM, pci.PM_CTRL + 1)
    cleared = z3.Extract(15, 15, held) & ~z3.Extract(15, 15, value)
    kept = z3.Concat(cleared, z3.Extract(6, 0, world.byte(status)))
    world.bytes[status] = _if(happens, kept, world.byte(status))
    now = world.register(PMCSR)
    woke = z3.And(
        happens,
        held & pci.PM_CTRL_STATE == D3HOT,
        now & pci.PM_CTRL_STATE == D0,
        held & pci.PM_CTRL_NO_SOFT_RESET == 0,
    )
    for at in LOST:
        world.bytes[at] = _if(woke, world.byte(at) & ~takes(at), world.byte(at))


def _extract(value: Formula, n: int) -> Formula:
    return z3.Extract(8 * n + 7, 8 * n, value)


def _if(test: Formula, yes: Formula, no: Formula) -> Formula:
    test = z3.simplify(test)
    if z3.is_true(test):
        return yes
    return no if z3.is_false(test) else z3.If(test, yes, no)
