# SPDX-License-Identifier: Apache-2.0
"""The images that the rig boots, made from Debian packages only.

Two layers, each in a folder named by a hash of what it is made from. `base-*` is a Debian root with Xen's tools and an
unpacked kernel and hypervisor: the only step that needs the network. `images-*` is what QEMU boots. A changed script
gives another name, hence another build; an unchanged one is found and nothing is fetched.

    python -m tests.rig.build             build what is missing, print the folder
    python -m tests.rig.build --missing   Debian packages that this machine lacks for it
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.rig.initrd import pack_folder

HERE: Final = Path(__file__).parent
SUITE: Final = "bookworm"
XEN: Final = "xen-hypervisor-4.17-amd64"
PACKAGES: Final = (
    "xen-utils-4.17", "xenstore-utils", "pciutils", "kmod", "python3", "busybox-static", "libatomic1",
)  # fmt: skip
#: What the host itself needs: program -> Debian package.
TOOLS: Final = {
    "qemu-system-x86_64": "qemu-system-x86",
    "debootstrap": "debootstrap",
    "mke2fs": "e2fsprogs",
    "depmod": "kmod",
}
KEYRING: Final = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

# Neither dom0 nor the guests run udev, so a module is there only if it is named here (or needed by one that is).
EARLY_MODULES: Final = ("virtio_pci", "virtio_blk", "ext4", "crc32c_generic")
DOM0_MODULES: Final = (
    "9p", "9pnet_virtio", "virtio_console", "xen-gntdev", "xen-gntalloc", "xen-evtchn", "xen-privcmd", "xenfs",
    "xen-pciback",
)  # fmt: skip
GUEST_MODULES: Final = (
    "xen-pcifront", "e1000e", "nvme", "8139cp", "8139too", "ahci", "sd_mod", "vfat", "nls_cp437", "nls_ascii", "xen-evtchn",
    "xen-gntalloc",
)  # fmt: skip
#: Of python's standard library, what the scripted frontend imports.
GUEST_PYTHON: Final = ("collections", "ctypes", "encodings", "importlib", "json", "re")
GUEST_EXTENSIONS: Final = ("mmap", "_ctypes", "_json", "resource")
BAKED: Final = ("dom0/init", "dom0/mount-root", "dom0/runner.py", "guest/init")


class RigUnavailable(Exception):
    """The rig cannot be had on this machine; the text is one line that says what is missing."""


@dataclass(frozen=True)
class Images:
    """Files that QEMU loads. Both guests' kernels and initrds are inside `root`, under /srv."""

    xen: Path
    kernel: Path
    initrd: Path
    root: Path

    @classmethod
    def in_folder(cls, folder: Path) -> Images:
        return cls(folder / "xen", folder / "vmlinuz", folder / "dom0.initrd", folder / "dom0.img")


def cache() -> Path:
    if own := os.environ.get("PVPCI_RIG_CACHE"):
        return Path(own).expanduser().resolve()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pvpci-rig"


def _find(tool: str) -> str | None:
    # Debian keeps administrators' tools out of an ordinary user's PATH.
    return shutil.which(tool, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def missing_packages() -> list[str]:
    missing = [package for tool, package in TOOLS.items() if _find(tool) is None]
    # Ubuntu's debootstrap comes without it, and would take what the mirror says unchecked.
    return missing if KEYRING.exists() else [*missing, KEYRING.stem]


def _base_key() -> str:
    return _hash(SUITE, XEN, *PACKAGES, *_base_steps())


def _images_key() -> str:
    texts = [(HERE / name).read_text() for name in (*BAKED, "build.py", "initrd.py")]
    return _hash(_base_key(), *texts)


def _hash(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


def images() -> Images:
    """The images, built first if need be. RigUnavailable if that is not possible here."""
    if missing := missing_packages():
        raise RigUnavailable(f"the rig needs {' '.join(missing)}: apt-get install {' '.join(missing)}")
    folder = cache() / f"images-{_images_key()}"
    if not (folder / "complete").exists():
        if os.geteuid() != 0:
            raise RigUnavailable("the rig's images are not built yet, and debootstrap needs root: run as root once")
        cache().mkdir(parents=True, exist_ok=True)
        with _locked(cache() / "lock"):
            if not (folder / "complete").exists():
                _build_images(_base(), folder)
    return Images.in_folder(folder)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _run(command: Sequence[str | Path], **environment: str) -> str:
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C", "PATH": path, **environment},
        check=False,
    )  # fmt: skip
    if done.returncode:
        last = " | ".join((done.stdout + done.stderr).strip().splitlines()[-3:])
        raise RigUnavailable(f"the rig's build failed at `{' '.join(map(str, command))[:100]}`: {last}")
    return done.stdout


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


# ------------------------------------------------------------------ the Debian root


def _base_steps() -> tuple[str, ...]:
    """Shell lines for the new root. Xen and the kernel are unpacked, not installed: no boot loader, no initramfs."""
    newest = "apt-cache depends linux-image-amd64 | sed -n 's/^ *Depends: \\(linux-image-[^ ]*\\)$/\\1/p' | head -1"
    return (
        "printf '#!/bin/sh\\nexit 101\\n' > /usr/sbin/policy-rc.d && chmod +x /usr/sbin/policy-rc.d",
        "apt-get update -q",
        f"apt-get install -y -q --no-install-recommends {' '.join(PACKAGES)}",
        f"mkdir -p /unpacked /tmp/debs && cd /tmp/debs && apt-get download -q {XEN} $({newest})",
        "for deb in /tmp/debs/*.deb; do dpkg-deb -x $deb /unpacked; done; rm -r /tmp/debs",
        "mv /unpacked/lib/modules /usr/lib/modules && depmod $(ls /usr/lib/modules)",
        "rm -rf /var/cache/apt/* /var/lib/apt/lists/* /usr/share/doc /usr/share/locale /usr/share/man",
    )


def _sources() -> str:
    mirror = os.environ.get("PVPCI_RIG_MIRROR", "http://deb.debian.org/debian").rstrip("/")
    return (
        f"deb {mirror} {SUITE} main\ndeb {mirror} {SUITE}-updates main\ndeb {mirror}-security {SUITE}-security main\n"
    )


def _proxy() -> dict[str, str]:
    """The proxy that this machine's apt uses, for debootstrap and for the apt inside."""
    if "http_proxy" in os.environ or not _find("apt-config"):
        return {}
    text = _run(["apt-config", "shell", "PROXY", "Acquire::http::Proxy"])
    value = text.partition("=")[2].strip().strip("'")
    return {"http_proxy": value} if value and value != "DIRECT" else {}


def _base() -> Path:
    root = cache() / f"base-{_base_key()}"
    if (root / ".complete").exists():
        return root
    print("rig: fetching Debian, Xen and Linux, once", file=sys.stderr, flush=True)
    proxy = _proxy()
    shutil.rmtree(root, ignore_errors=True)
    mirror = os.environ.get("PVPCI_RIG_MIRROR", "http://deb.debian.org/debian")
    _run(["debootstrap", "--variant=minbase", SUITE, root, mirror], **proxy)
    (root / "etc/apt/sources.list").write_text(_sources())
    for step in _base_steps():
        _in_root(root, step, **proxy)
    (root / ".complete").touch()
    _forget("base-", root)
    return root


def _in_root(root: Path, line: str, **environment: str) -> str:
    return _run(["chroot", root, "/bin/sh", "-c", line], DEBIAN_FRONTEND="noninteractive", **environment)


def _forget(prefix: str, keep: Path) -> None:
    for old in keep.parent.glob(prefix + "*"):
        if old != keep:
            shutil.rmtree(old, ignore_errors=True)


# ------------------------------------------------------------------ the images


def _copy(root: Path, names: Sequence[str], target: Path) -> None:
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / name, target / name)


def _modules(root: Path, names: Sequence[str], target: Path) -> None:
    """The named modules with all that they depend on, and the indexes that modprobe reads."""
    kernel = next((root / "usr/lib/modules").iterdir()).name
    shown = _in_root(root, f"for m in {' '.join(names)}; do modprobe -S {kernel} --show-depends $m || exit 1; done")
    paths = [line.split()[1] for line in shown.splitlines() if line.startswith("insmod")]
    found = {path.replace("/lib/", "usr/lib/", 1) for path in paths}
    lists = [f"usr/lib/modules/{kernel}/modules.{kind}" for kind in ("builtin", "builtin.modinfo", "order")]
    _copy(root, sorted(found) + lists, target)
    if not (target / "lib").exists():
        (target / "lib").symlink_to("usr/lib")
    _run(["depmod", "-b", target, kernel])


def _programs(root: Path, names: Sequence[str], target: Path) -> None:
    """Programs (or libraries) with the libraries that they load, each under the path where the loader looks."""
    libraries = _in_root(root, f"ldd {' '.join('/' + name for name in names)}")
    needed = {word for word in libraries.split() if word.startswith("/") and word[-1] != ":"}
    for name in (*names, *(library[1:] for library in sorted(needed))):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / name, target / name)


def _guest(root: Path, folder: Path) -> Path:
    """A guest that answers on its console and has lspci, setpci, the drivers and xen-pcifront."""
    target = _fresh(folder)
    for name in ("dev", "proc", "sys", "etc", "bin"):
        (target / name).mkdir()
    _modules(root, GUEST_MODULES, target)
    for name in ("lib64", "sbin"):
        (target / name).symlink_to(f"usr/{name}")
        (target / "usr" / name).mkdir(exist_ok=True)
    shutil.copy(root / "bin/busybox", target / "bin/busybox")
    _programs(root, ["usr/bin/lspci", "usr/bin/setpci"], target)
    _copy(root, ["usr/share/misc/pci.ids"], target)
    shutil.copy(HERE / "guest/init", target / "init")
    (target / "init").chmod(0o755)
    return target


def _add_python(root: Path, target: Path) -> None:
    library = next((root / "usr/lib").glob("python3.*"))
    place = target / library.relative_to(root)
    dynamic = [path for name in GUEST_EXTENSIONS for path in library.glob(f"lib-dynload/{name}.*")]
    _programs(root, ["usr/bin/python3", *(str(path.relative_to(root)) for path in dynamic)], target)
    _programs(root, ["usr/lib/x86_64-linux-gnu/libatomic.so.1"], target)
    _copy(root, [str(path.relative_to(root)) for path in library.glob("*.py")], target)
    for package in GUEST_PYTHON:
        shutil.copytree(library / package, place / package, ignore=shutil.ignore_patterns("__pycache__", "test"))


def _build_images(root: Path, folder: Path) -> None:
    print(f"rig: building the images in {folder}", file=sys.stderr, flush=True)
    _fresh(folder)
    out = Images.in_folder(folder)
    kernel = next((root / "usr/lib/modules").iterdir()).name
    shutil.copy(root / f"unpacked/boot/vmlinuz-{kernel}", out.kernel)
    # QEMU's multiboot loader takes the ELF file itself, not the compressed one.
    out.xen.write_bytes(gzip.decompress(next((root / "unpacked/boot").glob("xen-*.gz")).read_bytes()))

    early = _fresh(folder / "early")
    for name in ("bin", "dev", "proc", "sys", "root"):
        (early / name).mkdir()
    _modules(root, EARLY_MODULES, early)
    shutil.copy(root / "bin/busybox", early / "bin/busybox")
    shutil.copy(HERE / "dom0/mount-root", early / "init")
    (early / "init").chmod(0o755)
    out.initrd.write_bytes(pack_folder(early))

    guest = _guest(root, folder / "guest")
    plain = pack_folder(guest)
    _add_python(root, guest)

    # Hard links: what is replaced below is removed first, so the base is never written to.
    disk = folder / "disk"
    _run(["cp", "-al", root, disk])
    for name in ("usr/lib/modules", "unpacked", ".complete"):
        path = disk / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    _modules(root, DOM0_MODULES, disk)
    (disk / "job").mkdir()
    for name in ("init", "runner.py"):
        shutil.copy(HERE / "dom0" / name, disk / "usr/local/sbin" / f"rig-{name}")
        (disk / "usr/local/sbin" / f"rig-{name}").chmod(0o755)
    shutil.copy(out.kernel, disk / "srv/vmlinuz")
    (disk / "srv/plain.initrd").write_bytes(plain)
    (disk / "srv/python.initrd").write_bytes(pack_folder(guest))
    with out.root.open("wb") as image:
        image.truncate(1200 << 20)
    _run(["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-d", disk, out.root])

    for name in ("early", "guest", "disk"):
        shutil.rmtree(folder / name)
    (folder / "complete").touch()
    _forget("images-", folder)


def main(arguments: Sequence[str]) -> int:
    if "--missing" in arguments:
        print(*missing_packages())
        return 0
    try:
        print(images().root.parent)
    except RigUnavailable as reason:
        print(f"rig: {reason}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
