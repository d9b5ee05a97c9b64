# SPDX-License-Identifier: Apache-2.0
"""What a domain that is gone has left behind in xenstore, in Xen and in dom0."""

from __future__ import annotations

import re

from tests.rig.machine import FUNCTIONS, Machine

CLOSED = "6"


def of_domain(machine: Machine, domid: int) -> list[str]:
    """One line for each thing that is still there; empty is what one wants."""
    found = []
    for path in (f"/local/domain/{domid}", f"/libxl/{domid}"):
        if machine.dom0(f"xenstore-exists {path}").rc == 0:
            found.append(f"xenstore has {path}")
    # libxl leaves the backend's folder when the frontend did not answer its detach; no backend removes its own.
    folders = machine.dom0(f"xenstore-list /local/domain/0/backend/pci/{domid} 2>&-").lines
    for devid in folders:
        state = machine.dom0(f"xenstore-read /local/domain/0/backend/pci/{domid}/{devid}/state").out.strip()
        if state not in ("", CLOSED):
            found.append(f"backend/pci/{domid}/{devid} is in state {state}")
    # A domain with a page that somebody maps stays in Xen's list, without a name.
    found += [f"xl list: {line}" for line in machine.do("xl list").splitlines() if re.match(rf"\S+\s+{domid}\s", line)]
    found += [f"dom0's port {line}" for line in _ports_to(machine, domid)]
    held = machine.do("xl pci-assignable-list").split()
    found += [f"{bdf} is not assignable" for bdf in FUNCTIONS if bdf not in held]
    found += [line.strip() for line in machine.do("cat /proc/interrupts").splitlines() if "xen-pciback[" in line]
    return found


def _ports_to(machine: Machine, domid: int) -> list[str]:
    """Dom0's event channels whose other end is (or was) in that domain, as Xen lists them."""
    # The debug key is handled by a tasklet, so its text may come a moment later.
    text = machine.do("xl dmesg -c > /dev/null; xl debug-keys e; sleep 0.5; xl dmesg")
    dom0s = re.split(r"information for domain (?=\d)", text)
    mine = next((part for part in dom0s if part.startswith("0:")), "")
    return [line.strip() for line in mine.splitlines() if re.search(rf"\bd={domid}\b", line)]
