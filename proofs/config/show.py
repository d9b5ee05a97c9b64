# SPDX-License-Identifier: Apache-2.0
"""A counterexample of configuration space in words: the request, what there was, what was done, what was answered."""

from __future__ import annotations

import z3

from pvpci.proofs.config.claims import OFFSET, SENT, SIZE, Asked, Question, Ran, Sent
from pvpci.proofs.config.symbolic import World
from pvpci.proofs.translate import Formula, value_in


def counterexample(model: Formula, of: Asked | Ran | Question) -> str:
    """Several lines: what was asked for, what differs from zero before, each write to the function, the answer."""
    if isinstance(of, Question):
        return ", ".join(f"{each.name()} = {model[each]}" for each in model.decls())
    lines: list[str] = []
    if isinstance(of, Asked):
        size, offset = value_in(model, SIZE), value_in(model, OFFSET)
        what = (
            f"read {size} bytes at {offset:#x}"
            if of.is_read
            else (f"write {size} bytes at {offset:#x}: {value_in(model, SENT):#x}")
        )
        lines.append(f"{of.route}: {what}")
    else:
        lines.append(of.which)
        lines += [f"  writes to {p.case.name}: {value_in(model, p.value):#x}" for p in of.parts if isinstance(p, Sent)]
    lines += [f"  before: {name} = {value}" for name, value in _before(model, of)]
    for one in of.after.written:
        if z3.is_true(model.eval(one.when, model_completion=True)):
            held, value = value_in(model, one.held), value_in(model, one.value)
            lines.append(f"  writes {one.place}: {value:#x} (held {held:#x})")
    lines += [f"  after: {name} = {value}" for name, value in _changed(model, of.before, of.after)]
    if isinstance(of, Asked):
        answer = "" if of.answer is None else f", value {value_in(model, of.answer):#x}"
        err = value_in(model, of.err)
        lines.append(f"  answers {err - (1 << 32) if err >> 31 else err}{answer}")
    return "\n".join(lines)


def _before(model: Formula, of: Asked | Ran) -> list[tuple[str, str]]:
    found = []
    for each in sorted(model.decls(), key=lambda one: str(one.name())):
        name = str(each.name())
        value = model[each]
        if name in ("offset", "size", "sent") or name.startswith("takes."):
            continue
        if z3.is_bool(value):
            if z3.is_true(value):
                found.append((name, "true"))
        elif value.as_long():
            found.append((name, f"{value.as_long():#x}"))
    return found


def _changed(model: Formula, before: World, after: World) -> list[tuple[str, str]]:
    found = []
    for var, formula in after.values.items():
        if "." not in var.name or not hasattr(formula, "sort"):
            continue
        old, new = value_in(model, before.value(var)), value_in(model, formula)
        if old != new:
            found.append((var.name, f"{new:#x}"))
    return found
