# SPDX-License-Identifier: Apache-2.0
"""Random programs of requests, run on a view over plain registers, with all written down that a property may ask."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random

from tests.config_registers import Range, Registers, express, golden, identity, virtual

from pvpci.model.config.fields import Field, Plan, Reader, Reads, Store, Table, Writes
from pvpci.model.config.identity import Identity
from pvpci.model.config.state import Device, Facts
from pvpci.model.config.view import Answer, ConfigView
from pvpci.model.wire import Err

#: ("r", offset, size, 0), ("w", offset, size, value), ("host", what, 0, 0) or ("guest", 0, 0, 0): the next guest.
Op = tuple[str, int, int, int]
BAR_OFFSETS = (0x10, 0x14, 0x18, 0x1C, 0x20, 0x24, 0x30)


def raw(device: Device, facts: Facts, value: int) -> int:
    return value


def written(offset: int, width: int) -> Writes:
    def plan(device: Device, facts: Facts, wanted: int, raw: int, read: Reader) -> Plan:
        return Plan(device, (Store(offset, width, wanted),))

    return Writes("the register", plan)


def stern(error: Err) -> Writes:
    def plan(device: Device, facts: Facts, wanted: int, raw: int, read: Reader) -> Plan:
        return Plan(device, error=error) if wanted & 1 else Plan(device)

    return Writes("odd values are refused", plan)


RAW = Reads("the register", raw, real=True)
#: Fields that overlap, out of order, and refuse: what the header has none of.
QUIRKS = (
    Field(0x41, 1, "LATE", Reads("77", lambda device, facts, value: 0x77), written(0x41, 1), "test"),
    Field(0x40, 2, "EARLY", RAW, written(0x40, 2), "test"),
    Field(0x49, 1, "EAGER", RAW, written(0x49, 1), "test"),
    Field(0x4A, 2, "STERN", RAW, stern(Err.ACCESS_DENIED), "test"),
    Field(0x48, 2, "GRIM", RAW, stern(Err.OP_FAILED), "test"),
    Field(0x4D, 1, "INNER", Reads("55", lambda device, facts, value: 0x55), written(0x4D, 1), "test"),
)


def stubborn() -> Registers:
    """A function that does not keep its cache line size."""
    found = golden()
    found.mask[0x0C] = 0
    return found


WORLDS: dict[str, Callable[[], Registers]] = {
    "golden": golden,
    "express": express,
    "virtual": virtual,
    "stubborn": stubborn,
}


@dataclass(frozen=True, slots=True)
class Step:
    """One op and what came of it. `told`: COMMAND's virtual bits as an observer of the requests expects them then."""

    op: Op
    rows: Sequence[Field]  #: in the order of registration
    facts: Facts  #: of the function, whatever the view makes of them
    resources: Sequence[Range]
    limit: int
    before: bytes
    after: bytes
    mask: bytes
    device: Device
    then: Device
    answer: Answer | None  #: None unless the op was a request
    again: Answer | None  #: the same request in the same state
    reads: Sequence[tuple[int, int]]
    writes: Sequence[tuple[int, int, int]]
    warnings: int
    seen: int  #: COMMAND as the guest reads it afterwards
    command: int  #: COMMAND as it read before
    told: int
    bars_before: Sequence[int]
    bars: Sequence[int]
    sizing: Sequence[bool]  #: as an observer of the requests expects it, after it

    @property
    def valid(self) -> bool:
        _, offset, size, _ = self.op
        return size in (1, 2, 4) and offset % size == 0 and 0 <= offset <= self.limit - size

    @property
    def lanes(self) -> range:
        """The bytes of the request, if it is one that may be made."""
        return range(self.op[1], self.op[1] + self.op[2]) if self.answer and self.valid else range(0)

    def wrote(self, offset: int, size: int) -> bool:
        """An accepted write of any of these bytes."""
        return self.op[0] == "w" and self.answer is not None and not self.answer.err and touches(self, offset, size)

    @property
    def wanted(self) -> int:
        """The COMMAND that this write asks for."""
        return merged(self.op, 0x04, 2, self.command)

    def real(self, image: bytes, offset: int = 0x04, size: int = 2) -> int:
        return int.from_bytes(image[offset : offset + size], "little")


def touches(step: Step, offset: int, size: int) -> bool:
    return any(offset <= byte < offset + size for byte in step.lanes)


def merged(op: Op, offset: int, size: int, now: int) -> int:
    """`now` with the bytes of a write laid over it, byte by byte."""
    _, start, width, value = op
    result = bytearray(now.to_bytes(size, "little"))
    for place in range(width):
        if offset <= start + place < offset + size:
            result[start + place - offset] = value >> 8 * place & 0xFF
    return int.from_bytes(result, "little")


def kind_mask(resources: Sequence[Range], place: int) -> int:
    """The low bits that need not be ones, from the resources alone."""
    if place == 6:
        return 0x7FF
    if resources[place].flags & 0x100:
        return 0x3
    return 0x0 if place and resources[place - 1].flags & 0x100000 else 0xF


HOST: tuple[Callable[[Registers], None], ...] = (
    lambda r: r.poke(0x04, 2, 0),
    lambda r: r.poke(0x04, 2, r.peek(0x04, 2) | 0x0400),
    lambda r: r.poke(0xD2, 2, r.peek(0xD2, 2) ^ 1),
    lambda r: r.poke(0x10, 4, 0 if not r.is_virtual else r.peek(0x10, 4)),
    lambda r: r.poke(0x0C, 1, 0x08),
)


Make = Callable[[Identity], ConfigView]


def make(known: Identity) -> ConfigView:
    plain = ConfigView(known)
    return ConfigView(known, table=Table(plain.table.rows + QUIRKS))


def run(world: str, program: Sequence[Op], make: Make = make, exacting: bool = True) -> Iterator[Step]:
    registers = WORLDS[world]()
    known = identity(registers)
    view, facts = make(known), known.facts()
    rows = ConfigView(known).table.rows + QUIRKS
    registers.exacting = exacting
    told, sizing = 0, [False] * 7
    for op in program:
        name, offset, size, value = op
        device = view.device
        command = view.read(0x04, 2, registers).value
        bars_before = [view.read(place, 4, registers).value for place in BAR_OFFSETS]
        # Looking must not disturb, even where the view is broken on purpose.
        view.device = device
        registers.forget()
        before = bytes(registers.image)
        answer = again = None
        if name == "host":
            HOST[offset % len(HOST)](registers)
        elif name == "guest":
            view.reset()
            told, sizing = 0, [False] * 7
        elif name == "r":
            answer = view.read(offset, size, registers)
        else:
            answer = view.write(offset, size, value, registers)
        reads, writes = tuple(registers.reads), tuple(registers.writes)
        after, then = bytes(registers.image), view.device
        if name == "r":
            again = view.read(offset, size, registers)
        elif name == "w" and answer and not answer.err and size in (1, 2, 4):
            told = merged(op, 0x04, 2, told) & 0x07EB
            for place, start in enumerate(BAR_OFFSETS):
                if offset & ~3 == start:
                    wanted = merged(op, start, 4, bars_before[place])
                    sizing[place] = wanted | kind_mask(registers.resources, place) == 0xFFFFFFFF
        seen = view.read(0x04, 2, registers).value
        bars = [view.read(place, 4, registers).value for place in BAR_OFFSETS]
        view.device = then
        yield Step(
            op, rows, facts, registers.resources, known.config_size, before, after, bytes(registers.mask),
            device, then, answer, again, reads, writes, len(view.warnings), seen, command, told, bars_before, bars,
            tuple(sizing),
        )  # fmt: skip


def random_program(random: Random, length: int = 60) -> list[Op]:
    """Mostly requests that hit fields, some that hit none, some that nobody may make."""
    program: list[Op] = []
    for _ in range(length):
        chance = random.random()
        size = random.choice((1, 2, 2, 4, 4, 4))
        offset = random.choice(
            (0x04, 0x04, 0x0C, 0x10, 0x18, 0x1C, 0x20, 0x24, 0x30, 0x3C, 0x40, 0x48, 0x4C, 0x50, 0xC8)
        )
        offset += random.randrange(0, 4, size)
        value = random.choice((random.getrandbits(32), 0xFFFFFFFF, 0, random.getrandbits(11), 0xFFFFFFF0, 0xF7D00000))
        if chance < 0.08:
            program.append(("host", random.randrange(5), 0, 0))
        elif chance < 0.1:
            program.append(("guest", 0, 0, 0))
        elif chance < 0.2:
            offset, size = random.randrange(-8, 4104), random.choice((0, 1, 2, 3, 4, 8))
            program.append((random.choice("rw"), offset, size, value))
        else:
            program.append((random.choice("rww"), offset, size, value))
    return program
