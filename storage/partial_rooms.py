"""Rooms that were joined without most of their members, or whose state lacks events that nobody could vouch for yet.

Owns the tables partial_rooms, partial_servers and unfinished_states. A row is what is still to be done: it is there
until the state is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg2.extensions import cursor as Cursor

from storage.statements import Statements


@dataclass(frozen=True, slots=True)
class PartialRoom:
    """A room whose state is to be fetched. `server_name`: the server through which we joined."""

    room: int
    join_position: int
    server_name: str


@dataclass(frozen=True, slots=True)
class UnfinishedState:
    """A room whose state before our join lacks so many events, whose signers' keys were not to be had."""

    room: int
    join_position: int
    server_name: str
    lacking: int
    since_ts: int


def keep(tx: Statements, found: PartialRoom, servers: Sequence[str]) -> None:
    """Note a room that was joined so, with the servers in it; a former note of the room is replaced."""
    tx.execute(
        "INSERT INTO partial_rooms (room, join_position, server_name) VALUES (%s, %s, %s)"
        " ON CONFLICT (room) DO UPDATE SET join_position = excluded.join_position, server_name = excluded.server_name",
        (found.room, found.join_position, found.server_name),
    )
    tx.execute("DELETE FROM partial_servers WHERE room = %s", (found.room,))
    tx.execute(
        "INSERT INTO partial_servers (room, server_name) SELECT %s, * FROM unnest(%s::text[]) ON CONFLICT DO NOTHING",
        (found.room, list(servers)),
    )


def forget(tx: Statements, room: int) -> None:
    """The room's state is all here."""
    tx.execute("DELETE FROM partial_rooms WHERE room = %s", (room,))
    tx.execute("DELETE FROM partial_servers WHERE room = %s", (room,))


def every(tx: Cursor) -> list[PartialRoom]:
    """All such rooms."""
    tx.execute("SELECT room, join_position, server_name FROM partial_rooms ORDER BY join_position")
    return [PartialRoom(*row) for row in tx.fetchall()]


def one(tx: Cursor, room: int) -> PartialRoom | None:
    """What is noted of a room; None if its state is all here."""
    tx.execute("SELECT room, join_position, server_name FROM partial_rooms WHERE room = %s", (room,))
    row = tx.fetchone()
    return None if row is None else PartialRoom(*row)


def has_server(tx: Cursor, room: int, server_name: str) -> bool:
    """Whether a server is in a room whose members are not all known, as another one said."""
    tx.execute("SELECT 1 FROM partial_servers WHERE room = %s AND server_name = %s", (room, server_name))
    return tx.fetchone() is not None


def placed_since(tx: Cursor, room: int, join_position: int, depth: int, after: int) -> tuple[list[int], list[int]]:
    """Positions of the events of a room whose place was found when its state was partial.

    First those in the log, after a position of it; then those that are not shown, so deep that they may come after the
    join.
    """
    # In this order: what is not shown may follow what is shown, and both grow.
    tx.execute(
        "SELECT position FROM events WHERE room = %s AND position < 0 AND depth >= %s AND state_root IS NOT NULL"
        " ORDER BY position DESC",
        (room, depth),
    )
    hidden = [position for (position,) in tx.fetchall()]
    tx.execute(
        "SELECT position FROM events WHERE room = %s AND position > %s AND state_root IS NOT NULL ORDER BY position",
        (room, max(join_position, after)),
    )
    return [position for (position,) in tx.fetchall()], hidden


def keep_unfinished(tx: Statements, found: UnfinishedState) -> None:
    """Note a room whose state lacks events. How long it has lacked some of them stays as it was."""
    tx.execute(
        "INSERT INTO unfinished_states (room, join_position, server_name, lacking, since_ts)"
        " VALUES (%s, %s, %s, %s, %s)"
        " ON CONFLICT (room) DO UPDATE SET lacking = excluded.lacking, server_name = excluded.server_name,"
        " since_ts = CASE WHEN unfinished_states.join_position = excluded.join_position"
        " THEN unfinished_states.since_ts ELSE excluded.since_ts END, join_position = excluded.join_position",
        (found.room, found.join_position, found.server_name, found.lacking, found.since_ts),
    )


def forget_unfinished(tx: Statements, room: int) -> None:
    """The room's state lacks nothing that could still come."""
    tx.execute("DELETE FROM unfinished_states WHERE room = %s", (room,))


def every_unfinished(tx: Cursor) -> list[int]:
    """All rooms whose state lacks events."""
    tx.execute("SELECT room FROM unfinished_states ORDER BY since_ts, room")
    return [room for (room,) in tx.fetchall()]


def unfinished(tx: Cursor, room: int) -> UnfinishedState | None:
    """What is noted of a room; None if its state lacks nothing."""
    tx.execute(
        "SELECT room, join_position, server_name, lacking, since_ts FROM unfinished_states WHERE room = %s", (room,)
    )
    row = tx.fetchone()
    return None if row is None else UnfinishedState(*row)
