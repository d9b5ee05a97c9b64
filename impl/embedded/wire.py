# SPDX-License-Identifier: Apache-2.0
"""What a process and the box say to each other, apart from the store.

One request, one answer, each one packet of a SOCK_SEQPACKET socket: JSON, with descriptors riding along where a page, a
doorbell or a store connection is handed over. Answers carry the Linux number that the real call would have failed with.
The box trusts `domain` in `Hello`, for it keeps processes of one user apart by their role, not by their privileges.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec


def notes_of(path: str) -> str:
    """Where backends of the box at `path` keep their notes; the box takes the folder away with itself."""
    return f"{path}.notes"


REQUEST_MAX: Final = 4096
REPLY_MAX: Final = 131072

#: The calls that can be made to fail.
Refusable = Literal["give", "take_back", "map", "unmap"]


class Request(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Base of all requests; the class name is the tag."""


class Hello(Request, frozen=True):
    """First of all: who this is. With `owner`, the domain is destroyed when this connection ends."""

    domain: int
    label: str
    owner: bool = False


class Bye(Request, frozen=True):
    """Release all that this process holds, as its death would. The answer (or the end) comes when that is done."""


class OpenStore(Request, frozen=True):
    """-> Reply with one descriptor: a stream that speaks xenstore's protocol."""


class Grant(Request, frozen=True):
    """Let domain `to` map a new page. -> number: the reference; one descriptor: 4096 bytes of memory."""

    to: int


class Revoke(Request, frozen=True):
    """-> number 1 if the page is still mapped, and then the grant stays; 0 if it is gone."""

    ref: int


class Map(Request, frozen=True):
    """-> number: a handle for `Unmap`; one descriptor."""

    domain: int
    ref: int


class Unmap(Request, frozen=True):
    handle: int


class Alloc(Request, frozen=True):
    """Make a port that domain `to` may bind. -> number: the port; one descriptor: its doorbell."""

    to: int


class Bind(Request, frozen=True):
    """-> number: the local port; one descriptor: its doorbell."""

    domain: int
    port: int


class ClosePort(Request, frozen=True):
    port: int


class CreateDomain(Request, frozen=True):
    domain: int


class DestroyDomain(Request, frozen=True):
    domain: int


class Functions(Request, frozen=True):
    """-> names: the addresses."""


class OpenFunction(Request, frozen=True):
    """-> names: where the image is; one descriptor: the configuration space as it is now."""

    bdf: str


class CloseFunction(Request, frozen=True):
    bdf: str


class Give(Request, frozen=True):
    domain: int
    bdf: str


class TakeBack(Request, frozen=True):
    domain: int
    bdf: str


class Prepared(Request, frozen=True):
    """-> number 1 if the function's MSI-X is prepared, else 0."""

    bdf: str


class MapVector(Request, frozen=True):
    """-> number: the domain's for that entry of the MSI-X table; null: for plain MSI."""

    domain: int
    bdf: str
    entry: int | None


class MapBlock(Request, frozen=True):
    """Several messages of plain MSI at once. -> number: the domain's for the first one; the others follow it."""

    domain: int
    bdf: str
    messages: int


class UnmapVector(Request, frozen=True):
    domain: int
    bdf: str
    pirq: int


class BindPirq(Request, frozen=True):
    """A guest's own interrupt. -> number: the port; one descriptor: its doorbell."""

    pirq: int


class Settle(Request, frozen=True):
    """The function's registers were written to: what pends may now be sent."""

    bdf: str


class LineShared(Request, frozen=True):
    """-> what: who in dom0 uses the function's line, empty if nobody does."""

    bdf: str


class ShareLine(Request, frozen=True):
    """Let somebody in dom0 use the function's line; empty: nobody."""

    bdf: str
    name: str


class Interrupt(Request, frozen=True):
    """The function raises an interrupt. -> what: "delivered", "pending" or "lost"."""

    bdf: str
    entry: int


class MaskVector(Request, frozen=True):
    """Set or clear the mask bit of one entry of the function's MSI-X table."""

    bdf: str
    entry: int
    masked: bool


class Refuse(Request, frozen=True):
    """Let calls fail: skip as many of them, then answer `number` as often as said."""

    call: Refusable
    number: int
    skip: int
    times: int


class Account(Request, frozen=True):
    """-> accounting."""


AnyRequest = (
    Hello
    | Bye
    | OpenStore
    | Grant
    | Revoke
    | Map
    | Unmap
    | Alloc
    | Bind
    | ClosePort
    | CreateDomain
    | DestroyDomain
    | Functions
    | OpenFunction
    | CloseFunction
    | Give
    | TakeBack
    | Prepared
    | MapVector
    | MapBlock
    | UnmapVector
    | BindPirq
    | Settle
    | LineShared
    | ShareLine
    | Interrupt
    | MaskVector
    | Refuse
    | Account
)


class Mapped(msgspec.Struct, frozen=True, order=True):
    """A page of `owner` that process `pid` of domain `by` has mapped."""

    owner: int
    ref: int
    by: int
    pid: int


class Bound(msgspec.Struct, frozen=True, order=True):
    """`port` of `domain` is connected to `remote_port` of `remote`; -1: it was, and that end is closed."""

    domain: int
    port: int
    remote: int
    remote_port: int


class Assigned(msgspec.Struct, frozen=True, order=True):
    bdf: str
    domain: int


class Held(msgspec.Struct, frozen=True, order=True):
    """Process `pid`, which calls itself `label`, has the function open."""

    bdf: str
    pid: int
    label: str


class Vector(msgspec.Struct, frozen=True, order=True):
    """A message of the function that is mapped for the domain; `entry` -1: plain MSI, and `message` says which of its block.

    delivered: how often it was sent.
    """

    bdf: str
    domain: int
    entry: int
    pirq: int
    delivered: int = 0
    message: int = 0


class Accounting(msgspec.Struct, frozen=True):
    """What exists in the box now, each list sorted.

    `unbound` as (domain, port), `granted` as (domain, ref), `listening` as (domain, port, pirq).
    """

    domains: tuple[int, ...] = ()
    granted: tuple[tuple[int, int], ...] = ()
    mapped: tuple[Mapped, ...] = ()
    unbound: tuple[tuple[int, int], ...] = ()
    bound: tuple[Bound, ...] = ()
    held: tuple[Held, ...] = ()
    assigned: tuple[Assigned, ...] = ()
    vectors: tuple[Vector, ...] = ()
    listening: tuple[tuple[int, int, int], ...] = ()
    watches: int = 0
    transactions: int = 0

    @property
    def leaks(self) -> tuple[Mapped | Bound | Held | Assigned | Vector, ...]:
        """Everything that a backend must have given back when it has ended; ports only where domain 0 has them."""
        ports = (each for each in self.bound if each.domain == 0)
        return (*self.mapped, *ports, *self.held, *self.assigned, *self.vectors)


class Reply(msgspec.Struct, frozen=True):
    """`errno` 0: done. `what` says what went wrong otherwise."""

    errno: int = 0
    what: str = ""
    number: int = 0
    names: tuple[str, ...] = ()
    accounting: Accounting | None = None


request_decoder: Final = msgspec.json.Decoder(AnyRequest)
reply_decoder: Final = msgspec.json.Decoder(Reply)
encode: Final = msgspec.json.encode
