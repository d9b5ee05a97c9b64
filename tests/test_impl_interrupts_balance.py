# SPDX-License-Identifier: Apache-2.0
"""Vectors come back to zero: over random sequences of what guests, hypervisors, toolstacks and backends do.

Each sequence is about four functions and two guests: functions are attached and detached, messages turned on and off with
sound and unsound lists and blocks, memory decoding comes and goes, the hypervisor refuses, guests die or start another kernel,
backends end in order, or are killed and taken over. After each operation the ledger of the box, the function's registers
and the model's world say the same; after each sequence nothing is mapped.

Most sequences run on the box's own broker in this process; some run on a box of its own besides, over its socket, and must
say the same there, answer for answer.
"""

from __future__ import annotations

import errno
import functools
import io
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from tests.box_in_process import BoxInProcess
from tests.fake_guest import OfFunction

from pvpci.impl.embedded import host as host_module
from pvpci.impl.embedded.box import Box
from pvpci.impl.embedded.function import EmbeddedFunction
from pvpci.impl.embedded.host import EmbeddedHost
from pvpci.impl.embedded.image import load, parse_bdf
from pvpci.impl.host import Bdf, DomId, HostError
from pvpci.impl.interrupts import Interrupts
from pvpci.impl.log import Log
from pvpci.model import interrupt_claims, interrupts
from pvpci.model.config import constants as pci
from pvpci.model.config.walk import capabilities
from pvpci.model.interrupts import At
from pvpci.model.kernel.claims import Always
from pvpci.model.kernel.compiled import attribute, source

SEQUENCES: Final = 10_000
OVER_A_SOCKET: Final = 500
WATCHED: Final = 5  #: one in so many has every property looked at in every step
FUNCTIONS: Final = {"0000:00:05.0": "e1000e", "0000:00:06.0": "nvme", "0000:00:04.0": "ahci", "0000:00:0a.0": "xhci"}
BDFS: Final = tuple(parse_bdf(name) for name in FUNCTIONS)
GUESTS: Final = (DomId(7), DomId(8))
COUNTS: Final = (0, 1, 2, 3, 8, 16, 17, 33, 0xFFFFFFFF)  #: of messages in a block; one function has 16
REFUSALS: Final = (errno.EPERM, errno.ENOSPC, errno.EBUSY, errno.ENOMEM)


def _monitor() -> Any:
    claims = [claim for claim in interrupt_claims.claims(interrupts.MACHINE) if isinstance(claim, Always)]
    known = {**{claim.name: claim.holds for claim in claims}, **interrupts.MACHINE.known}
    lines = ["def check(s, machine):"]
    for name, flag in known.items():
        lines.append(f"    if not {source(flag, lambda var: f's.{attribute(var)}')}: return {name!r}")
    space: dict[str, Any] = {}
    exec("\n".join([*lines, "    return None"]), space)
    return space["check"]


MONITOR: Final = _monitor()


@dataclass
class Attached:
    function: EmbeddedFunction
    guest: DomId
    interrupts: Interrupts
    places: dict[int, int]

    @property
    def world(self) -> Any:
        return self.interrupts._engine.state

    def flag(self, kind: int, bit: int) -> bool:
        return kind in self.places and bool(self.function.read(self.places[kind] + 2, 2) & bit)


@dataclass
class Sequence:
    """One sequence. `told`: everything that anybody was answered."""

    host: EmbeddedHost
    chance: random.Random
    watched: bool
    attached: dict[Bdf, Attached] = field(default_factory=dict)
    told: list[object] = field(default_factory=list)
    again: Any = None  #: a host for the next backend

    def attach(self) -> None:
        bdf, guest = self.chance.choice(BDFS), self.chance.choice(GUESTS)
        if bdf not in self.attached:
            self._attach(bdf, guest)

    def _attach(self, bdf: Bdf, guest: DomId) -> None:
        function = self.host.open_function(bdf)
        self.host.give(guest, function)
        places = dict(capabilities(function))
        recorder = OfFunction(str(bdf))
        vectors = Interrupts(self.host, guest, function, function, places, Log(io.StringIO()), str(guest), recorder)
        made = self.attached[bdf] = Attached(function, guest, vectors, places)
        function.write(pci.COMMAND, 2, pci.COMMAND_MEMORY | pci.COMMAND_MASTER)
        made.world.world_owned, made.world.world_open = 1, 1
        made.world.irq_seen_one, made.world.irq_seen_open_before = self.chance.randrange(3), 1
        if self.watched:
            vectors._engine._monitor = MONITOR

    def operate(self) -> None:
        if self.attached:
            one = self.attached[self.chance.choice(sorted(self.attached))]
            what = self.chance.choice(
                ["enable_msi", "enable_multi_msi", "enable_msix", "enable_msix", "disable_msi", "disable_msix"]
            )
            arguments: list[object] = [self.chance.choice(COUNTS)] if what == "enable_multi_msi" else []
            if what == "enable_msix":
                entries = range(self.chance.choice((3, 3, 5, 70)))
                arguments = [[self.chance.choice(entries) for _ in range(self.chance.choice((1, 2, 3)))]]
            self.told.append((what, *arguments, getattr(one.interrupts, what)(*arguments)))

    def decode(self) -> None:
        if self.attached:
            one = self.attached[self.chance.choice(sorted(self.attached))]
            now = one.function.read(pci.COMMAND, 2)
            one.function.write(pci.COMMAND, 2, now ^ pci.COMMAND_MEMORY)

    def refuse(self) -> None:
        call = self.chance.choice(("map", "map", "unmap"))
        number, skip = self.chance.choice(REFUSALS), self.chance.choice((0, 0, 1, 2))
        self.host.refuse(call, number, skip=skip, times=1)  # type: ignore[arg-type]

    def detach(self) -> None:
        if self.attached:
            self._detach(self.chance.choice(sorted(self.attached)))

    def _detach(self, bdf: Bdf) -> None:
        one = self.attached[bdf]
        gone = one.interrupts.reset()
        self.told.append(("reset", gone))
        if gone:
            del self.attached[bdf]
            one.function.write(pci.COMMAND, 2, 0)
            self.host.take_back(one.guest, one.function)
            one.function.close()

    def die(self) -> None:
        guest = self.chance.choice(GUESTS)
        self._die(guest)
        for bdf in [bdf for bdf, one in self.attached.items() if one.guest == guest]:
            self._detach(bdf)

    def _die(self, guest: DomId) -> None:
        self.host.destroy_domain(guest)
        self.host.create_domain(guest)
        for one in self.attached.values():
            if one.guest == guest:
                one.world.world_dead, one.world.world_mapped, one.world.irq_seen_mapped = 1, 0, 0

    def kernel(self) -> None:
        """Another kernel of a guest: what is on is turned off, and the function stays."""
        guest = self.chance.choice(GUESTS)
        for one in self.attached.values():
            if one.guest == guest:
                self.told.append(("kernel", one.interrupts.reset()))

    def restart(self) -> None:
        """The backend ends in order, and its successor attaches the same again."""
        before = [(bdf, one.guest) for bdf, one in self.attached.items()]
        for bdf, guest in before:
            self._detach(bdf)
            if bdf not in self.attached:
                self._attach(bdf, guest)

    def kill(self) -> None:
        """The backend is killed, and its successor takes up what was kept."""
        orphans = list(self.attached.items())
        self.host.close()
        self.host = self.again()
        for bdf, one in orphans:
            function = self.host.open_function(bdf)
            vectors = Interrupts(
                self.host, one.guest, function, function, one.places, Log(io.StringIO()), "", OfFunction(str(bdf))
            )
            self.attached[bdf] = found = Attached(function, one.guest, vectors, one.places)
            for name in vars(type(one.world))["__slots__"]:
                if name.startswith(("world_", "irq_seen_")):
                    setattr(found.world, name, getattr(one.world, name))
            vectors._engine._monitor = one.interrupts._engine._monitor
            self.told.append(("killed", vectors.resume(one.interrupts.vectors)))
            if found.world.world_dead:
                found.world.world_mapped = 0

    def agree(self) -> None:
        """The ledger, the registers and the model's world."""
        mapped = self.host.account().vectors
        self.told.append([(one.bdf, one.domain, one.entry, one.pirq) for one in mapped])
        for bdf, one in self.attached.items():
            mine = [vector for vector in mapped if vector.bdf == str(bdf)]
            state = one.world
            if not state.world_dead:  # of the dead nothing is mapped, though the hypervisor may not let us find out
                assert sorted(one.interrupts.pirqs) == sorted(vector.pirq for vector in mine if not vector.message)
            assert {one.guest} >= {vector.domain for vector in mine}
            assert sum(not vector.message for vector in mine) == state.world_mapped
            if state.world_msi and not state.world_dead and mine:
                control = one.function.read(one.places[pci.CAP_ID_MSI] + pci.MSI_FLAGS, 2)
                assert len(mine) == state.world_multiple == 1 << ((control & pci.MSI_FLAGS_QSIZE) >> 4)
            assert one.flag(pci.CAP_ID_MSI, pci.MSI_FLAGS_ENABLE) == bool(state.world_msi)
            assert one.flag(pci.CAP_ID_MSIX, pci.MSIX_FLAGS_ENABLE) == bool(state.world_msix)
            open_ = not one.function.read(pci.COMMAND, 2) & pci.COMMAND_INTX_DISABLE
            assert open_ == bool(state.world_open)
            assert one.interrupts.at in interrupts.REST
            if one.interrupts.at is At.OFF:
                assert not mine
        assert {vector.bdf for vector in mapped} <= {str(bdf) for bdf in self.attached}

    def end(self) -> None:
        """Everything goes, and no hypervisor refuses any more."""
        for call in ("map", "unmap"):
            self.host.refuse(call, 1, times=0)
        for bdf in list(self.attached):
            self._detach(bdf)
        accounting = self.host.account()
        assert ({}, (), (), ()) == (self.attached, accounting.vectors, accounting.assigned, accounting.held)


STEPS: Final = (
    *(("attach", "operate") * 3), "operate", "operate", "refuse", "refuse", "decode", "detach", "die", "kernel", "restart",
    "kill",
)  # fmt: skip


def play(sequence: Sequence) -> list[object]:
    chance = sequence.chance
    sequence._attach(chance.choice(BDFS), chance.choice(GUESTS))
    for _ in range(chance.randrange(2, 9)):
        getattr(sequence, chance.choice(STEPS))()
        sequence.agree()
    sequence.end()
    return sequence.told


@pytest.fixture(autouse=True)
def images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_module, "load", functools.cache(load))


@pytest.fixture
def inside() -> Iterator[BoxInProcess]:
    made = BoxInProcess(FUNCTIONS)
    host = made.host("toolstack")
    for guest in GUESTS:
        host.create_domain(guest)
    yield made
    host.close()
    made.close()


def inside_of(box: BoxInProcess, host: EmbeddedHost, seed: int) -> Sequence:
    return Sequence(host, random.Random(seed), watched=seed % WATCHED == 0, again=box.host)


def test_ten_thousand_sequences_end_with_nothing_mapped(inside: BoxInProcess) -> None:
    host = inside.host()
    enabled = refused = stuck = blocks = 0
    for seed in range(SEQUENCES):
        sequence = inside_of(inside, host, seed)
        told = play(sequence)
        host = sequence.host
        answers = [one for one in told if isinstance(one, tuple)]
        enabled += sum(one[0].startswith("enable") and one[-1][0] == 0 for one in answers)
        refused += sum(one[0].startswith("enable") and one[-1][0] != 0 for one in answers)
        blocks += sum(one[0] == "enable_multi_msi" and one[1] > 1 and one[-1][0] == 0 for one in answers)
        stuck += sum(one[0] == "reset" and not one[-1] for one in answers)
    host.close()

    assert min(enabled, refused) > SEQUENCES // 4
    assert (stuck > 10, blocks > 100) == (True, True), (stuck, blocks)


def test_a_box_of_its_own_says_the_same(inside: BoxInProcess) -> None:
    with Box(FUNCTIONS) as box:
        far, near = EmbeddedHost(box.path), inside.host()
        for guest in GUESTS:
            far.create_domain(guest)
        for seed in range(OVER_A_SOCKET):
            there = Sequence(far, random.Random(seed), watched=False, again=lambda: EmbeddedHost(box.path))
            here = inside_of(inside, near, seed)
            assert play(here) == play(there)
            far, near = there.host, here.host
        assert () == far.account().vectors
        far.close()
        near.close()


def test_a_vector_that_is_forgotten_is_noticed(inside: BoxInProcess) -> None:
    host = inside.host()
    sequence = inside_of(inside, host, 0)
    sequence._attach(BDFS[0], GUESTS[0])
    sequence.attached[BDFS[0]].interrupts.enable_msi()
    sequence.agree()
    (mapped,) = host.account().vectors
    host.unmap_vector(GUESTS[0], sequence.attached[BDFS[0]].function, mapped.pirq)

    with pytest.raises(AssertionError):
        sequence.agree()
    with pytest.raises(HostError, match="is not mapped"):
        host.unmap_vector(GUESTS[0], sequence.attached[BDFS[0]].function, mapped.pirq)
    host.close()
