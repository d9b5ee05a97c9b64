# SPDX-License-Identifier: Apache-2.0
"""Pages that a guest has granted, through ``/dev/xen/gntdev``.

Each page has a descriptor of its own: whatever goes wrong half-way, closing it lets the kernel undo the mapping, and a
process that dies leaves nothing mapped. How the words of a mapped page are accessed is not this file's business but
:class:`pvpci.impl.atomic.SharedWords`'s, the same for both hosts.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from struct import Struct
from struct import error as StructError
from typing import Final

from pvpci.impl.atomic import SharedWords
from pvpci.impl.host import DomId, GrantRef, HostError
from pvpci.impl.xen.devices import failed, ioc_none, open_device

PAGE_SIZE: Final = 4096

# struct ioctl_gntdev_map_grant_ref, xen/gntdev.h; sizeof == 24 for one grant
#   struct { __u32 count; __u32 pad; __u64 index /* out */; struct { __u32 domid; __u32 ref; } refs[1]; }
MAP_GRANT_REF: Final = Struct("<I I Q I I")
#: _IOC(_IOC_NONE, 'G', 0, 24). Only reserves an offset; the grant is mapped by the mmap that follows.
IOCTL_GNTDEV_MAP_GRANT_REF: Final = ioc_none("G", 0, MAP_GRANT_REF.size)

# struct ioctl_gntdev_unmap_grant_ref, xen/gntdev.h; sizeof == 16
#   struct { __u64 index; __u32 count; __u32 pad; }
UNMAP_GRANT_REF: Final = Struct("<Q I I")
#: _IOC(_IOC_NONE, 'G', 1, 16). To be called after the munmap.
IOCTL_GNTDEV_UNMAP_GRANT_REF: Final = ioc_none("G", 1, UNMAP_GRANT_REF.size)


class GrantedPage(SharedWords):
    """A guest's page, mapped. Implements :class:`pvpci.impl.host.Page`."""

    __slots__ = ("_descriptor", "_index", "_memory", "_what")

    def __init__(self, what: str, descriptor: int, index: int, memory: mmap.mmap) -> None:
        super().__init__(memory)
        self._what, self._descriptor, self._index, self._memory = what, descriptor, index, memory

    def unmap(self) -> None:
        """Give the page back. A second call does nothing. Raises HostError; the page is unmapped all the same."""
        if self._descriptor < 0:
            return
        descriptor, self._descriptor = self._descriptor, -1
        # An mmap with a buffer exported cannot be closed, so our views go first.
        self.release()
        try:
            self._memory.close()
            fcntl.ioctl(descriptor, IOCTL_GNTDEV_UNMAP_GRANT_REF, UNMAP_GRANT_REF.pack(self._index, 1, 0))
        except OSError as error:
            raise failed(f"{self._what}: unmap", error) from error
        finally:
            os.close(descriptor)


def map_page(path: str, domain: DomId, ref: GrantRef) -> GrantedPage:
    """Map one page for reading and writing. Raises HostError; then nothing stays mapped and no descriptor open."""
    what = f"page {ref} granted by domain {domain}: map"
    try:
        request = bytearray(MAP_GRANT_REF.pack(1, 0, 0, domain, ref))
    except StructError as error:
        raise HostError(f"{what}: not a number of 32 bits", errno.EINVAL) from error
    descriptor = open_device(path)
    memory: mmap.mmap | None = None
    try:
        fcntl.ioctl(descriptor, IOCTL_GNTDEV_MAP_GRANT_REF, request)
        _, _, index, _, _ = MAP_GRANT_REF.unpack(request)
        memory = mmap.mmap(
            descriptor, PAGE_SIZE, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ | mmap.PROT_WRITE, offset=index
        )
        return GrantedPage(what.removesuffix(": map"), descriptor, index, memory)
    except (OSError, HostError, ValueError, OverflowError) as error:
        # The mapping holds a duplicate of the descriptor; with both gone the kernel has nothing of ours left.
        if memory is not None:
            memory.close()
        os.close(descriptor)
        if isinstance(error, HostError):
            raise
        raise HostError(what, getattr(error, "errno", None) or errno.EINVAL) from error
