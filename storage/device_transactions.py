"""Which PUTs a device has made, other than for room events. Owns the table device_transactions.

(The transaction ids of room events are in the table events.)
"""

from __future__ import annotations

from psycopg2.extensions import cursor as Cursor

from storage.statements import Statements


def note(tx: Statements, device: int, path: str, created_ts: int) -> None:
    """Remember that a device has done this; belongs into the transaction that does it."""
    tx.execute(
        "INSERT INTO device_transactions (device, path, created_ts) SELECT %s, %s, %s"
        " WHERE EXISTS (SELECT FROM devices WHERE device = %s) ON CONFLICT DO NOTHING",
        (device, path, created_ts, device),
    )


def of_device(tx: Cursor, device: int, limit: int) -> list[str]:
    """The last paths that a device has used, newest first."""
    tx.execute(
        "SELECT path FROM device_transactions WHERE device = %s ORDER BY created_ts DESC LIMIT %s", (device, limit)
    )
    return [path for (path,) in tx.fetchall()]


def is_known(tx: Cursor, device: int, path: str) -> bool:
    """Whether a device has done this before."""
    tx.execute("SELECT FROM device_transactions WHERE device = %s AND path = %s", (device, path))
    return tx.fetchone() is not None


def delete_older(tx: Cursor, before_ts: int, limit: int) -> int:
    """Forget what nobody will repeat any more, some of it at a time; answers with the number."""
    tx.execute(
        "DELETE FROM device_transactions WHERE ctid = ANY(ARRAY("
        "SELECT ctid FROM device_transactions WHERE created_ts < %s LIMIT %s))",
        (before_ts, limit),
    )
    return tx.rowcount
