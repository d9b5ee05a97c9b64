# SPDX-License-Identifier: Apache-2.0
"""The search for a vector whose number died with the process that mapped it, as every host does it (`Host.reclaim`).

A hypervisor tells nobody which numbers of a domain are mapped; that one is not shows only when it is unmapped. So each number
that may be a message's, and is not known to be somebody's, is unmapped until one is.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Collection, Iterable
from typing import Final

from pvpci.impl.host import HostError

#: Not mapped; or inside of a block, which goes by its first number alone.
_NOT_THIS_ONE: Final = frozenset({errno.EINVAL, errno.EBUSY})


def reclaim(numbers: Iterable[int], known: Collection[int], unmap: Callable[[int], None]) -> int | None:
    """The first of `numbers` outside `known` that was mapped, and is not any more. Raises what `unmap` raises otherwise."""
    for pirq in numbers:
        if pirq not in known:
            try:
                unmap(pirq)
            except HostError as error:
                if error.errno in _NOT_THIS_ONE:
                    continue
                raise
            return pirq
    return None
