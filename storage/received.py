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


def ends_between(tx: Cursor, room: int, low: int, high: int, limit: int) -> list[str]:
    """Where the history ends below events at these depths, the deepest first: event ids."""
    tx.execute(
        "SELECT event_id FROM backward_extremities WHERE room = %s AND depth >= %s AND depth <= %s"
        " ORDER BY depth DESC LIMIT %s",
        (room, low, high, limit),
    )
    return [event_id for (event_id,) in tx.fetchall()]


def first_ends(tx: Cursor, room: int, low: int, high: int, limit: int) -> list[tuple[str, int]]:
    """Where the history ends below events at these depths, the least deep first: event ids, and these depths."""
    tx.execute(
        "SELECT event_id, depth FROM backward_extremities WHERE room = %s AND depth >= %s AND depth <= %s"
        " ORDER BY depth, event_id LIMIT %s",
        (room, low, high, limit),
    )
    return tx.fetchall()
