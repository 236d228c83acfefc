"""What other servers are still to be sent.

Owns the tables lagging_destinations, relayed_events and outbound_messages.

A server that takes what it is sent has no row here: it has everything up to the sender's own cursor. One that does not
answer has one row, however much it misses, and no more is written for it until it is back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from psycopg2.extensions import cursor as Cursor

from storage import events, log_head
from storage.rows import EventRow, OutboundMessageRow, RelayRow
from storage.statements import Statements, json_lines

FOLLOWER: Final = "federation sender"

SERVER_OF: Final = "substr(user_id, strpos(user_id, ':') + 1)"
"""As the index memberships_server has it."""

_ROOMS_OF_SERVER: Final = (
    f"SELECT room FROM memberships WHERE {SERVER_OF} = %s AND membership = 'join'"
    " UNION SELECT room FROM partial_servers WHERE server_name = %s"
)
"""Also those rooms whose members we do not all know yet, and that the server is in as another one said."""


def persist_relayed(tx: Statements, rows: Sequence[RelayRow]) -> None:
    """Write down which events of others are to be sent on by us."""
    tx.execute(
        "INSERT INTO relayed_events (position, room, event_position)"
        " SELECT * FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[])",
        ([row.position for row in rows], [row.room for row in rows], [row.event_position for row in rows]),
    )


def persist_messages(tx: Statements, rows: Sequence[OutboundMessageRow]) -> None:
    """Keep messages to devices until they are delivered."""
    tx.execute(
        "INSERT INTO outbound_messages (server_name, position, json)"
        " SELECT server_name, position, convert_to(json, 'UTF8')"
        " FROM unnest(%s::text[], %s::bigint[], string_to_array(%s, E'\\n')) AS message (server_name, position, json)",
        ([row.server_name for row in rows], [row.position for row in rows], json_lines([row.json for row in rows])),
    )


def messages_to(tx: Cursor, server_name: str, upto: int, limit: int) -> list[tuple[int, bytes]]:
    """Position and EDU of the first messages for a server up to a position."""
    tx.execute(
        "SELECT position, json FROM outbound_messages WHERE server_name = %s AND position <= %s"
        " ORDER BY position LIMIT %s",
        (server_name, upto, limit),
    )
    return [(position, bytes(json)) for position, json in tx.fetchall()]


def delete_messages(tx: Cursor, delivered: Mapping[str, int]) -> None:
    """Servers have taken their messages up to these positions."""
    tx.execute(
        "DELETE FROM outbound_messages m USING unnest(%s::text[], %s::bigint[]) AS taken (server_name, position)"
        " WHERE m.server_name = taken.server_name AND m.position <= taken.position",
        (list(delivered), list(delivered.values())),
    )


def delete_older_messages(tx: Cursor, before_ts: int, limit: int) -> int:
    """Delete messages that their servers have not taken for long, some of them at a time; how many those were."""
    tx.execute(
        "DELETE FROM outbound_messages WHERE (server_name, position) IN (SELECT server_name, position"
        " FROM outbound_messages WHERE created_ts < %s LIMIT %s)",
        (before_ts, limit),
    )
    return tx.rowcount


def begin(tx: Cursor) -> tuple[int | None, dict[str, int]]:
    """How far the sender has come (None: it never ran), and how far those servers that lag behind.

    Those for which messages wait count as such: perhaps they have them, perhaps not.
    """
    cursor = log_head.cursor_of(tx, FOLLOWER)
    tx.execute("SELECT DISTINCT server_name FROM outbound_messages")
    lagging = {server_name: cursor or 0 for (server_name,) in tx.fetchall()}
    tx.execute("SELECT server_name, position FROM lagging_destinations")
    return cursor, {**lagging, **dict(tx.fetchall())}


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
        f"SELECT m.room FROM memberships m JOIN room_heads h USING (room) WHERE {SERVER_OF} = %s"
        " AND (m.membership = 'join' OR m.position > %s) AND h.position > %s"
        " UNION SELECT p.room FROM partial_servers p JOIN room_heads h USING (room)"
        " WHERE p.server_name = %s AND h.position > %s ORDER BY room",
        (server_name, after, after, server_name, after),
    )
    return [room for (room,) in tx.fetchall()]


def lists_for_server(tx: Cursor, server_name: str, own_name: str, after: int, upto: int) -> list[str]:
    """Our users in rooms with a server whose devices or keys changed in (after, upto], or who came in then."""
    tx.execute(
        f"SELECT user_id FROM device_list_positions WHERE position > %s AND position <= %s"
        " AND right(user_id, %s) = %s AND EXISTS (SELECT FROM memberships own"
        " WHERE own.user_id = device_list_positions.user_id AND own.membership = 'join' AND own.room IN"
        f" ({_ROOMS_OF_SERVER}))"
        f" UNION SELECT user_id FROM memberships WHERE {SERVER_OF} = %s AND room = ANY(%s) AND membership = 'join'"
        " AND position > %s AND position <= %s ORDER BY user_id",
        (
            *(after, upto, len(own_name) + 1, f":{own_name}", server_name, server_name),
            *(own_name, rooms_with_news(tx, server_name, after), after, upto),
        ),
    )
    return [user_id for (user_id,) in tx.fetchall()]


def lists_between(tx: Cursor, own_name: str, after: int, upto: int) -> list[str]:
    """Our users whose devices or keys changed last in (after, upto]."""
    tx.execute(
        "SELECT user_id FROM device_list_positions WHERE position > %s AND position <= %s AND right(user_id, %s) = %s"
        " ORDER BY position",
        (after, upto, len(own_name) + 1, f":{own_name}"),
    )
    return [user_id for (user_id,) in tx.fetchall()]


def lists_changed_since(tx: Cursor, room: int, own_name: str, since_ts: int) -> list[str]:
    """Our users in a room whose devices or keys changed at this time or later."""
    tx.execute(
        "SELECT list.user_id FROM device_list_positions list JOIN memberships member USING (user_id)"
        " WHERE list.changed_ts >= %s AND right(list.user_id, %s) = %s AND member.room = %s"
        " AND member.membership = 'join' ORDER BY list.user_id",
        (since_ts, len(own_name) + 1, f":{own_name}", room),
    )
    return [user_id for (user_id,) in tx.fetchall()]


def rooms_of(tx: Cursor, user_id: str) -> list[int]:
    """The rooms that a user is in."""
    tx.execute("SELECT room FROM memberships WHERE user_id = %s AND membership = 'join'", (user_id,))
    return [room for (room,) in tx.fetchall()]


def rooms_joined(tx: Cursor, server_name: str) -> list[int]:
    """The rooms that a server is in."""
    tx.execute(_ROOMS_OF_SERVER, (server_name, server_name))
    return [room for (room,) in tx.fetchall()]


def is_in_room(tx: Cursor, room: int, server_name: str) -> bool:
    """Whether a user of this server is in the room."""
    tx.execute(
        f"SELECT 1 FROM memberships WHERE {SERVER_OF} = %s AND room = %s AND membership = 'join'"
        " UNION ALL SELECT 1 FROM partial_servers WHERE server_name = %s AND room = %s LIMIT 1",
        (server_name, room, server_name, room),
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
