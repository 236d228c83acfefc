"""Which messages to devices other servers have sent, so that each counts once. Owns the table received_messages."""

from __future__ import annotations

from psycopg2.extensions import cursor as Cursor

from storage.statements import Statements


def note(tx: Statements, origin: str, message_id: str, created_ts: int) -> None:
    """Remember that a server has sent this; belongs into the transaction that takes the messages."""
    tx.execute(
        "INSERT INTO received_messages (origin, message_id, created_ts) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
        (origin, message_id, created_ts),
    )


def is_known(tx: Cursor, origin: str, message_id: str) -> bool:
    """Whether a server has sent this before."""
    tx.execute("SELECT FROM received_messages WHERE origin = %s AND message_id = %s", (origin, message_id))
    return tx.fetchone() is not None


def delete_older(tx: Cursor, before_ts: int, limit: int) -> int:
    """Forget what no server will repeat any more, some of it at a time; answers with the number."""
    tx.execute(
        "DELETE FROM received_messages WHERE (origin, message_id) IN"
        " (SELECT origin, message_id FROM received_messages WHERE created_ts < %s LIMIT %s)",
        (before_ts, limit),
    )
    return tx.rowcount
