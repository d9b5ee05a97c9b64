# SPDX-License-Identifier: Apache-2.0
"""A guest that does everything wrong, as fast as it can, hurts nobody but itself.

One guest rewrites its page, flags, doorbell and xenstore keys at random; an honest one reads its function meanwhile.
Both are served by one daemon, with the monitor on.
"""

from __future__ import annotations

import json

from tests.rig import remains
from tests.rig.backends import OurBackend, write_report
from tests.rig.machine import E1000E, EDU, Guest, Machine

SECONDS = 12
#: KiB that the daemon may grow by. Allocators keep a little; a leak under such a load is megabytes.
GROWTH = 2048
HONEST = """
end=$(($(cut -d. -f1 /proc/uptime) + {seconds})); good=0; bad=0
while [ $(cut -d. -f1 /proc/uptime) -lt $end ]; do
    if [ "$(setpci -s 0:0.0 0.l)" = 10d38086 ]; then good=$((good + 1)); else bad=$((bad + 1)); fi
done
echo $good $bad
"""


def begin(domid: int, bdf: str, seed: int) -> str:
    """Dom0's part: one more backend folder for the scripted frontend, and its hostile program started on it."""
    return (
        "python3 -S - <<'END'\n"
        "from tests.rig.dom0.toolstack import Stage\n"
        f"stage = Stage({domid})\n"
        f"devid = stage.instance({bdf!r}).devid\n"
        f"stage.ask(('hostile', devid, {SECONDS}, {seed}))\n"
        "END\n"
    )


def test_an_honest_guest_is_served_throughout(machine: Machine) -> None:
    ours = OurBackend(machine, "hostile", ["--monitor"], trace=False)
    with ours:
        domids = [machine.create(Guest("hostile", image="python")), machine.create(Guest("honest", pci=(E1000E,)))]
        machine.guest("honest", "modprobe xen-pcifront; sleep 2")
        machine.do(begin(domids[0], EDU, seed=0))
        before = ours.memory()
        honest = machine.guest("honest", HONEST.format(seconds=SECONDS), SECONDS + 60)
        node = f"/local/domain/{domids[0]}/data/hostile-say"
        machine.wait(f"xenstore-exists {node}")
        report = json.loads(machine.do(f"xenstore-read {node}"))
        after = ours.memory()
        alive = ours.alive()
        # Under the monitor a broken invariant ends service of that guest; this one must have been served to the end.
        machine.destroy("hostile")
        machine.destroy("honest")
        left = [line for domid in domids for line in remains.of_domain(machine, domid)]
    figures = {"hostile": report, "honest": honest.out.split(), "before": before, "after": after}
    write_report(machine, "hostile", figures)
    good, bad = map(int, honest.out.split())
    log = ours.log.read_text()

    assert report["connected"] == 1
    assert report["page"] > 1000
    assert report["store"] + report["refused"] > 50
    assert alive
    assert (bad, good > 3) == (0, True), honest.out
    assert after["VmRSS"] - before["VmRSS"] <= GROWTH
    assert "Traceback" not in log, log[-3000:]
    assert "invariant" not in log, log[-3000:]
    assert left == []
