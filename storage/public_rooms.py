"""Reads the directory of published rooms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from psycopg2.extensions import cursor as Cursor


@dataclass(frozen=True, slots=True)
class PublicRoom:
    """A room as the directory shows it. `room_type` is None for a common room."""

    room: int
    room_id: str
    name: str | None
    topic: str | None
    avatar_url: str | None
    canonical_alias: str | None
    join_rule: str | None
    history_visibility: str | None
    guest_access: str | None
    room_type: str | None
    joined_members: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rooms: those with `search` in name, topic or alias, in any case, and of these types (None: of all).

    Among the types, None stands for common rooms.
    """

    search: str = ""
    room_types: Sequence[str | None] | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the list: the room at it, which need not be there any more."""

    joined_members: int
    room: int


_FROM: Final = (
    " FROM rooms r JOIN room_summaries s USING (room) WHERE r.is_published"
    " AND (%(search)s = '' OR strpos(lower(s.name), %(search)s) > 0 OR strpos(lower(s.topic), %(search)s) > 0"
    " OR strpos(lower(s.canonical_alias), %(search)s) > 0)"
    " AND (%(all_types)s OR coalesce(s.room_type, '') = ANY(%(types)s))"
)


def page(
    tx: Cursor, wanted: Wanted, *, limit: int, after: Place | None = None, backwards: bool = False
) -> list[PublicRoom]:
    """Rooms from the largest to the smallest, after a place; `backwards`: those before it, in the same order."""
    beyond = ">" if backwards else "<"
    direction = "ASC" if backwards else "DESC"
    place = "" if after is None else f" AND (s.joined_members, r.room) {beyond} (%(members)s, %(room)s)"
    tx.execute(
        "SELECT r.room, r.room_id, s.name, s.topic, s.avatar_url, s.canonical_alias, s.join_rule,"
        f" s.history_visibility, s.guest_access, s.room_type, s.joined_members {_FROM}{place}"
        f" ORDER BY s.joined_members {direction}, r.room {direction} LIMIT %(limit)s",
        {
            **_arguments(wanted),
            "members": 0 if after is None else after.joined_members,
            "room": 0 if after is None else after.room,
            "limit": limit,
        },
    )
    rooms = [PublicRoom(*row) for row in tx.fetchall()]
    if backwards:
        rooms.reverse()
    return rooms


def count(tx: Cursor, wanted: Wanted) -> int:
    """How many rooms there are of the wanted kind."""
    tx.execute(f"SELECT count(*) {_FROM}", _arguments(wanted))
    row = tx.fetchone()
    return 0 if row is None else int(row[0])


def _arguments(wanted: Wanted) -> dict[str, object]:
    types = wanted.room_types
    return {
        "search": wanted.search.lower(),
        "all_types": types is None,
        "types": [] if types is None else [each or "" for each in types],
    }
