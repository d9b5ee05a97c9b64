# SPDX-License-Identifier: Apache-2.0
"""What the backend needs from the machine it runs on.

Two hosts answer these protocols: ``impl.xen`` (gntdev, evtchn, xenstore, sysfs, libxenctrl) and ``impl.embedded``
(the same things between ordinary processes). The effect loop knows nothing else of its surroundings, so what was
proved of the order of accesses is what happens on either.

Every method may fail with :class:`HostError`; nothing else may escape. A host never retries and never decides: it
does the one access that it was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import Any, NewType, Protocol

DomId = NewType("DomId", int)
GrantRef = NewType("GrantRef", int)
Port = NewType("Port", int)


class HostError(Exception):
    """A call of the host failed: `what` was asked for, `errno` is the positive Linux number (0 if there is none)."""

    def __init__(self, what: str, errno: int = 0) -> None:
        super().__init__(what)
        self.what, self.errno = what, errno


@dataclass(frozen=True, slots=True, order=True)
class Bdf:
    """A PCI function's address: segment, bus, device (slot), function. Written ``DDDD:BB:SS.F``."""

    segment: int
    bus: int
    slot: int
    function: int

    @property
    def devfn(self) -> int:
        return self.slot << 3 | self.function

    @property
    def sbdf(self) -> int:
        """As the hypervisor takes it: segment << 16 | bus << 8 | devfn."""
        return self.segment << 16 | self.bus << 8 | self.devfn

    def __str__(self) -> str:
        return f"{self.segment:04x}:{self.bus:02x}:{self.slot:02x}.{self.function:x}"


class Words(Protocol):
    """Words of memory by number, as a memoryview has them; each use is one access."""

    def __getitem__(self, key: int, /) -> int: ...
    def __setitem__(self, key: int, value: int, /) -> None: ...


class Page(Protocol):
    """The 4096 bytes that a guest has granted. Each method is exactly one access; offsets are in bytes."""

    def load32(self, offset: int) -> int: ...
    def store32(self, offset: int, value: int) -> None: ...
    def store16(self, offset: int, value: int) -> None: ...
    def copy(self, offset: int, size: int) -> bytes: ...
    def fetch_and(self, offset: int, mask: int) -> int:
        """Locked 32-bit AND; returns the word as it was."""
        ...

    def fetch_or(self, offset: int, mask: int) -> int:
        """Locked 32-bit OR; returns the word as it was."""
        ...

    def words(self) -> Words:
        """The page as 1024 words of 32 bits; indexing it is one access. For the hot path; invalid after `unmap`."""
        ...

    def reader(self, layout: Struct, offset: int) -> Callable[[], tuple[Any, ...]]:
        """Reads what `layout` says from `offset` on, in one pass, when called. Must not be called after `unmap`."""
        ...

    def locked_and(self, offset: int, mask: int) -> Callable[[], object]:
        """`fetch_and` with its arguments fixed: what the hot path calls. Must not be called after `unmap`."""
        ...

    def unmap(self) -> None: ...


class Channel(Protocol):
    """One bound event channel. Readable (`fileno`) when it has rung; masked from `take` until `unmask`."""

    def fileno(self) -> int: ...
    def take(self) -> bool:
        """Consume one ring without blocking; True if there was one. The port is masked afterwards."""
        ...

    def unmask(self) -> None: ...
    def notify(self) -> None: ...
    def unbind(self) -> None: ...


class Transaction(Protocol):
    """Reads and writes that become visible together, or not at all."""

    def read(self, path: str) -> str | None:
        """The node's text; None if it does not exist (or may not be read)."""
        ...

    def write(self, path: str, text: str) -> None: ...
    def remove(self, path: str) -> None: ...
    def directory(self, path: str) -> Sequence[str]: ...
    def set_permissions(self, path: str, permissions: Sequence[str]) -> None:
        """As xenstore spells them: ``n<owner>``, then ``r<domid>`` (``b``: read and write)."""
        ...

    def commit(self) -> bool:
        """False if somebody else changed what was read (EAGAIN): nothing was written, start again."""
        ...

    def abort(self) -> None: ...


class Store(Protocol):
    """xenstore. `fileno` is readable when watch events wait."""

    def fileno(self) -> int: ...
    def read(self, path: str) -> str | None: ...
    def write(self, path: str, text: str) -> None: ...
    def remove(self, path: str) -> None:
        """Remove the node and all below it; one that does not exist is already removed."""
        ...

    def directory(self, path: str) -> Sequence[str]:
        """Names of the children, empty if there are none or no such node."""
        ...

    def set_permissions(self, path: str, permissions: Sequence[str]) -> None: ...
    def watch(self, path: str, token: str) -> None:
        """As in xenstore, a new watch fires once at once."""
        ...

    def unwatch(self, path: str, token: str) -> None: ...
    def events(self) -> Iterator[tuple[str, str]]:
        """The (path, token) pairs that wait, without blocking."""
        ...

    def begin(self) -> Transaction: ...


@dataclass(frozen=True, slots=True)
class Resource:
    """One BAR as the host's kernel placed it: first and last address, and Linux's resource flags (IO 0x100, MEM 0x200, …).

    All three are 0 where there is no such BAR; the upper half of a 64-bit BAR has no resource of its own.
    """

    start: int
    end: int
    flags: int

    @property
    def size(self) -> int:
        return self.end - self.start + 1 if self.flags else 0


class Function(Protocol):
    """One physical PCI function, held exclusively from `Host.open_function` to `close`."""

    bdf: Bdf
    config_size: int  #: 256 or 4096
    resources: Sequence[Resource]  #: BAR0 to BAR5, then the expansion ROM: seven entries
    vendor: int  #: 16 bits, as the host knows it: a virtual function's own register reads ffff
    device: int
    irq: int  #: the routed line interrupt (GSI) as the host knows it, 0 if none
    is_virtual: bool  #: an SR-IOV virtual function

    def read(self, offset: int, size: int) -> int:
        """One configuration read of 1, 2 or 4 aligned bytes."""
        ...

    def write(self, offset: int, size: int, value: int) -> None: ...
    def decodes_memory(self) -> bool:
        """Memory decoding is on; for a virtual function that of its physical one, which is the one that counts."""
        ...

    def reset(self) -> None:
        """The best reset that the host has for it; HostError(ENOTTY) if it has none."""
        ...

    def close(self) -> None: ...


class Host(Protocol):
    """The machine. One instance serves the whole daemon."""

    store: Store
    notes: Path  #: a folder of our own that is gone when the machine is; it need not exist

    def map_page(self, domain: DomId, ref: GrantRef) -> Page: ...
    def bind_channel(self, domain: DomId, remote: Port) -> Channel: ...
    def open_function(self, bdf: Bdf) -> Function:
        """HostError(ENODEV): no such function; HostError(EBUSY): somebody else has it, `what` says who."""
        ...

    def functions(self) -> Sequence[Bdf]:
        """Functions that may be given to guests."""
        ...

    def give(self, domain: DomId, function: Function) -> None:
        """Assign the function and permit its BARs, ports and interrupt line. Undone by itself if it fails half-way."""
        ...

    def take_back(self, domain: DomId, function: Function) -> None:
        """Undo `give`. Succeeds for a domain that is already gone."""
        ...

    def prepared(self, function: Function) -> bool:
        """Whether the function's MSI-X was prepared while no guest had it. Without, none of its entries may be mapped."""
        ...

    def map_vector(self, domain: DomId, function: Function, entry: int | None) -> int:
        """Map one message for the domain that was given the function; returns the guest's number for it, 1 to 65535.

        entry: which one of the MSI-X table; None: plain MSI. Each call maps one more; one that fails maps nothing. Bits of
        configuration space (enable, mask, INTX_DISABLE) are the caller's affair. HostError, as Linux or Xen answer:

        =========  ==========================================================================================
        EINVAL     no such capability; no such entry; the table is outside the BARs; not in D0
        ENXIO      the function does not decode memory
        ENODATA    its MSI-X is not prepared
        ENODEV     the domain does not have the function
        EEXIST     this entry is mapped already, or the other kind is; or success was answered and nothing mapped
        EPERM      the hypervisor has MSI switched off, or we may not
        ENOSPC     the domain has no number left; or the number does not fit what a guest can be told
        ESRCH      no such domain
        =========  ==========================================================================================
        """
        ...

    def map_block(self, domain: DomId, function: Function, messages: int) -> int:
        """Map several messages of MSI, a power of two, at once: the guest's numbers for them follow the one that is returned.

        HostError, besides those of plain MSI: EDOM, there is no such block; ENFILE, the function has not so many messages;
        EOPNOTSUPP, the machine does not remap interrupts.
        """
        ...

    def unmap_vector(self, domain: DomId, function: Function, pirq: int) -> None:
        """Undo `map_vector`, or `map_block` by its first number.

        HostError: ESRCH, the domain is gone and its vectors with it; EINVAL, not mapped; EBUSY, not the first of its block.
        """
        ...

    def reclaim(self, domain: DomId, function: Function, known: Collection[int]) -> int | None:
        """Undo a `map_vector` of a process that died before it could note the number; None if there is nothing to undo.

        known: every number of the domain's messages that is noted, whatever function it is of.
        """
        ...

    def line_shared(self, function: Function) -> str | None:
        """Who in dom0 has a handler on the function's line interrupt, None if nobody has. pciback does not count."""
        ...

    def close(self) -> None: ...
