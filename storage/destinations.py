"""Servers that do not answer, and when they will be tried again. Owns the table destinations."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg2.extensions import cursor as Cursor


@dataclass(frozen=True, slots=True)
class FailingDestination:
    """A server that has failed so often in a row."""

    server_name: str
    failures: int
    failing_since_ts: int
    retry_ts: int


def all_failing(tx: Cursor) -> list[FailingDestination]:
    """All that are known to fail."""
    tx.execute("SELECT server_name, failures, failing_since_ts, retry_ts FROM destinations")
    return [FailingDestination(*row) for row in tx.fetchall()]


def save(tx: Cursor, changed: list[FailingDestination], recovered: list[str]) -> None:
    """Write down what has changed since the last time."""
    if recovered:
        tx.execute("DELETE FROM destinations WHERE server_name = ANY(%s)", (recovered,))
    if changed:
        tx.execute(
            "INSERT INTO destinations (server_name, failures, failing_since_ts, retry_ts)"
            " SELECT * FROM unnest(%s::text[], %s::integer[], %s::bigint[], %s::bigint[])"
            " ON CONFLICT (server_name) DO UPDATE SET failures = excluded.failures,"
            " failing_since_ts = excluded.failing_since_ts, retry_ts = excluded.retry_ts",
            (
                [each.server_name for each in changed],
                [each.failures for each in changed],
                [each.failing_since_ts for each in changed],
                [each.retry_ts for each in changed],
            ),
        )
