# SPDX-License-Identifier: Apache-2.0
"""The tested code on its way into dom0: one tar file, unpacked there into memory.

Importing over the shared folder costs seconds per process under emulation, and images that carry the code would have to
be built again for each change. So the tree as it stands, and the packages it runs on, are packed at each boot.
"""

from __future__ import annotations

import hashlib
import io
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Final

from tests.rig.build import HERE, RigUnavailable, cache
from tests.rig.initrd import pack_files

ROOT: Final = HERE.parent.parent
#: What the backend imports in dom0. z3 and the test tools are not here, on purpose.
ROOT_PACKAGES: Final = ("transitions", "msgspec", "click", "rich")
DOM0_PYTHON: Final = (3, 11)
#: Nothing in dom0 colours source code, and this is most of what would be shipped.
LEFT_OUT: Final = ("pygments/lexers/", "pygments/styles/")
LAUNCHER: Final = b"""#!/bin/sh
# -S: dom0's own site-packages have no say in what is tested.
PYTHONPATH=/run/tree exec python3 -S -c 'import sys
sys.argv[0] = "pvpci"
from pvpci.impl.cli import main
sys.exit(main())' "$@"
"""


def _distributions() -> list[metadata.Distribution]:
    """The packages above and all that they require and that is installed (a marker may rule a requirement out)."""
    found: dict[str, metadata.Distribution] = {}
    wanted = list(ROOT_PACKAGES)
    while wanted:
        name = re.sub(r"[-_.]+", "-", wanted.pop()).lower()
        if name in found:
            continue
        try:
            found[name] = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            if name in ROOT_PACKAGES:
                raise RigUnavailable(f"the rig ships {name} to dom0, and it is not installed here") from None
            continue
        for line in found[name].requires or ():
            if "extra ==" not in line and (match := re.match(r"[\w.-]+", line)):
                wanted.append(match[0])
    return list(found.values())


def _installed() -> Iterator[tuple[str, Path]]:
    for distribution in _distributions():
        for file in distribution.files or ():
            name, path = str(file), Path(str(distribution.locate_file(file)))
            if not name.startswith(("..", *LEFT_OUT)) and path.is_file():
                yield name, path


def _for_dom0s_python() -> Iterator[tuple[str, Path]]:
    """The same packages for another interpreter than the one that runs the tests: compiled parts must fit dom0's."""
    wanted = sorted(f"{d.metadata['Name']}=={d.version}" for d in _distributions())
    folder = cache() / f"wheels-{hashlib.sha256(' '.join(wanted).encode()).hexdigest()[:16]}"
    if not folder.exists():
        unfinished = folder.with_suffix(".new")
        shutil.rmtree(unfinished, ignore_errors=True)
        version = ".".join(map(str, DOM0_PYTHON))
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        pip += ["--only-binary=:all:", "--implementation", "cp", "--python-version", version]
        done = subprocess.run([*pip, "--target", unfinished, *wanted], capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise RigUnavailable(f"dom0 runs Python {version} and pip cannot get packages for it: {last}")
        unfinished.rename(folder)
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_file() and not name.startswith(LEFT_OUT):
            yield name, path


def _tree() -> Iterator[tuple[str, Path]]:
    """The project: `pvpci` with its links resolved, and the part of the tests that runs in dom0."""
    for folder in [path for path in (ROOT / "src/pvpci").iterdir() if path.is_dir()]:
        for path in sorted(folder.resolve().rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield f"pvpci/{folder.name}/{path.relative_to(folder.resolve())}", path
    for path in (ROOT / "src/pvpci").glob("*.py"):
        yield f"pvpci/{path.name}", path
    for path in sorted(HERE.rglob("*.py")):
        yield f"tests/rig/{path.relative_to(HERE)}", path


def ship(job: Path) -> None:
    """Leave in `job` (dom0's /job) the tree as `shipped.tar` and the scripted frontend as `agent.cpio.gz`."""
    own = sys.version_info[:2] == DOM0_PYTHON
    with tarfile.open(job / "shipped.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        for name, path in (*_tree(), *(_installed() if own else _for_dom0s_python())):
            # Times are kept, so what was compiled at installation is used as it is.
            tar.add(path.resolve(), name, recursive=False)
        entry = tarfile.TarInfo("bin/pvpci")
        entry.mode, entry.size = 0o755, len(LAUNCHER)
        tar.addfile(entry, io.BytesIO(LAUNCHER))
    files = {f"tests/rig/frontend/{path.name}": path.read_bytes() for path in (HERE / "frontend").glob("*.py")}
    (job / "agent.cpio.gz").write_bytes(pack_files(files))
