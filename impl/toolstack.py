# SPDX-License-Identifier: Apache-2.0
"""The toolstack's part, as libxl plays it: nodes are made, functions listed and unlisted, and the result is waited for.

One directory per guest carries all its functions. It is made in one transaction; later changes are a round of hot-plug: when
the backend says Connected the function is listed and 7 written, in one transaction that looks again whether it still says
so, and the round is over when it says Connected once more. libxl reports success whatever came of that; here it is read
back and said. Where libxl takes a function away from the guest before the guest has let go of it, we do that afterwards.

Who has a function is noted under ``/libxl/pci``, where `xl` looks too.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

from pvpci.impl.device_nodes import NO_GRANTS, Device, DeviceNodes, change, devices, is_number, note, watched
from pvpci.impl.errors import UsageError
from pvpci.impl.host import Bdf, DomId, Function, Host, HostError, Transaction
from pvpci.model.config.grants import NOTHING, Grants

PATIENCE: Final = 10.0  #: seconds that libxl waits for a state
_RELEASE_POLL: Final = 0.02
_REASON_SECONDS: Final = 1.0  #: until a backend that has closed has said why
MAKE, LATE, PLUG = "make the device", "list for the guest that is starting", "hot-plug"
REMOVE, UNPLUG = "remove the device", "hot-unplug"


class Toolstack:
    """Over a host on which this process may do what dom0 may. Raises UsageError for what the caller can mend, HostError else.

    patience: seconds to wait for each state.
    """

    def __init__(self, host: Host, *, device_class: str = "pci", patience: float = PATIENCE) -> None:
        self._host, self._store, self._class, self.patience = host, host.store, device_class, patience

    def nodes(self, domain: int) -> DeviceNodes:
        return DeviceNodes(self._store, self._class, domain)

    def back(self, domain: int) -> str:
        return self.nodes(domain).back

    def list(self, domain: DomId | None = None) -> list[Device]:
        """The functions of one guest, or of all, by domain and index."""
        return devices(self._store, self._class, domain)

    # Attach

    def check_attach(self, domain: DomId, functions: Sequence[Bdf]) -> str:
        """What attaching would do, in words. UsageError if it could not be done."""
        if self._store.read(f"/local/domain/{domain}") is None:
            raise UsageError(f"domain {domain}", "there is no such domain", "name one that runs; `xl list` lists them")
        if len(set(functions)) != len(functions):
            raise UsageError("attach", "the same function is named twice", "name each once")
        known = set(self._host.functions())
        for bdf in functions:
            if bdf not in known:
                raise UsageError(str(bdf), "no such function", "name one that exists; `lspci -D` lists them")
            self._must_be_free(bdf)
        nodes = self.nodes(domain)
        state = nodes.own
        if state is None or nodes.theirs is None:
            # A backend's directory without a frontend's has outlived its guest.
            return MAKE
        if state in ("1", "2", "3"):
            return LATE
        if state in ("4", "7", "8"):
            return PLUG
        what, right = f"its device is closed (state {state})", "restart the guest, or detach its functions first"
        raise UsageError(f"domain {domain}", what, right)

    def attach(
        self, domain: DomId, functions: Sequence[Bdf], grants: Mapping[Bdf, Grants] = NO_GRANTS, *, wait: bool = True
    ) -> Sequence[Device]:
        """Give the functions and list them; how each stands then. `grants`: what the guest may do beyond the usual.

        UsageError: they cannot be had; the guest or the backend did not answer in time (the text says how far it came).
        """
        how = self.check_attach(domain, functions)
        nodes = self.nodes(domain)
        given: list[Bdf] = []
        try:
            for bdf in functions:
                self._give(domain, bdf)
                given.append(bdf)
            if how == MAKE:
                change(self._store, lambda tx: nodes.make(tx, functions, grants))
            elif how == LATE:
                change(
                    self._store, lambda tx: all([nodes.append(tx, bdf, grants.get(bdf, NOTHING)) for bdf in functions])
                )
            else:
                for bdf in functions:
                    self._plug(nodes, bdf, grants.get(bdf, NOTHING))
        except (UsageError, HostError):
            listed = {each.function for each in nodes.functions()}
            for bdf in given:
                if str(bdf) not in listed:
                    self._take(domain, bdf)
            raise
        if wait:
            self._wait_listed(nodes, functions)
        wanted = {str(bdf) for bdf in functions}
        return [each for each in nodes.functions() if each.function in wanted]

    def _give(self, domain: DomId, bdf: Bdf) -> None:
        function = self._opened(bdf)
        try:
            try:
                self._host.give(domain, function)
            except HostError as error:
                if error.errno == errno.EBUSY:
                    raise UsageError(
                        str(bdf), f"busy: {error.what}", "detach it there first, or name another"
                    ) from error
                raise
            self._store.write(note(bdf), str(domain))
        finally:
            function.close()

    def _plug(self, nodes: DeviceNodes, bdf: Bdf, grants: Grants) -> None:
        def write(tx: Transaction) -> bool:
            if tx.read(f"{nodes.back}/state") != "4":
                return False
            nodes.append(tx, bdf, grants)
            tx.write(f"{nodes.back}/state", "7")
            return True

        self._round(nodes, f"{bdf} is not attached", write)
        self._await_connected(nodes, f"{bdf} is listed, but its round of hot-plug did not end")

    def _reason(self, nodes: DeviceNodes) -> str:
        """What the backend says of its failure, which it does right after it has closed; "" if it says nothing."""
        deadline = time.monotonic() + _REASON_SECONDS
        while not (found := nodes.error) and time.monotonic() < deadline:
            time.sleep(_RELEASE_POLL)
        return found or ""

    def _wait_listed(self, nodes: DeviceNodes, functions: Sequence[Bdf]) -> None:
        """Until the backend has taken each function. It answers without the guest."""
        wanted = {str(bdf) for bdf in functions}
        where = f"domain {nodes.domain}"

        def done() -> bool:
            state = nodes.own
            if state in ("5", "6"):
                why = self._reason(nodes) or "no reason given"
                raise UsageError(where, f"the backend refused: {why}", "detach the functions and mend that first")
            # They are taken first and published after that: only then can a guest connect.
            return wanted <= {each.function for each in nodes.functions() if each.state == "3"} and state not in (
                "1",
                "2",
            )

        if not watched(self._store, nodes.back, done, self.patience):
            what = (
                f"the functions are listed, but nobody attached them in {self.patience:g} s (backend state {nodes.own})"
            )
            raise UsageError(where, what, "start `pvpci serve`, or see its log")

    # Detach

    def check_detach(self, domain: DomId, functions: Sequence[Bdf]) -> str:
        """What detaching would do, in words. UsageError if it could not be done."""
        nodes, where = self.nodes(domain), f"domain {domain}"
        listed = {each.function for each in nodes.functions()}
        if not listed:
            raise UsageError(where, "it has no functions", "see `pvpci list`")
        for bdf in functions:
            if str(bdf) not in listed:
                right = f"it has {', '.join(sorted(listed))}; see `pvpci list`"
                raise UsageError(str(bdf), f"not attached to domain {domain}", right)
        state = nodes.own
        if state in ("4", "7", "8") and nodes.theirs is not None:
            return UNPLUG
        if listed <= {str(bdf) for bdf in functions}:
            return REMOVE
        what = f"its device is not connected (state {state})"
        raise UsageError(where, what, "wait until it is, or detach all its functions")

    def detach(self, domain: DomId, functions: Sequence[Bdf]) -> Sequence[str]:
        """Take the functions back; what was done, one line each. UsageError as for `attach`."""
        nodes, done = self.nodes(domain), []
        how = self.check_detach(domain, functions)
        for bdf in functions:
            if how == UNPLUG:
                self._unplug(nodes, bdf)
                done.append(f"detached {bdf} from domain {domain}")
        if how == REMOVE or not nodes.functions():
            nodes.remove()
            done.append(f"removed the device of domain {domain}")
        for bdf in functions:
            # A guest that is gone may still list what was given to another one since.
            if self._store.read(note(bdf)) in (None, str(domain)):
                self._take(domain, bdf)
                done.append(f"took {bdf} back from domain {domain}")
        return done

    def destroy(self, domain: DomId) -> Sequence[str]:
        """All of a domain's functions and nodes, whatever it and its backend are doing: for one that is gone."""
        nodes, done = self.nodes(domain), []
        functions = {each.function for each in nodes.functions()}
        nodes.remove()
        for bdf in self._host.functions():
            holder = self._store.read(note(bdf))
            # What is listed here may have been given to another guest since.
            if holder == str(domain) or (holder is None and str(bdf) in functions):
                self._take(domain, bdf)
                done.append(f"took {bdf} back from domain {domain}")
        return done

    def _unplug(self, nodes: DeviceNodes, bdf: Bdf) -> None:
        def write(tx: Transaction) -> bool:
            index = nodes.index(tx, bdf)
            if tx.read(f"{nodes.back}/state") != "4" or index is None:
                return False
            tx.write(f"{nodes.back}/state-{index}", "5")
            tx.write(f"{nodes.back}/state", "7")
            return True

        self._round(nodes, f"{bdf} is still attached", write)
        self._await_connected(nodes, f"{bdf} is to be detached, but the guest did not let go of it")
        change(self._store, lambda tx: nodes.drop(tx, bdf))

    def _take(self, domain: DomId, bdf: Bdf) -> None:
        """After the backend has let go of it, and not before."""
        deadline = time.monotonic() + self.patience
        while True:
            try:
                function = self._host.open_function(bdf)
            except HostError as error:
                if error.errno != errno.EBUSY:
                    raise
                if time.monotonic() > deadline:
                    what = f"still busy {self.patience:g} s after it was detached: {error.what}"
                    raise UsageError(str(bdf), what, "see the backend's log") from error
                # Nobody tells when a function becomes free.
                time.sleep(_RELEASE_POLL)
                continue
            try:
                self._host.take_back(domain, function)
                self._store.remove(note(bdf))
            finally:
                function.close()
            return

    # What they share

    def _must_be_free(self, bdf: Bdf) -> None:
        holder = self._store.read(note(bdf))
        if holder is not None and is_number(holder):
            if self._store.read(f"/local/domain/{holder}") is not None:
                raise UsageError(str(bdf), f"busy: domain {holder} has it", "detach it there first, or name another")
            # Its domain is gone, and nobody has cleaned up behind it.
            with suppress(HostError):
                self._take(DomId(int(holder)), bdf)
        self._opened(bdf).close()

    def _opened(self, bdf: Bdf) -> Function:
        try:
            return self._host.open_function(bdf)
        except HostError as error:
            if error.errno == errno.ENODEV:
                raise UsageError(str(bdf), "no such function", "name one that exists; `lspci -D` lists them") from error
            if error.errno == errno.EBUSY:
                raise UsageError(str(bdf), f"busy: {error.what}", "free it first, or name another") from error
            raise

    def _round(self, nodes: DeviceNodes, what: str, write: Callable[[Transaction], bool]) -> None:
        """Wait for Connected and begin a round; again if it was gone when we wrote."""
        deadline = time.monotonic() + self.patience
        while True:
            self._await_connected(nodes, what, deadline - time.monotonic())
            if change(self._store, write):
                return

    def _await_connected(self, nodes: DeviceNodes, what: str, patience: float | None = None) -> None:
        node = f"{nodes.back}/state"
        if watched(self._store, node, lambda: nodes.own == "4", self.patience if patience is None else patience):
            return
        raise UsageError(
            f"domain {nodes.domain}",
            f"{what}: backend in state {nodes.own}, guest in {nodes.theirs} after {self.patience:g} s",
            "see whether the guest runs and has its PCI frontend, and whether `pvpci serve` runs",
        )
