# SPDX-License-Identifier: Apache-2.0
"""What a backend keeps of a guest in the store, for the process that comes after it if it dies (RB-20).

One directory below the device's own, which only dom0 may write and which goes with the device: ``pvpci`` says that the device
is ours and with which keys it was attached, ``pvpci/0000-00-05-0`` what one function's guest was told and has. It is written
before the guest is answered, so a guest has never been told what is not kept; and only if it differs, which is in the life
of a driver some dozen times. Nothing is written where the device's directory is gone: that would make it again.

Whoever reads it reads what may be an older version's, or anybody's: what cannot be understood is as good as not kept.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from pvpci.impl.host import Bdf, HostError, Store, Transaction
from pvpci.impl.interrupts import Vectors
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
    """The notes of one device. Raises HostError as the store does."""

    def __init__(self, store: Store, back: str) -> None:
        self._store, self._back = store, back
        self._path = f"{back}/{NODE}"

    def keys(self) -> tuple[int, int] | None:
        """Grant and port of the last attach, 0 if there was none; None: no process of ours has this device."""
        words = (self._store.read(self._path) or "").split(" ")
        if len(words) != 3 or words[0] != _VERSION or not all(_is_word(word) for word in words[1:]):
            return None
        return int(words[1]), int(words[2])

    def keep_keys(self, ref: int = 0, port: int = 0) -> None:
        self._write(self._path, f"{_VERSION} {ref} {port}")

    def function(self, bdf: Bdf) -> FunctionNote | None:
        return self._noted(self._of(bdf))

    def _noted(self, path: str) -> FunctionNote | None:
        text = self._store.read(path)
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
            one = Kept(self._store, f"{backends}/{kind}/{domain}/{each}")
            if one.keys() is None:
                return None
            for name in self._store.directory(one._path):
                noted = one._noted(f"{one._path}/{name}")
                if noted is None:
                    return None
                found |= set(noted.pirqs)
        return found

    def keep_function(self, bdf: Bdf, found: FunctionNote, tx: Transaction | None = None) -> None:
        """In a transaction of its own, or in `tx`."""
        text = msgspec.json.encode(found).decode()
        if tx is None:
            self._write(self._of(bdf), text)
        else:
            tx.write(self._of(bdf), text)

    def forget_function(self, bdf: Bdf) -> None:
        self._store.remove(self._of(bdf))

    def forget(self) -> None:
        """The device is nobody's."""
        self._store.remove(self._path)

    def _of(self, bdf: Bdf) -> str:
        return f"{self._path}/{bdf.segment:04x}-{bdf.bus:02x}-{bdf.slot:02x}-{bdf.function:x}"

    def _write(self, path: str, text: str) -> None:
        for _ in range(_RETRIES):
            tx = self._store.begin()
            try:
                if tx.read(f"{self._back}/state") is None:
                    tx.abort()
                    return
                tx.write(path, text)
            except BaseException:
                tx.abort()
                raise
            if tx.commit():
                return
        raise HostError(f"{path} cannot be kept: {_RETRIES} transactions were overtaken", errno.EAGAIN)


def _is_word(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= _WORD
