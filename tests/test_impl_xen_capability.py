# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fake_xen import NIC, FakeFunction, config_space

from pvpci.impl.host import HostError
from pvpci.impl.xen.capability import MsixCapability, find


def function(config: bytes | bytearray) -> FakeFunction:
    made = FakeFunction()
    made.config = bytearray(config)
    return made


def test_finds_the_capability_down_the_list() -> None:
    found = find(function(config_space(msix=True)))

    assert found is not None
    assert (found.bdf, found.offset) == (NIC, 0x50)


def test_none_where_there_is_none() -> None:
    assert find(function(config_space(msix=False))) is None


def test_none_without_the_status_bit() -> None:
    config = config_space(msix=True)
    config[0x06] = 0

    assert find(function(config)) is None


def test_the_low_bits_of_a_pointer_do_not_count() -> None:
    config = config_space(msix=True)
    config[0x34] |= 3

    assert find(function(config)) is not None


def test_a_pointer_into_the_header_ends_the_list() -> None:
    config = config_space(msix=True)
    config[0x34], config[0x20] = 0x20, 0x11

    assert find(function(config)) is None


def test_a_list_that_is_a_ring_ends() -> None:
    config = config_space(msix=False)
    config[0x41] = 0x40

    assert find(function(config)) is None


def test_all_ones_is_a_function_that_does_not_answer() -> None:
    assert find(function(b"\xff" * 256)) is None


@given(st.binary(min_size=256, max_size=256))
def test_whatever_the_function_says_evidence_is_of_an_msix_capability(config: bytes) -> None:
    found = find(function(config))

    assert found is None or (config[found.offset] == 0x11 and 0x40 <= found.offset <= 0xFC)


def test_it_cannot_be_claimed_nor_changed() -> None:
    with pytest.raises(HostError, match="must have been found"):
        MsixCapability(NIC, 0x50, object())
    found = find(function(config_space(msix=True)))
    assert found is not None
    with pytest.raises(HostError, match="cannot be changed"):
        found.offset = 0
