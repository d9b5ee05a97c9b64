# SPDX-License-Identifier: Apache-2.0
"""A recorded function is an image that loads, and what goes wrong is one line with the exit code of its kind."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fake_xen import IO, MEM, NIC, config_space, make_function

from pvpci.impl.cli import make_group, run
from pvpci.impl.embedded.image import load
from pvpci.impl.host import Resource

BAR = Resource(0xFEB80000, 0xFEB9FFFF, MEM)


def record(capsys: pytest.CaptureFixture[str], folder: Path, file: Path, *arguments: str) -> tuple[int, str, str]:
    code = run(make_group(), ["record-device", str(NIC), "-o", str(file), "--devices", str(folder), *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_what_is_recorded_loads_as_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_function(tmp_path, driver="pciback", resources=[BAR, Resource(0xC1E0, 0xC1FF, IO)], enabled=1)
    (folder / "reset").touch()
    (folder / "reset_method").write_text("flr\n")
    code, out, err = record(capsys, tmp_path, tmp_path / "nic.json")
    image = load(str(tmp_path / "nic.json"))

    assert (0, f"{NIC}  8086:10d3  4096 bytes  {tmp_path}/nic.json\n") == (code, out)
    assert err.startswith("not known: which bits can be written: ")
    assert 1 == err.count("\n")
    assert ("nic", NIC, 21, ("flr",), 1) == (image.name, image.bdf, image.irq, image.resets, image.enable_count)
    assert image.origin.endswith(", bound to pciback; masks: as the PCI specifications have them")
    assert bytes(config_space()) == image.registers
    assert [BAR, 32, 0] == [image.resources[0], image.resources[1].size, image.resources[2].size]
    assert "0000feff e0ffffff" == f"{image.writable[0x10:0x14].hex()} {image.writable[0x14:0x18].hex()}"
    assert 0x47 == image.writable[4] & ~0x10


def test_a_virtual_function_keeps_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = bytearray(b"\xff\xff\xff\xff") + config_space(256)[4:]
    folder = make_function(tmp_path, config=config, ids=(0x1B36, 0x0010), irq=0, resources=[BAR])
    os.symlink("../0000:00:04.0", folder / "physfn")
    code, _, _ = record(capsys, tmp_path, tmp_path / "vf.json", "--name", "a virtual function")
    image = load(str(tmp_path / "vf.json"))

    assert (0, True, 0x1B36, 0x10) == (code, image.is_virtual, image.vendor, image.device)
    assert ("a virtual function", False) == (image.name, any(image.writable[0x08:0x40]))
    assert ", without a driver; " in image.origin


def test_the_report_for_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = config_space()
    config[0x100:0x104] = b"\x03\0\x01\0"
    make_function(tmp_path, config=config)
    code, out, err = record(capsys, tmp_path, tmp_path / "nic.json", "--json")
    report = json.loads(out)

    assert (0, "") == (code, err)
    assert ["a serial number at 104"] == report.pop("private")
    assert 1 == len(report.pop("unknown"))
    assert {"function": str(NIC), "file": f"{tmp_path}/nic.json", "size": 4096} == report


def test_a_file_is_overwritten_only_on_demand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_function(tmp_path)
    file = tmp_path / "mine"
    file.write_text("mine")
    refused = record(capsys, tmp_path, file)
    kept = file.read_text()
    forced = record(capsys, tmp_path, file, "--force")

    line = f"pvpci: {file}: the file exists; name another, or give --force to overwrite it\n"
    assert ((2, "", line), "mine", 0) == (refused, kept, forced[0])
    assert "mine" == load(str(file)).name


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["0:5.9", "-o", "x"], "function 9 is beyond 7"),
        (["0000:00:06.0", "-o", "x"], "no such PCI function"),
        (["0000:00:05.0", "-o", "no/such/folder"], "No such file or directory"),
        (["0000:00:05.0"], "-o"),
        ([], "BDF"),
    ],
)
def test_what_people_get_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: Sequence[str], line: str
) -> None:
    make_function(tmp_path)
    code = run(make_group(), ["record-device", "--devices", str(tmp_path), *arguments])
    err = capsys.readouterr().err

    assert (2, 1) == (code, err.count("\n"))
    assert line in err
    assert not Path("x").exists()


placed = st.builds(
    lambda power, slot, flags: Resource(slot << power, (slot + 1 << power) - 1, flags),
    st.integers(0, 40), st.integers(0, 1 << 20), st.sampled_from([0, IO, MEM, MEM | 0x100000, 1 << 40]),
)  # fmt: skip
anything = st.builds(Resource, *[st.integers(0, (1 << 64) - 1)] * 3)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(st.binary(min_size=256, max_size=256), st.lists(st.one_of(placed, anything), max_size=17))
def test_every_function_that_can_be_observed_gives_an_image_that_loads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], config: bytes, resources: list[Resource]
) -> None:
    folder = tmp_path / str(NIC)
    for path in folder.iterdir() if folder.exists() else ():
        path.unlink()
    if folder.exists():
        folder.rmdir()
    make_function(tmp_path, config=config, resources=resources)
    code, _, err = record(capsys, tmp_path, tmp_path / "any.json", "--force")
    if config[:4] == b"\xff" * 4:
        assert 2 == code
        return
    image = load(str(tmp_path / "any.json"))

    assert 0 == code, err
    assert config == image.registers
