# SPDX-License-Identifier: Apache-2.0
"""Runs scripts in dom0 for the test that boots it.

One JSON object a line over a virtio port: ``{"id", "script", "limit"}`` in, ``{"id", "rc", "out"}`` back, one at a
time. A script that is not done after `limit` seconds is killed with all its children and answered with rc 124; what it
put into a session of its own (setsid) stays, and is how a test starts a daemon.
"""

import glob
import json
import os
import signal
import subprocess
import tempfile
import time
from typing import Any


def run(script: str, limit: float) -> tuple[int, str]:
    # A file, not a pipe: a background child that keeps the output open must not keep us.
    with tempfile.TemporaryFile() as out:
        child = subprocess.Popen(
            ["bash", "-c", script], stdin=subprocess.DEVNULL, stdout=out, stderr=out, process_group=0
        )
        try:
            status = child.wait(limit)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            status = 124
        out.seek(0)
        return status, out.read().decode(errors="replace")


def answer(port: int, message: dict[str, Any]) -> None:
    data = json.dumps(message).encode() + b"\n"
    while data:
        data = data[os.write(port, data[:4096]) :]


def main() -> None:
    port = os.open(glob.glob("/dev/vport*p*")[0], os.O_RDWR)
    answer(port, {"id": 0, "rc": 0, "out": "ready"})
    waiting = b""
    while True:
        data = os.read(port, 65536)
        if not data:
            time.sleep(0.1)
        waiting += data
        while b"\n" in waiting:
            line, waiting = waiting.split(b"\n", 1)
            asked = json.loads(line)
            status, out = run(asked["script"], asked["limit"])
            answer(port, {"id": asked["id"], "rc": status, "out": out})


if __name__ == "__main__":
    main()
