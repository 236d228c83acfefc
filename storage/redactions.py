"""Redactions whose events we do not have yet. Owns the table waiting_redactions."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg2.extensions import cursor as Cursor

from storage.rows import EventRow, RoomChanges
from storage.statements import Statements

_Changed = Sequence[tuple[EventRow, RoomChanges]]


def write(tx: Statements, changed: _Changed) -> None:
    """Note redactions that wait for their events, and forget those whose events have come."""
    waiting = [(row.room, changes.awaits, row.event.event_id) for row, changes in changed if changes.awaits is not None]
    if waiting:
        tx.execute(
            "INSERT INTO waiting_redactions (room, target, redaction)"
            " SELECT * FROM unnest(%s::bigint[], %s::text[], %s::text[]) ON CONFLICT DO NOTHING",
            tuple(map(list, zip(*waiting, strict=True))),
        )
    come = [(row.room, row.event.event_id) for row, changes in changed if changes.was_awaited]
    if come:
        tx.execute(
            "DELETE FROM waiting_redactions USING unnest(%s::bigint[], %s::text[]) AS come (room, target)"
            " WHERE waiting_redactions.room = come.room AND waiting_redactions.target = come.target",
            tuple(map(list, zip(*come, strict=True))),
        )


def waiting(tx: Cursor, room: int, limit: int) -> dict[str, tuple[str, ...]]:
    """Ids of events that a room does not have → ids of the redactions that wait for them."""
    tx.execute(
        "SELECT target, array_agg(redaction ORDER BY redaction) FROM waiting_redactions WHERE room = %s"
        " GROUP BY target ORDER BY target LIMIT %s",
        (room, limit),
    )
    return {target: tuple(redactions) for target, redactions in tx.fetchall()}
