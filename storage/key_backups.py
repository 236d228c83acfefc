"""Backups of room keys, encrypted by clients. Owns the tables key_backups and key_backup_sessions.

Versions of a user are numbered; the newest that is not deleted is the current one, and the only one to be written to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg2.extensions import cursor as Cursor


@dataclass(frozen=True, slots=True)
class Backup:
    """A version of a backup. `auth_data` is JSON; `sessions` their number."""

    version: int
    algorithm: str
    auth_data: bytes
    etag: int
    sessions: int


@dataclass(frozen=True, slots=True)
class BackedUpSession:
    """A room key in a backup; `session_data` is JSON."""

    room_id: str
    session_id: str
    is_verified: bool
    first_message_index: int
    forwarded_count: int
    session_data: bytes


@dataclass(frozen=True, slots=True)
class Which:
    """Some sessions of a backup: all, those of a room, or one."""

    room_id: str | None = None
    session_id: str | None = None


_COLUMNS = "version, algorithm, auth_data, etag, sessions"


def create(tx: Cursor, user_id: str, algorithm: str, auth_data: bytes) -> int:
    """Begin a new version; its number."""
    # Two at once must not get the same number.
    tx.execute("SELECT FROM users WHERE user_id = %s FOR NO KEY UPDATE", (user_id,))
    tx.execute(
        "INSERT INTO key_backups (user_id, version, algorithm, auth_data)"
        " SELECT %s, coalesce(max(version), 0) + 1, %s, %s FROM key_backups WHERE user_id = %s RETURNING version",
        (user_id, algorithm, auth_data, user_id),
    )
    row = tx.fetchone()
    assert row is not None
    return int(row[0])


def current(tx: Cursor, user_id: str) -> Backup | None:
    """The current version; None if there is none."""
    tx.execute(
        f"SELECT {_COLUMNS} FROM key_backups WHERE user_id = %s AND NOT is_deleted ORDER BY version DESC LIMIT 1",
        (user_id,),
    )
    return _backup(tx)


def one(tx: Cursor, user_id: str, version: int, *, to_change: bool = False) -> Backup | None:
    """A version, kept from others until the transaction ends where it is `to_change`; None if there is none."""
    tx.execute(
        f"SELECT {_COLUMNS} FROM key_backups WHERE user_id = %s AND version = %s AND NOT is_deleted"
        + (" FOR UPDATE" if to_change else ""),
        (user_id, version),
    )
    return _backup(tx)


def set_auth_data(tx: Cursor, user_id: str, version: int, auth_data: bytes) -> None:
    """Replace what a version tells of its key."""
    tx.execute(
        "UPDATE key_backups SET auth_data = %s WHERE user_id = %s AND version = %s", (auth_data, user_id, version)
    )


def delete(tx: Cursor, user_id: str, version: int) -> bool:
    """Delete a version with all that is in it; False if there is none. Its number stays taken."""
    tx.execute(
        "UPDATE key_backups SET is_deleted = true, auth_data = '{}', sessions = 0"
        " WHERE user_id = %s AND version = %s AND NOT is_deleted",
        (user_id, version),
    )
    was_there = tx.rowcount == 1
    tx.execute("DELETE FROM key_backup_sessions WHERE user_id = %s AND version = %s", (user_id, version))
    return was_there


def delete_of_user(tx: Cursor, user_id: str) -> None:
    """Delete all versions of a user with all that is in them."""
    tx.execute("DELETE FROM key_backups WHERE user_id = %s", (user_id,))


def sessions(tx: Cursor, user_id: str, version: int, which: Which) -> list[BackedUpSession]:
    """Sessions of a version."""
    tx.execute(
        "SELECT room_id, session_id, is_verified, first_message_index, forwarded_count, session_data"
        " FROM key_backup_sessions WHERE user_id = %s AND version = %s"
        " AND (%s::text IS NULL OR room_id = %s) AND (%s::text IS NULL OR session_id = %s)"
        " ORDER BY room_id, session_id",
        (user_id, version, which.room_id, which.room_id, which.session_id, which.session_id),
    )
    return [
        BackedUpSession(room_id, session_id, is_verified, index, forwarded, bytes(data))
        for room_id, session_id, is_verified, index, forwarded, data in tx.fetchall()
    ]


def put(tx: Cursor, user_id: str, version: int, given: Sequence[BackedUpSession]) -> Backup:
    """Keep sessions, each where it is better than the one that is there; the version as it is then.

    "if the keys have different values for is_verified, then it will keep the key that has is_verified set to true; if
    they have the same values for is_verified, then it will keep the key with a lower first_message_index; and finally,
    if is_verified and first_message_index are equal, then it will keep the key with a lower forwarded_count."
    """
    tx.execute(
        "INSERT INTO key_backup_sessions AS held (user_id, version, room_id, session_id, is_verified,"
        " first_message_index, forwarded_count, session_data)"
        " SELECT %s, %s, room_id, session_id, is_verified, first_message_index, forwarded_count,"
        " convert_to(session_data, 'UTF8')"
        " FROM unnest(%s::text[], %s::text[], %s::boolean[], %s::bigint[], %s::bigint[], %s::text[]) AS given (room_id,"
        " session_id, is_verified, first_message_index, forwarded_count, session_data)"
        " ON CONFLICT (user_id, version, room_id, session_id) DO UPDATE SET is_verified = excluded.is_verified,"
        " first_message_index = excluded.first_message_index, forwarded_count = excluded.forwarded_count,"
        " session_data = excluded.session_data"
        " WHERE (NOT excluded.is_verified, excluded.first_message_index, excluded.forwarded_count)"
        " < (NOT held.is_verified, held.first_message_index, held.forwarded_count)",
        (
            user_id,
            version,
            [each.room_id for each in given],
            [each.session_id for each in given],
            [each.is_verified for each in given],
            [each.first_message_index for each in given],
            [each.forwarded_count for each in given],
            [each.session_data.decode() for each in given],
        ),
    )
    return _changed(tx, user_id, version, has_changed=tx.rowcount > 0)


def delete_sessions(tx: Cursor, user_id: str, version: int, which: Which) -> Backup:
    """Delete sessions; the version as it is then."""
    tx.execute(
        "DELETE FROM key_backup_sessions WHERE user_id = %s AND version = %s"
        " AND (%s::text IS NULL OR room_id = %s) AND (%s::text IS NULL OR session_id = %s)",
        (user_id, version, which.room_id, which.room_id, which.session_id, which.session_id),
    )
    return _changed(tx, user_id, version, has_changed=tx.rowcount > 0)


def _changed(tx: Cursor, user_id: str, version: int, *, has_changed: bool) -> Backup:
    if has_changed:
        tx.execute(
            "UPDATE key_backups SET etag = etag + 1, sessions = (SELECT count(*) FROM key_backup_sessions AS session"
            " WHERE session.user_id = key_backups.user_id AND session.version = key_backups.version)"
            " WHERE user_id = %s AND version = %s",
            (user_id, version),
        )
    found = one(tx, user_id, version)
    assert found is not None  # the one who changes it holds its lock
    return found


def _backup(tx: Cursor) -> Backup | None:
    row = tx.fetchone()
    if row is None:
        return None
    version, algorithm, auth_data, etag, number = row
    return Backup(version, algorithm, bytes(auth_data), etag, number)
