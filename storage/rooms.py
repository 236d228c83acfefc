"""Reads rooms and their heads. They are written by storage.room_log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg2.extensions import cursor as Cursor

from storage.rows import RoomHead, RoomSummary

_SUMMARY = (
    "s.name, s.topic, s.avatar_url, s.canonical_alias, s.join_rule, s.history_visibility, s.guest_access, s.room_type,"
    " s.encryption, s.joined_members, s.invited_members"
)


@dataclass(frozen=True, slots=True)
class StoredRoom:
    """A room of which we have events."""

    room: int
    room_id: str
    version: str
    head: RoomHead
    summary: RoomSummary
    partial_join: int | None
    """Position of the join by which we came, where we do not have the whole state yet."""


def stored(tx: Cursor, room_id: str) -> StoredRoom | None:
    """A room by its id."""
    return _stored(tx, "r.room_id = %s", room_id)


def stored_by_number(tx: Cursor, room: int) -> StoredRoom | None:
    """A room by its number."""
    return _stored(tx, "r.room = %s", room)


def with_news(tx: Cursor, rooms: Sequence[int], since: int) -> list[int]:
    """Those of the rooms that got events after this position."""
    tx.execute("SELECT room FROM room_heads WHERE room = ANY(%s) AND position > %s", (list(rooms), since))
    return [room for (room,) in tx.fetchall()]


def root_at(tx: Cursor, room: int, position: int) -> bytes | None:
    """Root of the room's current state as it was after this position; None if the room was not there yet."""
    tx.execute(
        "SELECT state_root FROM state_history WHERE room = %s AND position <= %s ORDER BY position DESC LIMIT 1",
        (room, position),
    )
    row = tx.fetchone()
    return None if row is None else bytes(row[0])


def last_state_change(tx: Cursor, room: int) -> int:
    """Position of the last event that changed the room's current state."""
    tx.execute("SELECT max(position) FROM state_history WHERE room = %s", (room,))
    row = tx.fetchone()
    return 0 if row is None or row[0] is None else int(row[0])


def numbers_of(tx: Cursor, room_ids: Sequence[str]) -> dict[str, int]:
    """The numbers of those of the rooms that there are."""
    tx.execute("SELECT room_id, room FROM rooms WHERE room_id = ANY(%s)", (list(room_ids),))
    return dict(tx.fetchall())


def version_of(tx: Cursor, room_id: str) -> str | None:
    """The version of a room; None if we know nothing of it."""
    tx.execute("SELECT version FROM rooms WHERE room_id = %s", (room_id,))
    row = tx.fetchone()
    return None if row is None else str(row[0])


def ids_of(tx: Cursor, rooms: Sequence[int]) -> dict[int, str]:
    """The ids of those of the rooms that there are, by number."""
    tx.execute("SELECT room, room_id FROM rooms WHERE room = ANY(%s)", (list(rooms),))
    return dict(tx.fetchall())


def is_published(tx: Cursor, room: int) -> bool:
    """Whether the room is listed in the directory."""
    tx.execute("SELECT is_published FROM rooms WHERE room = %s", (room,))
    row = tx.fetchone()
    return row is not None and bool(row[0])


def _stored(tx: Cursor, condition: str, value: str | int) -> StoredRoom | None:
    tx.execute(
        f"SELECT r.room, r.room_id, r.version, h.extremities, h.state_root, h.depth, h.position, p.join_position,"
        f" {_SUMMARY} FROM rooms r JOIN room_heads h USING (room) JOIN room_summaries s USING (room)"
        f" LEFT JOIN partial_rooms p USING (room) WHERE {condition}",
        (value,),
    )
    row = tx.fetchone()
    if row is None:
        return None
    room, room_id, version, extremities, root, depth, position, partial_join, *summary = row
    head = RoomHead(tuple(extremities), bytes(root), depth, position)
    return StoredRoom(room, room_id, version, head, RoomSummary(*summary), partial_join)
