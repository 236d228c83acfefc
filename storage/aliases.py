"""Aliases of rooms. Owns the table aliases."""

from __future__ import annotations

from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class Alias:
    """A row of the table."""

    room: int
    creator: str


def add(tx: Cursor, alias: str, room: int, creator: str, created_ts: int) -> bool:
    """Give a room an alias; False if the alias is taken."""
    tx.execute(
        "INSERT INTO aliases (alias, room, creator, created_ts) VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING",
        (alias, room, creator, created_ts),
    )
    return tx.rowcount == 1


def one(tx: Cursor, alias: str) -> Alias | None:
    """An alias; None if there is none."""
    tx.execute("SELECT room, creator FROM aliases WHERE alias = %s", (alias,))
    row = tx.fetchone()
    return None if row is None else Alias(*row)


def delete(tx: Cursor, alias: str) -> bool:
    """Take an alias away; False if there was none."""
    tx.execute("DELETE FROM aliases WHERE alias = %s", (alias,))
    return tx.rowcount == 1


def of_room(tx: Cursor, room: int) -> list[str]:
    """All aliases of a room, in the order of the alphabet."""
    tx.execute("SELECT alias FROM aliases WHERE room = %s ORDER BY alias", (room,))
    return [alias for (alias,) in tx.fetchall()]
