# SPDX-License-Identifier: Apache-2.0
"""What a daemon records of interrupts is judged and replayed to the end, whichever way its requests are served."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.doctor_interrupts import INTERRUPT_DOCTORS
from tests.fake_host import FakeFunction
from tests.test_impl_functions import Mortal
from tests.test_impl_interrupts import Dying

from pvpci.model import wire
from pvpci.model.wire import Cmd
from pvpci.traces.format import Begin, Below, Kept, Line, Trace
from pvpci.traces.judge import CONFORMS, VIOLATES, judge
from pvpci.traces.replay import replay

GUEST = 7


class Driven(Mortal):
    """A guest with a function that decodes memory."""

    def __init__(self, image: str = "nvme", **options: object) -> None:
        super().__init__(**options)
        self.function = FakeFunction(self.host, image)
        self.function.write(4, 2, 0x6)
        self.host.devices[self.function.bdf] = self.function
        self.back, self.front = self.connect(GUEST, self.function.bdf)

    def ask(self, cmd: Cmd, entries: Sequence[int] = (), info: int = 0) -> tuple[int, list[int]]:
        """The error, and what the entries hold then."""
        page = self.host.grant(GUEST, 8)
        page.data[wire.OP : wire.OP + 36] = wire.OP_WORDS.pack(int(cmd), 0, 0, 0, 0, 0, 0, len(entries), info)
        at = wire.MSIX_ENTRIES
        for number, entry in enumerate(entries):
            page.data[at + 4 * number : at + 4 * number + 4] = wire.MSIX_ENTRY.pack(0, entry)
        page.data[0] |= 1
        self.host.port(GUEST, 3).ring()
        self.turn()
        assert not page.data[0] & 1
        found = bytes(page.data[at : at + 4 * len(entries)])
        err = int.from_bytes(page.data[wire.OP + 4 : wire.OP + 8], "little")
        return err, [vector for vector, _ in wire.MSIX_ENTRY.iter_unpack(found)]

    def live(self) -> None:
        assert (0, [55, 54, 53]) == self.ask(Cmd.ENABLE_MSIX, [0, 5, 2])
        assert (0xFFFFFF8E, [0]) == self.ask(Cmd.ENABLE_MSIX, [1])
        assert 0 == self.ask(Cmd.DISABLE_MSI)[0]
        self.host.refusals = [0, 28]
        assert (0xFFFFFFE4, [0, 0]) == self.ask(Cmd.ENABLE_MSIX, [1, 2])
        assert (0, [55, 54]) == self.ask(Cmd.ENABLE_MSIX, [1, 2])
        self.daemon.close()
        assert {} == self.host.vectors


@pytest.fixture(params=[False, True], ids=["fast", "watched"])
def lines(request: pytest.FixtureRequest, tmp_path: Path) -> list[tuple[int, Line | Below]]:
    path = tmp_path / "trace.jsonl"
    made = Driven(trace=path, monitor=request.param)
    made.live()
    with path.open("rb") as file:
        return list(Trace(file, path.name))


def test_the_trace_conforms_and_replays(lines: list[tuple[int, Line | Below]]) -> None:
    found, again = judge(lines), replay(lines)

    assert (CONFORMS, ()) == (found.verdict, found.findings)
    assert ([], {}, 6) == (again.differences, again.skipped, again.operations)
    assert {"interrupts", "op", "connection"} == {one.machine for _, one in lines if isinstance(one, Line)}


@pytest.mark.parametrize(
    "name", ["vector-handed-out-that-was-never-mapped", "success-answered-after-a-refusal", "vector-not-given-back"]
)
def test_a_doctored_copy_does_not(lines: list[tuple[int, Line | Below]], name: str) -> None:
    (doctor,) = [one for one in INTERRUPT_DOCTORS if one.name == name]
    bad = doctor([one for _, one in lines])
    found = judge(enumerate(bad.lines, 2))

    assert (VIOLATES, bad.rule, bad.line) == (found.verdict, found.findings[0].rule, found.findings[0].line)


@pytest.mark.parametrize("doctored", [False, True])
def test_what_a_killed_daemon_had_on_is_taken_up(tmp_path: Path, doctored: bool) -> None:
    path = tmp_path / "trace.jsonl"
    made = Driven()
    made.ask(Cmd.ENABLE_MSIX, [0, 5])
    made.restart(trace=path)
    made.host.store.write(f"{made.front}/state", "6")
    made.turn()
    made.daemon.close()
    with path.open("rb") as file:
        lines = list(Trace(file, path.name))
    (kept,) = [line for _, line in lines if isinstance(line, Kept)]
    if doctored:
        kept.numbers = kept.numbers[:1]
    found, again = judge(lines), replay(lines)

    assert {} == made.host.vectors
    assert (True, True, [55, 54][: len(kept.numbers)]) == (kept.msix, kept.whole, kept.numbers)
    assert (VIOLATES if doctored else CONFORMS) == found.verdict, found.findings
    assert doctored == bool(again.differences), again.differences
    assert again.operations


@pytest.mark.parametrize("watched", [False, True])
@pytest.mark.parametrize("allowed", [False, True])
def test_several_messages_are_recorded_as_they_were_served(tmp_path: Path, allowed: bool, watched: bool) -> None:
    path = tmp_path / "trace.jsonl"
    made = Driven("xhci", trace=path, multi_msi=allowed, monitor=watched)
    errs = [made.ask(Cmd.ENABLE_MULTI_MSI, info=count)[0] for count in (33, 4)]
    mapped = len(made.host.vectors)
    made.ask(Cmd.DISABLE_MSI)
    made.daemon.close()
    with path.open("rb") as file:
        lines = list(Trace(file, path.name))
    found, again = judge(lines), replay(lines)

    assert ([0xFFFFFFFB, 0], 4) == (errs, mapped) if allowed else ([0xFFFFFFFC] * 2, 0) == (errs, mapped)
    assert {} == made.host.vectors
    assert (CONFORMS, [], {}) == (found.verdict, again.differences, again.skipped), found.findings
    assert {allowed} == {line.multi_msi for _, line in lines if isinstance(line, Begin)}


@pytest.mark.parametrize("ends", ["on", "mapping"])
def test_a_block_of_a_killed_daemon_is_taken_up_or_given_back(tmp_path: Path, ends: str) -> None:
    """The successor needs the first number only, and finds one that was not noted."""
    path = tmp_path / "trace.jsonl"
    made = Driven("xhci", multi_msi=True)
    call = made.host.map_block

    def dying(*arguments: Any) -> int:
        call(*arguments)
        raise Dying

    if ends == "on":
        made.ask(Cmd.ENABLE_MULTI_MSI, info=4)
    else:
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Dying):
            patch.setattr(made.host, "map_block", dying)
            made.ask(Cmd.ENABLE_MULTI_MSI, info=4)
    mapped = len(made.host.vectors)
    made.restart(trace=path, multi_msi=True)
    left = len(made.host.vectors)
    control = made.function.read(0x72, 2)
    made.daemon.close()
    with path.open("rb") as file:
        lines = list(Trace(file, path.name))
    found, again = judge(lines), replay(lines)

    assert ((4, 4, 0x21) if ends == "on" else (4, 0, 0)) == (mapped, left, control & 0x71)
    assert ({}, CONFORMS) == (made.host.vectors, found.verdict), found.findings
    # Replay takes no request for doubtful, so it would do again what was undone.
    assert ends == "mapping" or [] == again.differences
