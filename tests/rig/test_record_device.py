# SPDX-License-Identifier: Apache-2.0
"""What `pvpci record-device` writes in dom0 is what dom0 sees by other means, and the embedded host takes it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from tests.rig.machine import FUNCTIONS, Machine

from pvpci.impl.embedded.box import Box
from pvpci.impl.embedded.host import EmbeddedHost
from pvpci.impl.embedded.image import Image, load

#: The disk that dom0 runs from: a driver is using it.
DISK = "0000:00:02.0"
RECORDED = (*FUNCTIONS, DISK)


def dump(machine: Machine, bdf: str) -> bytes:
    rows = re.findall(r"^[0-9a-f]+: ((?:[0-9a-f]{2} ?){16})", machine.configuration_of(bdf), re.MULTILINE)
    return bytes.fromhex("".join(rows))


@pytest.fixture(scope="module")
def recorded(machine: Machine) -> Iterator[dict[str, Image]]:
    before = {bdf: dump(machine, bdf) for bdf in RECORDED}
    lines = [f"pvpci record-device {bdf} -o /job/out/image-{bdf}.json --force" for bdf in RECORDED]
    machine.do("set -e\n" + "\n".join(lines), 120)

    assert before == {bdf: dump(machine, bdf) for bdf in RECORDED}
    yield {bdf: load(f"{machine.out}/image-{bdf}.json") for bdf in RECORDED}


@pytest.mark.parametrize("bdf", RECORDED)
def test_the_registers_are_those_of_lspci(machine: Machine, recorded: dict[str, Image], bdf: str) -> None:
    assert dump(machine, bdf) == recorded[bdf].registers


@pytest.mark.parametrize("bdf", RECORDED)
def test_what_the_kernel_knows_is_there(machine: Machine, recorded: dict[str, Image], bdf: str) -> None:
    image, folder = recorded[bdf], f"/sys/bus/pci/devices/{bdf}"
    vendor, device, irq, enable = machine.do(f"cd {folder}; cat vendor device irq enable").split()
    resets = machine.do(f"cat {folder}/reset_method 2> /dev/null || true").split()
    placed = [row.split() for row in machine.do(f"head -7 {folder}/resource").splitlines()]

    assert (int(vendor, 16), int(device, 16)) == (image.vendor, image.device)
    assert (int(irq), int(enable), tuple(resets)) == (image.irq, image.enable_count, image.resets)
    found = [(each.start, each.end, each.flags) for each in image.resources]
    assert [tuple(int(word, 16) for word in row) for row in placed] == found


def test_the_embedded_host_offers_what_was_recorded(machine: Machine, recorded: dict[str, Image]) -> None:
    with Box({bdf: f"{machine.out}/image-{bdf}.json" for bdf in recorded}) as box:
        host = EmbeddedHost(box.path)
        for bdf, image in recorded.items():
            function = host.open_function(image.bdf)
            words = [function.read(at, 4).to_bytes(4, "little") for at in range(0, function.config_size, 4)]
            function.close()

            assert dump(machine, bdf) == b"".join(words)
        host.close()


def test_a_file_that_exists_is_left_alone(machine: Machine, recorded: dict[str, Image]) -> None:
    again = machine.dom0(f"pvpci record-device {DISK} -o /job/out/image-{DISK}.json")

    assert (2, True) == (again.rc, "the file exists" in again.out)
