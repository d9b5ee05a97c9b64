# SPDX-License-Identifier: Apache-2.0
"""The checked corpus: traces that every version must judge as this one does."""

from __future__ import annotations

import json

import pytest
from tests.doctor import CORPUS, corpus

from pvpci.traces.format import Trace
from pvpci.traces.judge import judge

INDEX = json.loads((CORPUS / "index.json").read_text(encoding="utf-8"))


def test_the_corpus_is_what_the_doctors_make() -> None:
    made = corpus()

    assert sorted(made) == sorted(path.name for path in CORPUS.iterdir())
    assert [] == [name for name, content in made.items() if content != (CORPUS / name).read_bytes()]


def test_the_corpus_has_what_is_accepted_and_what_is_rejected() -> None:
    assert {"conforms", "violates"} == {entry["verdict"] for entry in INDEX.values()}
    assert 12 <= sum(entry["verdict"] == "violates" for entry in INDEX.values())


@pytest.mark.parametrize("name", sorted(INDEX))
def test_a_file_of_the_corpus_is_judged_as_it_says(name: str) -> None:
    with (CORPUS / name).open("rb") as file:
        found = judge(Trace(file, name), name=name).as_dict()

    assert INDEX[name] == {key: found[key] for key in INDEX[name]}
