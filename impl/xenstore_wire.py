# SPDX-License-Identifier: Apache-2.0
"""xenstore's messages: sizes, types, and a parser that is total on any bytes.

Client and embedded store share it, so that both ends of a conversation cannot agree on a mistake that only one of them
made; the numbers are checked against the public header in the tests.
"""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from pvpci.impl.host import HostError

# struct xsd_sockmsg { uint32_t type; uint32_t req_id; uint32_t tx_id; uint32_t len; }: io/xs_wire.h, 16 bytes
HEADER: Final = struct.Struct("<IIII")
PAYLOAD_MAX: Final = 4096
ABSOLUTE_PATH_MAX: Final = 3072
RELATIVE_PATH_MAX: Final = 2048
#: One watch event holds the longest path, the token and two terminators in one payload.
TOKEN_MAX: Final = PAYLOAD_MAX - ABSOLUTE_PATH_MAX - 2


class Kind(IntEnum):
    """enum xsd_sockmsg_type, io/xs_wire.h."""

    CONTROL = 0
    DIRECTORY = 1
    READ = 2
    GET_PERMS = 3
    WATCH = 4
    UNWATCH = 5
    TRANSACTION_START = 6
    TRANSACTION_END = 7
    INTRODUCE = 8
    RELEASE = 9
    GET_DOMAIN_PATH = 10
    WRITE = 11
    MKDIR = 12
    RM = 13
    SET_PERMS = 14
    WATCH_EVENT = 15
    ERROR = 16
    IS_DOMAIN_INTRODUCED = 17


@dataclass(frozen=True, slots=True)
class Message:
    """One message of either direction; `kind` is a plain number because the other side may send any."""

    kind: int
    request: int
    transaction: int
    payload: bytes

    def pack(self) -> bytes:
        if len(self.payload) > PAYLOAD_MAX:
            raise HostError(f"a xenstore payload has {len(self.payload)} bytes, at most {PAYLOAD_MAX}", errno.E2BIG)
        return HEADER.pack(self.kind, self.request, self.transaction, len(self.payload)) + self.payload


class Parser:
    """Cuts a byte stream into messages. HostError(EPROTO) once a length is impossible; the stream is lost then."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """Take `data`, return every message that is complete now."""
        self._buffer += data
        messages, start = [], 0
        while len(self._buffer) - start >= HEADER.size:
            kind, request, transaction, size = HEADER.unpack_from(self._buffer, start)
            if size > PAYLOAD_MAX:
                raise HostError(f"a xenstore message claims {size} bytes, at most {PAYLOAD_MAX}", errno.EPROTO)
            end = start + HEADER.size + size
            if len(self._buffer) < end:
                break
            messages.append(Message(kind, request, transaction, bytes(self._buffer[start + HEADER.size : end])))
            start = end
        del self._buffer[:start]
        return messages


def split(payload: bytes) -> list[bytes]:
    """The strings of a payload, each of which should end with a zero byte; a missing last terminator is forgiven."""
    return payload.removesuffix(b"\0").split(b"\0") if payload else []


def text_of(value: bytes) -> str:
    """Any bytes as ASCII text; what is not ASCII becomes an escape."""
    return value.decode("ascii", "backslashreplace")
