"""Devices of local users. Owns the table devices. Their tokens go with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from psycopg2.extensions import cursor as Cursor

from storage.statements import Statements

_COLUMNS: Final = (
    "device, user_id, device_id, display_name, created_ts, last_seen_ts, last_seen_ip, last_seen_user_agent"
)


@dataclass(frozen=True, slots=True)
class Device:
    """A device. `device` is its number here, `device_id` its name on the outside."""

    device: int
    user_id: str
    device_id: str
    display_name: str | None
    created_ts: int
    last_seen_ts: int | None
    last_seen_ip: str | None
    last_seen_user_agent: str | None


@dataclass(frozen=True, slots=True)
class Seen:
    """When and whence a device was last heard of."""

    device: int
    ts: int
    ip: str
    user_agent: str


def put(tx: Cursor, user_id: str, device_id: str, display_name: str | None, created_ts: int) -> tuple[int, bool]:
    """The number of a device, and whether it was made just now. The name is for a new device only."""
    tx.execute(
        "INSERT INTO devices (user_id, device_id, display_name, created_ts) VALUES (%s, %s, %s, %s)"
        " ON CONFLICT (user_id, device_id) DO NOTHING RETURNING device",
        (user_id, device_id, display_name, created_ts),
    )
    row = tx.fetchone()
    if row is not None:
        return int(row[0]), True
    tx.execute("SELECT device FROM devices WHERE user_id = %s AND device_id = %s FOR UPDATE", (user_id, device_id))
    row = tx.fetchone()
    if row is None:
        # It was there a moment ago: somebody has just deleted it.
        return put(tx, user_id, device_id, display_name, created_ts)
    return int(row[0]), False


def one(tx: Cursor, user_id: str, device_id: str) -> Device | None:
    """A device; None if the user has none of this name."""
    tx.execute(f"SELECT {_COLUMNS} FROM devices WHERE user_id = %s AND device_id = %s", (user_id, device_id))
    row = tx.fetchone()
    return None if row is None else Device(*row)


def of_user(tx: Cursor, user_id: str) -> list[Device]:
    """All devices of a user, oldest first."""
    tx.execute(f"SELECT {_COLUMNS} FROM devices WHERE user_id = %s ORDER BY device", (user_id,))
    return [Device(*row) for row in tx.fetchall()]


def of_users(tx: Cursor, user_ids: Sequence[str]) -> list[tuple[str, str, int]]:
    """User id, device id and number of all devices of some users."""
    tx.execute("SELECT user_id, device_id, device FROM devices WHERE user_id = ANY(%s)", (list(user_ids),))
    return tx.fetchall()


def numbers(tx: Cursor, names: Sequence[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """The numbers of some devices, by user id and device id."""
    tx.execute(
        "SELECT user_id, device_id, device FROM devices"
        " JOIN unnest(%s::text[], %s::text[]) AS wanted (user_id, device_id) USING (user_id, device_id)",
        ([user_id for user_id, _ in names], [device_id for _, device_id in names]),
    )
    return {(user_id, device_id): device for user_id, device_id, device in tx.fetchall()}


def rename(tx: Cursor, user_id: str, device_id: str, display_name: str | None) -> bool:
    """Change a device's display name; False if there is no such device."""
    tx.execute(
        "UPDATE devices SET display_name = %s WHERE user_id = %s AND device_id = %s",
        (display_name, user_id, device_id),
    )
    return tx.rowcount == 1


def delete(tx: Statements, devices: Sequence[int]) -> None:
    """Delete devices, and their tokens with them."""
    tx.execute("DELETE FROM devices WHERE device = ANY(%s)", (list(devices),))


def note_seen(tx: Statements, seen: Sequence[Seen]) -> None:
    """Remember when devices were last heard of; each device once."""
    tx.execute(
        "UPDATE devices SET last_seen_ts = seen.ts, last_seen_ip = seen.ip, last_seen_user_agent = seen.user_agent"
        " FROM unnest(%s::bigint[], %s::bigint[], %s::text[], %s::text[]) AS seen (device, ts, ip, user_agent)"
        " WHERE devices.device = seen.device",
        (
            [each.device for each in seen],
            [each.ts for each in seen],
            [each.ip for each in seen],
            [each.user_agent for each in seen],
        ),
    )
