# SPDX-License-Identifier: Apache-2.0
"""SPIN, over the export, counts the same states and transitions as our own search."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest
from tests import proofs_toys as toys
from tests.test_model_kernel_compiled import MEANT, A, B, P, Q

from pvpci.model.kernel.systems import System
from pvpci.model.kernel.terms import Bits, Term, Var, variable
from pvpci.proofs import promela
from pvpci.proofs.search import explore, slice_of
from pvpci.proofs.systems import SYSTEMS

needs_spin = pytest.mark.skipif(
    bool(promela.missing_tools()), reason=promela.missing_tools() or "spin and gcc are there"
)


@needs_spin
@pytest.mark.parametrize(
    "system",
    [
        toys.mutex(),
        toys.mutex(looks=False),
        toys.mutex(leaves=False),
        toys.ticking(),
        *(s for s in SYSTEMS if s.name == "handshake"),
    ],
    ids=lambda system: system.name,
)
def test_spin_counts_what_we_count(system: System, tmp_path: Path) -> None:
    view = slice_of(system, ())
    ours = explore(view)
    theirs = promela.count(view, tmp_path)

    assert theirs.complete and ours.complete
    # It counts the step into the first state too.
    assert (ours.states, ours.transitions + 1) == (theirs.states, theirs.transitions)


@needs_spin
def test_a_system_with_another_step_is_counted_differently(tmp_path: Path) -> None:
    ours = explore(slice_of(toys.mutex(), ()))
    theirs = promela.count(slice_of(toys.mutex(looks=False), ()), tmp_path)

    assert (ours.states, ours.transitions + 1) != (theirs.states, theirs.transitions)


@pytest.mark.parametrize("name", MEANT)
def test_operators_are_said_in_promelas_words(name: str) -> None:
    # Its expressions are C's; Python reads these alike once the connectives are spelled its way.
    term, meant = MEANT[name]
    text = promela.expression(term, {A: "x", B: "y", P: "s", Q: "t"})
    compiled = _as_python(text)
    for x, y, s, t in product(range(16), range(16), (0, 1), (0, 1)):
        assert meant(x, y, s, t) == int(compiled(x, y, s, t)), text


def _as_python(text: str) -> Callable[[int, int, int, int], int]:
    text = (
        text.replace("&&", " and ").replace("||", " or ").replace("!=", "<>").replace("!", " not ").replace("<>", "!=")
    )
    if "->" in text:
        test, rest = text[1:-1].split(" -> ")
        yes, no = rest.split(" : ")
        text = f"({yes} if {test} else {no})"
    return eval(f"lambda x, y, s, t: {text}")  # type: ignore[no-any-return]


WORD = Var("t.word", variable(toys.shared.word.variable).sort)
word = Bits(32, "var", var=WORD)


@pytest.mark.parametrize(
    ("term", "text"),
    [
        (word + 1, "(w + (1))"),
        (word == 0xFFFFFFFF, "(w == (-1))"),
        (word < 0x80000000, "((w ^ (1 << 31)) < ((-2147483648) ^ (1 << 31)))"),
        (word >> 4, "((w >> 4) & 268435455)"),
    ],
)
def test_words_are_held_in_twos_complement(term: Term, text: str) -> None:
    assert text == promela.expression(term, {WORD: "w"})


def test_what_cannot_be_said_is_refused() -> None:
    wide = Var("t.wide", Bits(64).sort)

    with pytest.raises(promela.NotSayable, match=r"t\.wide has 64 bits"):
        promela._kind(wide)
    with pytest.raises(ValueError, match=r"which values of shared\.word"):
        promela.export(slice_of(toys.hostile(), ()))


def test_missing_tools_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")

    assert "not installed: spin, gcc (apt-get install spin gcc)" == promela.missing_tools()
