# SPDX-License-Identifier: Apache-2.0
"""The toolstack's part by hand, and dom0's end of the scripted frontend.

A guest may have any number of backend folders, `backend/pci/<domid>/<devid>`; libxl uses 0 only. So each case gets a
fresh one, in the same guest, and may leave it in any state.
"""

from __future__ import annotations

import json
import time
from typing import Any

from tests.rig.frontend.store import Store

OPTIONS = "msitranslate=0,power_mgmt=0,permissive=0,rdm_policy=strict"
#: libxl does not know this one; Linux's backend reads neither.
INTERRUPT_CONTROL = "interrupt_control=1"


def options(permissive: bool = False, interrupt_control: bool = False) -> str:
    """`opts-N`, in which our backend finds what an administrator grants."""
    text = OPTIONS.replace("permissive=0", "permissive=1") if permissive else OPTIONS
    return f"{text},{INTERRUPT_CONTROL}" if interrupt_control else text


class AgentError(Exception):
    """The scripted frontend did not answer, or one of its steps failed."""


class Instance:
    """One pair of folders, and the frontend behind it."""

    def __init__(self, stage: Stage, devid: int) -> None:
        self._stage, self._store, self.devid = stage, stage.store, devid
        self.backend = f"/local/domain/0/backend/pci/{stage.domid}/{devid}"
        self.frontend = f"/local/domain/{stage.domid}/device/pci/{devid}"

    def build(self, *functions: str, opts: str = OPTIONS) -> None:
        """All nodes that libxl writes at creation, in one transaction."""
        guest, store = self._stage.domid, self._store
        theirs: dict[str, object] = {"backend": self.backend, "backend-id": 0, "state": 1}
        ours: dict[str, object] = {"frontend": self.frontend, "frontend-id": guest, "online": 1, "domain": "rig"}
        for number, bdf in enumerate(functions):
            each = {"key": bdf, "dev": bdf, "opts": opts, "state": 1}
            ours |= {f"{key}-{number}": text for key, text in each.items()}
        ours |= {"num_devs": len(functions), "state": 1}
        transaction = store.begin()
        for folder, nodes, rights in (
            (self.frontend, theirs, (f"n{guest}", "r0")),
            (self.backend, ours, ("n0", f"r{guest}")),
        ):
            store.write(folder, "", transaction)
            store.permit(folder, *rights, transaction=transaction)
            for key, text in nodes.items():
                store.write(f"{folder}/{key}", text, transaction)
                store.permit(f"{folder}/{key}", *rights, transaction=transaction)
        store.end(transaction)

    def do(self, *steps: tuple[Any, ...]) -> list[Any]:
        """Steps ``(verb, argument, ...)`` of this frontend, one behind the other; the result of each."""
        return self._stage.ask(*((verb, self.devid, *arguments) for verb, *arguments in steps))

    def one(self, verb: str, *arguments: Any) -> Any:
        return self.do((verb, *arguments))[0]

    def own(self, *wanted: str | None, limit: float = 5.0) -> str | None:
        """The backend's state, as soon as it is one of `wanted` or at the limit."""
        return self._store.wait(f"{self.backend}/state", wanted, limit)[0] if wanted else self.read("state")

    def read(self, key: str) -> str | None:
        return self._store.read(f"{self.backend}/{key}")

    def write(self, key: str, text: object) -> None:
        """As the toolstack, into the backend's folder."""
        self._store.write(f"{self.backend}/{key}", text)

    def remove(self) -> None:
        """Both folders, as libxl does when the last function is detached or the guest is destroyed."""
        self._store.remove(self.frontend)
        self._store.remove(self.backend)


class Stage:
    """One guest that runs the scripted frontend."""

    def __init__(self, domid: int) -> None:
        self.store, self.domid = Store(), domid
        self._data = f"/local/domain/{domid}/data"
        self._live: list[Instance] = []
        self.store.watch(f"{self._data}/frontend-say")

    def instance(self, *functions: str, wait: bool = True, opts: str = OPTIONS) -> Instance:
        """A new pair of folders; by default, ready for the frontend (backend in Initialised)."""
        used = self.store.directory(f"/local/domain/{self.domid}/data/used")
        made = Instance(self, 1 + max(map(int, used), default=0))
        self.store.write(f"/local/domain/{self.domid}/data/used/{made.devid}", "")
        made.build(*functions, opts=opts)
        self._live.append(made)
        if wait and (own := made.own("3", "5", "6", limit=15)) != "3":
            error = self.store.read(f"/local/domain/0/error/backend/pci/{self.domid}/{made.devid}/error")
            raise AgentError(f"the backend came to state {own} instead of 3 for {', '.join(functions)}: {error}")
        return made

    def clear(self, seconds: float = 1.0) -> None:
        """Remove what is left, and give the backend `seconds` to release it (some functions need a reset)."""
        if self._live:
            for made in self._live:
                made.remove()
            self._live = []
            time.sleep(seconds)

    def post(self, *steps: tuple[Any, ...]) -> int:
        """Have the steps done, without waiting for that; returns the number that the answer will have."""
        number = time.time_ns()
        self.store.write(f"{self._data}/frontend-ask", json.dumps({"id": number, "steps": steps}))
        return number

    def ask(self, *steps: tuple[Any, ...], limit: float = 120.0) -> list[Any]:
        number = self.post(*steps)
        end = time.monotonic() + limit
        while (left := end - time.monotonic()) > 0:
            said = json.loads(self.store.read(f"{self._data}/frontend-say") or '{"id": null}')
            if said["id"] == number:
                if "failed" in said:
                    raise AgentError(said["failed"])
                results: list[Any] = said["results"]
                return results
            self.store.changed(min(left, 1.0))
        raise AgentError(f"the scripted frontend did not finish {steps!r} in {limit:.0f} s")
