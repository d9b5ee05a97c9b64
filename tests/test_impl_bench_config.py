# SPDX-License-Identifier: Apache-2.0
"""The figures of configuration space are of requests that succeed, and reach the command line."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from pvpci.impl import bench_config
from pvpci.impl.commands.bench import command
from pvpci.model.config.view import Answer, ConfigView


def test_each_request_that_is_measured_succeeds(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[Answer] = []

    def kept(call: object) -> object:
        def outer(*arguments: object) -> Answer:
            answers.append(call(*arguments))  # type: ignore[operator]
            return answers[-1]

        return outer

    monkeypatch.setattr(ConfigView, "read", kept(ConfigView.read))
    monkeypatch.setattr(ConfigView, "write", kept(ConfigView.write))
    figures = bench_config.configuration(0.01)

    assert {0} == {answer.err for answer in answers}
    assert 4 == len({figure.name for figure in figures})
    assert all(figure.value > 0 and figure.ratio is not None and figure.ratio > 0 for figure in figures)


def test_the_command_shows_them(monkeypatch: pytest.MonkeyPatch) -> None:
    measure = bench_config.configuration
    monkeypatch.setattr(bench_config, "configuration", lambda: measure(0.01))
    done = CliRunner().invoke(command, ["--json", "config"], standalone_mode=False)

    assert ["1/s"] * 4 == [figure["unit"] for figure in json.loads(done.stdout)]
