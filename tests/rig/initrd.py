# SPDX-License-Identifier: Apache-2.0
"""Archives that a Linux kernel unpacks at boot (cpio, "newc").

Written here, not with the cpio tool, because the tests add to a guest's archive at run time: the kernel unpacks several
archives that stand one behind the other, so the scripted frontend always comes from the working tree.
"""

from __future__ import annotations

import gzip
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path


def _entry(number: int, name: str, mode: int, body: bytes) -> bytes:
    # magic, ino, mode, uid, gid, nlink, mtime, filesize, four device numbers, namesize, check
    fields = (number, mode, 0, 0, 1, 0, len(body), 0, 0, 0, 0, len(name.encode()) + 1, 0)
    head = b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
    return head.ljust(-len(head) % 4 + len(head), b"\0") + body.ljust(-len(body) % 4 + len(body), b"\0")


def _walk(root: Path) -> Iterator[tuple[str, int, bytes]]:
    for folder, folders, files in os.walk(root):
        for name in sorted(folders + files):
            path = Path(folder, name)
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                yield str(path.relative_to(root)), mode, os.readlink(path).encode()
            elif stat.S_ISDIR(mode) or stat.S_ISREG(mode):
                yield str(path.relative_to(root)), mode, path.read_bytes() if stat.S_ISREG(mode) else b""


def pack_folder(root: Path) -> bytes:
    """Everything below `root` (folders, files, links), compressed."""
    entries = [_entry(number, *entry) for number, entry in enumerate(_walk(root), 1)]
    return gzip.compress(b"".join(entries) + _entry(0, "TRAILER!!!", 0, b""), 1)


def pack_files(files: Mapping[str, bytes]) -> bytes:
    """Path inside the archive -> contents; the folders above each file are made. Compressed."""
    folders = {str(parent) for name in files for parent in Path(name).parents if str(parent) != "."}
    entries = [(folder, stat.S_IFDIR | 0o755, b"") for folder in sorted(folders)]
    entries += [(name, stat.S_IFREG | 0o644, body) for name, body in sorted(files.items())]
    packed = [_entry(number, *entry) for number, entry in enumerate(entries, 1)]
    return gzip.compress(b"".join(packed) + _entry(0, "TRAILER!!!", 0, b""), 1)
