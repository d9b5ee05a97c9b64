# SPDX-License-Identifier: Apache-2.0
"""``pvpci serve`` as people run it: ready, ended by signals, small, and clear about a machine that is not fit for it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.backend_rig import EDU, ENVIRONMENT, GUEST, RTL, Rig, Served, box_only, events, guest_process, run_cli, until

from pvpci.impl.commands.serve import command
from pvpci.impl.daemon import Daemon
from pvpci.impl.embedded.host import EmbeddedHost
from pvpci.impl.embedded.image import FOLDER, names
from pvpci.impl.host import Bdf, DomId
from pvpci.model.config.linux import PROFILES
from pvpci.model.states import Xenbus

MEGABYTE = 1 << 20


@pytest.fixture
def made() -> Iterator[Rig]:
    with box_only() as made:
        yield made


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_cleanly_while_it_serves(made: Rig, number: int) -> None:
    with Served("--box", made.box.path) as backend:
        assert backend.wait_for("event=serving")
        made.device(EDU)
        with made.guest() as front:
            front.connect()
            mapped = len(made.dom0.account().mapped)
            code = backend.end(number)
            account = made.dom0.account()
            told = front.backend_state()

    assert (1, 0) == (mapped, code)
    assert Xenbus.CLOSED is told
    assert ((), (), 0) == (account.mapped, account.held, account.transactions)
    assert "event=stopped" in backend.lines[-1]
    assert not [line for line in backend.lines if "Traceback" in line]


def test_killed_it_leaves_nothing_and_the_next_one_serves(made: Rig) -> None:
    with Served("--box", made.box.path) as first:
        assert first.wait_for("event=serving")
        made.device(EDU)
        with made.guest() as front:
            front.connect()
            first.end(signal.SIGKILL)
    assert until(made.settled)
    made.clean()
    with Served("--box", made.box.path) as second:
        assert second.wait_for("event=serving")
        made.device(EDU)
        with made.guest() as front:
            front.connect()

            assert 0x11E81234 == front.read(0, 0, 4)
        assert 0 == second.end()


def test_without_a_box_it_makes_one_and_says_where() -> None:
    with Served("--host", "embedded") as backend:
        assert backend.wait_for("event=serving")
        assert backend.process.stdout is not None
        path = backend.process.stdout.readline().strip()
        listed = run_cli("list", "--box", path, "--json")
        code = backend.end()

    assert (0, '{"devices": []}\n', 0) == (listed.returncode, listed.stdout, code)
    assert not Path(path).exists()


def test_a_function_of_ones_own_is_offered(tmp_path: Path) -> None:
    # In the place of one that comes with the program, and beside them.
    mine = {"mine.json": (0xBEEF, "0000:00:07.0"), "other.json": (0xCAFE, "0000:42:00.0")}
    for name, (device, bdf) in mine.items():
        image = json.loads((FOLDER / "edu.json").read_text()) | {"bdf": bdf, "device": f"{device:04x}"}
        (tmp_path / name).write_text(json.dumps(image))
    options = [word for name in mine for word in ("--image", str(tmp_path / name))]
    with Served("--host", "embedded", *options) as backend:
        assert backend.wait_for("event=serving")
        host = EmbeddedHost(backend.process.stdout.readline().strip() if backend.process.stdout else "")
        functions = [host.open_function(Bdf(0, 0, 7, 0)), host.open_function(Bdf(0, 0x42, 0, 0))]
        found = [function.device for function in functions]
        offered = len(host.functions())
        host.close()
        code = backend.end()

    assert ([0xBEEF, 0xCAFE], len(names()) + 1, 0) == (found, offered, code)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file or directory; record one with"),
        ("{}", "missing required field `format`"),
        ('{"format": "pvpci-config-image-1"}', "expected pvpci-config-image-2"),
    ],
)
def test_an_image_that_cannot_be_read(tmp_path: Path, content: str | None, said: str) -> None:
    if content is not None:
        (tmp_path / "bad.json").write_text(content)
    done = run_cli("serve", "--host", "embedded", "--image", str(tmp_path / "bad.json"))

    assert (3, "", 1) == (done.returncode, done.stdout, done.stderr.count("\n"))
    assert done.stderr.startswith(f"pvpci: {tmp_path}/bad.json: ")
    assert said in done.stderr


@pytest.mark.parametrize("host", [("--host", "xen"), ("--box", "some/where")])
def test_images_are_for_a_box_of_our_own(host: tuple[str, str]) -> None:
    done = run_cli("serve", *host, "--image", "x.json")

    assert 2 == done.returncode
    assert "--image x.json: " in done.stderr


def test_the_service_manager_is_told(made: Rig, tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        manager.settimeout(10)
        with Served("--box", made.box.path, environment={"NOTIFY_SOCKET": path}) as backend:
            ready = manager.recv(4096)
            code = backend.end()
            manager.setblocking(False)
            rest = []
            try:
                while True:
                    rest.append(manager.recv(4096))
            except BlockingIOError:
                rest.append(b"")

    assert (True, 0) == (ready.startswith(b"READY=1"), code)
    assert b"STOPPING=1" in rest


def test_a_trace_is_written_and_conforms(made: Rig, tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    with Served("--box", made.box.path, "--trace", str(path), "--monitor") as backend:
        assert backend.wait_for("event=serving")
        made.device(EDU)
        output, _ = guest_process("frontend", made.box.path, str(GUEST), "--seconds", "0.1").communicate(timeout=60)
        made.clean()
        code = backend.end()
    checked = run_cli("check", str(path))

    assert ("closed", 0, 0) == (events(output)[-1]["event"], code, checked.returncode)
    assert "conforms" in checked.stdout


def test_only_one_guest_if_so_asked(made: Rig) -> None:
    with Served("--box", made.box.path, "--guest", "8") as backend:
        assert backend.wait_for("event=serving")
        for domain, bdf in ((GUEST, EDU), (DomId(8), RTL)):
            made.dom0.create_domain(domain)
            made.toolstack.attach(domain, [bdf], wait=False)
        served = until(lambda: made.state(DomId(8)) == "3")
        assert 0 == backend.end()

    assert (True, "1") == (served, made.state(GUEST))


def test_it_is_small_and_loads_no_more_than_it_needs(made: Rig) -> None:
    with Served("--box", made.box.path) as backend:
        assert backend.wait_for("event=serving")
        made.device(EDU)
        guest_process("frontend", made.box.path, str(GUEST), "--seconds", "0.5").communicate(timeout=60)
        resident = backend.resident()
        mapped = Path(f"/proc/{backend.process.pid}/maps").read_text()
        made.clean()
        backend.end()

    assert resident <= 48 * MEGABYTE
    assert not re.search("z3|rich", " ".join(line.rpartition("/")[2] for line in mapped.splitlines()))


def test_modules_that_serve_must_not_load() -> None:
    program = (
        "import sys\nimport pvpci.impl.commands.serve, pvpci.impl.daemon, pvpci.impl.embedded.host, pvpci.impl.xen.host\n"
        "import pvpci.impl.monitor, pvpci.impl.notify\n"
        "print(sorted({'z3', 'hypothesis', 'rich', 'transitions', 'multiprocessing'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=ENVIRONMENT, check=True)

    assert "[]\n" == found.stdout


@pytest.mark.skipif(os.path.exists("/dev/xen"), reason="this is a Xen machine")
def test_a_machine_without_xen() -> None:
    done = run_cli("serve", "--host", "xen")

    assert (2, "", 1) == (done.returncode, done.stdout, done.stderr.count("\n"))
    assert done.stderr.startswith("pvpci: serve: /dev/xen/gntdev")
    assert "run in dom0" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--box", "/nowhere/box"], "box at /nowhere/box: No such file or directory"),
        (["--profile", "lax"], "--profile lax: there is no such profile; there is strict"),
        (["--topology", "slot"], "--topology slot: there is no such topology; there is vpci, passthrough"),
        (["--guest", "x"], "not a number"),
        (["--guest", "0"], "this is dom0"),
        (["--class", "../x"], "not the name of a device class"),
        (["--host", "kvm"], "'kvm' is not one of"),
    ],
)
def test_what_cannot_be_served(arguments: list[str], said: str) -> None:
    done = run_cli("serve", *arguments)

    assert (2, 1) == (done.returncode, done.stderr.count("\n"))
    assert said in done.stderr


def test_a_trace_that_cannot_be_written(made: Rig) -> None:
    done = run_cli("serve", "--box", made.box.path, "--trace", "/nowhere/trace")

    assert (2, "pvpci: /nowhere/trace: No such file or directory; name a file that can be written\n") == (
        done.returncode, done.stderr,
    )  # fmt: skip


def test_a_box_that_ends_is_one_line(made: Rig) -> None:
    with Served("--box", made.box.path) as backend:
        assert backend.wait_for("event=serving")
        made.box.stop()
        code = backend.process.wait(10)
        backend._reader.join(10)

    assert 2 == code
    assert "pvpci: serve: the host has gone" in backend.lines[-1]
    assert not [line for line in backend.lines if "Traceback" in line]


def test_a_broken_property_is_the_exit_code(made: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(daemon: Daemon, alive: object) -> None:
        daemon.violations = 1
        daemon.close()

    monkeypatch.setattr(Daemon, "run", run)
    result = CliRunner().invoke(command, ["--box", made.box.path], standalone_mode=False)

    assert (1, None) == (result.return_value, result.exception)


def test_the_profiles_are_listed() -> None:
    said = " ".join(run_cli("serve", "--help").stdout.split())
    refused = run_cli("serve", "--profile", "lax")

    assert all(name in said for name in PROFILES)
    assert (2, f"pvpci: --profile lax: there is no such profile; there is {', '.join(PROFILES)}\n") == (
        refused.returncode,
        refused.stderr,
    )
