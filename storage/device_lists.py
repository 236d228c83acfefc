"""Where in the log the devices and keys of users changed. Owns the table device_list_positions: one row for a user."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg2.extensions import cursor as Cursor

from storage.rows import DeviceListRow
from storage.statements import Statements


def persist(tx: Statements, rows: Sequence[DeviceListRow]) -> None:
    """Note where users' devices changed; each user's last change holds, the one before is remembered beside it."""
    positions: dict[str, list[int]] = {}
    for row in rows:
        positions.setdefault(row.user_id, []).append(row.position)
    tx.execute(
        "INSERT INTO device_list_positions (user_id, position, previous)"
        " SELECT * FROM unnest(%s::text[], %s::bigint[], %s::bigint[])"
        " ON CONFLICT (user_id) DO UPDATE SET position = excluded.position,"
        " previous = coalesce(excluded.previous, device_list_positions.position)",
        (
            list(positions),
            [each[-1] for each in positions.values()],
            [each[-2] if len(each) > 1 else None for each in positions.values()],
        ),
    )


def changed_near(tx: Cursor, user_id: str, after: int) -> list[str]:
    """Those whose devices changed after a position: the user, and who is in a room with them now."""
    tx.execute(
        "SELECT changed.user_id FROM device_list_positions AS changed WHERE changed.position > %s"
        " AND (changed.user_id = %s OR EXISTS (SELECT FROM memberships AS other JOIN memberships AS own USING (room)"
        " WHERE other.user_id = changed.user_id AND other.membership = 'join'"
        " AND own.user_id = %s AND own.membership = 'join'))",
        (after, user_id, user_id),
    )
    return [changed for (changed,) in tx.fetchall()]


def position_of(tx: Cursor, user_id: str) -> tuple[int, int | None]:
    """Where a user's devices changed last, and where before that; (0, None) if they never did."""
    tx.execute("SELECT position, previous FROM device_list_positions WHERE user_id = %s", (user_id,))
    return tx.fetchone() or (0, None)


def after(tx: Cursor, after: int, upto: int, limit: int) -> list[DeviceListRow]:
    """The users whose devices changed last in (after, upto], in that order."""
    tx.execute(
        "SELECT user_id, position FROM device_list_positions WHERE position > %s AND position <= %s"
        " ORDER BY position LIMIT %s",
        (after, upto, limit),
    )
    rows = []
    for user_id, position in tx.fetchall():
        row = DeviceListRow(user_id)
        row.position = position
        rows.append(row)
    return rows
