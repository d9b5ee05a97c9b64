# SPDX-License-Identifier: Apache-2.0
"""Words of memory that two sides change at once.

Guest and backend change different bits of the same `flags` word at the same moment, so a bit may only be changed by a
locked read-modify-write; a load, a change and a store in an interpreter would now and then undo what the other side did
in between. The compiler's runtime, libatomic, exports that as ordinary functions. Where it is not installed, six
instructions on a page of our own do the same on x86-64. Anything else is refused rather than done almost right.

Plain loads and stores of an aligned word are single instructions already when they go through a `memoryview` of the
right format; only the two flag operations cost a foreign call.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from struct import Struct
from typing import Any, Final, Protocol

from pvpci.impl.host import HostError

PAGE_SIZE: Final = 4096
#: An offset is usable for a 32-bit access when no bit outside this mask is set: aligned, inside the page, not negative.
_WORD_OFFSETS: Final = PAGE_SIZE - 4
_HALF_OFFSETS: Final = PAGE_SIZE - 2
_SEQ_CST: Final = 5


class Shared(Protocol):
    """A writable buffer that can be given back, as `mmap.mmap` is."""

    def close(self) -> None: ...
    def __len__(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Atomics:
    """Sequentially consistent operations on the aligned 32-bit word at an address. `origin` says who does them."""

    origin: str
    fetch_and: Callable[[int, int], int]
    fetch_or: Callable[[int, int], int]
    load: Callable[[int], int]
    store: Callable[[int, int], None]
    fence: Callable[[], None]


def from_libatomic(library: str = "libatomic.so.1") -> Atomics:
    """The runtime's own routines. HostError(ENOENT) where the library is not installed or lacks one of them."""
    try:
        # PyDLL keeps the interpreter's lock: giving it up and taking it again costs more than the call itself.
        dll = ctypes.PyDLL(library)
        word, address = ctypes.c_uint32, ctypes.c_void_p
        # The last argument has a default, so that no function of ours stands between a caller and the instruction.
        order = (1, "order", _SEQ_CST)

        def function(name: str, result: Any, *arguments: Any) -> Any:
            flags: Any = (*((1, f"argument{place}") for place in range(len(arguments))), order)
            return ctypes.PYFUNCTYPE(result, *arguments, ctypes.c_int)((name, dll), flags)

        return Atomics(
            library,
            function("__atomic_fetch_and_4", word, address, word),
            function("__atomic_fetch_or_4", word, address, word),
            function("__atomic_load_4", word, address),
            function("__atomic_store_4", None, address, word),
            function("atomic_thread_fence", None),
        )
    except (OSError, AttributeError) as error:
        raise HostError(f"{library}: {error}", errno.ENOENT) from error


# rdi holds the address, esi the mask; eax returns the word as it was.
#   8b 07        mov eax, [rdi]
#   89 c1        mov ecx, eax            <- again
#   21 f1        and ecx, esi            (09 f1: or)
#   f0 0f b1 0f  lock cmpxchg [rdi], ecx (on failure eax is the newer word)
#   75 f6        jne again
#   c3           ret
_X86_64_CODE: Final = {
    "fetch_and": bytes.fromhex("8b0789c121f1f00fb10f75f6c3"),
    "fetch_or": bytes.fromhex("8b0789c109f1f00fb10f75f6c3"),
    "load": bytes.fromhex("8b07c3"),
    "store": bytes.fromhex("8737c3"),  # xchg [rdi], esi: locked by definition
    "fence": bytes.fromhex("0faef0c3"),  # mfence
}
_SLOT: Final = 16


def _code_page(pieces: Sequence[bytes]) -> int:
    """The address of the pieces, each at a multiple of `_SLOT`, in memory of their own that stays. HostError(ENOTSUP)."""
    if platform.machine() not in ("x86_64", "AMD64") or sys.maxsize < 2**32:
        raise HostError(f"no locked instructions are known here for {platform.machine()}", errno.ENOTSUP)
    page = mmap.mmap(-1, PAGE_SIZE)
    for slot, code in enumerate(pieces):
        page[slot * _SLOT : slot * _SLOT + len(code)] = code
    anchor = ctypes.c_char.from_buffer(page)
    base = ctypes.addressof(anchor)
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    protect.restype, protect.argtypes = ctypes.c_int, (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    if protect(base, PAGE_SIZE, mmap.PROT_READ | mmap.PROT_EXEC):
        raise HostError(f"a page cannot be made executable: {os.strerror(ctypes.get_errno())}", errno.ENOTSUP)
    _kept.append(anchor)
    return base


def from_code_page() -> Atomics:
    """The same from a page of machine code. HostError(ENOTSUP) off x86-64 or where memory may not become executable."""
    base = _code_page(list(_X86_64_CODE.values()))
    word, address = ctypes.c_uint32, ctypes.c_void_p
    changes = ctypes.PYFUNCTYPE(word, address, word)
    and_, or_ = changes(base), changes(base + _SLOT)
    load = ctypes.PYFUNCTYPE(word, address)(base + 2 * _SLOT)
    store = ctypes.PYFUNCTYPE(None, address, word)(base + 3 * _SLOT)
    fence = ctypes.PYFUNCTYPE(None)(base + 4 * _SLOT)
    return Atomics(
        "x86-64 code page",
        and_,
        or_,
        load,
        store,
        fence,
    )


# Called as a built-in function without arguments: rdi holds its `self`, a bytes object with the address, the mask and a function
# of the interpreter that makes the result. `rdi` is replaced by 0, so what is returned is its False, whatever the address held.
#   48 8b 57 ..  mov rdx, [rdi + address]
#   8b 4f ..     mov ecx, [rdi + mask]
#   48 8b 47 ..  mov rax, [rdi + PyBool_FromLong]
#   f0 21 0a     lock and [rdx], ecx
#   31 ff        xor edi, edi
#   ff e0        jmp rax
_BUILT_IN: Final = Struct("<3sB 2sB 3sB 7s")
_ARGUMENTS: Final = Struct("<Q Q Q")
_METH_NOARGS: Final = 4


class _Method(ctypes.Structure):
    """``PyMethodDef``, methodobject.h."""

    _fields_ = (
        ("name", ctypes.c_char_p), ("function", ctypes.c_void_p), ("flags", ctypes.c_int), ("doc", ctypes.c_char_p),
    )  # fmt: skip


def built_in_and() -> Callable[[int, int], Callable[[], object]]:
    """Makes locked ANDs with address and mask fixed that are built-in functions of the interpreter.

    Called once in a while, with caches cold, such a one costs a tenth of a foreign call. HostError(ENOTSUP) where there is no
    way to make them: they are for CPython on x86-64.
    """
    if sys.implementation.name != "cpython" or hasattr(sys, "gettotalrefcount"):
        raise HostError(f"built-in functions cannot be made here for {sys.implementation.name}", errno.ENOTSUP)
    start = bytes.__basicsize__ - 1  # of the contents: the last byte of the empty object is the NUL behind them
    code = _BUILT_IN.pack(
        b"\x48\x8b\x57", start, b"\x8b\x4f", start + 8, b"\x48\x8b\x47", start + 16, b"\xf0\x21\x0a\x31\xff\xff\xe0"
    )
    method = _Method(b"locked_and", _code_page([code]), _METH_NOARGS, None)
    api = ctypes.pythonapi
    make = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p)(
        ("PyCFunction_NewEx", api)
    )
    false = ctypes.cast(api.PyBool_FromLong, ctypes.c_void_p).value

    def fixed(address: int, mask: int) -> Callable[[], object]:
        # The function owns the arguments; what it does not own, `method`, lives as long as `fixed`, and that is kept for good.
        made: Callable[[], object] = make(ctypes.addressof(method), _ARGUMENTS.pack(address, mask, false), None)
        return made

    _kept.append(fixed)
    return fixed


#: Functions hold no reference to the memory that they run in, so it is kept for the life of the process.
_kept: list[object] = []
_chosen: list[Atomics] = []
_fixed: list[Callable[[int, int], Callable[[], object]]] = []


def atomics() -> Atomics:
    """The operations of this machine, found once. HostError(ENOTSUP) if there is no truly locked way here."""
    if not _chosen:
        reasons = []
        for source in (from_libatomic, from_code_page):
            try:
                _chosen.append(source())
                break
            except HostError as error:
                reasons.append(error.what)
        else:
            raise HostError(f"no locked memory operations ({'; '.join(reasons)}): install libatomic1", errno.ENOTSUP)
    return _chosen[0]


def fixed_and(address: int, mask: int) -> Callable[[], object]:
    """A locked AND of the word at that address, without arguments, the cheapest there is here. HostError(ENOTSUP)."""
    if not _fixed:
        try:
            _fixed.append(built_in_and())
        except (HostError, AttributeError):
            fetch_and = atomics().fetch_and
            _fixed.append(lambda address, mask: partial(fetch_and, address, mask))
    return _fixed[0](address, mask)


class SharedWords:
    """A 4096-byte buffer shared with another process; each method is one access. This is `host.Page` without `unmap`.

    Offsets are in bytes and must be aligned to the size of the access: HostError(EINVAL) otherwise, HostError(EBADF)
    after `release`. The buffer must be writable and must outlive this object's use of it.
    """

    __slots__ = ("_address", "_anchor", "_and", "_bytes", "_halves", "_or", "_words")

    def __init__(self, buffer: Shared) -> None:
        if len(buffer) != PAGE_SIZE:
            raise HostError(f"a shared page is {PAGE_SIZE} bytes, not {len(buffer)}", errno.EINVAL)
        operations = atomics()
        self._and, self._or = operations.fetch_and, operations.fetch_or
        self._bytes = memoryview(buffer).cast("B")  # type: ignore[arg-type]  # any buffer; the Protocol cannot say so
        self._words, self._halves = self._bytes.cast("I"), self._bytes.cast("H")
        if self._words.itemsize != 4 or self._halves.itemsize != 2 or sys.byteorder != "little":
            raise HostError("the shared page needs a little-endian machine with 32-bit words", errno.ENOTSUP)
        self._anchor: ctypes.c_char | None = ctypes.c_char.from_buffer(self._bytes)
        self._address = ctypes.addressof(self._anchor)

    def load32(self, offset: int) -> int:
        if offset & ~_WORD_OFFSETS:
            raise self._bad(offset, 4)
        try:
            return self._words[offset >> 2]
        except ValueError:
            raise self._gone() from None

    def store32(self, offset: int, value: int) -> None:
        if offset & ~_WORD_OFFSETS:
            raise self._bad(offset, 4)
        try:
            self._words[offset >> 2] = value & 0xFFFFFFFF
        except ValueError:
            raise self._gone() from None

    def store16(self, offset: int, value: int) -> None:
        if offset & ~_HALF_OFFSETS:
            raise self._bad(offset, 2)
        try:
            self._halves[offset >> 1] = value & 0xFFFF
        except ValueError:
            raise self._gone() from None

    def copy(self, offset: int, size: int) -> bytes:
        if offset < 0 or size < 0 or offset + size > PAGE_SIZE:
            raise self._bad(offset, size)
        try:
            return self._bytes[offset : offset + size].tobytes()
        except ValueError:
            raise self._gone() from None

    def fetch_and(self, offset: int, mask: int) -> int:
        if offset & ~_WORD_OFFSETS:
            raise self._bad(offset, 4)
        if self._anchor is None:
            raise self._gone()
        return self._and(self._address + offset, mask & 0xFFFFFFFF)

    def fetch_or(self, offset: int, mask: int) -> int:
        if offset & ~_WORD_OFFSETS:
            raise self._bad(offset, 4)
        if self._anchor is None:
            raise self._gone()
        return self._or(self._address + offset, mask & 0xFFFFFFFF)

    def words(self) -> memoryview:
        """The 1024 words; released together with this object."""
        return self._words

    def reader(self, layout: Struct, offset: int) -> Callable[[], tuple[Any, ...]]:
        """Unpacks what is at `offset`, when called."""
        if offset < 0 or offset + layout.size > PAGE_SIZE:
            raise self._bad(offset, layout.size)
        return partial(layout.unpack_from, self._words, offset)

    def locked_and(self, offset: int, mask: int) -> Callable[[], object]:
        """`fetch_and` with its arguments checked and fixed."""
        if offset & ~_WORD_OFFSETS:
            raise self._bad(offset, 4)
        if self._anchor is None:
            raise self._gone()
        return fixed_and(self._address + offset, mask & 0xFFFFFFFF)

    def release(self) -> None:
        """Let go of the buffer, so that its owner can close it. Idempotent."""
        self._anchor = None
        for view in (self._words, self._halves, self._bytes):
            view.release()

    @staticmethod
    def _bad(offset: int, size: int) -> HostError:
        return HostError(f"access of {size} bytes at {offset:#x}: not an aligned part of the page", errno.EINVAL)

    @staticmethod
    def _gone() -> HostError:
        return HostError("the page is not mapped any more", errno.EBADF)
