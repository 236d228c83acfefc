"""Device lists of other servers' users, kept and followed. Owns the tables remote_device_lists and remote_devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from psycopg2.extensions import cursor as Cursor

from storage.statements import Statements


@dataclass(frozen=True, slots=True)
class RemoteList:
    """How far we have followed a user. `stream_id` None: their server has named none."""

    stream_id: int | None
    is_stale: bool


def lists_of(tx: Cursor, user_ids: Sequence[str]) -> dict[str, RemoteList]:
    """The lists that we keep of some users."""
    tx.execute(
        "SELECT user_id, stream_id, is_stale FROM remote_device_lists WHERE user_id = ANY(%s)", (list(user_ids),)
    )
    return {user_id: RemoteList(stream_id, is_stale) for user_id, stream_id, is_stale in tx.fetchall()}


def devices_of(tx: Cursor, user_ids: Sequence[str]) -> list[tuple[str, str, bytes]]:
    """User, device and keys of all devices in the lists of some users."""
    tx.execute(
        "SELECT user_id, device_id, json FROM remote_devices WHERE user_id = ANY(%s) ORDER BY user_id, device_id",
        (list(user_ids),),
    )
    return [(user_id, device_id, bytes(json)) for user_id, device_id, json in tx.fetchall()]


def stale(tx: Cursor, after: str, limit: int) -> list[str]:
    """Users whose lists are to be read anew, in the order of their ids."""
    tx.execute(
        "SELECT user_id FROM remote_device_lists WHERE is_stale AND user_id > %s ORDER BY user_id LIMIT %s",
        (after, limit),
    )
    return [user_id for (user_id,) in tx.fetchall()]


def replace(tx: Statements, user_id: str, stream_id: int, devices: Mapping[str, bytes], *, is_stale: bool) -> None:
    """Keep a whole list as it was read just now."""
    note(tx, user_id, stream_id, is_stale=is_stale)
    tx.execute("DELETE FROM remote_devices WHERE user_id = %s AND device_id <> ALL(%s)", (user_id, list(devices)))
    for device_id, json in devices.items():
        put_device(tx, user_id, device_id, json)


def note(tx: Statements, user_id: str, stream_id: int | None, *, is_stale: bool) -> None:
    """Note how far a list goes, and whether it is to be read anew."""
    tx.execute(
        "INSERT INTO remote_device_lists (user_id, stream_id, is_stale) VALUES (%s, %s, %s)"
        " ON CONFLICT (user_id) DO UPDATE SET stream_id = excluded.stream_id, is_stale = excluded.is_stale",
        (user_id, stream_id, is_stale),
    )


def put_device(tx: Statements, user_id: str, device_id: str, json: bytes) -> None:
    """Keep the keys of one device."""
    tx.execute(
        "INSERT INTO remote_devices (user_id, device_id, json) VALUES (%s, %s, %s)"
        " ON CONFLICT (user_id, device_id) DO UPDATE SET json = excluded.json",
        (user_id, device_id, json),
    )


def delete_device(tx: Statements, user_id: str, device_id: str) -> None:
    """A device is gone."""
    tx.execute("DELETE FROM remote_devices WHERE user_id = %s AND device_id = %s", (user_id, device_id))


def is_near(tx: Cursor, user_id: str, server_name: str) -> bool:
    """Whether a user is in a room with somebody of a server."""
    tx.execute("SELECT " + _IS_NEAR.format("%s"), (user_id, *_ending(server_name)))
    row = tx.fetchone()
    return row is not None and bool(row[0])


def near_among(tx: Cursor, user_ids: Sequence[str], server_name: str) -> set[str]:
    """Those of some users who are in a room with somebody of a server."""
    tx.execute(
        "SELECT asked.user_id FROM unnest(%s::text[]) AS asked (user_id) WHERE " + _IS_NEAR.format("asked.user_id"),
        (list(user_ids), *_ending(server_name)),
    )
    return {user_id for (user_id,) in tx.fetchall()}


def forget_strangers(tx: Cursor, server_name: str, among: Sequence[str] | None) -> int:
    """Forget those (None: of all) who are in no room with this server any more: nobody tells us of their devices."""
    tx.execute(
        "DELETE FROM remote_device_lists AS list WHERE (%s::text[] IS NULL OR list.user_id = ANY(%s))"
        " AND NOT " + _IS_NEAR.format("list.user_id"),
        (among, among, *_ending(server_name)),
    )
    return tx.rowcount


_IS_NEAR = (
    "EXISTS (SELECT FROM memberships AS theirs JOIN memberships AS ours USING (room) WHERE theirs.user_id = {}"
    " AND theirs.membership = 'join' AND ours.membership = 'join' AND right(ours.user_id, %s) = %s)"
)


def _ending(server_name: str) -> tuple[int, str]:
    ending = ":" + server_name
    return len(ending), ending
