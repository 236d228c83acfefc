"""What no file of the project holds: unfinished work, silenced checks, the machine that it was written on."""

from __future__ import annotations

import re
from pathlib import Path

from tests.tidy.project import ROOT, files, python_files, shown

# Put together here, so that this file does not hold what it looks for.
UNFINISHED = re.compile(
    "|".join([r"\bTO" + r"DO\b", r"\bFIX" + r"ME\b", r"\bXX" + r"X\b", "NotImpl" + r"ementedError"])
)
SILENCED = re.compile(
    "|".join(
        [
            "except(?: Exception| BaseException)?: " + "*pass",
            "# type: " + r"ignore(?!\[)",
            "# no" + "qa(?!:)",
            r"pytest\.(?:mark\.)?x" + "fail",
        ]
    )
)
MACHINE = re.compile(
    "|".join(
        ["/wo" + r"rk/", "/ro" + r"ot/\w", r"/home/\w+/", "python" + "hosted", "pypi" + r"\.org", "deb" + r"ian\.org"]
    )
)
TEXT = {".py", ".md", ".toml", ".txt", ".lock", ".yaml", ".yml", ".sql", ".tsv", ".sh", ".html", ".js", ".cfg", ""}


def lines_with(pattern: re.Pattern[str], chosen: list[Path]) -> list[str]:
    """Places where the pattern stands."""
    return [
        f"{shown(file)}:{number}: {line.strip()[:100]}"
        for file in chosen
        for number, line in enumerate(file.read_text("utf-8", "replace").splitlines(), 1)
        if pattern.search(line)
    ]


def texts() -> list[Path]:
    """The files that people wrote; not data such as test vectors."""
    return [file for file in files() if file.suffix in TEXT and "vectors" not in file.relative_to(ROOT).parts]


def test_nothing_is_left_unfinished() -> None:
    assert lines_with(UNFINISHED, python_files()) == []


def test_no_check_is_silenced_without_saying_which() -> None:
    assert lines_with(SILENCED, python_files()) == []


def test_no_file_tells_of_the_machine_that_it_was_written_on() -> None:
    assert lines_with(MACHINE, texts()) == []


def test_every_text_ends_with_a_line_end_and_has_no_tabs_for_indents() -> None:
    ragged = [shown(file) for file in texts() if (text := file.read_text("utf-8")) and not text.endswith("\n")]
    assert ragged == []
    assert lines_with(re.compile(r"^\t"), python_files()) == []
