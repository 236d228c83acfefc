"""The project's own files as the tidy tests see them: which there are, what they import, how they are layered."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

OURS = ("bench", "client_api", "config", "federation", "homeserver", "storage", "tests")

LAYERS: tuple[tuple[str, ...], ...] = (
    ("homeserver.core", "homeserver"),
    ("config",),
    ("storage",),
    ("homeserver.runtime", "homeserver.web"),
    ("federation.outbound", "federation"),
    (
        "homeserver.rooms",
        "homeserver.users",
        "homeserver.encryption",
        "homeserver.sync",
        "homeserver.push",
        "homeserver.media",
        "homeserver.appservices",
        "homeserver.admin",
    ),
    ("homeserver.parts",),
    ("client_api", "federation.inbound"),
    ("homeserver.app",),
    ("homeserver.ports", "homeserver.cli", "homeserver.__main__"),
    ("bench",),
    ("tests",),
)
"""From the lowest up; a module may import from its own row and from those before it."""


@cache
def files() -> tuple[Path, ...]:
    """Every file of the project: what git tracks, or all there is where this is no checkout."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode == 0 and listed.stdout:
        found = [ROOT / name for name in listed.stdout.split("\0") if name]
    else:
        skipped = {".git", ".venv", "data", "build", "__pycache__"}
        found = [file for file in ROOT.rglob("*") if not skipped & set(file.relative_to(ROOT).parts)]
    return tuple(sorted(file for file in found if file.is_file()))


def python_files(*folders: str) -> list[Path]:
    """The Python files, in these top-level folders if named; synctl among them otherwise."""
    chosen = [file for file in files() if file.suffix == ".py" or file == ROOT / "synctl"]
    return [file for file in chosen if not folders or file.relative_to(ROOT).parts[0] in folders]


def shown(file: Path) -> str:
    """A file's name as it stands in messages."""
    return str(file.relative_to(ROOT))


def module_of(file: Path) -> str:
    """The dotted name of a file's module."""
    parts = list(file.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def tree_of(file: Path) -> ast.Module:
    """A file's syntax tree."""
    return ast.parse(file.read_text("utf-8"), str(file))


@cache
def modules() -> dict[str, Path]:
    """The project's modules by name."""
    return {module_of(file): file for file in python_files(*OURS)}


def imports_of(module: str) -> Iterator[tuple[int, str]]:
    """The project's own modules that a module imports, wherever in it, with the line."""
    file = modules()[module]
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            # `from package import part` imports the module `package.part` where there is one.
            names = [
                f"{node.module}.{alias.name}" if f"{node.module}.{alias.name}" in modules() else node.module
                for alias in node.names
            ]
        else:
            continue
        for name in names:
            if name.split(".")[0] in OURS and name != module:
                yield node.lineno, name


def layer_of(module: str) -> int:
    """The row of a module in LAYERS: that of the longest name that it begins with."""
    best = (-1, -1)
    for row, names in enumerate(LAYERS):
        for name in names:
            if module == name or module.startswith(name + "."):
                best = max(best, (len(name), row))
    return best[1]
