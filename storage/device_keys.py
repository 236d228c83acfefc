"""Identity keys of local devices. Owns the table device_keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg2.extensions import cursor as Cursor

from storage.statements import Statements


@dataclass(frozen=True, slots=True)
class DeviceWithKeys:
    """A device that has keys."""

    user_id: str
    device_id: str
    display_name: str | None
    json: bytes


def put(tx: Statements, device: int, json: bytes) -> None:
    """Keep the keys of a device, unless it was deleted meanwhile."""
    tx.execute(
        "INSERT INTO device_keys (device, json) SELECT device, %s FROM devices WHERE device = %s"
        " ON CONFLICT (device) DO UPDATE SET json = excluded.json",
        (json, device),
    )


def delete_of(tx: Statements, devices: Sequence[int]) -> None:
    """Delete the keys of devices, which are deleted themselves."""
    tx.execute("DELETE FROM device_keys WHERE device = ANY(%s)", (list(devices),))


def of_uploader(tx: Cursor, device: int) -> tuple[bytes | None, bool]:
    """The keys of a device, and whether its user has a cross-signing key of the same name."""
    tx.execute(
        "SELECT device_keys.json, EXISTS (SELECT FROM cross_signing_keys AS key WHERE key.user_id = devices.user_id"
        " AND key.public_key = devices.device_id) FROM devices LEFT JOIN device_keys USING (device)"
        " WHERE device = %s",
        (device,),
    )
    row = tx.fetchone()
    return (None, False) if row is None else (None if row[0] is None else bytes(row[0]), row[1])


def of_users(tx: Cursor, user_ids: Sequence[str]) -> list[DeviceWithKeys]:
    """The keys of all devices of some users."""
    tx.execute(
        "SELECT user_id, device_id, display_name, json FROM device_keys JOIN devices USING (device)"
        " WHERE user_id = ANY(%s) ORDER BY device",
        (list(user_ids),),
    )
    return [DeviceWithKeys(user_id, device_id, name, bytes(json)) for user_id, device_id, name, json in tx.fetchall()]


def beside_users(tx: Cursor, user_ids: Sequence[str]) -> list[tuple[str, str | None, str | None, str | None]]:
    """User, device, its name and its keys: for each user that there is, one without a device where none has keys."""
    tx.execute(
        "SELECT users.user_id, found.device_id, found.display_name, convert_from(found.json, 'UTF8') FROM users"
        " LEFT JOIN LATERAL (SELECT device, device_id, display_name, json FROM devices JOIN device_keys USING (device)"
        " WHERE devices.user_id = users.user_id) AS found ON true WHERE users.user_id = ANY(%s) ORDER BY found.device",
        (list(user_ids),),
    )
    return tx.fetchall()
