"""Works out what requirements.lock must hold: the packages of setup.py and all that those need, as installed here.

`python -m tests.tidy.locked > requirements.lock` writes it anew after packages were added or brought up to date.
"""

from __future__ import annotations

import re
import runpy
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any
from unittest import mock

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
HEADER = """\
# The exact versions that Myelin is run, tested and measured with; ./synctl installs these and nothing else.
# Written by `python -m tests.tidy.locked`. A section is installed when it is needed.
"""


def declared() -> tuple[list[str], list[str]]:
    """What setup.py asks for: to run, and to test and measure besides."""
    with mock.patch("setuptools.setup") as setup:
        runpy.run_path(str(ROOT / "setup.py"))
    asked: Mapping[str, Any] = setup.call_args.kwargs
    extras = [line for lines in asked["extras_require"].values() for line in lines]
    return asked["install_requires"], extras


def with_all_they_need(lines: list[str]) -> dict[str, str]:
    """Names and versions of these requirements and, in turn, of theirs."""
    found: dict[str, str] = {}
    waiting = [(Requirement(line), "") for line in lines]
    done: set[tuple[str, str]] = set()
    while waiting:
        requirement, _ = waiting.pop()
        name = canonicalize_name(requirement.name)
        for extra in {"", *requirement.extras}:
            if (name, extra) in done:
                continue
            done.add((name, extra))
            distribution = metadata.distribution(name)
            found[name] = f"{distribution.metadata['Name']}=={distribution.version}"
            for line in distribution.requires or []:
                needed = Requirement(line)
                if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                    waiting.append((needed, extra))
    return found


def lock() -> str:
    """The text of the file."""
    run_lines, extra_lines = declared()
    run = with_all_they_need(run_lines)
    test = {name: line for name, line in with_all_they_need(extra_lines).items() if name not in run}
    parts = [HEADER]
    for title, pins in (("run", run), ("test", test)):
        parts.append(f"\n# --- {title}\n" + "".join(line + "\n" for _, line in sorted(pins.items())))
    return "".join(parts)


def pins(text: str) -> dict[str, str]:
    """Names and versions in a lock file."""
    found = re.findall(r"^([A-Za-z0-9._-]+)==(\S+)$", text, re.MULTILINE)
    return {canonicalize_name(name): version for name, version in found}


if __name__ == "__main__":
    print(lock(), end="")
