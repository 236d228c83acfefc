"""The linter, the formatter and the type checker have nothing to say."""

from __future__ import annotations

import subprocess
import sys

from tests.tidy.project import ROOT, python_files


def run(*words: str) -> str:
    """What a tool says about the project's Python files; nothing if it is content."""
    done = subprocess.run(
        [sys.executable, "-m", *words, *(str(file.relative_to(ROOT)) for file in python_files())],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_ruff_finds_nothing() -> None:
    assert run("ruff", "check", "--output-format", "concise", "--no-cache") == ""


def test_the_code_is_formatted() -> None:
    assert run("ruff", "format", "--check", "--no-cache") == ""


def test_mypy_finds_nothing() -> None:
    assert run("mypy", "--strict") == ""
