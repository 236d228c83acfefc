"""Reads the history of rooms in its own order: by depth, then by position."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from psycopg2.extensions import cursor as Cursor

Place = tuple[int, int]
"""Depth and position: just after the event there."""

FIRST: Final[Place] = (-1, 0)
LAST: Final[Place] = (2**63 - 1, 2**63 - 1)
NEAR: Final = 20
"""Events at the end of what a client has seen; where the history had branches, their depths go up and down."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a room's history: what lies in (`low`, `high`] by order, and in (`floor`, `ceiling`] by position."""

    room: int
    low: Place
    high: Place
    floor: int
    ceiling: int


def page(tx: Cursor, stretch: Stretch, limit: int, *, backwards: bool) -> list[tuple[int, str]]:
    """Position and event id of the first events of a stretch, or of the last ones, newest first, if `backwards`.

    Events of which we do not know the state, as they came as parts of one, have no place in the history.
    """
    direction = "DESC" if backwards else "ASC"
    tx.execute(
        "SELECT position, event_id FROM events WHERE room = %s AND (depth, position) > (%s, %s)"
        " AND (depth, position) <= (%s, %s) AND position > %s AND position <= %s"
        " AND status = 0 AND state_root IS NOT NULL"
        f" ORDER BY depth {direction}, position {direction} LIMIT %s",
        (stretch.room, *stretch.low, *stretch.high, stretch.floor, stretch.ceiling, limit),
    )
    return tx.fetchall()


def ends_at(tx: Cursor, room: int, position: int) -> list[Place]:
    """Depth and position of the newest events up to a position of the log, newest first."""
    tx.execute(
        "SELECT depth, position FROM events WHERE room = %s AND position <= %s AND position > 0 AND status = 0"
        " ORDER BY position DESC LIMIT %s",
        (room, position, NEAR),
    )
    return tx.fetchall()


def depths(tx: Cursor, room: int, ceiling: int) -> tuple[int, int] | None:
    """The least and the greatest depth in a room up to a position; None where there is no event."""
    tx.execute(
        "SELECT (SELECT depth FROM events WHERE room = %(room)s AND position <= %(ceiling)s AND status = 0"
        " AND state_root IS NOT NULL ORDER BY depth, position LIMIT 1),"
        " (SELECT depth FROM events WHERE room = %(room)s AND position <= %(ceiling)s AND status = 0"
        " AND state_root IS NOT NULL ORDER BY depth DESC, position DESC LIMIT 1)",
        {"room": room, "ceiling": ceiling},
    )
    row = tx.fetchone()
    return None if row is None or row[0] is None else (int(row[0]), int(row[1]))


def near_depth(tx: Cursor, room: int, depth: int, ceiling: int, limit: int) -> list[tuple[int, int, int]]:
    """Depth, position and timestamp of the first events from a depth on."""
    tx.execute(
        "SELECT depth, position, (convert_from(json, 'UTF8')::json->>'origin_server_ts')::numeric::bigint FROM events"
        " WHERE room = %s AND depth >= %s AND position <= %s AND status = 0 AND state_root IS NOT NULL"
        " ORDER BY depth, position LIMIT %s",
        (room, depth, ceiling, limit),
    )
    return tx.fetchall()
