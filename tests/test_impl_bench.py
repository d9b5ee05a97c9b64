# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import io

from pvpci.impl import bench
from pvpci.traces.format import Trace
from pvpci.traces.judge import CONFORMS, judge


def test_a_request_is_timed_three_ways() -> None:
    through_transitions, compiled, fused = bench.triggers(0.05)

    assert through_transitions.value > 0
    assert (compiled.against, fused.against) == ("transitions", "transitions")
    # Far from the figures: what is looked at is that all three take the same steps.
    assert compiled.ratio is not None and compiled.ratio > 1
    assert fused.ratio is not None and fused.ratio > 1


def test_the_trace_that_is_judged_is_long_and_conforms() -> None:
    data = bench.a_trace(requests=50)
    found = judge(Trace(io.BytesIO(data), "bench"))

    assert found.verdict == CONFORMS, found
    assert data.count(b"\n") > 50


def test_a_table_has_a_ratio_only_where_there_is_one() -> None:
    figures = [bench.Figure("a", 1234.5, "us"), bench.Figure("b", 2.0, "ms", 0.5, "kernel")]

    assert list(bench.table(figures))[2:] == ["| a | 1,234 us |  |", "| b | 2 ms | 0.50 x kernel |"]
