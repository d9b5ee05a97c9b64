# SPDX-License-Identifier: Apache-2.0
"""The nodes of a device in xenstore, as libxl writes them: one directory per guest and side, functions by index.

Everything here is one step: a change inside a transaction that somebody else begins, or one look. Who may do what when is
`pvpci.impl.toolstack`.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from pvpci.impl.errors import UsageError
from pvpci.impl.host import Bdf, HostError, Store, Transaction
from pvpci.model.config.grants import NOTHING, Grants

_KEYS: Final = ("state", "key", "dev", "vdev", "opts", "vdevfn", "name")  #: of one function, as libxl removes them
_MOST: Final = 1024  #: functions in one directory
_RETRIES: Final = 100
_TOKEN: Final = "toolstack"


NO_GRANTS: Final[Mapping[Bdf, Grants]] = {}


def options(grants: Grants) -> str:
    """``opts-N`` as libxl writes it, and behind it what libxl has no word for."""
    known = f"msitranslate=0,power_mgmt=0,permissive={int(grants.permissive)},rdm_policy=strict"
    return ",".join(filter(None, (known, str(replace(grants, permissive=False)))))


@dataclass(frozen=True, slots=True)
class Device:
    """One function of one guest, as the store has it; texts are whatever stands there, "" if nothing does."""

    domain: int
    device: int
    index: int
    function: str
    slot: str  #: where the guest sees it, ``DDDD:BB:SS.FF``
    state: str  #: of the function: 1 to be attached, 3 attached, 5 to be detached
    backend: str  #: state of the connection's backend side
    frontend: str


class DeviceNodes:
    """The nodes of one guest's device."""

    def __init__(self, store: Store, device_class: str, domain: int, device: int = 0) -> None:
        self._store, self._class, self.domain, self.device = store, device_class, domain, device
        self.back = f"/local/domain/0/backend/{device_class}/{domain}/{device}"
        self.front = f"/local/domain/{domain}/device/{device_class}/{device}"
        self._rights = ("n0", f"r{domain}")

    @property
    def own(self) -> str | None:
        """The backend's state."""
        return self._store.read(f"{self.back}/state")

    @property
    def theirs(self) -> str | None:
        """The frontend's."""
        return self._store.read(f"{self.front}/state")

    @property
    def error(self) -> str | None:
        """Why the backend gave up."""
        path = f"/local/domain/0/error/backend/{self._class}/{self.domain}/{self.device}/error"
        return self._store.read(path)

    def make(self, tx: Transaction, functions: Sequence[Bdf], grants: Mapping[Bdf, Grants] = NO_GRANTS) -> bool:
        """All nodes of a new device, in libxl's order."""
        ours = {
            "frontend": self.front, "frontend-id": str(self.domain), "online": "1", "state": "1",
            "domain": tx.read(f"/local/domain/{self.domain}/name") or "",
        }  # fmt: skip
        theirs = {"backend": self.back, "backend-id": "0", "state": "1"}
        for folder, rights, nodes in ((self.back, self._rights, ours), (self.front, (f"n{self.domain}", "r0"), theirs)):
            tx.remove(folder)
            _put(tx, folder, "", rights)
            for key, text in nodes.items():
                _put(tx, f"{folder}/{key}", text, rights)
        for index, bdf in enumerate(functions):
            self._put_function(tx, index, bdf, grants.get(bdf, NOTHING))
        _put(tx, f"{self.back}/num_devs", str(len(functions)), self._rights)
        return True

    def append(self, tx: Transaction, bdf: Bdf, grants: Grants = NOTHING) -> bool:
        """One more function at the end of the list; the backend's state is not touched."""
        count = self.count(tx)
        self._put_function(tx, count, bdf, grants)
        _put(tx, f"{self.back}/num_devs", str(count + 1), self._rights)
        return True

    def drop(self, tx: Transaction, bdf: Bdf) -> bool:
        """Drop one function's nodes and move those behind it down by one. False if it is not listed."""
        index, count = self.index(tx, bdf), self.count(tx)
        if index is None:
            return False
        for key in _KEYS:
            tx.remove(f"{self.back}/{key}-{index}")
        for behind in range(index + 1, count):
            for key in _KEYS:
                text = tx.read(f"{self.back}/{key}-{behind}")
                if text is not None:
                    _put(tx, f"{self.back}/{key}-{behind - 1}", text, self._rights)
                    tx.remove(f"{self.back}/{key}-{behind}")
        tx.write(f"{self.back}/num_devs", str(count - 1))
        return True

    def remove(self) -> None:
        """Both directories: the frontend's first, as when a guest is destroyed."""
        self._store.remove(self.front)
        self._store.remove(self.back)
        parent = self.back.rpartition("/")[0]
        if not self._store.directory(parent):
            self._store.remove(parent)

    def count(self, tx: Transaction) -> int:
        return _number(tx.read(f"{self.back}/num_devs"))

    def index(self, tx: Transaction, bdf: Bdf) -> int | None:
        return next((index for index in range(self.count(tx)) if tx.read(f"{self.back}/dev-{index}") == str(bdf)), None)

    def functions(self) -> list[Device]:
        """What is listed, by index."""
        found = []
        own, theirs = self.own or "", self.theirs or ""
        for index in range(_number(self._store.read(f"{self.back}/num_devs"))):
            read = {key: self._store.read(f"{self.back}/{key}-{index}") or "" for key in ("dev", "vdev", "state")}
            if read["dev"]:
                texts = (read["dev"], read["vdev"], read["state"])
                found.append(Device(self.domain, self.device, index, *texts, own, theirs))
        return found

    def _put_function(self, tx: Transaction, index: int, bdf: Bdf, grants: Grants) -> None:
        for key, text in (("key", str(bdf)), ("dev", str(bdf)), ("opts", options(grants)), ("state", "1")):
            _put(tx, f"{self.back}/{key}-{index}", text, self._rights)


def devices(store: Store, device_class: str, domain: int | None) -> list[Device]:
    """The functions of one guest, or of all that there are, by domain, device and index.

    A directory that has outlived its guest is nobody's device; it is listed only for who asks for that number.
    """
    root = f"/local/domain/0/backend/{device_class}"
    domains = [str(domain)]
    if domain is None:
        domains = [guest for guest in store.directory(root) if store.read(f"/local/domain/{guest}") is not None]
    return [
        function
        for guest in sorted(filter(is_number, domains), key=int)
        for each in sorted(filter(is_number, store.directory(f"{root}/{guest}")), key=int)
        for function in DeviceNodes(store, device_class, int(guest), int(each)).functions()
    ]


def change(store: Store, write: Callable[[Transaction], bool]) -> bool:
    """One transaction, begun again while others overtake it. False if `write` did not want to."""
    for _ in range(_RETRIES):
        tx = store.begin()
        try:
            wanted = write(tx)
        except BaseException:
            with suppress(HostError):
                tx.abort()
            raise
        if not wanted:
            tx.abort()
            return False
        if tx.commit():
            return True
    raise UsageError("xenstore", f"{_RETRIES} transactions were overtaken", "see who writes there all the time")


def watched(store: Store, path: str, done: Callable[[], bool], patience: float) -> bool:
    """Wait until `done`, looking whenever something at or below `path` changed. False after `patience` seconds."""
    deadline = time.monotonic() + patience
    store.watch(path, _TOKEN)
    try:
        poll = select.poll()
        poll.register(store.fileno(), select.POLLIN)
        while not done():
            left = deadline - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                return done()
            for _ in store.events():
                continue
        return True
    finally:
        store.unwatch(path, _TOKEN)


def note(bdf: Bdf) -> str:
    """Where libxl notes which domain has the function."""
    return f"/libxl/pci/{bdf.segment:04x}-{bdf.bus:02x}-{bdf.slot:02x}-{bdf.function:x}/domid"


def is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5


def _put(tx: Transaction, path: str, text: str, rights: Sequence[str]) -> None:
    tx.write(path, text)
    tx.set_permissions(path, rights)


def _number(text: str | None) -> int:
    """`num_devs`, which is somebody's text."""
    return min(int(text), _MOST) if text is not None and is_number(text) else 0
