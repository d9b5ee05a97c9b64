# SPDX-License-Identifier: Apache-2.0
"""Which machine a command runs on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.backend_rig import EDU, GUEST, Rig, box_only
from tests.fake_xen import NIC, FakeXen, config_space, make_function

from pvpci.impl import hosts
from pvpci.impl.embedded.host import EmbeddedHost
from pvpci.impl.errors import UsageError
from pvpci.impl.host import HostError
from pvpci.impl.xen.host import Paths, XenHost


@pytest.fixture
def made() -> Iterator[Rig]:
    with box_only() as made:
        yield made


def test_xen_is_where_its_devices_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(hosts, "DEVICES", str(tmp_path / "xen"))
    without = hosts.default()
    (tmp_path / "xen").mkdir()

    assert ("embedded", "xen") == (without, hosts.default())


def test_a_box_that_was_named_is_the_machine(made: Rig) -> None:
    with hosts.toolstack_host(None, made.box.path, "list") as host:
        assert isinstance(host, EmbeddedHost)
    with pytest.raises(HostError):
        host.functions()


def test_no_box_is_the_callers_to_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "default", lambda: "embedded")
    with (
        pytest.raises(UsageError, match="list: the embedded host needs a box"),
        hosts.toolstack_host(None, None, "list"),
    ):
        pass


def test_what_was_given_stays_given_when_the_command_ends(made: Rig) -> None:
    made.dom0.create_domain(GUEST)
    with hosts.toolstack_host("embedded", made.box.path, "attach") as host:
        function = host.open_function(EDU)
        host.give(GUEST, function)
        function.close()

    assert [(str(EDU), 7)] == [(each.bdf, each.domain) for each in made.dom0.account().assigned]


def test_what_was_given_on_real_xen_stays_given_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("gntdev", "evtchn", "xenbus"):
        os.mkfifo(tmp_path / name)
    make_function(tmp_path / "devices", config=config_space())
    names = {name: str(tmp_path / name) for name in ("gntdev", "evtchn", "xenbus", "privcmd", "devices", "hypervisor")}
    xen = FakeXen()
    made = XenHost(Paths(**names), lambda *_: xen)
    monkeypatch.setattr("pvpci.impl.xen.host.XenHost", lambda: made)
    with hosts.toolstack_host("xen", None, "attach") as host:
        function = host.open_function(NIC)
        host.give(GUEST, function)
        function.close()

    assert xen.state
