"""Devices without a session that take messages until one comes for them. Owns the table dehydrated_devices."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg2.extensions import cursor as Cursor

from storage.statements import Statements


@dataclass(frozen=True, slots=True)
class Dehydrated:
    """The dehydrated device of a user. `device_data` is JSON, encrypted by the client."""

    device: int
    device_id: str
    device_data: bytes


def of_user(tx: Cursor, user_id: str) -> Dehydrated | None:
    """The dehydrated device of a user; None if there is none."""
    tx.execute(
        "SELECT device, device_id, device_data FROM dehydrated_devices JOIN devices USING (device)"
        " WHERE dehydrated_devices.user_id = %s",
        (user_id,),
    )
    row = tx.fetchone()
    return None if row is None else Dehydrated(row[0], row[1], bytes(row[2]))


def put(tx: Statements, user_id: str, device: int, device_data: bytes) -> None:
    """Make a device the dehydrated one of its user, unless it was deleted meanwhile."""
    tx.execute(
        "INSERT INTO dehydrated_devices (user_id, device, device_data) SELECT %s, device, %s FROM devices"
        " WHERE device = %s ON CONFLICT (user_id) DO UPDATE SET device = excluded.device,"
        " device_data = excluded.device_data",
        (user_id, device_data, device),
    )
