# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno

import pytest

from pvpci.impl.host import HostError
from pvpci.impl.reclaim import reclaim


def test_the_first_that_was_mapped_and_is_not_known_goes() -> None:
    asked = []

    def unmap(pirq: int) -> None:
        asked.append(pirq)
        if pirq != 5:
            raise HostError("no", errno.EBUSY if pirq == 6 else errno.EINVAL)

    assert 5 == reclaim(range(9, 0, -1), {8}, unmap)
    assert [9, 7, 6, 5] == asked


def test_there_may_be_none() -> None:
    def unmap(pirq: int) -> None:
        raise HostError("no", errno.EINVAL)

    assert reclaim(range(9, 0, -1), {8}, unmap) is None


def test_any_other_answer_is_the_callers() -> None:
    def unmap(pirq: int) -> None:
        raise HostError("gone", errno.ESRCH)

    with pytest.raises(HostError, match="gone"):
        reclaim(range(9, 0, -1), (), unmap)
