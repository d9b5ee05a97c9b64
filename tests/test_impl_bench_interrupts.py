# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from pvpci.impl import bench_interrupts
from pvpci.impl.commands.bench import command


def test_both_kinds_stand_against_the_calls_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    measure = bench_interrupts.messages
    monkeypatch.setattr(bench_interrupts, "messages", lambda: measure(0.01))
    done = CliRunner().invoke(command, ["--json", "interrupts"], standalone_mode=False)
    figures = json.loads(done.stdout)

    assert ["MSI", "MSI-X, 2 vectors"] == [figure["name"].split(" enabled")[0] for figure in figures]
    assert {("us", "the box's calls alone")} == {(figure["unit"], figure["against"]) for figure in figures}
    assert all(figure["value"] > 0 and figure["ratio"] > 0.5 for figure in figures)
