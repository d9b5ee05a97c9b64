# SPDX-License-Identifier: Apache-2.0
"""Registers decide what becomes of an interrupt, and every number is in the books."""

from __future__ import annotations

import errno
import os
import random
import socket
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from pvpci.impl.embedded.image import Image, load
from pvpci.impl.embedded.interrupts import PLAIN_MSI, Interrupts
from pvpci.impl.embedded.registers import Registers
from pvpci.impl.embedded.wire import Vector
from pvpci.impl.host import HostError
from pvpci.model.config import constants as pci

NIC, DISK, SATA, USB = "0000:00:05.0", "0000:00:06.0", "0000:00:09.0", "0000:00:0b.0"
GUEST, OTHER = 7, 8
ON, HELD = pci.MSIX_FLAGS_ENABLE, pci.MSIX_FLAGS_ENABLE | pci.MSIX_FLAGS_MASKALL
MASTER = pci.COMMAND_MASTER | pci.COMMAND_DECODE


class World:
    """Functions, bells, and the registers that a backend would write."""

    def __init__(self) -> None:
        self.books = Interrupts()
        self.memory: dict[str, tuple[Image, int]] = {}
        self.bells: dict[tuple[int, int], tuple[socket.socket, socket.socket]] = {}
        for bdf, name in ((NIC, "e1000e"), (DISK, "nvme"), (SATA, "ahci"), (USB, "xhci")):
            image, memory = load(name), os.memfd_create(bdf)
            os.write(memory, image.registers)
            self.memory[bdf] = image, memory
            self.books.add(bdf, image, memory)
            self.set(bdf, pci.COMMAND, MASTER)

    def set(self, bdf: str, offset: int, value: int) -> None:
        image, memory = self.memory[bdf]
        space = bytearray(os.pread(memory, image.size, 0))
        Registers(image, space).write(offset, 2, value)
        os.pwrite(memory, bytes(space), 0)
        self.books.settle(bdf)

    def control(self, bdf: str, capability: int, value: int) -> None:
        """Write the control word of MSI or MSI-X."""
        image, _ = self.memory[bdf]
        self.set(bdf, Registers(image, bytearray(image.registers)).capabilities[capability] + 2, value)

    def flags(self, bdf: str, capability: int) -> int:
        image, memory = self.memory[bdf]
        at = Registers(image, bytearray(image.registers)).capabilities[capability] + 2
        return int.from_bytes(os.pread(memory, 2, at), "little")

    def listen(self, domain: int, pirq: int) -> None:
        ours, theirs = socket.socketpair()
        self.books.bind(domain, pirq, theirs)
        self.bells[domain, pirq] = ours, theirs

    def heard(self, domain: int, pirq: int) -> int:
        try:
            return len(self.bells[domain, pirq][0].recv(1000, socket.MSG_DONTWAIT))
        except BlockingIOError:
            return 0

    def close(self) -> None:
        for _, memory in self.memory.values():
            os.close(memory)
        for pair in self.bells.values():
            for bell in pair:
                bell.close()


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.close()


def number_of(call: Callable[[], object]) -> int:
    with pytest.raises(HostError) as caught:
        call()
    return caught.value.errno


def test_numbers_come_from_the_top_and_are_counted(world: World) -> None:
    world.books.give(GUEST, NIC)
    world.books.give(OTHER, DISK)

    assert [279, 278] == [world.books.map(GUEST, NIC, entry) for entry in (0, 4)]
    # Each domain has its own.
    assert 279 == world.books.map(OTHER, DISK, 64)
    expected = (Vector(NIC, GUEST, 0, 279), Vector(NIC, GUEST, 4, 278), Vector(DISK, OTHER, 64, 279))
    assert expected == world.books.vectors()
    world.books.unmap(GUEST, NIC, 279)
    assert 279 == world.books.map(GUEST, NIC, 1)
    world.books.destroy(GUEST)
    assert (expected[2],) == world.books.vectors()


def test_what_cannot_be_mapped(world: World) -> None:
    books = world.books
    assert errno.ENODATA == number_of(lambda: books.map(GUEST, NIC, 0))
    for bdf in (NIC, SATA):
        books.give(GUEST, bdf)

    assert (True, False) == (books.prepared(NIC), books.prepared(SATA))
    for entry in (-1, 5, 2047):
        assert errno.EINVAL == number_of(partial(books.map, GUEST, NIC, entry))
    assert errno.EINVAL == number_of(lambda: books.map(GUEST, SATA, 0))
    assert errno.EINVAL == number_of(lambda: books.map(GUEST, DISK, None))
    world.set(NIC, pci.COMMAND, pci.COMMAND_MASTER)
    assert errno.ENXIO == number_of(lambda: books.map(GUEST, NIC, 0))
    world.set(NIC, pci.COMMAND, MASTER)
    books.map(GUEST, NIC, 0)
    for place in (0, None):
        assert errno.EEXIST == number_of(partial(books.map, GUEST, NIC, place))
    books.map(GUEST, SATA, None)
    assert errno.EEXIST == number_of(lambda: books.map(GUEST, SATA, None))
    assert errno.EINVAL == number_of(lambda: books.unmap(GUEST, SATA, 279))
    assert errno.EINVAL == number_of(lambda: books.unmap(GUEST, NIC, 21))
    assert 2 == len(books.vectors())


def test_a_domain_has_so_many_and_no_more(world: World) -> None:
    books = world.books
    books.give(GUEST, DISK)
    for _ in range(4):
        # A number whose port is open stays taken when it is unmapped.
        for entry in range(64):
            pirq = books.map(GUEST, DISK, entry)
            world.listen(GUEST, pirq)
            books.unmap(GUEST, DISK, pirq)

    assert errno.ENOSPC == number_of(lambda: books.map(GUEST, DISK, 0))
    books.unbind(GUEST, 100)
    assert 100 == books.map(GUEST, DISK, 0)


def test_taking_back_leaves_what_was_not_unmapped(world: World) -> None:
    books = world.books
    books.give(GUEST, NIC)
    books.give(GUEST, SATA)
    pirq = books.map(GUEST, NIC, 0)
    books.take_back(GUEST, NIC)

    # The other function is on the same line.
    world.listen(GUEST, 21)
    assert (True, (Vector(NIC, GUEST, 0, pirq),)) == (books.prepared(NIC), books.vectors())
    books.unmap(GUEST, NIC, pirq)
    books.take_back(GUEST, NIC)
    assert not books.prepared(NIC)
    books.take_back(GUEST, SATA)
    assert "pending" == books.interrupt(SATA, 0)
    assert 0 == world.heard(GUEST, 21)
    books.unbind(GUEST, 21)
    assert errno.EINVAL == number_of(lambda: world.listen(GUEST, 21))


def test_an_entry_that_is_raised_is_heard_under_its_number(world: World) -> None:
    books = world.books
    books.give(GUEST, NIC)
    pirqs = [books.map(GUEST, NIC, entry) for entry in (0, 3)]
    for pirq in pirqs:
        world.listen(GUEST, pirq)
    world.control(NIC, pci.CAP_ID_MSIX, ON)
    said = [books.interrupt(NIC, entry) for entry in (3, 3, 0, 3, 1)]

    assert ["delivered"] * 4 + ["pending"] == said
    assert [1, 3] == [world.heard(GUEST, pirq) for pirq in pirqs]
    assert [1, 3] == [it.delivered for it in books.vectors()]
    assert errno.EINVAL == number_of(lambda: books.interrupt(NIC, 5))


@pytest.mark.parametrize("held_by", ["function mask", "entry mask", "no bus master", "not bound"])
def test_what_is_held_back_pends_and_is_sent_once(world: World, held_by: str) -> None:
    books = world.books
    books.give(GUEST, NIC)
    pirq = books.map(GUEST, NIC, 2)
    world.control(NIC, pci.CAP_ID_MSIX, HELD if held_by == "function mask" else ON)
    if held_by == "entry mask":
        books.mask(NIC, 2, True)
    if held_by == "no bus master":
        world.set(NIC, pci.COMMAND, pci.COMMAND_DECODE)
    if held_by != "not bound":
        world.listen(GUEST, pirq)
    said = [books.interrupt(NIC, 2) for _ in range(3)]
    before = 0 if held_by == "not bound" else world.heard(GUEST, pirq)
    match held_by:
        case "function mask":
            world.control(NIC, pci.CAP_ID_MSIX, ON)
        case "entry mask":
            books.mask(NIC, 2, False)
        case "no bus master":
            world.set(NIC, pci.COMMAND, MASTER)
        case _:
            world.listen(GUEST, pirq)

    assert (["pending"] * 3, 0, 1) == (said, before, world.heard(GUEST, pirq))


def test_plain_msi(world: World) -> None:
    books = world.books
    books.give(GUEST, SATA)
    pirq = books.map(GUEST, SATA, None)
    world.control(SATA, pci.CAP_ID_MSI, pci.MSI_FLAGS_ENABLE)
    unheard = books.interrupt(SATA, 0)
    world.listen(GUEST, pirq)
    said = [books.interrupt(SATA, 0) for _ in range(2)]

    # This one has no mask bits, so it cannot wait.
    assert ("lost", ["delivered"] * 2, 2) == (unheard, said, world.heard(GUEST, pirq))
    assert (Vector(SATA, GUEST, PLAIN_MSI, pirq, 2),) == books.vectors()
    assert errno.EINVAL == number_of(lambda: books.interrupt(SATA, 1))


def test_a_line_is_heard_by_all_that_have_it(world: World) -> None:
    books = world.books
    books.give(GUEST, NIC)
    books.give(OTHER, SATA)
    for domain in (GUEST, OTHER):
        world.listen(domain, 21)

    assert "delivered" == books.interrupt(NIC, 0)
    assert [1, 1] == [world.heard(domain, 21) for domain in (GUEST, OTHER)]
    books.unbind(GUEST, 21)
    # The other guest hears it, but it is not its function that asks.
    assert "pending" == books.interrupt(NIC, 0)
    assert 1 == world.heard(OTHER, 21)
    assert "delivered" == books.interrupt(SATA, 0)


def test_intx_disable_holds_the_line_and_enable_bits_silence_it(world: World) -> None:
    books = world.books
    books.give(GUEST, NIC)
    world.listen(GUEST, 21)
    world.set(NIC, pci.COMMAND, MASTER | pci.COMMAND_INTX_DISABLE)
    said = [books.interrupt(NIC, 0) for _ in range(2)]
    held = world.heard(GUEST, 21)
    world.set(NIC, pci.COMMAND, MASTER)

    assert (["pending"] * 2, 0, 1) == (said, held, world.heard(GUEST, 21))
    # Left set after a mapping that failed.
    world.control(NIC, pci.CAP_ID_MSIX, ON)
    assert "pending" == books.interrupt(NIC, 0)
    assert 0 == world.heard(GUEST, 21)


def test_a_function_without_a_line_has_none_to_raise(world: World) -> None:
    image = load("e1000e")
    registers = bytearray(image.registers)
    registers[pci.INTERRUPT_PIN] = 0
    memory = os.memfd_create("pinless")
    os.write(memory, registers)
    world.memory["0000:00:0a.0"] = image, memory
    world.books.add("0000:00:0a.0", image, memory)

    assert errno.EINVAL == number_of(lambda: world.books.interrupt("0000:00:0a.0", 0))


def test_binding(world: World) -> None:
    books = world.books
    books.give(GUEST, NIC)
    pirq = books.map(GUEST, NIC, 0)
    world.listen(GUEST, pirq)
    bell = world.bells[GUEST, pirq][1]

    assert errno.EEXIST == number_of(lambda: books.bind(GUEST, pirq, bell))
    for domain, number in ((OTHER, pirq), (GUEST, pirq - 1), (OTHER, 21)):
        assert errno.EINVAL == number_of(partial(books.bind, domain, number, bell))
    books.unmap(GUEST, NIC, pirq)
    # Unmapped under its port: it never rings again, and is nobody else's until the port is closed.
    world.control(NIC, pci.CAP_ID_MSIX, ON)
    assert ("pending", 0) == (books.interrupt(NIC, 0), world.heard(GUEST, pirq))
    assert pirq - 1 == books.map(GUEST, NIC, 0)
    books.unbind(GUEST, pirq)
    books.unbind(GUEST, 12345)
    assert pirq == books.map(GUEST, NIC, 1)


def test_lines_of_dom0(world: World) -> None:
    world.books.share_line(NIC, "uhci_hcd:usb1")

    assert ("uhci_hcd:usb1", "uhci_hcd:usb1", "") == tuple(world.books.line_shared(it) for it in (NIC, SATA, DISK))
    world.books.share_line(SATA, "")
    assert "" == world.books.line_shared(NIC)


def test_random_lives_come_to_nothing(world: World) -> None:
    chance, books = random.Random(4), world.books
    mapped: dict[int, set[tuple[str, int]]] = {GUEST: set(), OTHER: set()}
    owner: dict[str, int] = {}
    for _ in range(3000):
        bdf, domain = chance.choice((NIC, DISK, SATA)), chance.choice((GUEST, OTHER))
        match chance.randrange(6):
            case 0 if bdf not in owner:
                owner[bdf] = domain
                books.give(domain, bdf)
            case 1 | 2 if bdf in owner:
                try:
                    pirq = books.map(owner[bdf], bdf, chance.choice((None, 0, 1, 2, 99)))
                    mapped[owner[bdf]].add((bdf, pirq))
                except HostError as error:
                    assert error.errno in (errno.EINVAL, errno.EEXIST)
            case 3 if mapped[domain]:
                one = mapped[domain].pop()
                books.unmap(domain, *one)
            case 4 if chance.random() < 0.1:
                books.destroy(domain)
                mapped[domain].clear()
            case 5 if bdf in owner and not any(bdf == it for it, _ in mapped[owner[bdf]]):
                books.take_back(owner.pop(bdf), bdf)

        assert {(d, it.pirq) for d in mapped for it in books.vectors() if it.domain == d} == {
            (d, pirq) for d, them in mapped.items() for _, pirq in them
        }
    for domain, them in mapped.items():
        for one in them:
            books.unmap(domain, *one)

    assert () == books.vectors()


def test_a_block_is_mapped_and_unmapped_as_one(world: World) -> None:
    books = world.books
    books.give(GUEST, USB)
    # The highest room that is free is above this number.
    books.give(GUEST, NIC)
    books.map(GUEST, NIC, 0)
    first = books.map_block(GUEST, USB, 3)

    assert 275 == first
    vectors = [Vector(USB, GUEST, PLAIN_MSI, 275 + each, message=each) for each in range(4)]
    assert vectors == [each for each in books.vectors() if each.bdf == USB]
    # As the hypervisor leaves it: four messages, and not enabled.
    assert (2 << 4, 0) == (world.flags(USB, pci.CAP_ID_MSI) & 0x70, world.flags(USB, pci.CAP_ID_MSI) & 1)
    for call in (lambda: books.map_block(GUEST, USB, 2), lambda: books.map(GUEST, USB, None)):
        assert errno.EEXIST == number_of(call)
    for pirq in (276, 277, 278):
        assert errno.EBUSY == number_of(partial(books.unmap, GUEST, USB, pirq))
    books.unmap(GUEST, USB, 275)
    assert [] == [each for each in books.vectors() if each.bdf == USB]
    assert errno.EINVAL == number_of(lambda: books.unmap(GUEST, USB, 276))
    # Plain MSI is one message again.
    assert 278 == books.map(GUEST, USB, None)
    assert 0 == world.flags(USB, pci.CAP_ID_MSI) & 0x70


@pytest.mark.parametrize(
    ("bdf", "messages", "number"),
    [
        (USB, 0, errno.EDOM), (USB, -1, errno.EDOM), (USB, 33, errno.EDOM), (USB, 17, errno.ENFILE), (SATA, 2, errno.ENFILE),
        (DISK, 2, errno.ENFILE),
    ],
)  # fmt: skip
def test_a_block_that_cannot_be(world: World, bdf: str, messages: int, number: int) -> None:
    world.books.give(GUEST, bdf)

    assert number == number_of(lambda: world.books.map_block(GUEST, bdf, messages))
    assert () == world.books.vectors()


def test_a_block_needs_room_in_one_piece(world: World) -> None:
    world.books.give(GUEST, NIC)
    world.books.give(GUEST, USB)
    # Every 16th number is taken by a port that is not closed yet.
    for pirq in range(279, 23, -1):
        assert pirq == world.books.map(GUEST, NIC, 0)
        world.listen(GUEST, pirq)
        world.books.unmap(GUEST, NIC, pirq)
    for pirq in range(24, 280):
        if pirq % 16:
            world.books.unbind(GUEST, pirq)

    assert errno.ENOSPC == number_of(lambda: world.books.map_block(GUEST, USB, 16))
    assert 264 == world.books.map_block(GUEST, USB, 8)


def test_each_message_of_a_block_is_heard_under_its_own_number(world: World) -> None:
    books = world.books
    books.give(GUEST, USB)
    first = books.map_block(GUEST, USB, 4)
    for pirq in range(first, first + 4):
        world.listen(GUEST, pirq)
    world.control(USB, pci.CAP_ID_MSI, 2 << 4 | 1)
    said = [books.interrupt(USB, entry) for entry in (3, 0, 3, 2)]

    assert ["delivered"] * 4 == said
    assert [1, 0, 1, 2] == [world.heard(GUEST, first + each) for each in range(4)]
    assert errno.EINVAL == number_of(lambda: books.interrupt(USB, 4))
    # A register that allows more than are mapped: what is sent then is nobody's.
    world.control(USB, pci.CAP_ID_MSI, 3 << 4 | 1)
    assert "lost" == books.interrupt(USB, 4)
