# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from pvpci.impl.notify import Notifier


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    # A relative bind keeps a long temporary path out of the 108 bytes of sun_path.
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("notify")
        listener.settimeout(5)
        yield listener


def notifier(tmp_path: Path) -> Notifier:
    return Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})


def test_each_message_is_one_datagram(manager: socket.socket, tmp_path: Path) -> None:
    with notifier(tmp_path) as to:
        assert to.present
        assert to.ready("serving 2 guests")
        assert to.status("serving 1 guest")
        assert to.alive()
        assert to.stopping()

    expected = [b"READY=1\nSTATUS=serving 2 guests", b"STATUS=serving 1 guest", b"WATCHDOG=1", b"STOPPING=1"]
    assert expected == [manager.recv(4096) for _ in expected]


def test_a_status_cannot_smuggle_in_another_field(manager: socket.socket, tmp_path: Path) -> None:
    with notifier(tmp_path) as to:
        to.status("guest\nMAINPID=1")

    assert b"STATUS=guest MAINPID=1" == manager.recv(4096)


def test_an_abstract_address() -> None:
    name = f"pvpci-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener, Notifier({"NOTIFY_SOCKET": f"@{name}"}) as to:
        listener.bind(f"\0{name}")
        listener.settimeout(5)
        assert to.ready()

        assert b"READY=1" == listener.recv(4096)


@pytest.mark.parametrize("address", ["", "relative/path", "vsock:2:1234"])
def test_without_a_manager_nothing_happens(address: str) -> None:
    with Notifier({"NOTIFY_SOCKET": address}) as to:
        assert not to.present
        assert not to.ready("x")


@pytest.mark.parametrize("address", ["/nowhere/notify", "/" + "x" * 500, "@" + "x" * 500])
def test_a_manager_that_is_gone_is_only_a_false(address: str) -> None:
    with Notifier({"NOTIFY_SOCKET": address}) as to:
        assert to.present
        assert not to.ready()


def test_a_manager_that_does_not_read_does_not_hold_us_up(manager: socket.socket, tmp_path: Path) -> None:
    with notifier(tmp_path) as to:
        sent = [to.alive() for _ in range(100_000)]

    assert sent[0]
    assert not sent[-1]


def test_an_empty_status_is_not_sent(manager: socket.socket, tmp_path: Path) -> None:
    with notifier(tmp_path) as to:
        assert not to.status("")
