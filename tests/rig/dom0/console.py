# SPDX-License-Identifier: Apache-2.0
"""Dom0's end of a guest's console: send one command, print what it prints, exit as it exits.

    console.py NAME TOKEN LIMIT            wait until the guest that was started with rig=TOKEN takes commands
    console.py NAME TOKEN LIMIT BASE64     run that command, marked with TOKEN; exit 124 if it does not end in time

NAME may be a domain number too. The guest's end is guest/init.
"""

import os
import select
import subprocess
import sys
import time
import tty
from collections.abc import Iterator


def terminal(name: str) -> int:
    domid = name if name.isdigit() else subprocess.check_output(["xl", "domid", name], text=True).strip()
    node = f"/local/domain/{domid}/console/tty"
    descriptor = os.open(subprocess.check_output(["xenstore-read", node], text=True).strip(), os.O_RDWR | os.O_NOCTTY)
    tty.setraw(descriptor)
    return descriptor


def lines(descriptor: int, limit: float) -> Iterator[bytes]:
    """Whole lines as they come, without their ends, until `limit` seconds have passed or the guest is gone."""
    waiting, end = b"", time.monotonic() + limit
    while (left := end - time.monotonic()) > 0:
        if not select.select([descriptor], [], [], left)[0]:
            return
        try:
            waiting += os.read(descriptor, 65536)
        except OSError:
            return
        *whole, waiting = waiting.split(b"\n")
        yield from (line.rstrip(b"\r") for line in whole)


def main(name: str, token: str, limit: str, command: str = "") -> int:
    descriptor, mark = terminal(name), f"@@ {token} ".encode()
    if command:
        os.write(descriptor, f"{token} {command}\n".encode())
    shown = False
    for line in lines(descriptor, float(limit)):
        # The mark may follow an answer that does not end its last line.
        text, found, rest = line.partition(mark)
        if found and rest == b"ready" and not command:
            return 0
        if found and rest == b"begin":
            shown = True
        elif found and rest.startswith(b"end "):
            if text:
                sys.stdout.buffer.write(text + b"\n")
            return int(rest[4:])
        elif shown:
            sys.stdout.buffer.write(line + b"\n")
    sys.stdout.flush()
    print(f"console: {name} did not answer in {limit} s", file=sys.stderr)
    return 124


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
