# SPDX-License-Identifier: Apache-2.0
"""Texts that name functions: the verdicts that Linux gave, and texts of any kind."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvpci.model.slots import BadText, Pattern, added, expand, hidden, read_hide, read_slot
from pvpci.model.topology import Function

TEXTS = st.text(st.sampled_from(" \t\n()::..**0123afxX,-"), max_size=24)
_NUMBER = r"[ \t\n\v\f\r]*(?:0[xX])?[0-9a-fA-F]+"
_ADDRESS = rf"(?:{_NUMBER}:)?{_NUMBER}:(?:{_NUMBER}\.{_NUMBER}|{_NUMBER}\.\*|\*\.\*)"


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("(0000:01:00.0)", 1), ("(01:00.0) (02:00.1)", 2), ("( 01:00.0)", 1), ("", 0), ("(01:00.0)  ", 1),
        ("(00:07.*)", 8), ("(0001:01:*.*)", 256), ("(01:00.0)(01:00.0)", 1), ("(01:00.*)(01:00.3)", 8),
    ],
)  # fmt: skip
def test_texts_for_hide(text: str, ids: int) -> None:
    assert ids == len(hidden(text))


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("(01:00.0 )", 8), ("(01:00.0),(02:00.1)", 9), ("01:00.0", 0), ("(01:00.8)", 1), ("(20000:1:0.0)", 1), (" ", 1),
        ("(01:*.3)", 6), ("(*:*.*)", 1), ("(00:07.0)(00:20.0)", 10), ("(01:00.0", 8), ("(01:00.1f)", 1),
    ],
)  # fmt: skip
def test_texts_that_hide_refuses(text: str, position: int) -> None:
    with pytest.raises(BadText) as refused:
        hidden(text)

    assert position == refused.value.position
    assert str(refused.value).startswith(f"character {position + 1}: ")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("0000:01:00.0\n", (0, 1, 0, 0)), ("01:00.0", (0, 1, 0, 0)), ("1:0.0", (0, 1, 0, 0)),
        (" 0000:01:00.0", (0, 1, 0, 0)), ("0000: 01:00.0", (0, 1, 0, 0)), ("0x1:0x2:3.4", (1, 2, 3, 4)),
        ("100000000:1:2.3", (0, 1, 2, 3)), ("0000:01:00.1f", (0, 1, 0, 31)), ("01:1e. 7", (0, 1, 30, 7)),
        ("-1:0.0", None), ("0000:01:00", None), ("01:00", None), ("0000:01:00.0 x", None), ("0000 :01:00.0", None),
        ("0000:01:*.0", None), ("*:*.*", None), ("", None), ("0x:1:2.3", None), ("0:1:2.3:", None),
    ],
)  # fmt: skip
def test_texts_for_a_slot(text: str, found: tuple[int, int, int, int] | None) -> None:
    if found is None:
        with pytest.raises(BadText):
            read_slot(text)
    else:
        assert Pattern(*found) == read_slot(text)


@pytest.mark.parametrize(("text", "stars"), [("0000:01:00.*", (False, True)), ("01:*.*", (True, True))])
def test_stars(text: str, stars: tuple[bool, bool]) -> None:
    assert stars == read_slot(text)[4:]


def test_new_slot_adds_ids_and_judges_ranges() -> None:
    assert frozenset({Function(0, 1, 2, 3)}) == added("01:02.3\n")
    assert 8 == len(added("01:02.*"))
    with pytest.raises(BadText, match="out of range"):
        added("01:02.8")


def test_an_address_without_a_segment_is_in_segment_0() -> None:
    assert expand(read_slot("36:00.0")) == expand(read_slot("0:36:0.0"))


@given(TEXTS)
def test_any_text_is_read_or_refused(text: str) -> None:
    slot = re.fullmatch(rf"{_ADDRESS}[ \t\n\v\f\r]*", text) is not None
    hide = re.fullmatch(rf"(?:[ \t\n\v\f\r]*\({_ADDRESS}\)[ \t\n\v\f\r]*)*", text) is not None
    for right, read in ((slot, read_slot), (hide, read_hide)):
        try:
            read(text)
        except BadText as refused:
            assert not right
            assert 0 <= refused.position <= len(text)
        else:
            assert right


@given(st.text(max_size=12))
def test_characters_of_other_scripts_are_others(text: str) -> None:
    plain = text.isascii()
    for read in (read_slot, read_hide):
        try:
            read(text)
        except BadText:
            continue
        assert plain
