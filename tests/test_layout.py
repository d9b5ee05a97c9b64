# SPDX-License-Identifier: Apache-2.0
"""The house stays as docs/decisions/0001-house.md says: links, who may import whom, and files that one can read."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("model", "proofs", "impl", "traces")
FOLDERS = (*PACKAGES, "tests")

#: What each package may import of ours, itself apart.
MAY_IMPORT: dict[str, frozenset[str]] = {
    "model": frozenset(),
    "proofs": frozenset({"model"}),
    "impl": frozenset({"model", "traces"}),
    "traces": frozenset({"model"}),
}
#: The commands that prove something; inside their functions they may reach for the proofs.
PROVING_COMMANDS = frozenset({"impl/commands/prove.py", "impl/commands/demo.py", "impl/commands/bench.py"})
LONGEST_FILE = 400
EXCUSE = "# Longer than 400 lines:"


class Import(NamedTuple):
    module: str  #: the full name, with what is imported from it: ``pvpci.model.wire``
    line: int
    lazy: bool  #: inside a function: happens only when it is called
    relative: bool
    typing_only: bool  #: under ``if TYPE_CHECKING:``


def imports(path: str, source: str) -> Iterator[Import]:
    def visit(node: ast.AST, lazy: bool, typing_only: bool) -> Iterator[Import]:
        match node:
            case ast.Import(names=names):
                for alias in names:
                    yield Import(alias.name, node.lineno, lazy, False, typing_only)
            case ast.ImportFrom(module=module, names=names, level=level):
                for alias in names:
                    yield Import(f"{module or ''}.{alias.name}", node.lineno, lazy, level > 0, typing_only)
            case ast.If(test=ast.Name(id="TYPE_CHECKING"), body=body, orelse=orelse):
                for statement in body:
                    yield from visit(statement, lazy, True)
                for statement in orelse:
                    yield from visit(statement, lazy, typing_only)
            case _:
                inside = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                for child in ast.iter_child_nodes(node):
                    yield from visit(child, inside, typing_only)

    yield from visit(ast.parse(source, path), False, False)


def faults(path: str, source: str) -> list[str]:
    """What is wrong with the imports of the file at `path` (relative to the root)."""
    home = path.split("/", maxsplit=1)[0]
    found: list[str] = []
    for each in imports(path, source):
        parts = each.module.split(".")
        if each.relative:
            found.append(f"{path}:{each.line}: relative import")
        elif parts[0] == "z3" and home not in {"proofs", "tests"}:
            found.append(f"{path}:{each.line}: z3 outside of proofs/")
        elif parts[0] in FOLDERS and home != "tests":
            found.append(f"{path}:{each.line}: {each.module} is to be imported as pvpci.{each.module}")
        elif parts[0] == "pvpci" and len(parts) > 1 and home != "tests":
            of = parts[1]
            if of == "proofs" and path in PROVING_COMMANDS and (each.lazy or each.typing_only):
                continue
            if of in PACKAGES and of != home and of not in MAY_IMPORT[home]:
                found.append(f"{path}:{each.line}: {home} may not import {each.module}")
    return found


def files(*suffixes: str) -> list[Path]:
    return sorted(
        path
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*")
        if path.suffix in suffixes and path.is_file() and "__pycache__" not in path.parts
    )


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("package", PACKAGES)
def test_each_package_is_a_relative_link_to_its_folder(package: str) -> None:
    link = ROOT / "src" / "pvpci" / package

    assert f"../../{package}" == os.readlink(link)
    assert ROOT / package == link.resolve()
    assert (link / "__init__.py").is_file()


def test_imports_stay_within_what_each_package_may_see() -> None:
    found = [fault for path in files(".py") for fault in faults(relative(path), path.read_text())]

    assert [] == found


@pytest.mark.parametrize(
    ("path", "source", "expected"),
    [
        ("model/a.py", "import enum\nfrom pvpci.model.wire import X\n", None),
        ("model/a.py", "from pvpci.impl import log\n", "model/a.py:1: model may not import pvpci.impl.log"),
        ("model/a.py", "from pvpci import traces\n", "model/a.py:1: model may not import pvpci.traces"),
        ("model/a.py", "def f():\n    import z3\n", "model/a.py:2: z3 outside of proofs/"),
        ("model/a.py", "from . import wire\n", "model/a.py:1: relative import"),
        ("traces/a.py", "import model.wire\n", "traces/a.py:1: model.wire is to be imported as pvpci.model.wire"),
        ("traces/a.py", "from pvpci.impl import log\n", "traces/a.py:1: traces may not import pvpci.impl.log"),
        ("traces/a.py", "from pvpci.model import wire\n", None),
        ("proofs/a.py", "import z3\nfrom pvpci.model import wire\n", None),
        ("impl/a.py", "def f():\n    from pvpci import proofs\n", "impl/a.py:2: impl may not import pvpci.proofs"),
        ("impl/commands/prove.py", "def f():\n    from pvpci.proofs import report\n", None),
        (
            "impl/commands/prove.py",
            "from pvpci.proofs import report\n",
            "impl/commands/prove.py:1: impl may not import pvpci.proofs.report",
        ),
        (
            "impl/commands/serve.py",
            "def f():\n    import pvpci.proofs.report\n",
            "impl/commands/serve.py:2: impl may not import pvpci.proofs.report",
        ),
    ],
)
def test_the_import_check_itself(path: str, source: str, expected: str | None) -> None:
    assert ([] if expected is None else [expected]) == faults(path, source)


def test_every_source_file_names_its_licence() -> None:
    line = "# SPDX-License-Identifier: Apache-2.0"
    without = [relative(path) for path in files(".py", ".sh") if line not in path.read_text().splitlines()[:2]]

    assert [] == without


def test_no_file_is_too_long_to_read_without_saying_why() -> None:
    too_long = []
    for path in files(".py", ".sh"):
        lines = path.read_text().splitlines()
        excused = any(line.startswith(EXCUSE) and line != EXCUSE for line in lines[:15])
        if len(lines) > LONGEST_FILE and not excused:
            too_long.append(f"{relative(path)}: {len(lines)} lines")

    assert [] == too_long


def run_python(program: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.strip()


def test_the_command_line_loads_nothing_heavy() -> None:
    heavy = "{'z3', 'hypothesis', 'rich', 'transitions', 'msgspec', 'asyncio', 'pytest'}"
    loaded = run_python(f"import sys, pvpci.impl.cli; print(sorted({heavy} & set(sys.modules)))")

    assert "[]" == loaded


def test_the_command_line_is_there_at_once() -> None:
    # Processor time, and the best of three, so that a busy machine does not matter.
    program = "import pvpci.impl.cli, time; print(time.process_time())"
    best = min(float(run_python(program)) for _ in range(3))

    assert best < 0.5
