# SPDX-License-Identifier: Apache-2.0
"""Terms as formulas.

This and `model.kernel.compiled` are the trusted base of everything that is proved and run: both are short, both give each
operator one unsigned meaning, and they are tested against each other. There are no primed variables and no frame axioms:
the value of a formula after a step is the formula with each variable that the step changes replaced by its new value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import z3

from pvpci.model.kernel.terms import Flag, Term, Var

#: z3's own annotations do not survive strict checking; this is the one name that the rest of `proofs` uses for its terms.
Formula = Any


class Translator:
    """Formulas of terms, each made once. One z3 constant for each variable."""

    def __init__(self) -> None:
        self._constants: dict[Var, Formula] = {}
        self._named: dict[str, int] = {}
        self._formulas: dict[
            int, tuple[Term, Formula]
        ] = {}  # the term is kept, or its identity could be given to another
        self._variables: dict[int, tuple[Term, tuple[Var, ...]]] = {}

    def constant(self, var: Var) -> Formula:
        """The unknown that stands for the variable: a Bool for a flag, a BitVec otherwise."""
        if var not in self._constants:
            count = self._named[var.name] = self._named.get(var.name, 0) + 1
            self._constants[var] = fresh(var, var.name if count == 1 else f"{var.name}#{count}")
        return self._constants[var]

    def formula(self, term: Term) -> Formula:
        known = self._formulas.get(id(term))
        if known is None:
            known = self._formulas[id(term)] = (term, self._make(term))
        return known[1]

    def _make(self, term: Term) -> Formula:
        if term.op == "const":
            return z3.BitVecVal(term.number, term.sort.width) if term.sort.width else z3.BoolVal(bool(term.number))
        if term.var is not None:
            return self.constant(term.var)
        return apply(term, [self.formula(arg) for arg in term.args])

    def variables(self, term: Term) -> tuple[Var, ...]:
        """The variables in it, once each."""
        known = self._variables.get(id(term))
        if known is None:
            known = self._variables[id(term)] = (term, tuple(dict.fromkeys(term.variables())))
        return known[1]

    def after(self, flag: Flag, updates: Mapping[Var, Term]) -> Formula:
        """What the flag says after a step with these updates."""
        changed = [var for var in self.variables(flag) if var in updates]
        return self._replaced(flag, [(var, self.formula(updates[var])) for var in changed])

    def over(self, flag: Flag, updates: Mapping[Var, Term], free: Iterable[Var] = ()) -> Formula:
        """A flag of a step: primed variables have their value after it. Those of `free` may have any value then."""
        loose = set(free)
        pairs = []
        for var in self.variables(flag):
            if var.primed is not None and var.primed not in loose:
                value = updates.get(var.primed)
                pairs.append((var, self.constant(var.primed) if value is None else self.formula(value)))
        return self._replaced(flag, pairs)

    def at(self, flag: Term, values: Mapping[Var, Formula]) -> Formula:
        """The formula over other unknowns, for instance those of a later step."""
        return self._replaced(flag, [(var, values[var]) for var in self.variables(flag) if var in values])

    def _replaced(self, term: Term, pairs: list[tuple[Var, Formula]]) -> Formula:
        formula = self.formula(term)
        return z3.substitute(formula, *((self.constant(var), value) for var, value in pairs)) if pairs else formula

    def ranges(self, variables: Iterable[Var]) -> list[Formula]:
        """A choice is held in bits, and not every pattern of bits is a member."""
        return [bound for var in variables if (bound := in_range(var, self.constant(var))) is not None]


def fresh(var: Var, name: str) -> Formula:
    return z3.BitVec(name, var.sort.width) if var.sort.width else z3.Bool(name)


def in_range(var: Var, formula: Formula) -> Formula | None:
    if var.sort.members and len(var.sort.members) < 1 << var.sort.width:
        return z3.ULT(formula, len(var.sort.members))
    return None


def literal(var: Var, value: int) -> Formula:
    return z3.BitVecVal(value, var.sort.width) if var.sort.width else z3.BoolVal(bool(value))


def apply(term: Term, a: list[Formula]) -> Formula:
    """The operator of `term` over translated operands."""
    match term.op:
        case "not":
            return z3.Not(a[0])
        case "and":
            return z3.And(a[0], a[1])
        case "or":
            return z3.Or(a[0], a[1])
        case "eq":
            return a[0] == a[1]
        case "lt":
            return z3.ULT(a[0], a[1])
        case "if":
            return z3.If(a[0], a[1], a[2])
        case "add":
            return a[0] + a[1]
        case "sub":
            return a[0] - a[1]
        case "band":
            return a[0] & a[1]
        case "bor":
            return a[0] | a[1]
        case "bxor":
            return a[0] ^ a[1]
        case "bnot":
            return ~a[0]
        case "shl":
            return _shifted(term, a[0], left=True)
        case "shr":
            return _shifted(term, a[0], left=False)
        case "resize":
            return _resized(a[0], term.args[0].sort.width, term.sort.width)
    raise ValueError(f"no such operator: {term.op}")


def _shifted(term: Term, value: Formula, *, left: bool) -> Formula:
    width = term.sort.width
    if term.number >= width:  # the constant would not fit into the operand's width
        return z3.BitVecVal(0, width)
    places = z3.BitVecVal(term.number, width)
    return value << places if left else z3.LShR(value, places)


def _resized(value: Formula, old: int, new: int) -> Formula:
    if new > old:
        return z3.ZeroExt(new - old, value)
    return z3.Extract(new - 1, 0, value) if new < old else value


def value_in(model: Formula, formula: Formula) -> int:
    """The number that a model of z3 gives a formula; unknowns that do not matter get one."""
    value = model.eval(formula, model_completion=True)
    return int(z3.is_true(value)) if z3.is_bool(value) else int(value.as_long())


def satisfiable(solver: Formula) -> bool | None:
    """None if the solver gave up."""
    answer = solver.check()
    return None if answer == z3.unknown else bool(answer == z3.sat)


def new_solver(timeout: int) -> Formula:
    """A solver for many small questions over the same hypotheses; `timeout` in milliseconds, for each."""
    solver = z3.SimpleSolver()
    solver.set("timeout", timeout)
    return solver
