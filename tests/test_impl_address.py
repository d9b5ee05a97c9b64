# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvpci.impl.address import Wish, parse_bdf, parse_domid, parse_guest, parse_wish
from pvpci.impl.errors import ExitCode, UsageError
from pvpci.impl.host import Bdf
from pvpci.model.config.grants import NOTHING, Grants, Quirk


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0000:36:00.0", Bdf(0, 0x36, 0, 0)),
        ("36:00.0", Bdf(0, 0x36, 0, 0)),
        ("ABCD:fe:1F.7", Bdf(0xABCD, 0xFE, 0x1F, 7)),
        ("0:0:5.0", Bdf(0, 0, 5, 0)),
    ],
)
def test_the_forms_that_lspci_and_xl_take(text: str, expected: Bdf) -> None:
    assert expected == parse_bdf(text)


@given(st.builds(Bdf, st.integers(0, 0xFFFF), st.integers(0, 0xFF), st.integers(0, 0x1F), st.integers(0, 7)))
def test_what_is_printed_is_read_back(bdf: Bdf) -> None:
    assert bdf == parse_bdf(str(bdf))


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "not an address of a PCI function"),
        ("36:00", "not an address of a PCI function"),
        ("00:05.0 ", "not an address of a PCI function"),
        ("00:05.0\n", "not an address of a PCI function"),
        ("00:05.*", "not an address of a PCI function"),
        ("0x0:05.0", "not an address of a PCI function"),
        ("12345:00:05.0", "not an address of a PCI function"),
        ("100:05.0", "not an address of a PCI function"),
        ("٠٠:05.0", "not an address of a PCI function"),
        ("0000:36:20.0", "slot 20 is beyond 1f"),
        ("0000:36:00.8", "function 8 is beyond 7"),
    ],
)
def test_a_bad_address_is_a_usage_error_that_shows_the_right_form(text: str, what: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_bdf(text)

    assert what == caught.value.what
    assert "write [DDDD:]BB:SS.F in hexadecimal, for example 0000:36:00.0" == caught.value.right
    assert ExitCode.USAGE == caught.value.code


@given(st.text())
def test_any_text_is_an_address_or_a_usage_error(text: str) -> None:
    try:
        bdf = parse_bdf(text)
    except UsageError as error:
        assert text in error.where
    else:
        assert 0 <= bdf.sbdf <= 0xFFFF_FFFF


@given(st.integers(0, 0x7FEF))
def test_domains_are_numbers(number: int) -> None:
    assert number == parse_domid(str(number))


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "not a number"),
        ("-1", "not a number"),
        ("+1", "not a number"),
        ("1_0", "not a number"),
        ("0x10", "not a number"),
        ("domu1", "not a number"),
        ("٣", "not a number"),
        ("32752", "numbers from 32752 on are reserved by Xen"),
        ("999999999", "numbers from 32752 on are reserved by Xen"),
        ("9" * 10_000, "not a number"),
    ],
)
def test_a_bad_domain_is_a_usage_error(text: str, what: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_domid(text)

    assert what == caught.value.what
    assert "give the domain's number; `xl domid NAME` prints it" == caught.value.right


def test_dom0_is_no_guest() -> None:
    assert 7 == parse_guest("7")
    with pytest.raises(UsageError) as caught:
        parse_guest("0")

    assert "domain '0': this is dom0, which has its devices already; give a guest's number" == str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected", "printed"),
    [
        ("36:00.0", NOTHING, "0000:36:00.0"),
        ("36:00.0,permissive=1", Grants(permissive=True), "0000:36:00.0,permissive=1"),
        ("36:00.0,permissive=0,extended=1", Grants(extended=True), "0000:36:00.0,extended=1"),
        (
            "36:00.0,quirk=40:2:FF,interrupt_control=1,quirk=0x",
            None,
            "device '36:00.0,quirk=40:2:FF,interrupt_control=1,quirk=0x': '0x': expected OFFSET:WIDTH:MASK, for example ",
        ),
        (
            "36:00.0,quirk=40:2:FF,interrupt_control=1",
            Grants(interrupt_control=True, quirks=(Quirk(0x40, 2, 0xFF),)),
            "0000:36:00.0,interrupt_control=1,quirk=40:2:ff",
        ),
        (
            "36:00.0,,",
            None,
            "device '36:00.0,,': '' is no grant; grants are permissive=1, interrupt_control=1, extended=1, ",
        ),
        ("36:00.0;permissive=1", None, "device address '36:00.0;permissive=1': "),
        ("36:00.0, permissive=1", None, "device '36:00.0, permissive=1': ' permissive=1' is no grant; "),
    ],
)
def test_a_function_with_its_grants(text: str, expected: Grants | None, printed: str) -> None:
    try:
        found = parse_wish(text)
    except UsageError as error:
        assert expected is None
        assert str(error).startswith(printed)
        return

    assert expected is not None
    assert (Wish(Bdf(0, 0x36, 0, 0), expected), printed) == (found, str(found))


@given(
    st.text(alphabet="0123456789abcdef:.,=quirkpermsvxtnd \0\n\u0664") | st.text().map(lambda text: f"36:00.0,{text}")
)
def test_any_text_is_a_wish_or_a_usage_error(text: str) -> None:
    try:
        found = parse_wish(text)
    except UsageError:
        return
    assert found == parse_wish(str(found))
