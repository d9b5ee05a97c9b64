# SPDX-License-Identifier: Apache-2.0
"""The whole life of a device, told from what really happened: proved, served, used, recorded, judged.

Nothing here is prepared: the proofs are made, the backend is the command `pvpci serve` in a process of its own, the guest is
another process, and what is told of the handshake is read from the trace that the backend has written.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from pvpci.impl.embedded.box import Box
from pvpci.impl.embedded.host import EmbeddedHost
from pvpci.impl.embedded.image import load
from pvpci.impl.errors import UsageError
from pvpci.impl.host import DomId
from pvpci.impl.toolstack import Toolstack

GUEST: Final = DomId(7)
IMAGES: Final = ("e1000e", "edu")
_PATIENCE: Final = 20.0
_READY: Final = "event=serving"

#: Effects of the connection machine that are worth telling, in words.
_DEEDS: Final = {
    "begin": "watches the guest's state", "export": "attaches the functions that the toolstack listed",
    "map": "maps the page that the guest granted", "bind": "binds the guest's doorbell", "unbind": "lets go of the doorbell",
    "unmap": "unmaps the page", "release": "gives the functions back", "report": "writes an error node",
}  # fmt: skip


@dataclass
class Proofs:
    """What was proved. `systems`: name, obligations, properties, seconds of work for each."""

    systems: list[tuple[str, int, int, float]]
    obligations: int
    failed: list[str]
    seconds: float


@dataclass
class Story:
    """Everything that the demo has to tell."""

    proofs: Proofs | None = None
    attached: list[str] = field(default_factory=list)
    handshake: list[tuple[str, str]] = field(default_factory=list)  #: (who, what), in order
    functions: list[dict[str, Any]] = field(default_factory=list)
    regions: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    traffic: dict[str, Any] = field(default_factory=dict)
    closed: bool = False
    served: int = -1  #: exit code of the backend
    trace: str = ""
    lines: int = 0
    verdict: str = ""
    findings: list[str] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def good(self) -> bool:
        """Everything that was to hold held."""
        return not self.problems

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "good": self.good}


def run(
    tell: Callable[[str, Story], None], *, prove: Callable[[], Proofs] | None, seconds: float, trace: Path | None
) -> Story:
    """Live the life; `tell` is called with the name of each chapter when it is over: proofs, handshake, bus, traffic, end.

    prove: makes the proofs, if they are to be made. seconds: how long the guest works. trace: where the record stays; None: it
    is thrown away.
    """
    began = time.monotonic()
    story = Story()
    with tempfile.TemporaryDirectory(prefix="pvpci-demo-") as folder:
        path = trace or Path(folder) / "trace.jsonl"
        story.trace = str(trace or "")
        if prove is not None:
            story.proofs = prove()
            story.problems += story.proofs.failed
            tell("proofs", story)
        _live(story, path, Path(folder) / "serve.log", seconds)
        _judge(story, path)
        for chapter in ("handshake", "bus", "traffic"):
            tell(chapter, story)
    story.seconds = round(time.monotonic() - began, 1)
    tell("end", story)
    return story


def _live(story: Story, path: Path, log: Path, seconds: float) -> None:
    functions = {str(load(name).bdf): name for name in IMAGES}
    with Box(functions) as box:
        dom0 = EmbeddedHost(box.path, label="toolstack")
        try:
            with log.open("wb") as errors:
                backend = _start("pvpci.impl.cli", "serve", "--box", box.path, "--trace", str(path), stderr=errors)
            try:
                _wait_ready(backend, log)
                dom0.create_domain(GUEST)
                toolstack = Toolstack(dom0, patience=_PATIENCE)
                for device in toolstack.attach(GUEST, [load(name).bdf for name in IMAGES]):
                    story.attached.append(f"{device.function} at {device.slot}")
                _listen(story, box.path, seconds)
                toolstack.destroy(GUEST)
            finally:
                backend.send_signal(signal.SIGTERM)
                try:
                    story.served = backend.wait(_PATIENCE)
                except subprocess.TimeoutExpired:
                    backend.kill()
                    story.served = backend.wait()
            if story.served:
                story.problems.append(f"the backend ended with exit code {story.served}")
            story.leaks = [str(each) for each in dom0.account().leaks]
            story.problems += [f"left behind: {each}" for each in story.leaks]
        finally:
            dom0.close()


def _start(module: str, *arguments: str, **settings: Any) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(each for each in sys.path if each)}
    return subprocess.Popen([sys.executable, "-m", module, *arguments], env=environment, **settings)


def _wait_ready(backend: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + _PATIENCE
    while _READY not in (text := log.read_text()):
        if backend.poll() is not None or time.monotonic() > end:
            raise UsageError(
                "demo", f"the backend did not start: {text.strip() or 'no word from it'}", "try `pvpci serve`"
            )
        time.sleep(0.02)


def _listen(story: Story, socket: str, seconds: float) -> None:
    """Run the guest and take down what it says."""
    guest = _start("pvpci.impl.guests.frontend", socket, str(GUEST), "--seconds", str(seconds), stdout=subprocess.PIPE)
    try:
        output, _ = guest.communicate(timeout=seconds + 3 * _PATIENCE)
    except subprocess.TimeoutExpired:
        guest.kill()
        output, _ = guest.communicate()
        story.problems.append("the guest did not come to an end")
    for line in output.splitlines():
        said = json.loads(line)
        match said["event"]:
            case "scanned":
                story.functions = said["functions"]
            case "sized":
                story.regions[said["at"]] = said["regions"]
            case "worked":
                story.traffic = {key: value for key, value in said.items() if key not in ("event", "t")}
            case "closed":
                story.closed = True
            case "failed":
                story.problems.append(f"the guest failed: {said['why']}")
    if len(story.functions) != len(IMAGES):
        story.problems.append(f"the guest found {len(story.functions)} functions, not {len(IMAGES)}")
    if not story.traffic.get("requests") or story.traffic["wrong"]:
        story.problems.append("the guest's reads were not all answered rightly")
    if not story.closed:
        story.problems.append("the connection was not closed in an orderly way")


def _judge(story: Story, path: Path) -> None:
    from pvpci.traces.format import Trace, TraceError
    from pvpci.traces.judge import CONFORMS, judge

    try:
        with path.open("rb") as file:
            verdict = judge(Trace(file, path.name), name=path.name)
        with path.open("rb") as file:
            story.handshake = list(_handshake(Trace(file, path.name)))
    except (OSError, TraceError) as error:
        story.problems.append(f"the trace cannot be read: {error}")
        return
    story.lines, story.verdict = verdict.lines, verdict.verdict
    story.findings = [f"line {one.line}: the {one.party} breaks {one.rule}: {one.sentence}" for one in verdict.findings]
    story.problems += story.findings
    if verdict.verdict != CONFORMS:
        story.problems.append(f"the record's verdict is {verdict.verdict}")


def _handshake(trace: Any) -> Iterator[tuple[str, str]]:
    """Who did what, from the connection machine's lines: a state that is new to the backend was written by somebody else."""
    from pvpci.traces.format import Line

    seen = {"nodes.own": "UNKNOWN", "nodes.fe": "UNKNOWN"}
    for _, line in trace:
        if not isinstance(line, Line) or line.machine != "connection":
            continue
        for node, who, whose in (("nodes.own", "toolstack", "backend"), ("nodes.fe", "guest", "frontend")):
            now = str((line.found or {}).get(node, seen[node]))
            if now != seen[node]:
                made, gone = now == "INITIALISING", now == "UNKNOWN"
                yield "toolstack" if made or gone else who, f"{whose} {'removed' if gone else f'state {_spoken(now)}'}"
            seen[node] = now
        if line.wrote and "nodes.own" in line.wrote:
            seen["nodes.own"] = str(line.wrote["nodes.own"])
            yield "backend", f"backend state {_spoken(seen['nodes.own'])}"
        for asked in line.asked or ():
            if asked.effect in _DEEDS:
                yield "backend", _DEEDS[asked.effect]


def _spoken(state: str) -> str:
    return state.replace("_", " ").title().replace(" ", "")
