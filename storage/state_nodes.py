"""Nodes of the state tries, by id. They are written with the events that made them: storage.room_log."""

from __future__ import annotations

from collections.abc import Iterable

from psycopg2.extensions import cursor as Cursor


def read(tx: Cursor, room: int, wanted: Iterable[bytes]) -> dict[bytes, bytes]:
    """Those of the wanted nodes that there are."""
    tx.execute("SELECT node, data FROM state_nodes WHERE room = %s AND node = ANY(%s::bytea[])", (room, list(wanted)))
    return {bytes(node): bytes(data) for node, data in tx.fetchall()}
