"""Aliases of rooms. Owns the table aliases."""

from __future__ import annotations

from psycopg2.extensions import cursor as Cursor

from storage.statements import Statements


def insert(tx: Statements, alias: str, room: int, creator: str, created_ts: int) -> None:
    """Give a room an alias; the transaction fails if the alias is taken."""
    tx.execute(
        "INSERT INTO aliases (alias, room, creator, created_ts) VALUES (%s, %s, %s, %s)",
        (alias, room, creator, created_ts),
    )


def move(tx: Statements, old_room: int, new_room: int) -> None:
    """Let all aliases of a room lead to another one."""
    tx.execute("UPDATE aliases SET room = %s WHERE room = %s", (new_room, old_room))


def rooms_of(tx: Cursor, aliases: list[str]) -> dict[str, tuple[int, str]]:
    """Number and id of the rooms to which these aliases lead, for those that there are."""
    tx.execute(
        "SELECT alias, room, room_id FROM aliases JOIN rooms USING (room) WHERE alias = ANY(%s)",
        (aliases,),
    )
    return {alias: (room, room_id) for alias, room, room_id in tx.fetchall()}
