"""What users keep on the server for their clients. Owns the table account_data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from psycopg2.extensions import cursor as Cursor

from storage.rows import AccountDataRow
from storage.statements import Statements, json_lines


def persist(tx: Statements, rows: Sequence[AccountDataRow]) -> None:
    """Write account data; of several rows with the same key the last one holds."""
    newest = list({(row.user_id, row.room_id, row.type): row for row in rows}.values())
    tx.execute(
        "INSERT INTO account_data (user_id, room_id, type, json, position)"
        " SELECT user_id, room_id, type, convert_to(json, 'UTF8'), position"
        " FROM unnest(%s::text[], %s::text[], %s::text[], string_to_array(%s, E'\\n'), %s::bigint[])"
        " AS data (user_id, room_id, type, json, position)"
        " ON CONFLICT (user_id, room_id, type) DO UPDATE SET json = excluded.json, position = excluded.position",
        (
            [row.user_id for row in newest],
            [row.room_id for row in newest],
            [row.type for row in newest],
            json_lines([row.json for row in newest]),
            [row.position for row in newest],
        ),
    )


def one(tx: Cursor, user_id: str, room_id: str, type: str) -> bytes | None:
    """One content; None if there is none. `room_id` is '' for what belongs to no room."""
    tx.execute(
        "SELECT json FROM account_data WHERE user_id = %s AND room_id = %s AND type = %s", (user_id, room_id, type)
    )
    row = tx.fetchone()
    return None if row is None else bytes(row[0])


def of_user(tx: Cursor, user_id: str) -> list[AccountDataRow]:
    """All account data of a user, that of rooms too, oldest first."""
    tx.execute(
        "SELECT user_id, room_id, type, json, position FROM account_data WHERE user_id = %s ORDER BY position",
        (user_id,),
    )
    return _rows(tx.fetchall())


def of_user_in_room(tx: Cursor, user_id: str, room_id: str) -> list[AccountDataRow]:
    """The account data of a user for one room ('' for no room), oldest first."""
    tx.execute(
        "SELECT user_id, room_id, type, json, position FROM account_data WHERE user_id = %s AND room_id = %s"
        " ORDER BY position",
        (user_id, room_id),
    )
    return _rows(tx.fetchall())


def of_user_between(tx: Cursor, user_id: str, after: int, upto: int) -> list[AccountDataRow]:
    """What a user changed in (after, upto], oldest first. What was changed again later is not among it."""
    tx.execute(
        "SELECT user_id, room_id, type, json, position FROM account_data"
        " WHERE user_id = %s AND position > %s AND position <= %s ORDER BY position",
        (user_id, after, upto),
    )
    return _rows(tx.fetchall())


def of_type(tx: Cursor, user_ids: Sequence[str], room_id: str, type: str) -> dict[str, bytes]:
    """The contents of one type of several users; who has none is not in it."""
    tx.execute(
        "SELECT user_id, json FROM account_data WHERE user_id = ANY(%s) AND room_id = %s AND type = %s",
        (list(user_ids), room_id, type),
    )
    return {user_id: bytes(json) for user_id, json in tx.fetchall()}


def delete_of_user(tx: Cursor, user_id: str) -> None:
    """Remove all account data of a user."""
    tx.execute("DELETE FROM account_data WHERE user_id = %s", (user_id,))


def _rows(found: Iterable[tuple[str, str, str, memoryview, int]]) -> list[AccountDataRow]:
    rows = []
    for user_id, room_id, type, json, position in found:
        row = AccountDataRow(user_id, room_id, type, bytes(json))
        row.position = position
        rows.append(row)
    return rows
