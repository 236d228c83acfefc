"""./synctl in a fresh checkout: makes its environment, keeps it up to date, survives interruptions.

The checkouts here pin no packages, so that no index is needed; all else is the real thing.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.admin import ROOT

NO_PACKAGES = "# --- run\n\n# --- test\n"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    made = tmp_path / "myelin"
    shutil.copytree(
        ROOT / "homeserver" / "cli", made / "homeserver" / "cli", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copy(ROOT / "homeserver" / "__init__.py", made / "homeserver")
    shutil.copy(ROOT / "synctl", made)
    shutil.copy(ROOT / "setup.py", made)
    (made / "requirements.lock").write_text(NO_PACKAGES)
    return made


def begin(checkout: Path, *words: str) -> subprocess.Popen[str]:
    """Give a command to the checkout's synctl; `config` with a missing word ends after the environment is made."""
    return subprocess.Popen(
        [sys.executable, str(checkout / "synctl"), *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd="/",
    )


def said(command: subprocess.Popen[str]) -> str:
    """What it said of the environment; what follows fails for want of the rest of Myelin, inside the environment."""
    _, err = command.communicate(timeout=120)
    assert "No module named 'config'" in err, err
    return err


def test_first_use_makes_the_environment_and_says_so_and_the_second_finds_it(checkout: Path) -> None:
    first = said(begin(checkout, "config", "sample"))
    assert "making the virtual environment" in first
    assert "installing 0 packages" in first
    assert "synctl: ready" in first
    assert "synctl:" not in said(begin(checkout, "config", "sample"))
    (checkout / "requirements.lock").write_text("# changed\n" + NO_PACKAGES.replace("run\n", "run\n\n"))
    assert "synctl:" not in said(begin(checkout, "config", "sample"))
    with (checkout / "setup.py").open("a") as file:
        file.write("\n# another dependency\n")
    changed = said(begin(checkout, "config", "sample"))
    assert "installing 0 packages" in changed
    assert "making the virtual environment" not in changed


def test_an_interrupted_installation_is_made_good_by_the_next_call(checkout: Path) -> None:
    (checkout / ".venv" / "bin").mkdir(parents=True)
    (checkout / ".venv" / "bin" / "python").write_text("half a file")
    assert "making the virtual environment" in said(begin(checkout, "config", "sample"))


def test_two_first_uses_at_once_make_one_environment(checkout: Path) -> None:
    both = [begin(checkout, "config", "sample"), begin(checkout, "config", "sample")]
    told = [said(command) for command in both]
    assert sum("making the virtual environment" in text for text in told) == 1


def test_a_package_that_cannot_be_had_is_told_in_one_line(checkout: Path) -> None:
    (checkout / "requirements.lock").write_text("# --- run\n./no-such-package-here\n\n# --- test\n")
    command = begin(checkout, "config", "sample")
    _, err = command.communicate(timeout=120)
    assert command.returncode == 1
    assert err.splitlines()[-1].startswith("synctl: the packages could not be installed")
    assert not (checkout / ".venv" / "myelin.stamp").exists()


def test_a_mistyped_command_is_answered_without_an_installation(checkout: Path) -> None:
    command = begin(checkout, "strat")
    _, err = command.communicate(timeout=60)
    assert command.returncode == 2
    assert "usage: synctl" in err
    assert not (checkout / ".venv").exists()
