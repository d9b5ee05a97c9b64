# SPDX-License-Identifier: Apache-2.0
"""Terms as people read them: ``my.busy & ~flags.active``."""

from __future__ import annotations

from enum import Enum

from pvpci.model.kernel.terms import Sort, Term, Update

_INFIX = {"and": "&", "or": "|", "lt": "<", "add": "+", "sub": "-", "band": "&", "bor": "|", "bxor": "^"}


def value(sort: Sort, number: int) -> str:
    """A value in the words of the model; numbers of 8 bits and more in hexadecimal once they are large."""
    decoded = sort.decode(number)
    if isinstance(decoded, Enum):
        return decoded.name
    if isinstance(decoded, bool):
        return "true" if decoded else "false"
    return hex(number) if number > 9 else str(number)


def show(term: Term) -> str:
    if term.op == "const":
        return value(term.sort, term.number)
    if term.var is not None:
        return term.var.name
    if term.op == "not":
        (inner,) = term.args
        if inner.op == "eq":
            return f"{_inside(inner.args[0])} != {_inside(inner.args[1])}"
        if inner.op == "lt":
            return f"{_inside(inner.args[0])} >= {_inside(inner.args[1])}"
        return f"~{_inside(inner)}"
    if term.op == "eq":
        return f"{_inside(term.args[0])} == {_inside(term.args[1])}"
    if term.op in _INFIX:
        one, two = term.args
        left = show(one) if one.op == term.op else _inside(one)
        return f"{left} {_INFIX[term.op]} {_inside(two)}"
    if term.op == "bnot":
        return f"~{_inside(term.args[0])}"
    if term.op in ("shl", "shr"):
        return f"{_inside(term.args[0])} {'<<' if term.op == 'shl' else '>>'} {term.number}"
    if term.op == "resize":
        return f"{_inside(term.args[0])}:{term.sort.width}"
    if term.op == "if":
        test, yes, no = term.args
        return f"{_inside(yes)} if {_inside(test)} else {_inside(no)}"
    return f"<{term.op or 'declaration'} of {term.sort}>"


def _inside(term: Term) -> str:
    return (
        show(term)
        if term.op in ("const", "var") or (term.op == "not" and term.args[0].op == "var")
        else f"({show(term)})"
    )


def show_update(update: Update) -> str:
    return f"{update.var.name} := {show(update.value)}"
