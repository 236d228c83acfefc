"""A cursor whose repeated questions PostgreSQL plans only once a connection.

Planning a question with a join costs several times what answering it does. So a statement that was asked a few times
on a connection is prepared there, and from then on executed by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import psycopg2
from psycopg2.extensions import cursor as Cursor

from storage.statements import with_numbers

PREPARE_AT: Final = 3
MAX_KNOWN: Final = 500
"""Texts of statements that are remembered; the code has fewer."""

_NEVER: Final = ""
_NUMBERS: Final = frozenset({"smallint", "integer", "bigint", "numeric", "real", "double precision"})


class PreparingCursor(Cursor):
    """Counts what it sends as `sent`; prepares while `may_prepare` (outside of transactions: it may fail)."""

    sent = 0
    may_prepare = False

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._asked: dict[str, int] = {}
        self._execute: dict[str, str] = {}

    def execute(self, query: Any, vars: Any = None) -> None:
        """Send a statement."""
        self.sent += 1
        if self.may_prepare and vars and isinstance(query, str) and isinstance(vars, (tuple, list)):
            by_name = self._execute.get(query)
            if by_name is None:
                by_name = self._consider(query, vars)
            if by_name:
                try:
                    return super().execute(by_name, vars)
                except (psycopg2.ProgrammingError, psycopg2.NotSupportedError):
                    # Its parameters are not what PostgreSQL took them for: said in full, it may be right.
                    self._execute[query] = _NEVER
        return super().execute(query, vars)

    def execute_uncounted(self, query: str) -> None:
        """For what frames a transaction."""
        super().execute(query)

    def _consider(self, query: str, arguments: Sequence[object]) -> str:
        """Prepare the statement if it has been asked often enough; the text that executes it, or ''."""
        asked = self._asked.get(query, 0) + 1
        if asked < PREPARE_AT:
            if asked > 1 or len(self._asked) < MAX_KNOWN:
                self._asked[query] = asked
            return _NEVER
        name = f"r{len(self._execute)}"
        by_name = f"EXECUTE {name}({','.join(['%s'] * len(arguments))})"
        try:
            super().execute(f"PREPARE {name} AS {with_numbers(query)}")
        except (psycopg2.ProgrammingError, psycopg2.NotSupportedError):
            by_name = _NEVER
        else:
            super().execute(f"SELECT parameter_types::text[] FROM pg_prepared_statements WHERE name = '{name}'")
            row = self.fetchone()
            if row is None or not all(map(_fits, row[0], arguments)):
                by_name = _NEVER
        self._execute[query] = by_name
        return by_name


def _fits(type_name: str, argument: object) -> bool:
    """Whether PostgreSQL took the parameter for what it is: what nothing tells the type of, it takes for a text."""
    if isinstance(argument, (list, tuple)):
        return type_name.endswith("[]") and all(_fits(type_name[:-2], each) for each in argument[:1])
    if isinstance(argument, bool):
        return type_name == "boolean"
    if isinstance(argument, int):
        return type_name in _NUMBERS
    if isinstance(argument, bytes):
        return type_name == "bytea"
    return True
