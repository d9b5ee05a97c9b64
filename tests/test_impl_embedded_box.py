# SPDX-License-Identifier: Apache-2.0
"""The box starts at once, ends when told or orphaned, and leaves no file behind."""

from __future__ import annotations

import errno
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pvpci.impl.embedded.box import Box
from pvpci.impl.embedded.host import EmbeddedHost
from pvpci.impl.embedded.image import FOLDER, ImageError, load, names
from pvpci.impl.host import Bdf, HostError


def test_one_can_connect_as_soon_as_it_is_started() -> None:
    with Box() as box:
        host = EmbeddedHost(box.path)
        functions = host.functions()
        host.close()
        path = box.path

    assert sorted(load(name).bdf for name in names()) == list(functions)
    assert not Path(path).parent.exists()


def test_functions_where_one_wants_them(tmp_path: Path) -> None:
    own = tmp_path / "own.json"
    own.write_bytes((FOLDER / "edu.json").read_bytes())
    with Box({"0001:02:03.4": "edu", "0:0:1.0": str(own)}, path=tmp_path / "box") as box:
        host = EmbeddedHost(box.path)
        functions = host.functions()
        function = host.open_function(Bdf(1, 2, 3, 4))
        found = (box.path, function.bdf, function.read(0, 4))
        host.close()

    assert [Bdf(0, 0, 1, 0), Bdf(1, 2, 3, 4)] == list(functions)
    assert (str(tmp_path / "box"), Bdf(1, 2, 3, 4), 0x11E81234) == found
    assert not (tmp_path / "box").exists()


def test_starting_and_stopping_twice() -> None:
    box = Box({})
    box.start()
    with pytest.raises(HostError) as twice:
        box.start()
    pid = box.pid
    box.stop()
    box.stop()
    with pytest.raises(HostError) as stopped:
        _ = box.path
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with box:
        EmbeddedHost(box.path).close()

    assert (errno.EALREADY, errno.ENOTCONN) == (twice.value.errno, stopped.value.errno)


def test_bad_input_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no image 'e100'"):
        Box({"0000:00:01.0": "e100"})
    with pytest.raises(HostError, match="'1' is no PCI address"):
        Box({"1": "edu"})
    with pytest.raises(HostError) as nowhere:
        Box({}, path=tmp_path / "no" / "box").start()
    with pytest.raises(HostError) as long:
        Box({}, path=tmp_path / ("x" * 200)).start()

    assert errno.ENOENT == nowhere.value.errno
    assert "too long" in long.value.what


def test_a_path_in_use_is_refused_and_left_alone(tmp_path: Path) -> None:
    with Box({}, path=tmp_path / "box") as box:
        with pytest.raises(HostError) as caught:
            Box({}, path=tmp_path / "box").start()
        host = EmbeddedHost(box.path)
        host.close()

    assert errno.EADDRINUSE == caught.value.errno


def test_what_a_killed_box_left_is_no_obstacle_but_a_file_is(tmp_path: Path) -> None:
    box = Box({}, path=tmp_path / "box").start()
    os.kill(box.pid, signal.SIGKILL)
    os.waitid(os.P_PID, box.pid, os.WEXITED | os.WNOWAIT)
    left = (tmp_path / "box").exists()
    with Box({}, path=tmp_path / "box") as second:
        host = EmbeddedHost(second.path)
        functions = host.functions()
        host.close()
    box.stop()
    (tmp_path / "file").write_text("precious")
    with pytest.raises(HostError) as caught:
        Box({}, path=tmp_path / "file").start()

    assert (True, []) == (left, list(functions))
    assert (errno.EADDRINUSE, "precious") == (caught.value.errno, (tmp_path / "file").read_text())


PARENT = """
import os, sys
from pvpci.impl.embedded.box import Box
box = Box({}).start()
if os.fork() == 0:
    # Holds a copy of everything that the parent had open.
    sys.stdin.read()
    os._exit(0)
print(box.pid, box.path, flush=True)
sys.stdin.read()
"""


def test_the_box_ends_with_its_parent_however_that_ends() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(each for each in sys.path if each)}
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as parent:
        assert parent.stdout is not None
        pid, path = parent.stdout.readline().decode().split()
        # Answering means that it has seen its parent alive.
        EmbeddedHost(path).close()
        ended = os.pidfd_open(int(pid))
        parent.send_signal(signal.SIGKILL)
        poll = select.poll()
        poll.register(ended, select.POLLIN)
        seen = bool(poll.poll(5000))
        os.close(ended)

    assert seen
    assert not Path(path).parent.exists()


def test_an_interrupt_at_the_terminal_does_not_end_it() -> None:
    with Box({}) as box:
        EmbeddedHost(box.path).close()
        os.kill(box.pid, signal.SIGINT)
        host = EmbeddedHost(box.path)
        functions = host.functions()
        host.close()

    assert [] == list(functions)
