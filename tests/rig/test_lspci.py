# SPDX-License-Identifier: Apache-2.0
"""A guest sees the same functions, and moves them in the same way, whoever serves it.

Both backends serve the same functions to the real xen-pcifront, one after the other in one boot. Compared are
what `lspci -vvxxxx` prints in the guest, its dump byte by byte and the rest line by line; what the guest reads back
after each write of a list; and what the real functions look like to dom0 afterwards, byte by byte.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final

import pytest
from tests.rig.backends import Backend, KernelBackend, OurBackend, write_report
from tests.rig.machine import FUNCTIONS, NAMES, Guest, Machine
from tests.rig.programs import Target

from pvpci.model.config import constants as pci
from pvpci.model.config.identity import Identity
from pvpci.model.config.strict import explain
from pvpci.model.config.table import shown

BARS: Final = tuple(f"BASE_ADDRESS_{number}.l" for number in range(6)) + ("ROM_ADDRESS.l",)
#: How a line of Linux's turns into one of ours, by the rules of `strict` that make it.
EXPLAINED: Final = (
    ("command-reserved-zero, command-virtual", re.compile(r"^COMMAND=ffff fd47$"), "COMMAND=ffff 07ef"),
    # An earlier guest's message stays in the function; a guest of ours sees its own.
    (
        "messages-kept",
        re.compile(r"^\t\tAddress: [0-9a-f]{16}  Data: [0-9a-f]{4}$"),
        f"\t\tAddress: {0:016x}  Data: 0000",
    ),
    (
        "messages-kept",
        re.compile(r"^\t\tAddress: [0-9a-f]{8}  Data: [0-9a-f]{4}$"),
        f"\t\tAddress: {0:08x}  Data: 0000",
    ),
)
#: What lspci says of COMMAND; the register itself is compared in the dump.
OF_COMMAND: Final = re.compile(r"^\tControl: .*|(?<=\S) \[disabled\]")
#: A line of a dump: offset, bytes.
DUMP: Final = re.compile(r"^([0-9a-f]{2,3}): ((?:[0-9a-f]{2} ?)+)$")
#: The first line of what is said of a capability; the others are further in.
CAPABILITY: Final = re.compile(r"^\tCapabilities: \[([0-9a-f]+)")


@dataclass(frozen=True)
class Seen:
    """By function (BDF in dom0): lines of the guest's lspci, answers to its writes, dom0's dump before and after."""

    listing: dict[str, list[str]]
    answers: dict[str, list[str]]
    before: dict[str, list[str]]
    after: dict[str, list[str]]


def writes(slot: int) -> str:
    """Shell lines: each write of the list is followed by a read, of which one line is printed."""
    lines = [f"f() {{ echo $1=$2 $(setpci -s 0:{slot:x}.0 $1=$2 $1); }}"]
    lines += [f"f COMMAND {value}" for value in ("0000", "0007", "0400", "0002", "ffff", "0103", "0540", "0007")]
    for bar in BARS:
        # Size, then an address that it cannot have, then what it was.
        lines += [f"o=$(setpci -s 0:{slot:x}.0 {bar})"]
        lines += [f"f {bar} {value}" for value in ("ffffffff", "fffff800", "12345678", "$o")]
    lines += ["f COMMAND 0003"]
    return "\n".join(lines)


def dumps(machine: Machine) -> dict[str, list[str]]:
    return {bdf: machine.configuration_of(bdf).strip().splitlines() for bdf in FUNCTIONS}


def observe(backend: Backend) -> Seen:
    machine = backend.machine
    with backend:
        before = dumps(machine)
        machine.create(Guest("looker", pci=FUNCTIONS))
        try:
            machine.guest(
                "looker",
                f"modprobe xen-pcifront; while [ $(lspci | wc -l) != {len(FUNCTIONS)} ]; do sleep 0.2; done",
                20,
            )
            whole = machine.guest("looker", "lspci -vvxxxx", 90).out
            parts = [part.strip().splitlines() for part in re.split(r"\n\n+", whole) if part.strip()]
            listing = dict(zip(FUNCTIONS, parts, strict=True))
            answers = {bdf: machine.guest("looker", writes(slot), 90).lines for slot, bdf in enumerate(FUNCTIONS)}
            after = dumps(machine)
        finally:
            machine.destroy("looker")
    return Seen(listing, answers, before, after)


@pytest.fixture(scope="module")
def seen(machine: Machine) -> Iterator[dict[str, Seen]]:
    found = {backend.name: observe(backend) for backend in (KernelBackend(machine), OurBackend(machine, "lspci"))}
    write_report(machine, "lspci", {name: vars(each) for name, each in found.items()})
    yield found


def strictly(line: str) -> str:
    """What stands in our listing for this line of Linux's."""
    for _, pattern, ours in EXPLAINED:
        line = pattern.sub(ours, line)
    return line


def differences(linux: list[str], ours: list[str]) -> list[tuple[str, str]]:
    """Pairs of lines that differ and that no rule explains. A missing line is an empty one."""
    pairs = zip_longest(linux, ours, fillvalue="")
    return [(theirs, mine) for theirs, mine in pairs if mine not in (theirs, strictly(theirs))]


def bytes_of(lines: list[str]) -> bytes:
    """The dump among the lines."""
    return bytes.fromhex("".join(match[2] for line in lines if (match := DUMP.match(line))))


def words_of(lines: list[str], identity: Identity) -> list[str]:
    """The other lines, without the capabilities that `strict` does not show to guests."""
    kept, found, speaks = set(shown(identity)), list[str](), True
    for line in lines:
        if match := CAPABILITY.match(line):
            speaks = int(match[1], 16) in kept
        elif not line.startswith("\t\t"):
            speaks = True
        if speaks and not DUMP.match(line):
            found.append(OF_COMMAND.sub("", line))
    return found


def unexplained(identity: Identity, linux: bytes, ours: bytes) -> list[tuple[int, int, int]]:
    """Bytes of two dumps that differ although no rule says so: offset, Linux's, ours. What ours lacks was never answered."""
    wide = ours.ljust(len(linux), b"\xff")
    return [
        (at, theirs, mine)
        for at, (theirs, mine) in enumerate(zip(linux, wide, strict=True))
        if theirs != mine and not explain(identity, at, mine, theirs)
    ]


functions = pytest.mark.parametrize("bdf", FUNCTIONS, ids=NAMES.get)


@functions
def test_both_start_from_the_same_function(seen: dict[str, Seen], bdf: str) -> None:
    assert seen["linux"].before[bdf] == seen["pvpci"].before[bdf]


@functions
def test_the_listing_is_the_same(seen: dict[str, Seen], bdf: str) -> None:
    linux, ours = seen["linux"].listing[bdf], seen["pvpci"].listing[bdf]
    identity = Target(NAMES[bdf], bytes_of(seen["linux"].before[bdf])).identity

    # A header line, registers and a dump: a guest that saw nothing must not pass for one that saw the same.
    assert len(linux) > 20
    assert pci.CONVENTIONAL_SIZE == len(bytes_of(ours))
    assert differences(words_of(linux, identity), words_of(ours, identity)) == []
    assert unexplained(identity, bytes_of(linux), bytes_of(ours)) == []


@functions
def test_writes_read_back_the_same(seen: dict[str, Seen], bdf: str) -> None:
    linux, ours = seen["linux"].answers[bdf], seen["pvpci"].answers[bdf]

    assert len(linux) == 9 + 4 * len(BARS)
    assert differences(linux, ours) == []


@functions
def test_writes_leave_the_function_in_the_same_state(seen: dict[str, Seen], bdf: str) -> None:
    linux, ours = seen["linux"].after[bdf], seen["pvpci"].after[bdf]

    assert len(linux) > 16
    assert linux == ours
