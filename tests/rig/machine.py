# SPDX-License-Identifier: Apache-2.0
"""Real Xen in one QEMU process: a PV dom0, PV guests, and emulated PCI functions behind an emulated IOMMU.

No hardware support is needed, and none is used: under plain emulation dom0 answers ten seconds after the start. A test
says what to do as shell lines for dom0 or for a guest, and gets their exit status and output.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final

from tests.rig.build import Images, images
from tests.rig.ship import ship

#: Functions to give to guests, by what they are. What each is good for stands beside it.
E1000E: Final = "0000:00:05.0"  # PCI Express, power management, INTx, MSI, MSI-X, I/O ports, a ROM
NVME: Final = "0000:00:06.0"  # PCI Express, a 64-bit BAR, 65 MSI-X vectors
EDU: Final = "0000:00:07.0"  # no driver, no reset
RTL8139: Final = "0000:00:08.0"  # conventional PCI, 256 bytes, INTx
AHCI: Final = "0000:00:09.0"  # MSI; its memory is BAR 5
XHCI: Final = "0000:00:0a.0"  # PCI Express, 64-bit BAR, MSI with room for 16 messages, no power management
FUNCTIONS: Final = (E1000E, NVME, EDU, RTL8139, AHCI, XHCI)
NAMES: Final = {
    E1000E: "e1000e", NVME: "nvme", EDU: "edu", RTL8139: "rtl8139", AHCI: "ich9-ahci", XHCI: "xhci",
}  # fmt: skip

XEN_ARGUMENTS: Final = "console=com1 com1=115200,8n1 dom0_mem=1024M,max:1024M loglvl=all guest_loglvl=all iommu=verbose"
BOOT_LIMIT: Final = 240.0
#: Longest line that a terminal takes in one piece, less the token.
CONSOLE_LINE: Final = 4000


class RigError(AssertionError):
    """The rig itself did not do what the test relies on; what Xen said last is part of the text."""


@dataclass(frozen=True)
class Result:
    """Exit status (124: not done in time) and the output of both streams."""

    rc: int
    out: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


@dataclass(frozen=True)
class Guest:
    """A PV guest: `image` is "plain" (a shell, lspci, setpci, drivers) or "python" (with the scripted frontend too)."""

    name: str
    pci: Sequence[str] = ()
    image: str = "plain"
    memory: int = 256  #: MiB

    def configuration(self, token: str) -> str:
        # A guest that starts without functions gets an IOMMU context only when asked for.
        devices = f"pci = {json.dumps([str(bdf) for bdf in self.pci])}" if self.pci else 'passthrough = "enabled"'
        ramdisk = {"plain": "/srv/plain.initrd", "python": "/run/python.initrd"}[self.image]
        return (
            f'name = "{self.name}"\ntype = "pv"\nkernel = "/srv/vmlinuz"\nramdisk = "{ramdisk}"\n'
            f'extra = "console=hvc0 panic=1 rig={token}"\nmemory = {self.memory}\nvcpus = 1\n'
            f'on_crash = "preserve"\n{devices}\n'
        )


class Machine:
    """One boot. Use as a context manager: leaving it powers off, or kills QEMU if that does not happen."""

    def __init__(self, job: Path | None = None, *, processors: int = 1, built: Images | None = None) -> None:
        self.job = job or Path(tempfile.mkdtemp(prefix="pvpci-rig-"))  #: dom0's /job; results under out/
        self.out = self.job / "out"
        self._processors, self._images = processors, built or images()
        self._temporary = job is None
        self._qemu: subprocess.Popen[bytes] | None = None
        self._line = socket.socket(socket.AF_UNIX)
        self._waiting, self._asked = b"", 0
        self.boot_seconds = 0.0
        self.started = time.time()  #: what is older in `out` is of another run

    # ------------------------------------------------------------------ life

    def __enter__(self) -> Machine:
        self.out.mkdir(parents=True, exist_ok=True)
        ship(self.job)
        started = time.monotonic()
        try:
            self._start()
            self._answer(0, BOOT_LIMIT)
        except BaseException:
            self._kill()
            raise
        self.boot_seconds = time.monotonic() - started
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._qemu is not None and self._qemu.poll() is None:
            self._ask("sync; mount -o remount,ro /; echo o > /proc/sysrq-trigger; sleep 60", 60)
            try:
                self._qemu.wait(30)
            except subprocess.TimeoutExpired:
                self._kill()
        self._line.close()
        if self._temporary and kind is None:
            shutil.rmtree(self.job, ignore_errors=True)

    def _kill(self) -> None:
        if self._qemu is not None:
            self._qemu.kill()
            self._qemu.wait()

    def _start(self) -> None:
        # A socket's path is limited to 107 bytes; test folders may be deeper than that.
        path = Path(tempfile.mkdtemp(prefix="rig-"), "line")
        with (self.job / "qemu.log").open("wb") as log:
            # If this process dies, however it dies, so does QEMU.
            command = ["setpriv", "--pdeathsig", "KILL", *self._command(path)]
            self._qemu = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + 20
        while True:
            try:
                self._line.connect(str(path))
                break
            except OSError:
                if self._qemu.poll() is not None or time.monotonic() > deadline:
                    raise RigError(f"QEMU did not start: {(self.job / 'qemu.log').read_text().strip()}") from None
                time.sleep(0.05)
        shutil.rmtree(path.parent)

    def _command(self, line: Path) -> list[str]:
        disk = {name: self.job / f"{name}.img" for name in ("nvme", "ahci")}
        for image in disk.values():
            with image.open("wb") as file:
                file.truncate(64 << 20)
        address = {bdf: f"addr={bdf[8:10]}" for bdf in FUNCTIONS}
        built = self._images
        # fmt: off
        return [
            "qemu-system-x86_64", "-name", "pvpci-rig", "-machine", "q35", "-accel", "tcg",
            # Without SMAP: with it, QEMU 7.2's emulation lets dom0 die in its first exception.
            "-cpu", "qemu64",
            "-smp", str(self._processors), "-m", "2048", "-display", "none", "-nodefaults", "-no-reboot",
            "-serial", f"file:{self.job / 'serial.log'}",
            "-kernel", str(built.xen), "-append", XEN_ARGUMENTS,
            "-initrd", f"{built.kernel} console=hvc0 panic=1,{built.initrd}",
            "-drive", f"file={built.root},format=raw,if=none,id=root,snapshot=on",
            "-device", "virtio-blk-pci,drive=root,addr=2",
            "-fsdev", f"local,id=job,path={self.job},security_model=none",
            "-device", "virtio-9p-pci,fsdev=job,mount_tag=job,addr=3",
            "-chardev", f"socket,id=line,path={line},server=on,wait=off",
            "-device", "virtio-serial-pci,addr=4", "-device", "virtserialport,chardev=line",
            "-device", "intel-iommu,intremap=on,caching-mode=on",
            "-netdev", "user,id=n0,restrict=on", "-device", f"e1000e,netdev=n0,{address[E1000E]}",
            "-drive", f"file={disk['nvme']},format=raw,if=none,id=nvme",
            "-device", f"nvme,serial=rig,drive=nvme,{address[NVME]}",
            "-device", f"edu,{address[EDU]}",
            "-netdev", "user,id=n1,restrict=on", "-device", f"rtl8139,netdev=n1,{address[RTL8139]}",
            "-drive", f"file={disk['ahci']},format=raw,if=none,id=ahci",
            "-device", f"ich9-ahci,id=sata,{address[AHCI]}", "-device", "ide-hd,drive=ahci,bus=sata.0",
            "-device", f"nec-usb-xhci,msi=on,msix=off,{address[XHCI]}",
        ]
        # fmt: on

    def printed(self) -> str:
        """What Xen and dom0 printed on the serial line since the boot."""
        try:
            return (self.job / "serial.log").read_text(errors="replace")
        except OSError:
            return "(nothing on the serial line)"

    def last_words(self, count: int = 25) -> str:
        """The end of that."""
        return "\n".join(self.printed().splitlines()[-count:])

    # ------------------------------------------------------------------ dom0

    def _ask(self, script: str, limit: float) -> int:
        self._asked += 1
        message = {"id": self._asked, "script": script, "limit": limit}
        try:
            self._line.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            raise self._dead() from None
        return self._asked

    def _answer(self, number: int, limit: float) -> Result:
        deadline = time.monotonic() + limit
        while True:
            line, found, rest = self._waiting.partition(b"\n")
            if found:
                self._waiting = rest
                answer = json.loads(line)
                if answer["id"] == number:
                    return Result(answer["rc"], answer["out"])
                continue
            self._line.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                data = self._line.recv(65536)
            except TimeoutError:
                raise RigError(f"dom0 did not answer in {limit:.0f} s; it said last:\n{self.last_words()}") from None
            except OSError:
                data = b""
            if not data:
                raise self._dead()
            self._waiting += data

    def _dead(self) -> RigError:
        log = (self.job / "qemu.log").read_text(errors="replace").strip()
        return RigError(f"the machine went down {log}; it said last:\n{self.last_words()}")

    def dom0(self, script: str, limit: float = 60.0) -> Result:
        """Run bash lines in dom0; killed, with rc 124, after `limit` seconds."""
        # The rig's own allowance, for emulation on a busy machine, is on top.
        return self._answer(self._ask(script, limit), limit + 60)

    def do(self, script: str, limit: float = 60.0) -> str:
        """As `dom0`, where failure means that the rig is broken. Returns the output."""
        result = self.dom0(script, limit)
        if result.rc:
            raise RigError(f"dom0: `{script.strip()[:200]}` gave {result.rc}: {result.out.strip()[-1500:]}")
        return result.out

    # ------------------------------------------------------------------ guests

    def create(self, guest: Guest, limit: float = 90.0) -> int:
        """Start `guest` and wait until it takes commands. Returns its domain number."""
        token = base64.b32encode(os.urandom(5)).decode()
        self.do(
            f"cat > /run/{guest.name}.cfg <<'END'\n{guest.configuration(token)}END\n"
            "[ -e /run/python.initrd ] || cat /srv/python.initrd /job/agent.cpio.gz > /run/python.initrd\n"
            f"xl create -q /run/{guest.name}.cfg || exit 1\n"
            f"python3 -S -m tests.rig.dom0.console {guest.name} {token} {limit}",
            limit + 60,
        )
        return int(self.do(f"xl domid {guest.name}"))

    def guest(self, name: str, command: str, limit: float = 60.0) -> Result:
        """Run shell lines in a guest, over its console; rc 124 if they do not end in time (or the guest is gone)."""
        encoded = base64.b64encode(command.encode()).decode()
        if len(encoded) > CONSOLE_LINE:
            raise RigError(f"the command for guest {name} has {len(command)} bytes; {CONSOLE_LINE * 3 // 4} fit")
        token = base64.b32encode(os.urandom(5)).decode()
        return self.dom0(f"python3 -S -m tests.rig.dom0.console {name} {token} {limit} {encoded}", limit + 20)

    def wait(self, condition: str, limit: float = 60.0) -> None:
        """Until the shell condition holds in dom0. RigError if it does not in `limit` seconds."""
        self.do(f"while ! {{ {condition}; }} > /dev/null 2>&1; do sleep 0.2; done", limit)

    def destroy(self, name: str) -> None:
        """`xl destroy`: the guest is not asked. No error if it is gone already."""
        self.do(f"xl domid {name} > /dev/null 2>&1 || exit 0; xl destroy {name}", 120)

    # ------------------------------------------------------------------ functions

    def seize(self, functions: Sequence[str] = FUNCTIONS) -> None:
        """Let xen-pciback's PCI half hold the functions, as the toolstack wants it, whoever serves them."""
        lines = [f"[[ $held == *{bdf}* ]] || xl pci-assignable-add {bdf} 2>&1" for bdf in functions]
        self.do("\n".join(["modprobe xen-pciback", "held=$(xl pci-assignable-list)", *lines]))

    def configuration_of(self, bdf: str) -> str:
        """The real function's configuration space as dom0 sees it: `lspci -xxxx` lines."""
        return self.do(f"lspci -xxxx -s {bdf}")
