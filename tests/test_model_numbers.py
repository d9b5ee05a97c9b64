# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvpci.model.numbers import Space, Where, decided, name, parse, readings

#: All that a number can be, as (place, whose, name).
Can = set[tuple[str, str, str]]


def can(number: int, where: Where | None = None) -> Can:
    return {(one.where.name, one.space.name, one.name) for one in readings(number, where)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("-22", -22), ("22", 22), ("ffffff8e", -114), ("fffffffb", -5), ("0xffffffff", -1), ("0xFFFFFFEA", -22),
        ("fffffffffffffff4", -12), ("0x88", 0x88), ("8e", 0x8E), ("4294967274", -22), ("-114", -114), ("0", 0),
        ("EINVAL", -22), ("-EIO", -5), ("XEN_PCI_ERR_op_failed", -5), ("PCIBIOS_SET_FAILED", 0x88), ("ERROR_FAIL", -3),
        ("dead", None), ("add", None), ("ENOTHING", None), ("", None), ("-", None), ("0x", None), ("1_0", None),
        ("+3", None), ("٣", None), ("9" * 21, None), ("--5", None), ("xen", None),
    ],
)  # fmt: skip
def test_numbers_as_logs_print_them(text: str, expected: int | None) -> None:
    assert expected == parse(text)


def test_minus_five_is_two_things_where_msi_x_answers() -> None:
    assert {("MSIX", "PROTOCOL", "XEN_PCI_ERR_op_failed"), ("MSIX", "LINUX", "EIO")} == can(-5, Where.MSIX)
    assert not decided(readings(-5, Where.MSIX))


def test_minus_five_is_one_thing_where_msi_answers() -> None:
    assert {("MSI", "PROTOCOL", "XEN_PCI_ERR_op_failed")} == can(-5, Where.MSI)
    assert decided(readings(-5, Where.MSI))


def test_what_enable_msi_never_answers() -> None:
    assert set() == can(-22, Where.MSI)


def test_minus_22_in_its_places() -> None:
    expected: Can = {
        ("CONFIG", "LINUX", "EINVAL"), ("MSIX", "LINUX", "EINVAL"), ("MSIX", "XEN", "EINVAL"),
        ("FRONT", "LINUX", "EINVAL"), ("FRONT", "XEN", "EINVAL"), ("BACK", "LINUX", "EINVAL"),
        ("BACK", "XEN", "EINVAL"), ("MAP", "XEN", "EINVAL"), ("HYPERCALL", "XEN", "EINVAL"),
        ("LIBXL", "LIBXL", "ERROR_ABORTED"),
    }  # fmt: skip

    assert expected == can(-22)


@pytest.mark.parametrize(("number", "is_not"), [(-16, "ERROR_JSON_CONFIG_EMPTY"), (-28, "ERROR_QMP_GENERIC_ERROR")])
def test_the_toolstacks_numbers_are_its_own(number: int, is_not: str) -> None:
    assert {("LIBXL", "LIBXL", is_not)} == can(number, Where.LIBXL)
    assert {errno.errorcode[-number]} == {one.name for one in readings(number) if one.space is not Space.LIBXL}


def test_what_only_pvpci_answers_is_not_read_into_the_kernels_lines() -> None:
    ours = [one for one in readings(-16, Where.MSIX) if "from pvpci" in one.means]

    assert [("EBUSY", True)] == [(one.name, one.known) for one in ours]
    assert "pvpci's log" in ours[0].next
    assert not any("pvpci" in one.means for one in readings(-16, Where.BACK))
    assert {("MSIX", "LINUX", "EBUSY"), ("MSIX", "XEN", "EBUSY")} >= can(-16, Where.MSIX)


def test_114_is_one_thing_wherever_it_is_printed() -> None:
    found = readings(-114)

    assert decided(found)
    assert "MSI-X is still on from an earlier enable" in found[0].means


def test_all_ones_may_be_no_error_at_all() -> None:
    assert ("VALUE", "DATA", "all ones") in can(-1)
    assert ("CONFIG", "PROTOCOL", "XEN_PCI_ERR_dev_not_found") in can(-1)


def test_pcibios_codes() -> None:
    assert {("ACCESSOR", "PCIBIOS", "PCIBIOS_SET_FAILED")} == can(0x88)
    assert {("CONFIG", "PCIBIOS", "PCIBIOS_BAD_VENDOR_ID")} == can(0x83, Where.CONFIG)
    assert set() == can(0x88, Where.CONFIG)


def test_a_positive_number_is_an_errno_in_texts_or_a_state() -> None:
    assert {("STORE", "LINUX", "E2BIG"), ("STATE", "STATE", "RECONFIGURING")} == can(7)


def test_known_causes_come_first() -> None:
    known = [one.known for one in readings(-22)]

    assert sorted(known, reverse=True) == known


def test_the_hypervisor_has_fewer_numbers_than_linux() -> None:
    assert ("EALREADY", "") == (name(Space.LINUX, -114), name(Space.XEN, -114))
    assert "EINVAL" == name(Space.XEN, -22)


def test_a_number_that_nobody_prints() -> None:
    assert () == readings(-4095)
    assert not decided(())


@given(st.text() | st.from_regex(r"\A-?(0x)?[0-9a-fA-F]{1,20}\Z"))
def test_any_text_is_a_number_or_none(text: str) -> None:
    number = parse(text)

    assert number is None or [one for one in readings(number) if not one.means] == []


@given(st.integers())
def test_any_number_has_readings_that_say_something(number: int) -> None:
    for one in readings(number):
        assert one.means and one.cite and one.name
