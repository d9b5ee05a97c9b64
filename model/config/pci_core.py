# SPDX-License-Identifier: Apache-2.0
"""What Linux's PCI core does to a function on behalf of its driver, as pieces of programs.

It is seen on the bus, and it decides by what it remembers (`state.Host`) and not by what the hardware says. The profiles of
Linux need it to be the same in every write and their order, where memory and hardware disagree too. Sources:
drivers/pci/pci.c and drivers/pci/setup-res.c of Linux 6.1.
"""

from __future__ import annotations

from typing import Final

from pvpci.model.config import constants as pci
from pvpci.model.config.command import DEFAULT_LATENCY, LEAST_LATENCY, suits
from pvpci.model.config.programs import Load, Program, Set, Step, Store, but, has, local, refuse
from pvpci.model.config.state import BARS, ROM, bars, host, known
from pvpci.model.config.steps import (
    CACHE_LINE,
    COMMAND,
    D0,
    D3HOT,
    INTERRUPT_PIN,
    LATENCY,
    PMCSR,
    bar_place,
    settle,
    test,
)
from pvpci.model.kernel.terms import ALWAYS, NEVER, Flag, number

EINVAL: Final = -22


def on_command(name: str, change: str, bits: int, when: Flag) -> Program:
    """Read COMMAND, and write it if that changes it: how every helper of the core touches it."""
    now = local(f"command_{name}", 16)
    value = (now | bits) if change == "set" else but(now, bits)
    return (Load(now, COMMAND, when=when), Store(COMMAND, value, when=when & (value != now), name=name))


def restore_bars(when: Flag) -> Program:
    """``pci_restore_bars``: a 64-bit BAR with memory decoding off in between. COMMAND as a whole is not restored."""
    steps: list[Step] = []
    for place, bar in enumerate(bars):
        moved = when & bar.movable
        if place == ROM:
            steps.append(Store(bar_place(ROM), bar.address, when=moved & ~known.bridge))
            steps.append(Store(bar_place(ROM, bridge=True), bar.address, when=moved & known.bridge))
            continue
        now = local(f"command_{place}", 16)
        wide = moved & bar.wide
        steps += [
            Load(now, COMMAND, when=wide),
            Store(COMMAND, but(now, pci.COMMAND_MEMORY), when=wide),
            Store(bar_place(place), bar.address, when=moved),
        ]
        if place + 1 < BARS:
            steps.append(Store(bar_place(place + 1), bars[place + 1].address, when=wide))
        steps.append(Store(COMMAND, now, when=wide))
    return tuple(steps)


def power_up(when: Flag) -> Program:
    """``pci_set_full_power_state``. `host.power` is what the core believes."""
    now, after = local("pmcsr", 16), local("pmcsr_after", 16)
    deep, to_deep = test(
        "deep",
        when
        & known.pm
        & (((now & pci.PM_CTRL_STATE) == D3HOT) | (host.power == D3HOT))
        & ~has(now, pci.PM_CTRL_NO_SOFT_RESET),
    )
    asleep, to_asleep = test("asleep", when & known.pm & has(now, pci.PM_CTRL_STATE))
    awake, to_awake = test("awake", when & known.pm & ~has(after, pci.PM_CTRL_STATE))
    return (
        Load(now, PMCSR, when=when & known.pm),
        to_deep,
        to_asleep,
        Store(PMCSR, number(16, 0), when=asleep),
        *settle(now & pci.PM_CTRL_STATE, number(16, D0), asleep),
        Load(after, PMCSR, when=when & known.pm),
        to_awake,
        Set(host.power.becomes((after & pci.PM_CTRL_STATE).resize(2)), when=when),
        *restore_bars(deep & awake),
    )


def enable(when: Flag) -> Program:
    """``pci_enable_device``, from the second that no other is counted."""
    first, to_first = test("first", when & (host.enabled == 0))
    pin = local("pin", 8)
    return (
        refuse(EINVAL, when & (host.enabled == 0) & ~known.placed, "no address"),
        to_first,
        Set(host.enabled.becomes(host.enabled + 1), when=when, name="count up"),
        *power_up(first & (host.power != D0)),
        *_decode(first),
        Load(pin, INTERRUPT_PIN, when=first & ~host.messages),
        *on_command("intx on", "clear", pci.COMMAND_INTX_DISABLE, first & ~host.messages & (pin != 0)),
    )


def _decode(when: Flag) -> Program:
    now = local("command_decode", 16)
    value = now | known.decode
    return (Load(now, COMMAND, when=when), Store(COMMAND, value, when=when & (value != now), name="decode"))


def disable(when: Flag) -> Program:
    """``pci_disable_device``: only the last one does something, and decoding stays on."""
    last, to_last = test("last", when & (host.enabled == 1))
    return (
        to_last,
        Set(host.enabled.becomes(host.enabled - 1), when=when & (host.enabled != 0), name="count down"),
        *on_command("master lost", "clear", pci.COMMAND_MASTER, last),
        Set(host.master.becomes(NEVER), when=last),
    )


def set_master(when: Flag) -> Program:
    """``pci_set_master``."""
    latency = local("latency", 8)
    conventional = when & known.conventional
    return (
        *on_command("master", "set", pci.COMMAND_MASTER, when),
        Set(host.master.becomes(ALWAYS), when=when),
        Load(latency, LATENCY, when=conventional),
        Store(LATENCY, number(8, DEFAULT_LATENCY), when=conventional & (latency < LEAST_LATENCY), name="latency"),
    )


def set_mwi(when: Flag) -> tuple[Flag, Program]:
    """``pci_set_mwi``; the flag says that it failed."""
    line, held = local("cache_line", 8), local("held", 8)
    unsuited, to_unsuited = test("unsuited", when & ~suits(line))
    failed, to_failed = test("failed", unsuited & (held != known.cache_line))
    return failed, (
        Load(line, CACHE_LINE, when=when),
        to_unsuited,
        Store(CACHE_LINE, known.cache_line, when=unsuited, name="cache line"),
        Load(held, CACHE_LINE, when=unsuited),
        to_failed,
        *on_command("invalidate", "set", pci.COMMAND_INVALIDATE, when & ~failed),
    )
