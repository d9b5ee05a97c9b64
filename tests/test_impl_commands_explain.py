# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pvpci.impl.cli import make_group, run
from pvpci.impl.embedded.image import load

Capture = pytest.CaptureFixture[str]
NOTICE = (
    "pciback 0000:00:05.0: xen-pciback: "
    "Driver tried to write to a read-only configuration space field at offset 0xe8, size 2."
)


def outcome(capsys: Capture, *arguments: str) -> tuple[int, str, str]:
    code = run(make_group(), ("explain", *arguments))
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.parametrize("code", ["ffffff8e", "fffffffb", "-16", "-22", "-28", "-5", "0xffffffff", "22", "0x81", "EIO"])
def test_a_number_is_explained(capsys: Capture, code: str) -> None:
    status, out, err = outcome(capsys, code)

    assert (0, "") == (status, err)
    assert "means    " in out
    assert ("cannot be decided; it can be" in out) == (code not in ("ffffff8e", "0x81", "22"))


def test_the_number_of_a_field_case(capsys: Capture) -> None:
    _, out, _ = outcome(capsys, "nvme 0000:84:00.0: enable msix get err ffffff8e")

    assert out.startswith("fault pcifront in the guest 0000:84:00.0: the backend refused MSI-X; ")
    assert (
        "  -114 (0xffffff8e):\n    EALREADY, errno of Linux\n      means    MSI-X is still on from an earlier enable."
        in out
    )


def test_a_notice_by_one_of_our_images(capsys: Capture) -> None:
    code, out, err = outcome(capsys, "--image", "e1000e", NOTICE)

    assert (0, "") == (code, err)
    assert (
        "a guest's write was dropped: 2 bytes at offset 0xe8\n  register DEVCTL, PCI Express capability at 0xe0\n"
        in out
    )
    assert "echo 0000:00:05.0-e8:2:ffff > /sys/bus/pci/drivers/pciback/quirks" in out


def test_a_notice_by_a_dump_of_either_kind(capsys: Capture, tmp_path: Path) -> None:
    space = load("e1000e").registers
    text, raw = tmp_path / "lspci.txt", tmp_path / "config"
    rows = "".join(f"{at:02x}: {space[at : at + 16].hex(' ')}\n" for at in range(0, 4096, 16))
    text.write_text("00:04.0 Host bridge\n00: 00\n\n00:05.0 Ethernet\n" + rows)
    raw.write_bytes(space)

    for path in (text, raw):
        assert "DEVCTL, PCI Express capability at 0xe0" in outcome(capsys, "--lspci", str(path), NOTICE)[1]


def test_a_notice_without_a_dump_says_what_is_missing(capsys: Capture) -> None:
    _, out, _ = outcome(capsys, NOTICE)

    assert (
        "needs    cannot be decided without the function's configuration space: `lspci -xxx -s BDF` as root in dom0"
        in out
    )
    assert "--lspci /sys/bus/pci/devices/0000:00:05.0/config" in out
    assert "echo" not in out


def test_words_that_lost_their_quotes_are_a_line(capsys: Capture) -> None:
    assert outcome(capsys, "pcifront pci-0: backend going away!") == outcome(
        capsys, "pcifront", "pci-0:", "backend", "going", "away!"
    )
    assert 2 == outcome(capsys, "-22", "-5")[1].count("needs    ")


def test_a_line_that_is_not_known(capsys: Capture) -> None:
    expected = "not a line that is known here; nothing is guessed from it\n"

    assert (0, expected, "") == outcome(capsys, "usb 1-1: new high-speed device")
    assert {"kind": "line", "known": False} == json.loads(outcome(capsys, "--json", "usb 1-1: new")[1])


def test_a_log(capsys: Capture, tmp_path: Path) -> None:
    path = tmp_path / "dmesg"
    path.write_bytes(
        b"one\n"
        + NOTICE.encode()
        + b"\n               1) see permissive attribute in sysfs\nPr\xfcfung\n"
        + b"x" * 99999
    )
    code, out, err = outcome(capsys, str(path), "--image", "e1000e")

    assert (0, "") == (code, err)
    assert out.startswith(
        f"{path}: 5 lines, 1 kinds known, 3 lines not known\n  line 2: look xen-pciback in dom0 0000:00:05.0: "
    )


def test_standard_input_is_a_log(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(NOTICE.encode())))

    assert outcome(capsys, "-")[1].startswith("standard input: 1 lines, 1 kinds known, 0 lines not known\n")


def test_a_pasted_record_of_three_lines(capsys: Capture) -> None:
    _, out, _ = outcome(
        capsys,
        f"{NOTICE}\n   1) see permissive attribute in sysfs\n   2) report problems to the xen-devel mailing list",
    )

    assert out.startswith("the lines: 3 lines, 1 kinds known, 0 lines not known\n")


def test_json_has_the_documented_keys(capsys: Capture, tmp_path: Path) -> None:
    path = tmp_path / "dmesg"
    path.write_text(NOTICE + "\n")
    number = json.loads(outcome(capsys, "--json", "fffffffb")[1])
    line = json.loads(outcome(capsys, "--json", "--image", "e1000e", NOTICE)[1])
    log = json.loads(outcome(capsys, "--json", str(path))[1])

    assert ["kind", "given", "number", "certain", "needs", "readings"] == list(number)
    assert ["where", "space", "name", "means", "next", "cite", "known"] == list(number["readings"][0])
    assert ("number", -5, False) == (number["kind"], number["number"], number["certain"])
    parts = ["id", "by", "weight", "device", "means", "next", "line", "times", "number", "write"]
    assert ["kind", "known", *parts] == list(line)
    assert ["offset", "size", "value", "stands", "registers", "quirk", "faults", "needs"] == list(line["write"])
    assert ["first", "last", "name", "where", "loses", "remedy", "advice", "cite"] == list(
        line["write"]["registers"][0]
    )
    assert ("DEVCTL", "quirk") == (line["write"]["registers"][0]["name"], line["write"]["registers"][0]["remedy"])
    assert ["kind", "file", "lines", "unknown", "beyond", "known"] == list(log)
    assert parts == list(log["known"][0])


TRACE = b'{"format":"pvpci-trace","version":1,"vantage":"backend"}\n'


@pytest.mark.parametrize(
    ("arguments", "content", "code", "message"),
    [
        (["nothing.log"], None, 3, "pvpci: 'nothing.log': neither a number nor a file that is there; give a number"),
        (["f"], b"", 3, "pvpci: f: is empty; give the text of a log"),
        (["f"], b"\x7fELF\0\n", 3, "pvpci: f:1: is binary; give the text of a log"),
        (["f"], TRACE, 2, "pvpci: f: is a trace and no log; `pvpci check f` judges it"),
        (["--nonsense"], None, 2, "pvpci: option '--nonsense': there is none of this name; "),
        (["--image", "e1000e", "--lspci", "f", "-5"], None, 2, "pvpci: --image and --lspci: one copy "),
        (["--image", "none", NOTICE], None, 3, "pvpci: --image none: no image 'none': have "),
        (["--lspci", "f", NOTICE], None, 3, "pvpci: f: No such file or directory; name a dump that can be read"),
        (["--lspci", "f", NOTICE], b"hello", 3, "pvpci: f: has no line of a dump"),
        (["--image", "edu", NOTICE], None, 2, "pvpci: the dump: the line is about 0000:00:05.0, and the dump has 0000:00:07.0; "),
        ([], None, 2, "pvpci: explain: missing argument"),
    ],
)  # fmt: skip
def test_what_cannot_be_explained_is_one_line(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    arguments: list[str], content: bytes | None, code: int, message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path("f").write_bytes(content)
    status, out, err = outcome(capsys, *arguments)

    assert (code, "") == (status, out)
    assert err.startswith(message)
    assert 1 == len(err.splitlines())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(words=st.lists(st.text(min_size=1).filter(lambda word: "\0" not in word), min_size=1, max_size=3))
def test_any_words_are_answered_in_printable_lines(capsys: Capture, words: list[str]) -> None:
    code, out, err = outcome(capsys, *words)

    assert code in (0, 2, 3)
    assert (out + err).replace("\n", "").isprintable()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(content=st.binary(max_size=200))
def test_any_file_is_answered_or_refused(capsys: Capture, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "log"
    path.write_bytes(content + NOTICE.encode())
    code, out, err = outcome(capsys, str(path))

    if b"pvpci-trace" in content:  # what `check` reads is no log
        assert code in (2, 3)
    else:
        assert code == (3 if b"\0" in content else 0)
    assert (out + err).replace("\n", "").isprintable()
