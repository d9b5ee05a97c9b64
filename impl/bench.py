# SPDX-License-Identifier: Apache-2.0
"""The figures of the README, measured anew.

Machines are noisy, so what counts is a ratio of two things measured in turn in one run, and medians. Each figure says what it
is compared with. The round trip on real Xen needs the rig of a checkout (``tests/rig``); the rest needs nothing.
"""

from __future__ import annotations

import io
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec

from pvpci.impl.engine import Cell, Engine, Handler
from pvpci.impl.fused import fuse
from pvpci.model import op
from pvpci.model.kernel.compiled import group
from pvpci.model.kernel.reading import reading, trigger
from pvpci.model.kernel.records import GO, Event
from pvpci.model.kernel.tables import Row
from pvpci.model.kernel.visible import parameter
from pvpci.traces.recorder import Recorder


@dataclass(frozen=True)
class Figure:
    """One measurement. `ratio` is against `against`, measured in the same run; None where there is nothing to compare."""

    name: str
    value: float
    unit: str
    ratio: float | None = None
    against: str = ""


class _Flags:
    """A guest whose flag is set once for each ring."""

    active = 1

    def load(self, state: Any) -> None:
        state.flags_active, state.flags_handler, state.flags_aer = self.active, 0, 0

    def carry_out(self, state: Any, row: Row) -> bool:
        self.active = 0
        return True

    def leave(self) -> bool:
        """Nothing to give back."""
        return True


class _Request:
    """A read of the first dword of function 0."""

    def load(self, state: Any) -> None:
        (
            state.page_cmd, state.page_err, state.page_domain, state.page_bus, state.page_devfn,
            state.page_offset, state.page_size, state.page_value, state.page_info,
        ) = (0, 0, 0, 0, 0, 0, 4, 0, 0)  # fmt: skip

    def carry_out(self, state: Any, row: Row) -> bool:
        return True

    def leave(self) -> bool:
        """Nothing to give back."""
        return True


def _handlers() -> dict[str, Handler]:
    quiet: Handler = lambda *_: None  # noqa: E731
    return {
        "seek": lambda *_: (op.Found, (1, 1)), "perform": lambda *_: (op.Done, (0, 0x10D38086)),
        "ask_clock": lambda *_: (op.Clock, (0,)), "hand_out": quiet, "notify": quiet, "unmask": quiet, "wait": quiet,
        "undo": quiet, "perform_block": quiet,
    }  # fmt: skip


def rate(once: Callable[[], None], seconds: float) -> float:
    """How often a second, the median of five parts."""
    for _ in range(100):
        once()
    rates = []
    for _ in range(5):
        done, start = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - start) < seconds / 5:
            for _ in range(50):
                once()
            done += 50
        rates.append(done / elapsed)
    return statistics.median(rates)


def triggers(seconds: float = 2.0) -> list[Figure]:
    """Steps a second of one whole request: through `transitions`, through compiled steps, through the fused path."""
    made = group([op.MACHINE])
    flags = _Flags()
    cells: dict[str, Cell] = {"flags": flags, "request": _Request()}
    recorder = Recorder("1/0")
    engine = Engine(made, _handlers(), cells, recorder)
    engine.state.link_mapped = engine.state.link_bound = 1
    hot = fuse(made, op.MACHINE, engine.state, _handlers(), cells, recorder.append, time.monotonic_ns)
    rang = hot[op.MACHINE.places.index(op.At.IDLE), op.Rang]

    def by_engine() -> None:
        flags.active = 1
        engine.deliver("op", op.Rang)

    def by_fused() -> None:
        flags.active = 1
        rang()

    values = made.state()
    values.link_mapped = values.link_bound = 1
    model = reading(op.MACHINE, made, values)
    answers = {op.Found: (1, 1), op.Done: (0, 0x10D38086), op.Clock: (0,)}
    brought = {"seek": op.Found, "perform": op.Done, "ask_clock": op.Clock}
    steps = 0

    def by_transitions() -> None:
        nonlocal steps
        flags.active, steps = 1, 0
        waiting: type[Event] | None = op.Rang
        while waiting is not None:
            for cell in cells.values():
                cell.load(values)
            given = {
                parameter(v): n for v, n in zip(waiting.parameters.values(), answers.get(waiting, ()), strict=True)
            }
            getattr(model, trigger(waiting))(**given)
            steps += 1
            if model.state is op.At.CLEARED:
                flags.active = 0
            asked, model.asked = model.asked, []
            waiting = next((brought[name] for name, _ in asked if name in brought), None)
            if waiting is None and (model.state, GO) in op.MACHINE.pairs:
                waiting = GO

    slow = rate(by_transitions, seconds)
    plain, fast = rate(by_engine, seconds), rate(by_fused, seconds)
    return [
        Figure("steps of the request machine, through transitions", slow * steps, "1/s"),
        Figure("the same, compiled steps and recorder", plain * steps, "1/s", plain / slow, "transitions"),
        Figure("the same, fused path and recorder", fast * steps, "1/s", fast / slow, "transitions"),
    ]


def a_trace(requests: int = 4000) -> bytes:
    """The life of a device from the corpus, with its first request repeated that many times."""
    header, *lines = (files("pvpci.traces") / "corpus" / "life.jsonl").read_bytes().splitlines()
    kinds = [msgspec.json.decode(line)["kind"] for line in lines]
    start = kinds.index("rang")
    end = kinds.index("unmask", start) + 1
    repeated = [*lines[:start], *(lines[start:end] * requests), *lines[end:]]
    stamp = re.compile(rb'^{"seq":[0-9]+,"t_ns":[0-9]+')
    numbered = [stamp.sub(b'{"seq":%d,"t_ns":%d' % (n, n), line) for n, line in enumerate(repeated, 1)]
    return b"\n".join([header, *numbered, b""])


def judging() -> list[Figure]:
    """Trace lines judged a second, against lines merely decoded."""
    from pvpci.traces.format import Trace
    from pvpci.traces.judge import judge

    data = a_trace()
    lines = data.count(b"\n") - 1

    def timed(run: Callable[[Trace], object]) -> float:
        rates = []
        for _ in range(5):
            start = time.perf_counter()
            run(Trace(io.BytesIO(data), "bench"))
            rates.append(lines / (time.perf_counter() - start))
        return statistics.median(rates)

    decoded = timed(lambda trace: sum(1 for _ in trace))
    judged = timed(judge)
    return [
        Figure("trace lines decoded", decoded, "1/s"),
        Figure("trace lines judged", judged, "1/s", judged / decoded, "decoded"),
    ]


def rig(root: Path) -> list[Figure]:
    """The guest's round trip on real Xen, Linux's backend and ours in one boot, by the rig of the checkout at `root`."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.rig.measure"], cwd=root, capture_output=True, text=True, check=True
    )
    found: dict[str, dict[str, Any]] = msgspec.json.decode(done.stdout)
    kernel, ours = found["linux"], found["pvpci"]
    slow, fast = found["messages"]["linux"], found["messages"]["pvpci"]
    return [
        Figure("4-byte read on Xen, kernel, median", kernel["median"], "us"),
        Figure("4-byte read on Xen, pvpci, median", ours["median"], "us", ours["median"] / kernel["median"], "kernel"),
        Figure("4-byte read on Xen, kernel, 99th percentile", kernel["p99"], "us"),
        Figure("4-byte read on Xen, pvpci, 99th percentile", ours["p99"], "us", ours["p99"] / kernel["p99"], "kernel"),
        Figure("memory of the daemon in dom0", ours["resident"] / 1024, "MiB"),
        *(Figure(f"{kind} on and off on Xen, kernel", us, "us") for kind, us in slow.items()),
        *(Figure(f"{kind} on and off on Xen, pvpci", us, "us", us / slow[kind], "kernel") for kind, us in fast.items()),
    ]


def checkout() -> Path | None:
    """The checkout that this program runs from, if it has the rig."""
    root = Path(__file__).resolve().parents[1]
    return root if (root / "tests" / "rig" / "measure.py").exists() else None


def table(figures: list[Figure]) -> Iterator[str]:
    """The figures as lines of a Markdown table."""
    yield "| figure | value | ratio |"
    yield "|---|---|---|"
    for one in figures:
        number = f"{one.value:,.0f}" if one.value >= 1000 else f"{one.value:.3g}"
        ratio = "" if one.ratio is None else f"{one.ratio:.2f} x {one.against}"
        yield f"| {one.name} | {number} {one.unit}".rstrip() + f" | {ratio} |"
