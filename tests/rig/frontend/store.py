# SPDX-License-Identifier: Apache-2.0
"""A small xenstore client over /dev/xen/xenbus, for dom0 and for a guest.

Not the backend's own client, on purpose: what is tested must not be its own witness. Nothing is cached.
"""

from __future__ import annotations

import os
import select
import struct
import time
from typing import Final

# io/xs_wire.h: struct xsd_sockmsg { uint32_t type, req_id, tx_id, len; }; sizeof == 16
HEAD: Final = struct.Struct("<IIII")
DIRECTORY, READ, WATCH, BEGIN, END, WRITE, REMOVE, PERMISSIONS = 1, 2, 4, 6, 7, 11, 13, 14
FIRED, ERROR = 15, 16
#: Longest text that a guest may put into a node: xenstored's quota is 2048 bytes, its own notes on the node included.
TEXT_LIMIT: Final = 1900


class Refused(OSError):
    """xenstored's answer is an error; the text is its name, as ENOENT."""


class Store:
    def __init__(self) -> None:
        self._device = os.open("/dev/xen/xenbus", os.O_RDWR)
        self._bytes = b""
        self._fired: list[str] = []

    def close(self) -> None:
        """And with it all watches."""
        os.close(self._device)

    def _packet(self) -> tuple[int, bytes]:
        while len(self._bytes) < HEAD.size or len(self._bytes) < HEAD.size + HEAD.unpack_from(self._bytes)[3]:
            self._bytes += os.read(self._device, 8192)
        kind, _, _, size = HEAD.unpack_from(self._bytes)
        body, self._bytes = self._bytes[HEAD.size : HEAD.size + size], self._bytes[HEAD.size + size :]
        return kind, body

    def _call(self, kind: int, *parts: str, last: str | None = None, transaction: int = 0) -> bytes:
        body = b"".join(part.encode() + b"\0" for part in parts) + (last or "").encode()
        os.write(self._device, HEAD.pack(kind, 0, transaction, len(body)) + body)
        while True:
            got, answer = self._packet()
            if got == FIRED:
                self._fired.append(answer.split(b"\0")[0].decode())
            elif got == ERROR:
                raise Refused(answer.rstrip(b"\0").decode())
            else:
                return answer

    def pipeline(self, *requests: tuple[int, int, str, str | None]) -> list[str]:
        """Send all, each (type, transaction, path, text), then read the answers; an error answers with its name."""
        for kind, transaction, path, text in requests:
            body = path.encode() + b"\0" + (text or "").encode()
            os.write(self._device, HEAD.pack(kind, 0, transaction, len(body)) + body)
        answers: list[str] = []
        while len(answers) < len(requests):
            got, body = self._packet()
            if got == FIRED:
                self._fired.append(body.split(b"\0")[0].decode())
            else:
                answers.append(body.rstrip(b"\0").decode())
        return answers

    def read(self, path: str) -> str | None:
        try:
            return self._call(READ, path).decode()
        except Refused as error:
            if "ENOENT" in str(error):
                return None
            raise

    def directory(self, path: str) -> list[str]:
        try:
            return [name.decode() for name in self._call(DIRECTORY, path).split(b"\0") if name]
        except Refused:
            return []

    def write(self, path: str, text: object, transaction: int = 0) -> None:
        self._call(WRITE, path, last=str(text), transaction=transaction)

    def write_all(self, nodes: dict[str, object]) -> None:
        """All of them become visible together; tried again as long as somebody else is in the way."""
        while True:
            transaction = self.begin()
            for path, text in nodes.items():
                self.write(path, text, transaction)
            try:
                self.end(transaction)
                return
            except Refused as error:
                if "EAGAIN" not in str(error):
                    raise

    def remove(self, path: str) -> None:
        """The node and all below it; one that is not there is no error."""
        try:
            self._call(REMOVE, path)
        except Refused as error:
            if "ENOENT" not in str(error):
                raise

    def permit(self, path: str, *permissions: str, transaction: int = 0) -> None:
        self._call(PERMISSIONS, path, *permissions, transaction=transaction)

    def begin(self) -> int:
        return int(self._call(BEGIN, "").rstrip(b"\0"))

    def end(self, transaction: int) -> None:
        self._call(END, "T", transaction=transaction)

    def watch(self, path: str) -> None:
        self._call(WATCH, path, "rig")

    def changed(self, limit: float | None = None) -> str | None:
        """The path of the next watch that fires; None if none does in `limit` seconds."""
        if self._fired:
            return self._fired.pop(0)
        if not self._bytes and not select.select([self._device], [], [], limit)[0]:
            return None
        kind, body = self._packet()
        return body.split(b"\0")[0].decode() if kind == FIRED else None

    def wait(self, path: str, wanted: tuple[str | None, ...], limit: float) -> tuple[str | None, float]:
        """Poll until the node reads one of `wanted`: (what it reads, seconds waited)."""
        started = time.monotonic()
        while True:
            text, waited = self.read(path), time.monotonic() - started
            if text in wanted or waited > limit:
                return text, round(waited, 3)
            time.sleep(0.003)
