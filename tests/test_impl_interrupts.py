# SPDX-License-Identifier: Apache-2.0
"""What the interrupt machine asks for is done, and given back, whatever the hypervisor answers."""

from __future__ import annotations

import errno
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fake_host import FakeFunction, FakeHost

from pvpci.impl.host import DomId
from pvpci.impl.interrupts import Interrupts, Vectors
from pvpci.impl.log import Log
from pvpci.model.config.walk import capabilities
from pvpci.model.interrupts import At
from pvpci.traces.recorder import Recorder

GUEST = DomId(3)
MSI_ENABLE, MSIX_ENABLE, MSIX_MASK, INTX_DISABLE = 0x1, 0x8000, 0x4000, 0x400
MULTIPLE = 0x70  #: messages of MSI, as an exponent
FAILED = 0xFFFFFFFB


def minus(number: int) -> int:
    return (1 << 32) - number


class Stage:
    """One function of a fake host."""

    def __init__(self, name: str, *, shared: bool = False) -> None:
        self.host = FakeHost()
        self.function = FakeFunction(self.host, name)
        found = capabilities(self.function)
        self.flags = {kind: found.get(kind, 0) + 2 for kind in (5, 0x11)}
        self.function.write(4, 2, 0x6)
        self.shared = shared
        self.interrupts = self.make(lambda: None)

    def make(self, keep: Callable[[], None]) -> Interrupts:
        """Another one over the same function."""
        recorder = Recorder("3/0").of(str(self.function.bdf))
        return Interrupts(
            self.host.as_host, GUEST, self.function, self.function, capabilities(self.function), Log(io.StringIO()),
            "3/0", recorder, shared=self.shared, keep=keep,
        )  # fmt: skip

    @property
    def command(self) -> int:
        return self.function.read(4, 2)

    def flag(self, kind: int) -> int:
        return self.function.read(self.flags[kind], 2)


def multiple(stage: Stage) -> int:
    """How many messages MSI tells apart."""
    return 1 << ((stage.flag(5) & MULTIPLE) >> 4)


@pytest.fixture
def ahci() -> Stage:
    """One message."""
    return Stage("ahci")


@pytest.fixture
def nvme() -> Stage:
    """MSI-X, 65 entries."""
    return Stage("nvme")


def test_one_message(ahci: Stage) -> None:
    assert (0, 55) == ahci.interrupts.enable_msi()
    assert {55: (GUEST, ahci.function.bdf, None)} == ahci.host.vectors
    assert (MSI_ENABLE, INTX_DISABLE) == (ahci.flag(5) & MSI_ENABLE, ahci.command & INTX_DISABLE)

    assert (0, ahci.function.irq) == ahci.interrupts.disable_msi()
    assert {} == ahci.host.vectors
    assert (0, 0) == (ahci.flag(5) & MSI_ENABLE, ahci.command & INTX_DISABLE)


def test_several_messages(nvme: Stage) -> None:
    assert (0, 0) == nvme.interrupts.enable_msix([0, 7, 3])
    assert [55, 54, 53] == nvme.interrupts.pirqs
    assert [0, 7, 3] == [entry for _, _, entry in nvme.host.vectors.values()]
    assert MSIX_ENABLE == nvme.flag(0x11) & (MSIX_ENABLE | MSIX_MASK)

    assert (0, nvme.function.irq) == nvme.interrupts.disable_msix()
    assert ({}, 0) == (nvme.host.vectors, nvme.flag(0x11) & MSIX_ENABLE)


def test_a_frontend_that_says_msi_for_msix_can_enable_again(nvme: Stage) -> None:
    for _ in range(10):
        assert (0, 0) == nvme.interrupts.enable_msix([0, 1])
        assert (0, nvme.function.irq) == nvme.interrupts.disable_msi()
    assert {} == nvme.host.vectors


@pytest.mark.parametrize(
    ("prepare", "entries", "expected"),
    [
        (lambda stage: None, [], (minus(22), minus(22))),
        (lambda stage: None, [0, 0], (minus(22), minus(22))),
        (lambda stage: None, [99], (minus(22), minus(22))),
        (lambda stage: stage.function.write(4, 2, 0), [0, 1], (minus(6), 2)),
        (lambda stage: stage.interrupts.enable_msix([0]), [0, 1], (minus(114), 2)),
    ],
)
def test_what_is_refused_changes_nothing(
    nvme: Stage, prepare: Callable[[Stage], object], entries: list[int], expected: tuple[int, int]
) -> None:
    prepare(nvme)
    registers, vectors = bytes(nvme.function.registers), dict(nvme.host.vectors)

    assert expected == nvme.interrupts.enable_msix(entries)
    assert (registers, vectors) == (bytes(nvme.function.registers), nvme.host.vectors)


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENODEV, errno.EEXIST, errno.EINVAL, errno.ENXIO, errno.ENODATA])
@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_refusal_in_the_middle_gives_everything_back(nvme: Stage, number: int, after: int) -> None:
    registers = bytes(nvme.function.registers)
    nvme.host.refusals = [0] * after + [number]

    assert (minus(number), minus(number)) == nvme.interrupts.enable_msix([0, 1, 2])
    assert ({}, registers) == (nvme.host.vectors, bytes(nvme.function.registers))
    assert (0, 0) == nvme.interrupts.enable_msix([0, 1, 2])


def test_a_vector_that_is_not_given_back_keeps_the_function(nvme: Stage) -> None:
    nvme.interrupts.enable_msix([0, 1])
    nvme.host.refusals = [0, errno.EBUSY]

    assert (FAILED, 0) == nvme.interrupts.disable_msix()
    assert (At.STUCK, {55}) == (nvme.interrupts.at, set(nvme.host.vectors))
    assert (minus(16), minus(16)) == nvme.interrupts.enable_msix([0])
    assert nvme.interrupts.reset()
    assert {} == nvme.host.vectors


@pytest.mark.parametrize("number", [errno.ESRCH, errno.EINVAL])
def test_what_the_death_of_the_guest_gave_back_is_gone(nvme: Stage, number: int) -> None:
    nvme.interrupts.enable_msix([0, 1])
    nvme.host.refusals = [number, number]
    nvme.host.vectors.clear()

    assert nvme.interrupts.reset()


def test_a_function_that_does_not_answer_is_kept_until_it_is_silent(nvme: Stage) -> None:
    nvme.interrupts.enable_msix([0, 1])
    nvme.function.broken = True

    assert not nvme.interrupts.reset()
    assert {} == nvme.host.vectors
    nvme.function.broken = False
    assert nvme.interrupts.reset()


def test_a_shared_line_is_not_opened() -> None:
    stage = Stage("ahci", shared=True)
    stage.interrupts.enable_msi()
    stage.interrupts.disable_msi()

    assert INTX_DISABLE == stage.command & INTX_DISABLE


def firsts(stage: Stage) -> set[int]:
    """Numbers that are mapped by a call of their own."""
    blocks = stage.host.blocks.items()
    return {pirq for pirq in stage.host.vectors if not any(at < pirq < at + size for at, size in blocks)}


_ENTRIES = st.lists(st.integers(0, 70), max_size=4)
_OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("enable_msix"), _ENTRIES),
        st.tuples(st.just("enable_multi_msi"), st.sampled_from([0, 1, 2, 3, 8, 16, 17, 33, 0xFFFFFFFF])),
        st.tuples(st.sampled_from(["enable_msi", "disable_msi", "disable_msix", "reset"])),
        st.tuples(st.just("refuse"), st.lists(st.sampled_from([0, 1, 16, 17, 19, 22]), max_size=5)),
        st.tuples(st.just("break"), st.booleans()),
        st.tuples(st.just("die")),
    ),
    max_size=12,
)


@settings(deadline=None)
@given(name=st.sampled_from(["ahci", "nvme", "e1000e", "edu", "rtl8139", "xhci"]), operations=_OPERATIONS)
def test_vectors_are_balanced_whatever_happens(name: str, operations: list[tuple[object, ...]]) -> None:
    stage = Stage(name)
    for operation, *arguments in operations:
        if operation == "refuse":
            stage.host.refusals = list(arguments[0])  # type: ignore[call-overload]
        elif operation == "break":
            stage.function.broken = bool(arguments[0])
        elif operation == "die":
            stage.host.vectors.clear()
            stage.host.blocks.clear()
            stage.host.refusals = [errno.ESRCH] * 200
        else:
            getattr(stage.interrupts, str(operation))(*arguments)
            assert firsts(stage) <= set(stage.interrupts.pirqs)
            if stage.interrupts.at is At.MSI and stage.host.vectors:
                assert len(stage.host.vectors) == multiple(stage)
            if stage.interrupts.at is At.OFF:
                assert [] == stage.interrupts.pirqs
    stage.function.broken, stage.host.refusals = False, []

    assert stage.interrupts.reset()
    assert ({}, []) == (stage.host.vectors, stage.interrupts.pirqs)


class Dying(BaseException):
    """The process ends here."""


@dataclass
class Life:
    done: bool = False  #: it came to the end of what it was doing


@contextmanager
def dying_after(calls: int, stage: Stage, maps: str) -> Iterator[Life]:
    """A process that ends at the call after so many: of those that map, by the method `maps`, unmap, or write a register."""
    made, life = 0, Life()

    def dying(call: Callable[..., object]) -> Callable[..., object]:
        def counted(*arguments: object) -> object:
            nonlocal made
            made += 1
            if made > calls:
                raise Dying
            return call(*arguments)

        return counted

    with pytest.MonkeyPatch.context() as patch:
        for owner, name in ((stage.host, maps), (stage.host, "unmap_vector"), (stage.function, "write")):
            patch.setattr(owner, name, dying(getattr(owner, name)))
        with suppress(Dying):
            yield life


def kept_by(stage: Stage) -> list[Vectors]:
    """What is kept at each change, as the successor would find it."""
    found = [Vectors()]

    def keep() -> None:
        if stage.interrupts.vectors != found[-1]:
            found.append(stage.interrupts.vectors)

    stage.interrupts = stage.make(keep)
    return found


def successor(stage: Stage, vectors: Vectors) -> Interrupts:
    made = stage.make(lambda: None)
    made.resume(vectors)
    return made


def test_what_is_on_is_taken_up_and_can_be_given_back(nvme: Stage) -> None:
    kept = kept_by(nvme)
    nvme.interrupts.enable_msix([0, 7])
    before = (nvme.command, nvme.flag(0x11), dict(nvme.host.vectors))
    again = successor(nvme, kept[-1])
    taken = (again.at, list(again.pirqs), nvme.command, nvme.flag(0x11), dict(nvme.host.vectors))
    answer = again.disable_msix()

    assert Vectors("msix", True, (55, 54)) == kept[-1]
    assert (At.MSIX, [55, 54], *before) == taken
    assert (0, At.OFF, {}, 0) == (answer[0], again.at, nvme.host.vectors, nvme.flag(0x11) & MSIX_ENABLE)


def test_a_message_is_taken_up(ahci: Stage) -> None:
    kept = kept_by(ahci)
    ahci.interrupts.enable_msi()
    again = successor(ahci, kept[-1])

    assert (Vectors("msi", True, (55,)), At.MSI) == (kept[-1], again.at)


def test_one_that_lost_its_enable_bit_is_turned_off(ahci: Stage) -> None:
    kept = kept_by(ahci)
    ahci.interrupts.enable_msi()
    ahci.function.write(ahci.flags[5], 2, 0)
    again = successor(ahci, kept[-1])

    assert (At.OFF, {}, 0) == (again.at, ahci.host.vectors, ahci.command & INTX_DISABLE)


def test_a_vector_that_was_not_noted_any_more_is_looked_for(nvme: Stage) -> None:
    kept = kept_by(nvme)
    call, kept_then = nvme.host.map_vector, list[Vectors]()

    def dying(*arguments: Any) -> int:
        pirq = call(*arguments)
        if len(nvme.host.vectors) == 2:
            kept_then.append(kept[-1])
            raise Dying
        return pirq

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Dying):
        patch.setattr(nvme.host, "map_vector", dying)
        nvme.interrupts.enable_msix([0, 1, 2])
    again = nvme.make(lambda: None)
    again.resume(kept_then[-1], lambda: set(kept_then[-1].pirqs))

    assert Vectors("msix", False, (55,), True) == kept_then[-1]
    assert (At.OFF, {}) == (again.at, nvme.host.vectors)
    assert (0, 0) == again.enable_msix([0, 1, 2])


def test_where_others_map_too_nothing_is_looked_for(ahci: Stage) -> None:
    ahci.host.vectors[55] = (GUEST, ahci.function.bdf, None)
    again = ahci.make(lambda: None)
    again.resume(Vectors("msi", False, (), True), lambda: None)

    assert (At.OFF, [55]) == (again.at, list(ahci.host.vectors))


@pytest.mark.parametrize("step", range(12))
@pytest.mark.parametrize("what", ["enable", "disable"])
def test_a_death_at_any_call_leaves_nothing_that_is_not_known(nvme: Stage, what: str, step: int) -> None:
    """At each call of the host in turn. What was not whole is turned off; nothing is half on."""
    kept = kept_by(nvme)
    if what == "disable":
        nvme.interrupts.enable_msix([0, 1, 2])
    with dying_after(step, nvme, "map_vector") as life:
        nvme.interrupts.enable_msix([0, 1, 2]) if what == "enable" else nvme.interrupts.disable_msix()
        life.done = True
    again = successor(nvme, kept[-1])
    on = bool(nvme.flag(0x11) & MSIX_ENABLE)

    assert (again.at is At.MSIX, 3 if on else 0) == (on, len(nvme.host.vectors))
    assert (life.done and what == "enable") == on
    assert not nvme.flag(0x11) & MSIX_MASK
    assert bool(nvme.command & INTX_DISABLE) == on
