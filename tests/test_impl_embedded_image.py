# SPDX-License-Identifier: Apache-2.0
"""The images that come with the program are whole, and a bad one is refused in one clear line."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.backend_rig import Rig, rig, until

from pvpci.impl.embedded import image
from pvpci.impl.embedded.image import ImageError, _File, load, names, parse_bdf
from pvpci.impl.embedded.registers import Registers
from pvpci.impl.errors import UsageError
from pvpci.impl.host import Bdf, HostError, Resource

GOOD: dict[str, Any] = {
    "format": "pvpci-config-image-2",
    "name": "tiny",
    "origin": "made for a test",
    "bdf": "0000:01:02.3",
    "size": 256,
    "irq": 5,
    "virtual": False,
    "reset": ["flr"],
    "resources": [{"index": 1, "start": "1000", "size": 4096, "flags": "40200"}],
    "registers": {"000": "34120010", "0fe-0ff": "ab"},
    "writable": {"010-01f": "00ff"},
    "write_one_to_clear": {"007": "f9"},
}


def write(folder: Path, **changes: object) -> str:
    path = folder / "image.json"
    path.write_text(json.dumps({**GOOD, **changes}))
    return str(path)


def test_the_shipped_images() -> None:
    expected = {
        "ahci": (0x8086, 0x2922),
        "bare": (0x1234, 0xF001),
        "bridge": (0x1234, 0xF007),
        "cardbus": (0x1234, 0xF008),
        "chain-ff": (0x1234, 0xF004),
        "chain-loop": (0x1234, 0xF002),
        "chain-low": (0x1234, 0xF003),
        "conventional": (0x1234, 0xF005),
        "e1000e": (0x8086, 0x10D3),
        "edu": (0x1234, 0x11E8),
        "express": (0x1234, 0xF006),
        "md1": (0x8086, 0x10D3),
        "nvme": (0x1B36, 0x0010),
        "nvme-vf": (0x1B36, 0x0010),
        "root-port": (0x1B36, 0x000C),
        "rtl8139": (0x10EC, 0x8139),
        "xhci": (0x1033, 0x0194),
    }
    assert tuple(expected) == names()
    assert expected == {name: (load(name).vendor, load(name).device) for name in names()}
    assert len(expected) == len({load(name).bdf for name in names()})


#: What is known of a shipped image, by what a guest finds in it.
CAPABILITIES = {
    "bare": {},
    "chain-ff": {0x01: 0x40},
    "chain-loop": {0x01: 0x40, 0x05: 0x50, 0x03: 0x60},
    "chain-low": {0x05: 0x40},
    "conventional": {0x01: 0x40, 0x03: 0x50, 0x05: 0x60, 0x13: 0x90},
    "express": {0x01: 0x40, 0x05: 0x50, 0x11: 0x70, 0x10: 0x80, 0x03: 0xC0},
    "md1": {0x01: 0xC8, 0x05: 0xD0, 0x03: 0xE0, 0x11: 0xA0},
    "nvme-vf": {0x11: 0x40, 0x10: 0x80, 0x01: 0x60},
}


@pytest.mark.parametrize("name", CAPABILITIES)
def test_the_capabilities_that_an_image_is_there_for(name: str) -> None:
    image = load(name)

    assert CAPABILITIES[name] == Registers(image, bytearray(image.registers)).capabilities


def test_headers_that_no_guest_may_have() -> None:
    headers = {name: load(name).registers[0x0E] & 0x7F for name in names()}

    assert {"bridge": 1, "cardbus": 2, "root-port": 1} == {name: kind for name, kind in headers.items() if kind}
    assert {13, 14, 15} == set(load("bridge").windows) == set(load("root-port").windows)


@pytest.mark.parametrize("name", names())
def test_a_shipped_image_agrees_with_itself(name: str) -> None:
    it = load(name)

    assert len(it.registers) == len(it.writable) == len(it.write_one_to_clear) == it.size
    assert 7 == len(it.resources)
    assert (it.vendor, it.device) == struct.unpack_from("<HH", it.registers) or it.is_virtual
    for index, resource in enumerate(it.resources):
        at = (0x38 if it.registers[0x0E] & 1 else 0x30) if index == 6 else 0x10 + 4 * index
        if it.is_virtual:
            # Its BARs are in its physical function.
            assert not any(it.registers[at : at + 4]) and not any(it.writable[at : at + 4])
        elif resource.flags:
            base = int.from_bytes(it.registers[at : at + 4], "little")
            mask = 0xFFFFF800 if index == 6 else 0xFFFFFFFC if base & 1 else 0xFFFFFFF0
            writable = int.from_bytes(it.writable[at : at + 4], "little")
            # The address bits that can be written are exactly those above the size.
            assert -resource.size & mask == writable & mask
            assert base & mask in (0, resource.start & 0xFFFFFFFF)
            if resource.flags & 0x100000:
                assert resource.start >> 32 == int.from_bytes(it.registers[at + 4 : at + 8], "little")
                upper = int.from_bytes(it.writable[at + 4 : at + 8], "little")
                assert -resource.size >> 32 & 0xFFFFFFFF == upper


def test_places_and_resources_of_a_file(tmp_path: Path) -> None:
    it = load(write(tmp_path))

    assert ("34120010", "abab") == (it.registers[:4].hex(), it.registers[0xFE:].hex())
    assert b"\0\xff" * 8 == it.writable[0x10:0x20]
    assert (Bdf(0, 1, 2, 3), Resource(0x1000, 0x1FFF, 0x40200)) == (it.bdf, it.resources[1])
    assert (0x1234, 0x1000) == (it.vendor, it.device)


def test_what_a_file_may_leave_out(tmp_path: Path) -> None:
    it = load(write(tmp_path))
    assert (0, False, None, None, {}, bytes(256), bytes(256)) == (
        it.enable_count, it.keeps_d3hot, it.vpd, it.bist, it.windows, it.power_on, it.resettable,
    )  # fmt: skip

    window = {"index": 13, "start": "2000", "size": 0x3000, "flags": "100"}
    it = load(write(
        tmp_path, enable_count=2, keeps_d3hot=True, vpd="8201", bist=15, resources=[window], virtual=True,
        vendor="1b36", device="0010", power_on={"004": "0000", "010": "04"},
    ))  # fmt: skip
    assert (2, True, b"\x82\x01", 15, True, 0x1B36, 0x10) == (
        it.enable_count, it.keeps_d3hot, it.vpd, it.bist, it.is_virtual, it.vendor, it.device,
    )  # fmt: skip
    assert {13: Resource(0x2000, 0x4FFF, 0x100)} == it.windows
    assert (4, b"\xff\xff\0", b"\xff\0") == (it.power_on[0x10], it.resettable[4:7], it.resettable[0x10:0x12])


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"format": "pvpci-config-image-1"}, "format: 'pvpci-config-image-1': expected pvpci-config-image-2"),
        ({"size": 512}, "size: 512: expected 256 or 4096"),
        ({"irq": "5"}, r"Expected `int`, got `str` - at `\$\.irq`"),
        ({"extra": 1}, r"unknown field `extra`"),
        ({"irq": -1}, "irq: -1 is no 32-bit number"),
        ({"bdf": "zz"}, "bdf: 'zz' is no PCI address: expected DDDD:BB:SS.F"),
        ({"enable_count": -1}, "enable_count: -1 is no 32-bit number"),
        ({"virtual": True}, "virtual: registers of a virtual function read ffff: give vendor and device too"),
        ({"vendor": "0x8086"}, "vendor: '0x8086': expected four lower-case hexadecimal digits"),
        ({"device": "10D3"}, "device: '10D3': expected four lower-case hexadecimal digits"),
        ({"vpd": "0"}, "vpd: expected pairs of lower-case hex digits"),
        ({"vpd": "00" * 32769}, "vpd: expected pairs of lower-case hex digits, at most 32768 of them"),
        ({"bist": 16}, "bist: 16: expected a completion code, 0 to 15"),
        ({"power_on": {"0ff": "0000"}}, "power_on: 0ff: 2 bytes do not fill a place inside 256 bytes"),
        ({"registers": {"0g0": "00"}}, "registers: '0g0': expected OFFSET or FIRST-LAST"),
        ({"registers": {"000": "0"}}, "registers: '000': expected OFFSET or FIRST-LAST, and pairs"),
        ({"writable": {"0ff": "0000"}}, "writable: 0ff: 2 bytes do not fill a place inside 256 bytes"),
        ({"writable": {"000-002": "0000"}}, "writable: 000-002: 2 bytes do not fill"),
        ({"writable": {"010-00f": "00"}}, "writable: 010-00f: 1 bytes do not fill"),
        ({"write_one_to_clear": {"000": "0000", "001": "00"}}, "write_one_to_clear: 001: overlaps"),
        ({"resources": [{"index": 17, "start": "0", "size": 1, "flags": "1"}]}, "resources: index 17: expected each"),
        ({"resources": [{"index": 13, "start": "0", "size": 0, "flags": "1"}]}, "index 13: expected a power of two"),
        ({"resources": [{"index": 0, "start": "0x0", "size": 1, "flags": "1"}]}, "'0x0' is no lower-case hexadecimal"),
        ({"resources": [{"index": 0, "start": "0", "size": 3, "flags": "1"}]}, "index 0: expected a power of two"),
        ({"resources": [{"index": 0, "start": "8", "size": 16, "flags": "1"}]}, "index 0: expected a power of two"),
        ({"resources": GOOD["resources"] * 2}, "resources: index 1: expected each of 0 to 16 at most once"),
    ],
)
def test_a_bad_file_is_refused_in_one_line(tmp_path: Path, changes: dict[str, object], line: str) -> None:
    path = write(tmp_path, **changes)
    with pytest.raises(ImageError, match=line) as caught:
        load(path)

    assert caught.value.what.startswith(f"{path}: ")
    assert "\n" not in caught.value.what


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b"\0" * 100])
def test_what_is_no_json_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "image.json").write_bytes(content)
    with pytest.raises(ImageError, match=r"image\.json: "):
        load(str(tmp_path / "image.json"))


def test_the_example_of_the_manual_is_an_image(tmp_path: Path) -> None:
    page = (Path(__file__).parents[1] / "docs" / "reference" / "device-image.md").read_text()
    (tmp_path / "small.json").write_text(page.split("```json\n")[1].split("```")[0])
    it = load(str(tmp_path / "small.json"))

    assert (0x1234, 0xF100, {1: 0x40}) == (
        it.vendor, it.device, Registers(it, bytearray(it.registers)).capabilities,
    )  # fmt: skip
    assert all(f"`{key}`" in page for key in _File.__struct_fields__)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ImageError, match=r"no image 'e1000': have ahci, bare, bridge, .*, xhci, or give a path"):
        load("e1000")
    with pytest.raises(ImageError, match="Is a directory"):
        load(f"{image.FOLDER}/")


@pytest.mark.parametrize("text", ["", "0000:00:05", "00:05.0", "0000:00:20.0", "0000:00:05.8", "g:0:0.0", "0:0:0.0\n"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(HostError, match=r"expected DDDD:BB:SS\.F"):
        parse_bdf(text)


def test_addresses_come_back() -> None:
    assert "000a:1f:1f.7" == str(parse_bdf("000A:1f:1F.7"))


@pytest.fixture(scope="module")
def made() -> Iterator[Rig]:
    with rig() as served:
        yield served


REFUSED = {"bridge": "is a bridge", "cardbus": "is a CardBus bridge", "root-port": "is a bridge"}


@pytest.mark.parametrize("name", [name for name in names() if name not in REFUSED])
def test_a_guest_gets_a_shipped_function(made: Rig, name: str) -> None:
    image = load(name)
    made.device(image.bdf)
    with made.guest() as front:
        front.connect()
        (found,) = front.found
        regions = {region.index: (region.address, region.size) for region in front.regions(found.devfn)}
    made.clean()

    assert (image.vendor, image.device) == (found.vendor, found.device)
    assert {at: (each.start, each.size) for at, each in enumerate(image.resources) if each.flags} == regions


@pytest.mark.parametrize("name", REFUSED)
def test_a_shipped_function_that_no_guest_may_have(made: Rig, name: str) -> None:
    already = len(made.log.getvalue())
    with pytest.raises(UsageError, match="the backend refused"):
        made.device(load(name).bdf)
    said = until(lambda: f"the function {REFUSED[name]}" in made.log.getvalue()[already:])
    made.clean()

    assert said, made.log.getvalue()
