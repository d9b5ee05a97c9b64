# SPDX-License-Identifier: Apache-2.0
"""What a backend keeps of a guest, for the process that comes after it if it dies (RB-20).

Below the device's own directory in the store, where only dom0 may write: ``pvpci`` says that the device is ours and with which
keys it was attached. It goes with the device, so what is noted elsewhere counts only while it is there. In a folder of the
machine (`pvpci.impl.notes`), a text a function: what its guest was told and has. That is written before the guest is
answered, so a guest has never been told what is not kept; and only if it differs, which is in the life of a driver some
dozen times.

Whoever reads it reads what may be an older version's, or anybody's: what cannot be understood is as good as not kept.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from pvpci.impl.host import Bdf, HostError, Store
from pvpci.impl.interrupts import Vectors
from pvpci.impl.notes import Notes
from pvpci.model.wire import MAX_VECTORS

NODE: Final = "pvpci"  #: below the device's directory
_VERSION: Final = "1"
_RETRIES: Final = 16
_WORD: Final = 0xFFFFFFFF

Half = Annotated[int, Meta(ge=0, le=0xFFFF)]


class FunctionNote(msgspec.Struct, frozen=True, kw_only=True):
    """One function. `command`, `latency`: its registers when it was taken for the guest. `state`: see `ConfigView`."""

    version: Literal[1] = 1
    profile: str
    grants: str
    command: Half
    latency: Half
    line_shared: bool = False
    state: dict[str, Annotated[int, Meta(ge=0, le=_WORD)]]
    kind: Literal["", "msi", "msix"] = ""
    whole: bool = False
    mapping: bool = False
    pirqs: Annotated[tuple[Annotated[int, Meta(ge=1, le=0xFFFF)], ...], Meta(max_length=MAX_VECTORS)] = ()

    @property
    def vectors(self) -> Vectors:
        return Vectors(self.kind, self.whole, self.pirqs, self.mapping)


_DECODER: Final = msgspec.json.Decoder(FunctionNote)


def note(
    profile: str, grants: str, command: int, latency: int, line_shared: bool, state: Mapping[str, int], vectors: Vectors
) -> FunctionNote:
    return FunctionNote(
        profile=profile, grants=grants, command=command, latency=latency, line_shared=line_shared, state=dict(state),
        kind=vectors.kind,
        whole=vectors.whole, mapping=vectors.mapping, pirqs=vectors.pirqs,
    )  # fmt: skip


class Kept:
    """The notes of one device, whose directory in the store is `back`. `notes`: the host's folder for all of them.

    Raises HostError as the store and the folder do.
    """

    def __init__(self, store: Store, back: str, notes: Path) -> None:
        self._store, self._back, self._notes = store, back, notes
        self._path = f"{back}/{NODE}"
        self._functions = Notes(notes.joinpath(*back.rsplit("/", 3)[1:]))

    def keys(self) -> tuple[int, int] | None:
        """Grant and port of the last attach, 0 if there was none; None: no process of ours has this device."""
        words = (self._store.read(self._path) or "").split(" ")
        if len(words) != 3 or words[0] != _VERSION or not all(_is_word(word) for word in words[1:]):
            return None
        return int(words[1]), int(words[2])

    def begin(self) -> None:
        """The device is new, and ours. What is noted was of another one with its name."""
        self._functions.clear()
        self.keep_keys()

    def keep_keys(self, ref: int = 0, port: int = 0) -> None:
        """Nothing is written where the device's directory is gone: that would make it again."""
        for _ in range(_RETRIES):
            tx = self._store.begin()
            try:
                if tx.read(f"{self._back}/state") is None:
                    tx.abort()
                    return
                tx.write(self._path, f"{_VERSION} {ref} {port}")
            except BaseException:
                tx.abort()
                raise
            if tx.commit():
                return
        raise HostError(f"{self._path} cannot be kept: {_RETRIES} transactions were overtaken", errno.EAGAIN)

    def function(self, bdf: Bdf) -> FunctionNote | None:
        return self._noted(_name(bdf))

    def _noted(self, name: str) -> FunctionNote | None:
        text = self._functions.read(name)
        try:
            return None if text is None else _DECODER.decode(text)
        except (msgspec.MsgspecError, UnicodeError):
            return None

    def numbers(self) -> set[int] | None:
        """Of the guest's messages, all that are noted, whatever device they are of; None: somebody else serves it too."""
        backends, kind, domain, device = self._back.rsplit("/", 3)
        for other in self._store.directory(backends):
            if other.endswith("pci") and other != kind and self._store.directory(f"{backends}/{other}/{domain}"):
                return None
        found: set[int] = set()
        for each in {device, *self._store.directory(f"{backends}/{kind}/{domain}")}:
            one = Kept(self._store, f"{backends}/{kind}/{domain}/{each}", self._notes)
            if one.keys() is None:
                return None
            for name in one._functions.names():
                noted = one._noted(name)
                if noted is None:
                    return None
                found |= set(noted.pirqs)
        return found

    def keep_function(self, bdf: Bdf, found: FunctionNote) -> None:
        self._functions.write(_name(bdf), msgspec.json.encode(found))

    def forget_function(self, bdf: Bdf) -> None:
        self._functions.remove(_name(bdf))

    def forget(self) -> None:
        """The device is nobody's."""
        self._store.remove(self._path)
        self._functions.clear()


def sweep(store: Store, base: str, notes: Path) -> int:
    """Clear away what was noted of devices that went while nobody served them; how many. `base`: the class's directory."""
    cleared = 0
    for guest in (notes / base.rsplit("/", 1)[1]).glob("*/*"):
        one = Kept(store, f"{base}/{guest.parent.name}/{guest.name}", notes)
        if one.keys() is None:
            one._functions.clear()
            cleared += 1
    return cleared


@cache
def _name(bdf: Bdf) -> str:
    return f"{bdf.segment:04x}-{bdf.bus:02x}-{bdf.slot:02x}-{bdf.function:x}"


def _is_word(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= _WORD
