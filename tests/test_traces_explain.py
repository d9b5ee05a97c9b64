# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvpci.impl.embedded.image import load
from pvpci.model.config.registers import Remedy
from pvpci.traces.dumps import Dump
from pvpci.traces.explain import MOST, Line, Number, Unfit, Write, line, log, number
from pvpci.traces.messages import MESSAGES

E1000E = Dump("0000:00:05.0", load("e1000e").registers)
NOTICE = (
    "pciback 0000:00:05.0: xen-pciback: "
    "Driver tried to write to a read-only configuration space field at offset {}, size {}. This may be harmless"
)


def known(text: str, *dumps: Dump) -> Line:
    found = line(text, dumps)
    assert found is not None
    return found


def written(offset: str, size: int, *dumps: Dump) -> Write:
    write = known(NOTICE.format(offset, size), *dumps).write
    assert write is not None
    return write


def test_the_notice_is_decoded_by_a_dump() -> None:
    write = written("0xe8", 2, E1000E)

    assert ["DEVCTL, PCI Express capability at 0xe0"] == [place.title for place in write.found.places]
    assert "echo 0000:00:05.0-e8:2:ffff > /sys/bus/pci/drivers/pciback/quirks" == write.quirk
    assert (0, "") == (write.stands, write.found.needs)


def test_a_write_that_loses_nothing_needs_nothing() -> None:
    write = written("0xd4", 4, E1000E)

    assert [Remedy.NOTHING] == [place.remedy for place in write.found.places]
    assert (("nothing to do",), "", 0) == (write.advice, write.quirk, write.stands)


def test_without_a_dump_it_is_not_decided() -> None:
    write = written("0x10c", 4)

    assert ((), (), None, "") == (write.found.places, write.advice, write.stands, write.quirk)
    assert "`lspci -xxxx" in write.found.needs


def test_a_register_of_the_devices_own_cannot_be_known() -> None:
    write = written("0x40", 1, E1000E)

    assert [Remedy.UNKNOWN] == [place.remedy for place in write.found.places]
    assert "unknown: only the device's maker defines this register" == write.found.places[0].loses
    assert "permissive=1" in write.advice[0]


def test_a_field_of_its_own_and_the_notice_do_not_fit() -> None:
    assert "do not fit each other" in written("0x4", 2, E1000E).advice[0]


@pytest.mark.parametrize(
    ("offset", "expected"), [("0xfffffffc", -4), ("0x1000", 0x1000), ("0xfffffffffffffff0", 0xFFFFFFFFFFFFFFF0)]
)
def test_an_offset_outside_is_said_to_be(offset: str, expected: int) -> None:
    write = written(offset, 4, E1000E)

    assert expected == write.offset
    assert "inside configuration space" in write.found.needs


def test_our_own_notice_has_the_value_too() -> None:
    text = "a write to a register that guests cannot change was dropped; no more are reported"
    write = known(f"{text} (offset 0x0e8, 2 bytes, value 0x2810)", E1000E).write

    assert write is not None
    assert (0xE8, 2, 0x2810) == (write.offset, write.size, write.value)


def test_a_dump_of_another_function_is_refused() -> None:
    other = Dump("0000:00:06.0", E1000E.space)

    with pytest.raises(Unfit, match=r"about 0000:00:05\.0, and the dump has 0000:00:06\.0"):
        line(NOTICE.format("0xe8", 2), (other,))
    with pytest.raises(Unfit, match="has 2 functions and the line names none"):
        line(NOTICE.format("0xe8", 2).partition(": xen-pciback: ")[2], (other, other))
    assert "DEVCTL" in written("0xe8", 2, other, E1000E).found.places[0].title
    assert "DEVCTL" in written("0xe8", 2, Dump("", E1000E.space)).found.places[0].title


@pytest.mark.parametrize(
    ("text", "value", "names", "certain"),
    [
        ("nvme 0000:84:00.0: enable msix get err ffffff8e", -114, {"EALREADY"}, True),
        ("nvme 0000:84:00.0: Xen PCI frontend error: -114!", -114, {"EALREADY"}, True),
        ("x 0000:00:00.0: enable msix get err fffffffb", -5, {"XEN_PCI_ERR_op_failed", "EIO"}, False),
        ("x 0000:00:00.0: Xen PCI frontend error: -22!", -22, {"EINVAL"}, False),
        ("pciback 0000:03:00.0: xen-pciback: error enabling MSI for guest 1: err -16", -16, {"EBUSY"}, True),
        ("pciback 0000:03:00.0: xen-pciback: error enabling MSI-X for guest 1: err -28!", -28, {"ENOSPC"}, False),
        ("pciback 0000:14:00.0: xen map irq failed -19 for 3 domain", -19, {"ENODEV"}, True),
        ("libxl: error: f:1:g: failed, rc=-16", -16, {"ERROR_JSON_CONFIG_EMPTY"}, True),
        ("pcifront pci-0: 12 Error setting up PCI Frontend", 12, {"ENOMEM"}, True),
    ],
)
def test_the_number_of_a_line_is_read_at_its_place(text: str, value: int, names: set[str], certain: bool) -> None:
    found = known(text).number

    assert found is not None
    assert (value, names, certain) == (found.value, {one.name for one in found.readings}, found.certain)
    assert certain == (found.needs == "")


def test_a_number_alone_is_decided_only_if_all_places_agree() -> None:
    alone = {text: number(text) for text in ("ffffff8e", "fffffffb", "-16", "-22", "-28", "0x88", "-4095")}

    assert {
        "ffffff8e": True,
        "fffffffb": False,
        "-16": False,
        "-22": False,
        "-28": False,
        "0x88": True,
        "-4095": False,
    } == {text: isinstance(found, Number) and found.certain for text, found in alone.items()}


def test_a_name_is_read_as_itself() -> None:
    found = number("XEN_PCI_ERR_op_failed")

    assert found is not None
    assert {"XEN_PCI_ERR_op_failed"} == {one.name for one in found.readings}


@pytest.mark.parametrize(
    ("rest", "meant"),
    [
        ("(0000:82.0.0)", "; perhaps (0000:82:00.0) was meant"),
        (",(00:08.0)", "; perhaps (0000:00:08.0) was meant"),
        ("01:00.0", "; perhaps (0000:01:00.0) was meant"),
        ("(01:00.8)", ""),
        ("nonsense", ""),
    ],
)
def test_a_typing_error_in_hide_gets_the_nearest_form(rest: str, meant: str) -> None:
    found = known(f'xen_pciback: Error parsing pci_devs_to_hide at "{rest}"')

    assert found.next.endswith("nothing between the elements but blanks" + meant)


def test_a_log_says_each_thing_once() -> None:
    text = [
        "something else", "", NOTICE.format("0xe8", 2), "               1) see permissive attribute in sysfs",
        "pcifront pci-0: pciback not responding!!!", "pcifront pci-0: pciback not responding!!!",
        NOTICE.format("0xd4", 4),
    ]  # fmt: skip
    made = log(text, (E1000E,))

    assert (7, 1, 0) == (made.lines, made.unknown, made.beyond)
    assert [(3, 1), (5, 2), (7, 1)] == [(one.first, one.times) for one in made.known]


def test_a_long_log_is_bounded() -> None:
    made = log(f"pciback 0000:01:00.0: registering for {each}" for each in range(MOST + 7))

    assert (MOST, 7, 0) == (len(made.known), made.beyond, 0)


def test_a_log_goes_on_where_a_dump_does_not_fit() -> None:
    made = log([NOTICE.format("0xe8", 2)], (Dump("0000:00:06.0", E1000E.space),))

    assert made.known[0].write is not None
    assert made.known[0].write.found.needs


@given(
    st.lists(st.text() | st.sampled_from([message.has for message in MESSAGES]), max_size=6).map(" ".join)
    | st.builds(NOTICE.format, st.integers(0, 1 << 70).map(hex), st.integers(0, 1 << 40)),
    st.lists(st.builds(Dump, st.sampled_from(("", "0000:00:05.0")), st.binary(max_size=300)), max_size=1),
)
def test_any_line_and_any_dump_are_answered(text: str, dumps: list[Dump]) -> None:
    found = line(text, dumps)
    made = log([text], dumps)

    assert (found is None) == (made.known == [])
