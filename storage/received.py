"""Where our history of rooms ends. Owns the table backward_extremities."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg2.extensions import cursor as Cursor

from storage.rows import EventRow, RoomChanges
from storage.statements import Statements

_Changed = Sequence[tuple[EventRow, RoomChanges]]


def write_ends(tx: Statements, changed: _Changed) -> None:
    """Note where our history of a room ends, and where it does not end any more."""
    missing = {(row.room, event_id): row.event.depth for row, changes in changed for event_id in changes.missing}
    if missing:
        tx.execute(
            "INSERT INTO backward_extremities (room, event_id, depth)"
            " SELECT * FROM unnest(%s::bigint[], %s::text[], %s::bigint[])"
            " ON CONFLICT (room, event_id) DO UPDATE"
            " SET depth = greatest(backward_extremities.depth, excluded.depth)",
            ([room for room, _ in missing], [event_id for _, event_id in missing], list(missing.values())),
        )
    found = [(row.room, event_id) for row, changes in changed for event_id in changes.found]
    if found:
        forget_ends(tx, found)


def forget_ends(tx: Statements, found: Sequence[tuple[int, str]]) -> None:
    """The history of these rooms does not end at these events any more."""
    tx.execute(
        "DELETE FROM backward_extremities USING unnest(%s::bigint[], %s::text[]) AS found (room, event_id)"
        " WHERE backward_extremities.room = found.room AND backward_extremities.event_id = found.event_id",
        ([room for room, _ in found], [event_id for _, event_id in found]),
    )


def ends_near(tx: Cursor, room: int, depth: int, limit: int) -> list[tuple[str, int]]:
    """Where the history ends whose events lie at this depth or deeper, or else deepest: event id and depth."""
    tx.execute(
        "SELECT event_id, depth FROM backward_extremities WHERE room = %s AND depth >= %s ORDER BY depth LIMIT %s",
        (room, depth, limit),
    )
    return tx.fetchall()


def deepest_ends(tx: Cursor, room: int, limit: int) -> list[tuple[str, int]]:
    """The ends of the history with the deepest followers, deepest first: event id and depth."""
    tx.execute(
        "SELECT event_id, depth FROM backward_extremities WHERE room = %s ORDER BY depth DESC LIMIT %s",
        (room, limit),
    )
    return tx.fetchall()


def is_an_end(tx: Cursor, room: int, event_id: str) -> bool:
    """Whether the history of a room ends at this event."""
    tx.execute("SELECT 1 FROM backward_extremities WHERE room = %s AND event_id = %s", (room, event_id))
    return tx.fetchone() is not None
