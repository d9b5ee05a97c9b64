# SPDX-License-Identifier: Apache-2.0
"""Drivers that come and go in a guest: what interrupted them, whether they worked, and what is left in Xen and dom0.

PVPCI_RIG_RECORD=1 pytest -m rig tests/rig/test_interrupts.py    write interrupts.json anew
python -m tests.rig.interrupts                                   write docs/reference/interrupts.md from it
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from tests.rig.machine import AHCI, E1000E, NVME, Machine
from tests.rig.table import TITLES

OBSERVED: Final = Path(__file__).with_name("interrupts.json")
PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "reference" / "interrupts.md"
CYCLES: Final = 10
FUNCTIONS: Final = (E1000E, NVME, AHCI)


@dataclass(frozen=True)
class Kind:
    """One way in which a driver is interrupted, as the guest's kernel lists it, and how many vectors it then has."""

    title: str
    work: str
    chip: str
    vectors: int


KINDS: Final[Mapping[str, Kind]] = {
    "nic0": Kind("e1000e, INTx", "one ping through the function", "pcifront", 1),
    "nic2": Kind("e1000e, MSI-X", "one ping through the function", "pcifront-msi-x", 3),
    "nvme": Kind("nvme, MSI-X", "a file written to a new file system and read back", "pcifront-msi-x", 2),
    "ahci": Kind("ich9-ahci, MSI", "1 MiB read from the disk", "pcifront-msi", 1),
}

#: Loops of loading, working and unloading, in a guest that has the functions; each says what it saw in a file of its own.
_SHELL: Final = """
mkdir -p /tmp /mnt
for m in sd_mod vfat nls_cp437 nls_ascii; do modprobe $m; done
until_() { n=0; until eval "$1" 2>/dev/null; do [ $n -lt 100 ] || return; usleep 50000; n=$((n+1)); done; }
seen() { echo "cycle $1 $2"; grep "$3" /proc/interrupts; }
nic() {
    modprobe e1000e IntMode=$1; ip link set eth0 up; ip addr add 10.0.2.15/24 dev eth0
    until_ '[ $(cat /sys/class/net/eth0/carrier) = 1 ]'
    seen nic$1 $(ping -c 1 -W 3 10.0.2.2 | grep -c 'bytes from') eth0
    ip link set eth0 down; rmmod e1000e
}
nvme() {
    modprobe nvme; until_ '[ -b /dev/nvme0n1 ]'
    [ -e /tmp/made ] || mkdosfs /dev/nvme0n1 >/tmp/made
    dd if=/dev/urandom of=/tmp/a bs=64k count=4 2>/dev/null
    mount -t vfat /dev/nvme0n1 /mnt && cp /tmp/a /mnt/a && umount /mnt
    mount -t vfat /dev/nvme0n1 /mnt && cmp /tmp/a /mnt/a; same=$?; umount /mnt
    seen nvme $((same == 0)) nvme; rmmod nvme
}
ahci() {
    modprobe ahci; until_ '[ -b /dev/sda ]'
    seen ahci $(dd if=/dev/sda of=/dev/null bs=64k count=16 2>&1 | grep -c '^16+0 records in') ahci; rmmod ahci
}
"""
_LOOP: Final = "for i in $(seq {count}); do {call}; done >/tmp/{name} 2>&1"


def cycles(count: int = CYCLES) -> str:
    """Shell lines for the guest: all kinds, three functions side by side, then what each saw."""
    nic = "; ".join(_LOOP.format(count=count, call=f"nic {mode}", name=f"nic{mode}") for mode in (0, 2))
    disks = [_LOOP.format(count=count, call=name, name=name) for name in ("nvme", "ahci")]
    return f"{_SHELL}({nic}) & ({disks[0]}) & ({disks[1]}) & wait\ncat " + " ".join(f"/tmp/{name}" for name in KINDS)


def one(call: str) -> str:
    """One cycle of one kind: ``nic 2``, ``ahci``, ``nvme``; after ``rm /tmp/made`` the last makes its file system anew."""
    return _SHELL + call


@dataclass(frozen=True)
class Cycle:
    """`vectors`: what the function's interrupts are in the guest, one word each, as ``pcifront-msi-x``."""

    kind: str
    worked: bool
    vectors: tuple[str, ...]

    @property
    def as_asked(self) -> bool:
        kind = KINDS[self.kind]
        return self.vectors == (kind.chip,) * kind.vectors


def parse(lines: Sequence[str]) -> list[Cycle]:
    """What `cycles` printed; other lines are the programs' own."""
    found: list[Cycle] = []
    for line in lines:
        if head := re.fullmatch(r"cycle (\w+) (\d+)", line):
            found.append(Cycle(head[1], head[2] == "1", ()))
        elif found and (vector := re.match(r" *\d+: .* xen-pirq +-(\S+) ", line)):
            last = found[-1]
            found[-1] = Cycle(last.kind, last.worked, (*last.vectors, vector[1]))
    return found


def summary(found: Sequence[Cycle]) -> dict[str, dict[str, int]]:
    """By kind: cycles, those in which the driver did its work, and those with the interrupts that it asked for."""
    result = {}
    for name in KINDS:
        mine = [each for each in found if each.kind == name]
        worked, asked = sum(each.worked for each in mine), sum(each.as_asked for each in mine)
        result[name] = {"cycles": len(mine), "worked": worked, "as_asked": asked}
    return result


def books(machine: Machine, guest: str | None = None) -> list[str]:
    """Every message that Xen has mapped, with its owner; dom0's lines; the guest's messages. Without counts of events."""
    # The debug keys are handled by a tasklet, so their text may come a moment later.
    text = machine.do("xl dmesg -c > /dev/null; xl debug-keys M; xl debug-keys i; sleep 0.5; xl dmesg")
    found = [f"Xen: message: {each}" for each in re.findall(r"^\(XEN\) +(MSI(?:-X)? +\d+) vec", text, re.MULTILINE)]
    found += [f"Xen: IRQ {irq}: {who}" for irq, who in _owners(text)]
    found += [f"dom0: {each}" for each in _handlers(machine.do("cat /proc/interrupts"))]
    if guest is not None:
        found += [f"guest: {each}" for each in _handlers(machine.guest(guest, "cat /proc/interrupts").out)]
    return found


def enabled(machine: Machine) -> list[str]:
    """Functions whose own registers have messages on."""
    text = machine.do("".join(f"lspci -vv -s {bdf} | sed 's/^/{bdf} /'\n" for bdf in FUNCTIONS))
    return [f"{found[0]} {found[1]}" for found in re.findall(r"^(\S+).* (MSI(?:-X)?): Enable\+", text, re.MULTILINE)]


def new(before: list[str], after: list[str]) -> list[str]:
    """Lines of `books` that were not there before."""
    return [line for line in after if line not in before]


def _owners(text: str) -> Iterator[tuple[str, str]]:
    for irq, rest in re.findall(r"IRQ: +(\d+) vec:\w+ PCI-MSI\S* +(.*)", text):
        yield irq, " ".join(re.findall(r"d\d+: *\d+", rest)) or "unbound"


def _handlers(text: str) -> Iterator[str]:
    """Physical interrupts that have a handler. pciback's own comes and goes with COMMAND."""
    for line in text.splitlines():
        match = re.match(r" *(\d+): .* xen-pirq +-(\S+) +(\S.*)", line)
        if match and not match[3].startswith("xen-pciback["):
            yield f"{match[1]} {match[2]} {match[3]}"


# The manual's page


def observed(versions: Mapping[str, str], results: Mapping[str, Any]) -> str:
    """The text of the results file. `results`: backend -> what a run saw of it."""
    kinds = {name: asdict(kind) for name, kind in KINDS.items()}
    return json.dumps({"versions": dict(versions), "kinds": kinds, "results": dict(results)}, indent=2) + "\n"


def page(found: Mapping[str, Any]) -> str:
    """The manual's page for what `observed` wrote, decoded."""
    return "\n".join(_page(found)) + "\n"


def _page(found: Mapping[str, Any]) -> Iterator[str]:
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    results = found["results"]
    yield "<!-- SPDX-License-Identifier: Apache-2.0 -->"
    yield "<!-- Made by `python -m tests.rig.interrupts`; do not edit. -->"
    yield "# Interrupts\n"
    yield "Drivers of a guest, loaded and unloaded again and again, under Linux's backend and under `pvpci serve` in one boot of"
    yield f"real Xen ({versions}). *Worked*: the driver did its work. *As asked*: it had the interrupts that it asked for, not"
    yield "others that it fell back to. How it is played stands in `tests/rig/interrupts.py`.\n"
    titles = " | ".join(f"{title}: worked | as asked" for title in TITLES.values())
    yield f"| driver | work | cycles | {titles} |"
    yield f"|---|---|---|{'---|---|' * len(TITLES)}"
    for name, kind in found["kinds"].items():
        seen = [results[backend]["kinds"][name] for backend in TITLES]
        cells = [str(each[key]) for each in seen for key in ("worked", "as_asked")]
        yield f"| {kind['title']} | {kind['work']} | {seen[0]['cycles']} | {' | '.join(cells)} |"
    yield ""
    yield f"| afterwards | {' | '.join(TITLES.values())} |"
    yield f"|---|{'---|' * len(TITLES)}"
    for key, text in LATER.items():
        cells = [_cell(results[backend][key]) for backend in TITLES]
        yield f"| {text} | {' | '.join(cells)} |"
    yield EXPLAINED


#: What else is looked at, by its name in the results.
LATER: Final[Mapping[str, str]] = {
    "left_by_drivers": "vectors left in Xen, dom0 and the guest when all drivers are unloaded",
    "detached": "nvme detached while it is written to: the guest lets go, and goes on",
    "left_by_detach": "vectors left after that",
    "reattached": "nvme attached again: works, with the interrupts that it asks for",
    "left_by_destroy": "left when the guest is destroyed with MSI-X on",
    "left_in_function": "message enable bits still set in the functions then",
}


EXPLAINED: Final = """
When MSI-X goes, the frontend of Linux 6.1 says "disable MSI". `xen-pciback` then leaves MSI-X on and refuses the next enable, so
the driver falls back to the line: every second time, or always where the driver enables twice (nvme).

The detach is `pvpci detach` under both, which takes the function away when the guest has let go of it. `xl pci-detach` takes it
before: what is in flight is never answered, the guest's driver waits for its own time-out (nvme: 30 s, then an abort), and
libxl has given up by then."""


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "**no**"
    return "nothing" if not value else "<br>".join(f"`{each}`" for each in value)


def main() -> None:
    PAGE.write_text(page(json.loads(OBSERVED.read_text())))
    print(PAGE)


if __name__ == "__main__":
    main()
