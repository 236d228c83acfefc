"""Reads events. They are written by storage.room_log."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg2.extensions import cursor as Cursor

from homeserver.core.event import Event
from homeserver.core.ids import EventId
from homeserver.core.room_rules import ROOM_RULES
from storage.rows import EventRow, Status

_SELECT = (
    "SELECT e.position, e.room, r.version, e.event_id, e.json, e.state_root, e.status, e.thread, e.device, e.txn_path,"
    " e.redacted_by, a.rank FROM events e JOIN rooms r USING (room) LEFT JOIN auth_edges a USING (position) "
)


def by_positions(tx: Cursor, positions: Sequence[int]) -> list[EventRow]:
    """Those of the events that there are, in no order."""
    tx.execute(_SELECT + "WHERE e.position = ANY(%s)", (list(positions),))
    return _rows(tx)


def by_ids(tx: Cursor, event_ids: Sequence[str]) -> list[EventRow]:
    """Those of the events that there are, in no order."""
    tx.execute(_SELECT + "WHERE e.event_id = ANY(%s)", (list(event_ids),))
    return _rows(tx)


def json_of(tx: Cursor, positions: Sequence[int]) -> bytes:
    """The JSON of those of the events that there are, in the order of the positions, with commas between them."""
    # One text is read at half the cost of a row an event, and bytea takes two characters a byte on its way.
    return _joined(tx, "convert_from(json, 'UTF8')", positions)


def json_of_ids(tx: Cursor, positions: Sequence[int]) -> bytes:
    """The same for their ids, as JSON strings."""
    return _joined(tx, "to_json(event_id)::text", positions)


def _joined(tx: Cursor, value: str, positions: Sequence[int]) -> bytes:
    tx.execute(
        f"SELECT coalesce(string_agg({value}, ',' ORDER BY number), '')"
        " FROM unnest(%s::bigint[]) WITH ORDINALITY AS wanted (position, number) JOIN events USING (position)",
        (list(positions),),
    )
    row = tx.fetchone()
    assert row is not None, "an aggregate has a row"
    return str(row[0]).encode()


def newest_in_room(tx: Cursor, room: int, upto: int, limit: int, after: int = 0) -> list[EventRow]:
    """The last accepted events of a room in (`after`, `upto`], oldest first.

    No history: those have positions below 0.
    """
    tx.execute(
        _SELECT + "WHERE e.room = %s AND e.position <= %s AND e.position > %s AND e.status = 0"
        " ORDER BY e.position DESC LIMIT %s",
        (room, upto, after, limit),
    )
    rows = _rows(tx)
    rows.reverse()
    return rows


def of_type_between(tx: Cursor, event_type: str, after: int, upto: int, limit: int) -> list[EventRow]:
    """The accepted events of a type in (after, upto], of all rooms, oldest first."""
    tx.execute(
        _SELECT + "WHERE e.type = %s AND e.position > %s AND e.position <= %s AND e.status = 0"
        " ORDER BY e.position LIMIT %s",
        (event_type, after, upto, limit),
    )
    return _rows(tx)


def sent_by_device(tx: Cursor, device: int, limit: int) -> list[tuple[str, str, str]]:
    """Room id, end of the path and event id of the last events that a device sent, oldest first."""
    tx.execute(
        "SELECT r.room_id, e.txn_path, e.event_id FROM events e JOIN rooms r USING (room)"
        " WHERE e.device = %s AND e.txn_path IS NOT NULL ORDER BY e.position DESC LIMIT %s",
        (device, limit),
    )
    return list(reversed(tx.fetchall()))


def annotations_of(tx: Cursor, target: str, sender: str, event_type: str) -> list[bytes]:
    """The annotations of an event by a user, with few others perhaps. Redacted annotations relate to nothing."""
    tx.execute(
        "SELECT e.json FROM relations r JOIN events e USING (position)"
        " WHERE r.target = %s AND r.rel_type = 'm.annotation' AND e.type = %s AND position(%s::bytea IN e.json) > 0",
        (target, event_type, sender.encode()),
    )
    return [bytes(json) for (json,) in tx.fetchall()]


def _rows(tx: Cursor) -> list[EventRow]:
    rows: list[EventRow] = []
    for position, room, version, event_id, json, root, status, thread, device, path, redacted_by, rank in tx.fetchall():
        row = EventRow(
            room=room,
            event=Event.load(bytes(json), ROOM_RULES[version], EventId(event_id)),
            state_root=None if root is None else bytes(root),
            status=Status(status),
            thread=thread,
            device=device,
            txn_path=path,
            redacted_by=redacted_by,
            rank=rank,
            is_history=position < 0,
        )
        row.position = position
        rows.append(row)
    return rows


def rooms_with_moves(tx: Cursor, rooms: Sequence[int], after: int, upto: int) -> list[int]:
    """Those of the rooms in which a membership was changed, or set anew, in (after, upto]."""
    tx.execute(
        "SELECT room FROM unnest(%s::bigint[]) AS wanted (room) WHERE EXISTS (SELECT FROM events"
        " WHERE events.room = wanted.room AND position > %s AND position <= %s AND type = 'm.room.member')"
        # Or without an event: the rest of the room's state came.
        " OR EXISTS (SELECT FROM state_history h WHERE h.room = wanted.room AND position > %s AND position <= %s"
        " AND NOT EXISTS (SELECT FROM events WHERE events.position = h.position))",
        (list(rooms), after, upto, after, upto),
    )
    return [room for (room,) in tx.fetchall()]


def present(tx: Cursor, event_ids: Sequence[str]) -> list[str]:
    """Those of the events that there are."""
    tx.execute("SELECT event_id FROM events WHERE event_id = ANY(%s)", (list(event_ids),))
    return [event_id for (event_id,) in tx.fetchall()]
