"""The last presence of local users and the messages they attached to it. Owns the table presence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg2.extensions import cursor as Cursor


@dataclass(frozen=True, slots=True)
class Kept:
    """A user's presence as it was last written."""

    user_id: str
    presence: str
    status_msg: str | None
    last_active_ts: int


def of_users(tx: Cursor, user_ids: Sequence[str]) -> list[Kept]:
    """What is kept of some users."""
    tx.execute(
        "SELECT user_id, presence, status_msg, last_active_ts FROM presence WHERE user_id = ANY(%s)", (list(user_ids),)
    )
    return [Kept(*row) for row in tx.fetchall()]


def not_offline(tx: Cursor) -> list[Kept]:
    """Those who were there when it was last written."""
    tx.execute("SELECT user_id, presence, status_msg, last_active_ts FROM presence WHERE presence <> 'offline'")
    return [Kept(*row) for row in tx.fetchall()]


def put(tx: Cursor, rows: Sequence[Kept]) -> None:
    """Keep these, each user once; not of those who wanted to be forgotten."""
    tx.execute(
        "INSERT INTO presence (user_id, presence, status_msg, last_active_ts)"
        " SELECT new.* FROM unnest(%s::text[], %s::text[], %s::text[], %s::bigint[])"
        " AS new (user_id, presence, status_msg, last_active_ts) JOIN users USING (user_id) WHERE NOT users.is_erased"
        " ON CONFLICT (user_id) DO UPDATE SET presence = excluded.presence, status_msg = excluded.status_msg,"
        " last_active_ts = excluded.last_active_ts",
        (
            [row.user_id for row in rows],
            [row.presence for row in rows],
            [row.status_msg for row in rows],
            [row.last_active_ts for row in rows],
        ),
    )


def delete_of_user(tx: Cursor, user_id: str) -> None:
    """Forget a user."""
    tx.execute("DELETE FROM presence WHERE user_id = %s", (user_id,))
