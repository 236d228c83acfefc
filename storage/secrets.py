"""Secrets that the server makes once and keeps. Owns the table server_secrets."""

from __future__ import annotations

from psycopg2.extensions import cursor as Cursor


def keep(tx: Cursor, name: str, proposed: bytes) -> bytes:
    """The secret of this name: the proposed one, if there was none yet."""
    tx.execute("INSERT INTO server_secrets (name, value) VALUES (%s, %s) ON CONFLICT DO NOTHING", (name, proposed))
    tx.execute("SELECT value FROM server_secrets WHERE name = %s", (name,))
    row = tx.fetchone()
    return proposed if row is None else bytes(row[0])
