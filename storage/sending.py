"""What other servers are still to be sent. Owns the tables lagging_destinations and relayed_events.

A server that takes what it is sent has no row here: it has everything up to the sender's own cursor. One that does not
answer has one row, however much it misses, and no more is written for it until it is back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from psycopg2.extensions import cursor as Cursor

from storage import events, log_head
from storage.rows import EventRow, RelayRow
from storage.statements import Statements

FOLLOWER: Final = "federation sender"

SERVER_OF: Final = "substr(user_id, strpos(user_id, ':') + 1)"
"""As the index memberships_server has it."""


def persist_relayed(tx: Statements, rows: Sequence[RelayRow]) -> None:
    """Write down which events of others are to be sent on by us."""
    tx.execute(
        "INSERT INTO relayed_events (position, room, event_position)"
        " SELECT * FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[])",
        ([row.position for row in rows], [row.room for row in rows], [row.event_position for row in rows]),
    )


def begin(tx: Cursor) -> tuple[int | None, dict[str, int]]:
    """How far the sender has come (None: it never ran), and how far those servers that lag behind."""
    tx.execute("SELECT server_name, position FROM lagging_destinations")
    return log_head.cursor_of(tx, FOLLOWER), dict(tx.fetchall())


def save(tx: Cursor, position: int, lagging: Mapping[str, int], caught_up: Sequence[str]) -> None:
    """Remember how far the sender has come, and what changed with the servers that lag behind, all at once."""
    if lagging:
        tx.execute(
            "INSERT INTO lagging_destinations (server_name, position)"
            " SELECT * FROM unnest(%s::text[], %s::bigint[])"
            " ON CONFLICT (server_name) DO UPDATE SET position = excluded.position",
            (list(lagging), list(lagging.values())),
        )
    if caught_up:
        tx.execute("DELETE FROM lagging_destinations WHERE server_name = ANY(%s)", (list(caught_up),))
    log_head.save_cursor(tx, FOLLOWER, position)


def sent_between(tx: Cursor, server_name: str, after: int, upto: int, limit: int) -> list[EventRow]:
    """Accepted events in (after, upto] that perhaps this server is to send, oldest first.

    The caller looks at the sender: what only mentions our server name is among them.
    """
    tx.execute(
        "SELECT position FROM events WHERE position > %s AND position <= %s AND status = 0"
        " AND position(%s::bytea IN json) > 0 ORDER BY position LIMIT %s",
        (after, upto, f":{server_name}".encode(), limit),
    )
    return in_order(events.by_positions(tx, [position for (position,) in tx.fetchall()]))


def relayed_between(tx: Cursor, after: int, upto: int) -> list[tuple[int, EventRow]]:
    """The events to be sent on that were marked in (after, upto], with the position of the mark, oldest first."""
    tx.execute(
        "SELECT position, event_position FROM relayed_events WHERE position > %s AND position <= %s ORDER BY position",
        (after, upto),
    )
    marks = tx.fetchall()
    rows = {row.position: row for row in events.by_positions(tx, [event for _, event in marks])}
    return [(mark, rows[event]) for mark, event in marks if event in rows]


def rooms_with_news(tx: Cursor, server_name: str, after: int) -> list[int]:
    """The rooms that a server is in, or has left after a position, in which something came after it."""
    tx.execute(
        f"SELECT DISTINCT m.room FROM memberships m JOIN room_heads h USING (room) WHERE {SERVER_OF} = %s"
        " AND (m.membership = 'join' OR m.position > %s) AND h.position > %s ORDER BY m.room",
        (server_name, after, after),
    )
    return [room for (room,) in tx.fetchall()]


def rooms_joined(tx: Cursor, server_name: str) -> list[int]:
    """The rooms that a server is in."""
    tx.execute(f"SELECT DISTINCT room FROM memberships WHERE {SERVER_OF} = %s AND membership = 'join'", (server_name,))
    return [room for (room,) in tx.fetchall()]


def is_in_room(tx: Cursor, room: int, server_name: str) -> bool:
    """Whether a user of this server is in the room."""
    tx.execute(
        f"SELECT 1 FROM memberships WHERE {SERVER_OF} = %s AND room = %s AND membership = 'join' LIMIT 1",
        (server_name, room),
    )
    return tx.fetchone() is not None


def missed_in_room(tx: Cursor, room: int, after: int, upto: int, limit: int) -> tuple[list[EventRow], set[int]]:
    """The last events of a room in (after, upto], oldest first, and which of them are to be sent on by us."""
    rows = events.newest_in_room(tx, room, upto, limit, after)
    tx.execute(
        "SELECT event_position FROM relayed_events WHERE room = %s AND event_position = ANY(%s)",
        (room, [row.position for row in rows]),
    )
    return rows, {position for (position,) in tx.fetchall()}


def in_order(rows: Sequence[EventRow]) -> list[EventRow]:
    """By their positions."""
    return sorted(rows, key=lambda row: row.position)
