# SPDX-License-Identifier: Apache-2.0
"""A guest that does whatever it may do, at any time, as fast as it can.

    python -m pvpci.impl.guests.hostile SOCKET DOMID [--seconds N] [--seed S]

It rewrites the page while it is being read, flips flags that are not its own, rings in storms, writes any text into its nodes,
swaps grants and ports under the backend, deletes its directory, and now and then keeps to the protocol for a moment, because
only then is there something to break. What it does follows from the seed; what comes of it from the race.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from pvpci.impl.embedded.guest_side import GuestHost
from pvpci.impl.embedded.link import EmbeddedChannel, EmbeddedPage
from pvpci.impl.host import DomId, GrantRef, HostError, Port
from pvpci.impl.xenstore_wire import Kind
from pvpci.model import wire

#: Texts that a state may be given: each state, numbers that are none, and what is no number.
STATES: Final = (
    *(str(number).encode() for number in range(10)),
    *(
        b"",
        b"0",
        b"-1",
        b"04",
        b" 4",
        b"4 ",
        b"4\n",
        b"0x4",
        b"1e1",
        b"99999999999",
        b"4" * 2000,
        b"\0",
        b"\xff\xfe",
        b"\xd9\xa4",
    ),
)
NUMBERS: Final = (b"0", b"1", b"8", b"-1", b"4294967295", b"4294967296", b"", b"x", b"9" * 1000, b"\xff", b"0x8")
WORDS: Final = (0, 1, 2, 4, 0xFF, 0x100, 255, 4096, 4095, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFF04, 128, 129)
_EVERYTHING: Final = 4096
_WORD: Final = 0xFFFFFFFF


class Hostile:
    """One hostile guest. `done` counts what it did; a refusal by the box or the store is nothing to it."""

    def __init__(self, host: GuestHost, seed: int, devid: int = 0) -> None:
        self._host, self._random, self.done = host, random.Random(seed), Counter[str]()
        self._front = f"/local/domain/{host.domain}/device/pci/{devid}"
        self._back = f"/local/domain/0/backend/pci/{host.domain}/{devid}"
        self._lives: list[tuple[GrantRef, EmbeddedPage, Port, EmbeddedChannel]] = []
        self.new_life()

    @property
    def _page(self) -> EmbeddedPage:
        return self._lives[-1][1]

    def new_life(self) -> None:
        """Another page and port; the oldest are dropped under whoever uses them."""
        while len(self._lives) > 3:
            ref, page, _, channel = self._lives.pop(0)
            with suppress(HostError):
                channel.unbind()
            page.unmap()
            with suppress(HostError):
                self._host.revoke(ref)
        ref, page = self._host.grant_page()
        self._lives.append((ref, page, *self._host.alloc_channel()))

    def rampage(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        moods: tuple[Callable[[], None], ...] = (
            self._behave, self._storm_page, self._storm_flags, self._storm_bell, self._storm_store, self._mix,
        )  # fmt: skip
        while time.monotonic() < end:
            mood = self._random.choice(moods)
            self.done[mood.__name__.strip("_")] += 1
            with suppress(HostError):
                mood()

    # Moods

    def _behave(self) -> None:
        """Connect as one should, then spoil the page while requests are served."""
        if self._random.random() < 0.3:
            self.new_life()
        if (self._host.store.read(f"{self._back}/state") or "") not in ("2", "3"):
            self._write(b"state", b"6")
            self._wait(b"6")
        self._write(b"state", b"1")
        self._wait(b"2", b"3")
        self._keys(sound=True)
        self._write(b"state", b"3")
        if self._wait(b"4"):
            self.done["connected"] += 1
            self._write(b"state", b"4")
            for _ in range(self._random.randrange(1, 2000)):
                self._request()
        if self._random.random() < 0.5:
            self._write(b"state", self._random.choice((b"5", b"6")))

    def _storm_page(self) -> None:
        for _ in range(self._random.randrange(2000)):
            self._page.store32(4 * self._random.randrange(_EVERYTHING // 4), self._word())
        self._request()

    def _storm_flags(self) -> None:
        page = self._page
        for _ in range(self._random.randrange(2000)):
            bits = self._random.getrandbits(3)
            if self._random.random() < 0.5:
                page.fetch_or(wire.FLAGS, bits)
            else:
                page.fetch_and(wire.FLAGS, _WORD ^ bits)
        self._ring()

    def _storm_bell(self) -> None:
        for _ in range(self._random.randrange(500)):
            self._ring()

    def _storm_store(self) -> None:
        for _ in range(self._random.randrange(60)):
            with suppress(HostError):
                self._spoil()

    def _mix(self) -> None:
        for _ in range(self._random.randrange(200)):
            with suppress(HostError):
                self._random.choice((self._request, self._ring, self._spoil, self._storm_flags))()

    # Single acts

    def _word(self) -> int:
        return self._random.choice(WORDS) if self._random.random() < 0.7 else self._random.getrandbits(32)

    def _request(self) -> None:
        """A request that makes sense in most of its fields, changed again as soon as it is posted."""
        page, pick = self._page, self._random
        fields = {
            "cmd": pick.choice((0, 0, 0, 1, 1, 2, 3, 4, 5, 10, pick.getrandbits(32))),
            "devfn": pick.choice((0, 0, 0, 8, 256, pick.getrandbits(32))),
            "offset": pick.choice((0, 4, 6, 0x10, 0x30, 0x3C, pick.randrange(256), self._word())),
            "size": pick.choice((1, 2, 4, 4, self._word())),
            "value": self._word(),
            "domain": pick.choice((0, 0, 0, self._word())),
            "bus": pick.choice((0, 0, 0, self._word())),
            "info": pick.choice((0, 1, 2, 3, 16, 33, self._word())),
        }
        names = ("cmd", "err", "domain", "bus", "devfn", "offset", "size", "value", "info")
        for index, name in enumerate(names):
            page.store32(wire.OP + 4 * index, fields.get(name, 0))
        page.fetch_or(wire.FLAGS, 1)
        self._ring()
        for _ in range(pick.randrange(6)):
            page.store32(wire.OP + 4 * pick.randrange(9), self._word())
        if pick.random() < 0.2:
            page.fetch_and(wire.FLAGS, _WORD ^ 1)
        self.done["requests"] += 1

    def _ring(self) -> None:
        self._lives[-1][3].notify()
        self.done["rings"] += 1

    def _spoil(self) -> None:
        """One change of our part of the store."""
        pick = self._random
        self.done["writes"] += 1
        act = pick.random()
        if act < 0.55:
            self._write(b"state", pick.choice(STATES))
        elif act < 0.75:
            self._keys(sound=pick.random() < 0.3)
        elif act < 0.80:
            self._remove(pick.choice((b"state", b"magic", b"pci-op-ref", b"event-channel", b"backend")))
        elif act < 0.88:
            self._write(b"state/" + str(pick.getrandbits(20)).encode(), b"noise")
        elif act < 0.93:
            self._host.store.set_permissions(
                f"{self._front}/state", [pick.choice((f"n{self._host.domain}", f"w{self._host.domain}"))]
            )
        elif act < 0.97:
            self._host.store.begin()
        elif act < 0.972:
            self.done["directories deleted"] += 1
            self._remove(b"")
        else:
            self._host.store.write(f"{self._back}/state", "4")

    def _keys(self, *, sound: bool) -> None:
        ref, _, port, _ = self._lives[-1]
        pick = self._random
        for key, right in ((b"pci-op-ref", str(ref)), (b"event-channel", str(port)), (b"magic", "7")):
            self._write(key, right.encode() if sound else pick.choice((*NUMBERS, right.encode(), b"7")))

    def _wait(self, *wanted: bytes) -> bool:
        """A moment of patience, for a backend that is busy with other guests."""
        end = time.monotonic() + 0.4
        while time.monotonic() < end:
            if (self._host.store.read(f"{self._back}/state") or "").encode() in wanted:
                return True
        return False

    def _write(self, key: bytes, value: bytes) -> None:
        self._host.store.request(Kind.WRITE, f"{self._front}/".encode() + key + b"\0" + value)

    def _remove(self, key: bytes) -> None:
        self._host.store.request(
            Kind.RM, f"{self._front}/".encode().rstrip(b"/") + (b"/" + key if key else b"") + b"\0"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m pvpci.impl.guests.hostile", description="A hostile guest.")
    parser.add_argument("socket", help="the box")
    parser.add_argument("domain", type=int, help="the number of a domain that exists")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    host = GuestHost(options.socket, DomId(options.domain))
    try:
        hostile = Hostile(host, options.seed)
        hostile.rampage(options.seconds)
        print(json.dumps(dict(sorted(hostile.done.items()))), flush=True)
    finally:
        host.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
