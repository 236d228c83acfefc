"""Why a command failed, in words for the admin."""

from __future__ import annotations


class Problem(Exception):
    """A command failed; each line says what and how to mend it. Exit code 1, or 2 where it was asked wrongly."""

    def __init__(self, *lines: str, exit_code: int = 1) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines
        self.exit_code = exit_code
