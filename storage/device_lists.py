"""Where in the log the devices and keys of users changed. Owns the table device_list_positions: one row for a user."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg2.extensions import cursor as Cursor

from storage.rows import DeviceListRow
from storage.statements import Statements


def persist(tx: Statements, rows: Sequence[DeviceListRow]) -> None:
    """Note where users' devices and keys changed; of devices also where they had changed before."""
    positions = {row.user_id: row.position for row in rows}
    streams: dict[str, list[int]] = {}
    for row in rows:
        if row.device_id is not None:
            streams.setdefault(row.user_id, []).append(row.position)
    tx.execute(
        "INSERT INTO device_list_positions AS held (user_id, position, stream_id, previous)"
        " SELECT * FROM unnest(%s::text[], %s::bigint[], %s::bigint[], %s::bigint[])"
        " ON CONFLICT (user_id) DO UPDATE SET position = excluded.position,"
        " stream_id = coalesce(excluded.stream_id, held.stream_id), previous = CASE"
        " WHEN excluded.stream_id IS NULL THEN held.previous ELSE coalesce(excluded.previous, held.stream_id) END,"
        " changed_ts = excluded.changed_ts",
        (
            list(positions),
            list(positions.values()),
            [streams[user_id][-1] if user_id in streams else None for user_id in positions],
            [streams[user_id][-2] if len(streams.get(user_id, ())) > 1 else None for user_id in positions],
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


def stream_of(tx: Cursor, user_id: str) -> tuple[int, int | None]:
    """Where a device of a user changed last, and where one had changed before that; (0, None) if none ever did."""
    tx.execute(
        "SELECT stream_id, previous FROM device_list_positions WHERE user_id = %s AND stream_id IS NOT NULL",
        (user_id,),
    )
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
