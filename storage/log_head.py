"""Where the log stands, and how far its followers have come. Owns the tables log_head and follower_cursors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from psycopg2.extensions import cursor as Cursor

from storage.statements import Statements

WRITER_LOCK: Final = 0x6D79656C02
"""Advisory lock of the one writer of the log; its connection holds it for as long as it lives."""

BECOME_WRITER: Final = f"SELECT pg_try_advisory_lock({WRITER_LOCK})"

END_FORMER_WRITER: Final = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid = %s"
    f" AND classid = {WRITER_LOCK >> 32} AND objid = {WRITER_LOCK & 0xFFFFFFFF}"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
"""For our own former connection, of which PostgreSQL may not have noticed yet that nobody is at its other end."""

READ_HEAD: Final = "SELECT position, reserved, least((SELECT min(position) FROM events), 0) FROM log_head"


@dataclass(frozen=True, slots=True)
class LogHead:
    """Where the log stands.

    `position`: last committed; `reserved`: positions up to here may have been given out;
    `oldest`: lowest position of an event (0 or below).
    """

    position: int
    reserved: int
    oldest: int


def move(tx: Statements, position: int, reserved: int) -> None:
    """In every batch: tells afterwards whether the batch was committed."""
    tx.execute("UPDATE log_head SET position = %s, reserved = %s", (position, reserved))


def cursor_of(tx: Cursor, follower: str) -> int | None:
    """How far a follower has come; None if it never saved."""
    tx.execute("SELECT position FROM follower_cursors WHERE follower = %s", (follower,))
    row = tx.fetchone()
    return None if row is None else int(row[0])


def save_cursor(tx: Statements, follower: str, position: int) -> None:
    """Remember how far a follower has come; a cursor never goes back."""
    tx.execute(
        "INSERT INTO follower_cursors (follower, position) VALUES (%s, %s)"
        " ON CONFLICT (follower) DO UPDATE SET position = greatest(follower_cursors.position, excluded.position)",
        (follower, position),
    )


def delete_cursor(tx: Statements, follower: str) -> None:
    """Forget a follower that is no more."""
    tx.execute("DELETE FROM follower_cursors WHERE follower = %s", (follower,))


def row_of(tx: Cursor) -> tuple[int, ...]:
    """The one row that a statement of this module answers with."""
    row = tx.fetchone()
    if row is None:
        raise LookupError("the table log_head has lost its row: restore the database from a backup")
    return tuple(row)
