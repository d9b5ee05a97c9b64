# SPDX-License-Identifier: Apache-2.0
"""However a guest ends, nothing of it remains, and the next guest is served.

The guest has one function with a driver's worth of state (e1000e, COMMAND changed) and one without a reset (edu), and
its real xen-pcifront is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import pytest
from tests.rig import remains
from tests.rig.backends import Backend, KernelBackend, OurBackend
from tests.rig.machine import E1000E, EDU, Guest, Machine

NAME = "mortal"
IDENTITIES = ["8086:10d3", "1234:11e8"]


def destroyed(machine: Machine) -> None:
    machine.destroy(NAME)


def powered_off(machine: Machine) -> None:
    machine.guest(NAME, "poweroff -f", 3)
    machine.wait(f"! xl domid {NAME}", 90)


def killed(machine: Machine) -> None:
    """Destroyed while it cannot run, so it answers nothing: the nearest thing to kill -9 of a domain."""
    machine.do(f"xl pause {NAME}")
    machine.destroy(NAME)


def crashed(machine: Machine) -> None:
    """Its kernel panics; the domain is kept, as `on_crash` says, and then destroyed."""
    machine.guest(NAME, "echo c > /proc/sysrq-trigger", 3)
    # The fifth letter of the state.
    machine.wait(f"xl list {NAME} | grep -E ' [^ ]{{4}}c[^ ] '")
    machine.destroy(NAME)


@pytest.fixture(scope="module")
def commands() -> dict[str, list[str]]:
    """By backend: the COMMAND that each guest found, in turn."""
    return {"linux": [], "pvpci": []}


@pytest.fixture(scope="module")
def backend(request: pytest.FixtureRequest, machine: Machine) -> Iterator[Backend]:
    chosen = KernelBackend(machine) if request.param == "linux" else OurBackend(machine, "ends", ["--monitor"])
    with chosen:
        yield chosen


#: One end is enough to see that what is looked for here is what Linux's backend leaves, too: nothing.
PLAYED: Final = [("linux", destroyed), *(("pvpci", end) for end in (destroyed, powered_off, killed, crashed))]


@pytest.mark.parametrize(("backend", "end"), PLAYED, indirect=["backend"], scope="module")
def test_nothing_remains(backend: Backend, commands: dict[str, list[str]], end: Callable[[Machine], None]) -> None:
    machine = backend.machine
    domid = machine.create(Guest(NAME, pci=(E1000E, EDU)))
    try:
        seen = machine.guest(
            NAME, "modprobe xen-pcifront; sleep 2; lspci -n; setpci -s 0:0.0 COMMAND; setpci -s 0:0.0 COMMAND=0547"
        )
        end(machine)
    finally:
        machine.destroy(NAME)

    *listed, command = seen.lines
    commands[backend.name].append(command)
    assert IDENTITIES == [line.split()[2] for line in listed]
    assert remains.of_domain(machine, domid) == []
    if isinstance(backend, OurBackend):
        assert backend.alive()
        # The next guest finds what the first one found (with Linux's backend it finds what the last one left).
        assert commands[backend.name][0] == command
        assert not [name for name in backend.open_devices() if name.endswith("/gntdev") or "/config" in name]
