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


def delete_of(tx: Statements, devices: Sequence[int]) -> None:
    """Delete all messages for some devices, which are deleted themselves."""
    tx.execute("DELETE FROM to_device WHERE device = ANY(%s)", (list(devices),))


def delete_upto(tx: Statements, device: int, position: int) -> None:
    """The device has shown to have received everything up to this position."""
    tx.execute("DELETE FROM to_device WHERE device = %s AND position <= %s", (device, position))


def trim(tx: Cursor, device: int, most: int) -> int:
    """Delete the oldest messages of a device beyond a number; how many those were."""
    tx.execute(
        "DELETE FROM to_device WHERE device = %s AND position <= (SELECT position FROM to_device WHERE device = %s"
        " ORDER BY position DESC OFFSET %s LIMIT 1)",
        (device, device, most),
    )
    return tx.rowcount


def delete_older(tx: Cursor, before_ts: int, limit: int) -> int:
    """Delete messages that nobody has fetched for long, some of them at a time; how many those were.

    Those of dehydrated devices stay: they wait for a client that may come late.
    """
    tx.execute(
        "DELETE FROM to_device WHERE (device, position) IN (SELECT device, position FROM to_device"
        " WHERE created_ts < %s AND NOT EXISTS (SELECT FROM dehydrated_devices AS sleeping"
        " WHERE sleeping.device = to_device.device) LIMIT %s)",
        (before_ts, limit),
    )
    return tx.rowcount
