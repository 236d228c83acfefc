"""What users report to the admins of their server. Owns the table reports."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg2.extensions import cursor as Cursor

from storage.statements import storable


@dataclass(frozen=True, slots=True)
class Report:
    """A report of a room, of an event in it (then both are set), or of a user."""

    reporter: str
    room_id: str | None
    event_id: str | None
    user_id: str | None
    reason: str
    created_ts: int


def add(tx: Cursor, report: Report) -> None:
    """Keep a report."""
    tx.execute(
        "INSERT INTO reports (reporter, room_id, event_id, user_id, reason, created_ts)"
        " VALUES (%s, %s, %s, %s, %s, %s)",
        (
            report.reporter,
            report.room_id,
            report.event_id,
            report.user_id,
            storable(report.reason),
            report.created_ts,
        ),
    )


def newest(tx: Cursor, limit: int, before: int | None = None) -> list[tuple[int, Report]]:
    """Reports with their numbers, the newest first; those before a number if one is given."""
    tx.execute(
        "SELECT report, reporter, room_id, event_id, user_id, reason, created_ts FROM reports"
        " WHERE %s::bigint IS NULL OR report < %s ORDER BY report DESC LIMIT %s",
        (before, before, limit),
    )
    return [(number, Report(*values)) for number, *values in tx.fetchall()]
