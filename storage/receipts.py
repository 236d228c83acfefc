"""Read receipts. Owns the table receipts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from psycopg2.extensions import cursor as Cursor

from storage.rows import ReceiptRow
from storage.statements import Statements

_COLUMNS: Final = "room, user_id, type, thread, event_id, event_position, ts, position"


def persist(tx: Statements, rows: Sequence[ReceiptRow]) -> None:
    """Write receipts; of several with the same key the last one holds."""
    newest = list({(row.room, row.user_id, row.type, row.thread): row for row in rows}.values())
    tx.execute(
        f"INSERT INTO receipts ({_COLUMNS}) SELECT * FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::text[],"
        " %s::text[], %s::bigint[], %s::bigint[], %s::bigint[])"
        " ON CONFLICT (room, user_id, type, thread) DO UPDATE SET event_id = excluded.event_id,"
        " event_position = excluded.event_position, ts = excluded.ts, position = excluded.position",
        (
            [row.room for row in newest],
            [row.user_id for row in newest],
            [row.type for row in newest],
            [row.thread for row in newest],
            [row.event_id for row in newest],
            [row.event_position for row in newest],
            [row.ts for row in newest],
            [row.position for row in newest],
        ),
    )


def in_rooms_between(tx: Cursor, rooms: Sequence[int], after: int, upto: int) -> list[ReceiptRow]:
    """What came in (after, upto] in some rooms, oldest first. What was replaced later is not among it."""
    tx.execute(
        f"SELECT {_COLUMNS} FROM receipts WHERE room = ANY(%s) AND position > %s AND position <= %s ORDER BY position",
        (list(rooms), after, upto),
    )
    return _rows(tx)


def of_server_between(tx: Cursor, server_name: str, after: int, upto: int) -> list[ReceiptRow]:
    """What users of a server told others in (after, upto], oldest first. What was replaced later is not among it."""
    tx.execute(
        f"SELECT {_COLUMNS} FROM receipts WHERE position > %s AND position <= %s AND type = 'm.read'"
        " AND right(user_id, %s) = %s ORDER BY position",
        (after, upto, len(server_name) + 1, f":{server_name}"),
    )
    return _rows(tx)


def in_room_at_or_after(tx: Cursor, room: int, event_position: int, user_id: str) -> list[ReceiptRow]:
    """The receipts of a room for events from this position on, and all of one user's own."""
    tx.execute(
        f"SELECT {_COLUMNS} FROM receipts WHERE room = %s AND (event_position >= %s OR user_id = %s) ORDER BY position",
        (room, event_position, user_id),
    )
    return _rows(tx)


def of_user_in_room(tx: Cursor, room: int, user_id: str) -> list[ReceiptRow]:
    """The receipts of a user in a room: one for each type and thread."""
    tx.execute(f"SELECT {_COLUMNS} FROM receipts WHERE room = %s AND user_id = %s", (room, user_id))
    return _rows(tx)


def of_users_in_room(tx: Cursor, room: int, user_ids: Sequence[str]) -> list[ReceiptRow]:
    """The receipts of some users in a room."""
    tx.execute(f"SELECT {_COLUMNS} FROM receipts WHERE room = %s AND user_id = ANY(%s)", (room, list(user_ids)))
    return _rows(tx)


def of_user(tx: Cursor, user_id: str) -> list[ReceiptRow]:
    """All receipts of a user."""
    tx.execute(f"SELECT {_COLUMNS} FROM receipts WHERE user_id = %s", (user_id,))
    return _rows(tx)


def _rows(tx: Cursor) -> list[ReceiptRow]:
    rows = []
    for *values, position in tx.fetchall():
        row = ReceiptRow(*values)
        row.position = position
        rows.append(row)
    return rows
