"""Messages that devices have not yet shown to have received. Owns the table to_device."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg2.extensions import cursor as Cursor

from storage.rows import ToDeviceRow
from storage.statements import Statements, json_lines


def persist(tx: Statements, rows: Sequence[ToDeviceRow]) -> None:
    """Keep messages; those for devices that were deleted in the meantime are dropped."""
    tx.execute(
        "INSERT INTO to_device (device, position, json)"
        " SELECT message.device, message.position, convert_to(message.json, 'UTF8')"
        " FROM unnest(%s::bigint[], %s::bigint[], string_to_array(%s, E'\\n')) AS message (device, position, json)"
        " JOIN devices USING (device)",
        ([row.device for row in rows], [row.position for row in rows], json_lines([row.json for row in rows])),
    )


def waiting(tx: Cursor, device: int, after: int, upto: int, limit: int) -> list[ToDeviceRow]:
    """Messages for a device in (after, upto], oldest first."""
    tx.execute(
        "SELECT devices.user_id, to_device.position, to_device.json FROM to_device JOIN devices USING (device)"
        " WHERE device = %s AND position > %s AND position <= %s ORDER BY position LIMIT %s",
        (device, after, upto, limit),
    )
    rows = []
    for user_id, position, json in tx.fetchall():
        row = ToDeviceRow(user_id, device, bytes(json))
        row.position = position
        rows.append(row)
    return rows


def delete_upto(tx: Statements, device: int, position: int) -> None:
    """The device has shown to have received everything up to this position."""
    tx.execute("DELETE FROM to_device WHERE device = %s AND position <= %s", (device, position))
