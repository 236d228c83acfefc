"""The stripped state that came with invites and knocks of rooms we are not in. Owns the table invite_states."""

from __future__ import annotations

from psycopg2.extensions import cursor as Cursor

from storage.statements import Statements


def put(tx: Statements, room: int, user_id: str, json: bytes) -> None:
    """Keep the state, a JSON array; a newer one replaces an older one."""
    tx.execute(
        "INSERT INTO invite_states (room, user_id, json) VALUES (%s, %s, %s)"
        " ON CONFLICT (room, user_id) DO UPDATE SET json = excluded.json",
        (room, user_id, json),
    )


def one(tx: Cursor, room: int, user_id: str) -> bytes | None:
    """The state; None if there is none."""
    tx.execute("SELECT json FROM invite_states WHERE room = %s AND user_id = %s", (room, user_id))
    row = tx.fetchone()
    return None if row is None else bytes(row[0])


def delete(tx: Statements, room: int, user_id: str) -> None:
    """Forget the state: the invite or knock is over."""
    tx.execute("DELETE FROM invite_states WHERE room = %s AND user_id = %s", (room, user_id))
