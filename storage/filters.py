"""Filters that clients have deposited. Owns the table filters."""

from __future__ import annotations

from psycopg2.extensions import cursor as Cursor


def put(tx: Cursor, user_id: str, json: bytes) -> int:
    """The id of this filter: an old one, if the user deposited the same before."""
    # One at a time for each user: two must not get the same number.
    tx.execute("SELECT 1 FROM users WHERE user_id = %s FOR UPDATE", (user_id,))
    tx.execute("SELECT filter_id FROM filters WHERE user_id = %s AND json = %s", (user_id, json))
    if (row := tx.fetchone()) is not None:
        return int(row[0])
    tx.execute(
        "INSERT INTO filters (user_id, filter_id, json)"
        " SELECT %s, coalesce(max(filter_id), -1) + 1, %s FROM filters WHERE user_id = %s RETURNING filter_id",
        (user_id, json, user_id),
    )
    row = tx.fetchone()
    assert row is not None  # an aggregate always has one row
    return int(row[0])


def one(tx: Cursor, user_id: str, filter_id: int) -> bytes | None:
    """A filter as it was deposited; None if there is none."""
    tx.execute("SELECT json FROM filters WHERE user_id = %s AND filter_id = %s", (user_id, filter_id))
    row = tx.fetchone()
    return None if row is None else bytes(row[0])
