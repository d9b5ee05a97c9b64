# SPDX-License-Identifier: Apache-2.0
"""A system as Promela, for SPIN.

Somebody else's search over the same steps must find as many states and as many transitions as ours. The export is dull on
purpose: one process, one `d_step` for each step and each choice of parameters, new values computed into hidden variables
first because updates happen at once. It goes through neither the compiler nor the translator, only through the terms.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from pvpci.model.kernel.systems import Action
from pvpci.model.kernel.terms import Term, Var
from pvpci.proofs.search import Slice, whole

WORD = 32  #: bits of an `int` of Promela, which is signed: wider numbers cannot be said


class NotSayable(ValueError):
    """Promela has no numbers of that width."""


def name_of(var: Var, number: int) -> str:
    return f"v{number}_{re.sub(r'[^A-Za-z0-9]', '_', var.name)}"


def _number(value: int, width: int) -> str:
    return str(value - (1 << WORD) if width == WORD and value >> (WORD - 1) else value)


def expression(term: Term, values: Mapping[Var, str]) -> str:
    """The term in Promela's C-like expressions; numbers of 32 bits are held in two's complement."""
    width = term.sort.width
    if term.op == "const":
        return f"({_number(term.number, width)})"
    if term.var is not None:
        return values[term.var]
    a = [expression(arg, values) for arg in term.args]
    match term.op:
        case "not":
            return f"(!{a[0]})"
        case "and":
            return f"({a[0]} && {a[1]})"
        case "or":
            return f"({a[0]} || {a[1]})"
        case "eq":
            return f"({a[0]} == {a[1]})"
        case "lt":
            one, two = (_unsigned(text, term.args[0].sort.width) for text in a)
            return f"({one} < {two})"
        case "if":
            return f"({a[0]} -> {a[1]} : {a[2]})"
        case "add":
            return _masked(f"({a[0]} + {a[1]})", width)
        case "sub":
            return _masked(f"({a[0]} - {a[1]})", width)
        case "band":
            return f"({a[0]} & {a[1]})"
        case "bor":
            return f"({a[0]} | {a[1]})"
        case "bxor":
            return f"({a[0]} ^ {a[1]})"
        case "bnot":
            return _masked(f"(~{a[0]})", width)
        case "shl":
            return _masked(f"({a[0]} << {term.number})", width) if term.number < width else "(0)"
        case "shr":
            kept = width - term.number
            return _masked(f"({a[0]} >> {term.number})", kept) if kept > 0 else "(0)"
        case "resize":
            return _masked(a[0], width)
    raise ValueError(f"no such operator: {term.op}")


def _masked(text: str, width: int) -> str:
    return text if width == WORD else f"({text} & {(1 << width) - 1})"


def _unsigned(text: str, width: int) -> str:
    """Comparison of words is signed there: turn the sign bit over."""
    return f"({text} ^ (1 << 31))" if width == WORD else text


def _kind(var: Var) -> str:
    width = var.sort.width
    if width > WORD:
        raise NotSayable(f"{var.name} has {width} bits, Promela's numbers have {WORD}")
    return "byte" if width <= 8 else "int"


def export(view: Slice) -> str:
    """Promela source. Comments name the variables and the steps."""
    names = {var: name_of(var, number) for number, var in enumerate(view.keep)}
    initial = view.system.initial
    out = [f"/* {view.system.name}: {len(view.keep)} variables, {len(view.actions)} kinds of step */"]
    out += [f"{_kind(var)} {name} = {_number(initial[var], var.sort.width)};" for var, name in names.items()]
    written = [var for var in view.keep if any(var in action.updates for action in view.actions)]
    out += [f"hidden {_kind(var)} t_{names[var]};" for var in written]
    out += ["active proctype system() {", "  do"]
    for action in view.actions:
        out += _branches(view, action, names)
    out += ["  :: false", "  od", "}"]
    return "\n".join(out) + "\n"


def _branches(view: Slice, action: Action, names: Mapping[Var, str]) -> Iterator[str]:
    kept = {var: term for var, term in action.updates.items() if var in names}
    used = {v for term in (action.guard, *kept.values()) for v in term.variables()}
    free = [var for var in action.parameters if var in used]
    yield f"  /* {action.name.replace('*/', '* /')} */"
    for values in product(*(_values(view, var) for var in free)):
        inputs = {var: f"({_number(value, var.sort.width)})" for var, value in zip(free, values, strict=True)}
        seen = {**names, **inputs}
        parts = [f"t_{names[var]} = {expression(term, seen)};" for var, term in kept.items()]
        parts += [f"{names[var]} = t_{names[var]};" for var in kept]
        yield f"  :: d_step {{ {expression(action.guard, seen)}; {' '.join(parts) or 'skip;'} }}"


def _values(view: Slice, var: Var) -> tuple[int, ...]:
    samples = view.system.samples.get(var)
    if samples is not None:
        return tuple(samples)
    if not whole(view.system, var):
        raise ValueError(f"{view.system.name}: say which values of {var.name} ({var.sort}) a search should try")
    return tuple(range(var.sort.size))


@dataclass(frozen=True)
class Counted:
    """What SPIN counted: states stored, and transitions (the same states entered again included)."""

    states: int
    transitions: int
    complete: bool


def missing_tools() -> str:
    """Why SPIN cannot be run here; empty if it can."""
    absent = [tool for tool in ("spin", "gcc") if shutil.which(tool) is None]
    return f"not installed: {', '.join(absent)} (apt-get install spin gcc)" if absent else ""


def count(view: Slice, folder: Path, *, timeout: float = 120.0, depth: int = 2_000_000) -> Counted:
    """Run SPIN over the export in `folder`, without reductions. OSError or CalledProcessError if a tool fails."""
    (folder / "system.pml").write_text(export(view), encoding="ascii")
    for command in (
        ["spin", "-a", "system.pml"],
        ["gcc", "-O1", "-w", "-DSAFETY", "-DNOREDUCE", "-DVECTORSZ=4096", "-DMEMLIM=2048", "-o", "pan", "pan.c"],
    ):
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=timeout)
    text = subprocess.run(
        ["./pan", "-E", "-n", f"-m{depth}"], cwd=folder, check=True, capture_output=True, timeout=timeout, text=True
    ).stdout
    states = re.search(r"^\s*(\d+) states, stored", text, re.M)
    transitions = re.search(r"^\s*(\d+) transitions", text, re.M)
    if states is None or transitions is None:
        raise OSError(f"SPIN's answer is not understood: {text[:300]}")
    complete = "Search not completed" not in text and "max search depth too small" not in text
    return Counted(int(states[1]), int(transitions[1]), complete)
