# SPDX-License-Identifier: Apache-2.0
"""Several messages of MSI in one block: mapped, told apart, refused, lost and taken up, as `pvpci.impl.interrupts` does it."""

from __future__ import annotations

import errno
from typing import Any

import pytest
from tests.test_impl_interrupts import (
    FAILED,
    INTX_DISABLE,
    MSI_ENABLE,
    MULTIPLE,
    Stage,
    dying_after,
    kept_by,
    multiple,
    successor,
)

from pvpci.impl.interrupts import Vectors
from pvpci.model.interrupts import At


@pytest.fixture
def xhci() -> Stage:
    """16 messages of MSI, and no MSI-X."""
    return Stage("xhci")


@pytest.fixture
def nvme() -> Stage:
    return Stage("nvme")


@pytest.mark.parametrize(("count", "block"), [(1, 1), (2, 2), (3, 4), (5, 8), (16, 16)])
def test_a_block_of_messages(xhci: Stage, count: int, block: int) -> None:
    first = 56 - block

    assert (0, first) == xhci.interrupts.enable_multi_msi(count)
    assert (set(range(first, 56)), [first]) == (set(xhci.host.vectors), xhci.interrupts.pirqs)
    assert (block, MSI_ENABLE) == (multiple(xhci), xhci.flag(5) & MSI_ENABLE)
    assert INTX_DISABLE == xhci.command & INTX_DISABLE
    assert (0, xhci.function.irq) == xhci.interrupts.disable_msi()
    assert ({}, 0, At.OFF) == (xhci.host.vectors, xhci.flag(5) & (MSI_ENABLE | MULTIPLE), xhci.interrupts.at)
    assert (0, 55) == xhci.interrupts.enable_msi()
    assert (1, 1) == (multiple(xhci), len(xhci.host.vectors))


@pytest.mark.parametrize("count", [0, 17, 32, 33, 0x80000001, 0xFFFFFFFF])
def test_a_block_that_there_is_not_changes_nothing(xhci: Stage, count: int) -> None:
    registers = bytes(xhci.function.registers)

    assert (FAILED, 0) == xhci.interrupts.enable_multi_msi(count)
    assert ({}, registers, At.OFF) == (xhci.host.vectors, bytes(xhci.function.registers), xhci.interrupts.at)


@pytest.mark.parametrize("name", ["nvme", "ahci", "rtl8139"])
def test_a_function_without_so_many_messages_has_no_block(name: str) -> None:
    stage = Stage(name)

    assert (FAILED, 0) == stage.interrupts.enable_multi_msi(2)
    assert ({}, At.OFF) == (stage.host.vectors, stage.interrupts.at)


@pytest.mark.parametrize("name", ["enable_msi", "enable_multi_msi"])
def test_a_block_over_messages_that_are_on_is_refused(xhci: Stage, name: str) -> None:
    getattr(xhci.interrupts, name)(*(() if name == "enable_msi" else (4,)))
    before = dict(xhci.host.vectors), bytes(xhci.function.registers)

    for count in (0, 2, 4, 0xFFFFFFFF):
        assert (FAILED, 0) == xhci.interrupts.enable_multi_msi(count)
    assert (FAILED, 0) == xhci.interrupts.enable_msi()
    assert before == (xhci.host.vectors, bytes(xhci.function.registers))


def test_a_block_over_msix_is_refused(nvme: Stage) -> None:
    nvme.interrupts.enable_msix([0, 1])

    assert (FAILED, 0) == nvme.interrupts.enable_multi_msi(2)
    assert (At.MSIX, 2) == (nvme.interrupts.at, len(nvme.host.vectors))


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EDOM, errno.ENFILE, errno.ENOSPC, errno.ENODEV])
def test_a_block_that_is_refused_leaves_nothing(xhci: Stage, number: int) -> None:
    registers = bytes(xhci.function.registers)
    xhci.host.refusals = [number]

    assert (FAILED, 0) == xhci.interrupts.enable_multi_msi(4)
    assert ({}, registers) == (xhci.host.vectors, bytes(xhci.function.registers))
    assert (0, 55) == xhci.interrupts.enable_msi()


def test_what_the_hypervisor_left_in_the_register_goes_when_the_enable_fails(xhci: Stage) -> None:
    """It has written how many, and the number is one that the guest cannot be told."""
    call = xhci.host.map_block

    def mapping(*arguments: Any) -> int:
        call(*arguments)
        xhci.function.write(xhci.flags[5], 2, xhci.flag(5) | 2 << 4)
        return 0xFFFD

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(xhci.host, "map_block", mapping)
        patch.setattr(xhci.host, "unmap_vector", lambda *_: xhci.host.vectors.clear())
        answer = xhci.interrupts.enable_multi_msi(4)

    assert ((FAILED, 0), 0, At.OFF) == (answer, xhci.flag(5) & (MSI_ENABLE | MULTIPLE), xhci.interrupts.at)


def test_a_block_that_is_not_taken_back_keeps_the_function(xhci: Stage) -> None:
    xhci.interrupts.enable_multi_msi(4)
    xhci.host.refusals = [errno.EPERM]

    assert (FAILED, 0) == xhci.interrupts.disable_msi()
    assert (At.STUCK, 4) == (xhci.interrupts.at, len(xhci.host.vectors))
    assert (FAILED, 0) == xhci.interrupts.enable_multi_msi(2)
    assert xhci.interrupts.reset()
    assert {} == xhci.host.vectors


def test_a_block_is_taken_up_and_given_back_by_its_first_number(xhci: Stage) -> None:
    kept = kept_by(xhci)
    xhci.interrupts.enable_multi_msi(4)
    again = successor(xhci, kept[-1])
    taken = again.at, multiple(xhci), len(xhci.host.vectors)

    assert (Vectors("msi", True, (52,)), (At.MSI, 4, 4)) == (kept[-1], taken)
    assert (FAILED, 0) == again.enable_multi_msi(2)
    assert (0, xhci.function.irq) == again.disable_msi()
    assert ({}, 1) == (xhci.host.vectors, multiple(xhci))
    # What it does next is its own.
    assert (0, 54) == again.enable_multi_msi(2)


@pytest.mark.parametrize("step", range(10))
@pytest.mark.parametrize("what", ["enable", "disable"])
def test_a_death_at_any_call_leaves_no_block_that_is_not_known(xhci: Stage, what: str, step: int) -> None:
    kept = kept_by(xhci)
    if what == "disable":
        xhci.interrupts.enable_multi_msi(8)
    with dying_after(step, xhci, "map_block") as life:
        xhci.interrupts.enable_multi_msi(8) if what == "enable" else xhci.interrupts.disable_msi()
        life.done = True
    again = successor(xhci, kept[-1])
    on = bool(xhci.flag(5) & MSI_ENABLE)

    assert (again.at is At.MSI, 8 if on else 0, 8 if on else 1) == (on, len(xhci.host.vectors), multiple(xhci))
    assert (life.done and what == "enable") == on
    assert bool(xhci.command & INTX_DISABLE) == on
