# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from pvpci.impl.host import HostError
from pvpci.impl.xen.devices import failed, ioc_none, open_device, refused


def test_numbers_are_those_of_the_kernel_headers() -> None:
    assert ioc_none("E", 6, 2) == 0x024506
    assert ioc_none("E", 5, 0) == 0x004505
    assert ioc_none("G", 7, 16) == 0x104707


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ENODEV, errno.ENXIO])
def test_a_missing_node_names_the_module(number: int) -> None:
    error = refused("/dev/xen/gntdev", OSError(number, ""))

    assert error.errno == number
    assert error.what == (
        "/dev/xen/gntdev is missing: this is not a Xen dom0, "
        "or the module xen-gntdev is not loaded (modprobe xen-gntdev)"
    )


def test_a_missing_xenbus_blames_no_module() -> None:
    assert refused("/dev/xen/xenbus", FileNotFoundError(errno.ENOENT, "")).what == (
        "/dev/xen/xenbus is missing: this is not a Xen dom0"
    )


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
def test_no_permission_names_the_file(number: int) -> None:
    error = refused("/dev/xen/evtchn", OSError(number, ""))

    assert (error.errno, error.what) == (number, "/dev/xen/evtchn may not be opened: run as root")


def test_any_other_number_is_passed_on() -> None:
    assert refused("/dev/xen/evtchn", OSError(errno.EMFILE, "")).errno == errno.EMFILE
    assert failed("x", OSError("no number")).errno == errno.EIO


def test_open_device(tmp_path: Path) -> None:
    node = tmp_path / "gntdev"
    with pytest.raises(HostError, match="gntdev is missing") as caught:
        open_device(str(node))
    assert caught.value.errno == errno.ENOENT

    node.touch()
    descriptor = open_device(str(node), os.O_NONBLOCK)
    assert not os.get_blocking(descriptor)
    assert not os.get_inheritable(descriptor)
    os.close(descriptor)
