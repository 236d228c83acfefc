"""Reads which events relate to others. Written by storage.room_log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from psycopg2.extensions import cursor as Cursor

MOST_EDITS: Final = 50
"""Edits of an event that are looked at, from the newest: edits by others than its sender do not count."""
MOST_REFERENCES: Final = 500
_SENDER: Final = "convert_from(e.json, 'UTF8')::json->>'sender'"


@dataclass(slots=True)
class Children:
    """What relates to one event, as far as it is aggregated."""

    edits: list[int] = field(default_factory=list)
    """Positions, newest first."""
    references: list[tuple[str, str]] = field(default_factory=list)
    """Event id and sender, oldest first."""
    thread: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Sender → how many events they have in the thread, and the position of their newest."""


def children(tx: Cursor, room: int, targets: Sequence[str]) -> dict[str, Children]:
    """What relates to some events of a room, in it; those to which nothing does are left out."""
    tx.execute(
        "SELECT DISTINCT target, rel_type FROM relations"
        " WHERE target = ANY(%s) AND rel_type IN ('m.replace', 'm.thread', 'm.reference')",
        (list(targets),),
    )
    kinds: dict[str, list[str]] = {}
    for target, rel_type in tx.fetchall():
        kinds.setdefault(rel_type, []).append(target)
    found = {target: Children() for targets_of_kind in kinds.values() for target in targets_of_kind}
    if "m.replace" in kinds:
        tx.execute(
            "SELECT target, position FROM (SELECT target, position,"
            " row_number() OVER (PARTITION BY target ORDER BY position DESC) AS place"
            " FROM relations WHERE target = ANY(%s) AND rel_type = 'm.replace') AS edit WHERE place <= %s"
            " ORDER BY position DESC",
            (kinds["m.replace"], MOST_EDITS),
        )
        for target, position in tx.fetchall():
            found[target].edits.append(position)
    if "m.reference" in kinds:
        tx.execute(
            f"SELECT r.target, e.event_id, {_SENDER} FROM relations r JOIN events e USING (position)"
            " WHERE r.target = ANY(%s) AND r.rel_type = 'm.reference' AND e.room = %s AND e.status = 0"
            " ORDER BY position LIMIT %s",
            (kinds["m.reference"], room, MOST_REFERENCES),
        )
        for target, event_id, sender in tx.fetchall():
            found[target].references.append((event_id, sender))
    if "m.thread" in kinds:
        tx.execute(
            "SELECT target, sender, count(*), max(position) FROM ("
            f"SELECT r.target, position, {_SENDER} AS sender FROM relations r JOIN events e USING (position)"
            " WHERE r.target = ANY(%s) AND r.rel_type = 'm.thread' AND e.room = %s AND e.status = 0) AS child"
            " GROUP BY target, sender",
            (kinds["m.thread"], room),
        )
        for target, sender, count, position in tx.fetchall():
            found[target].thread[sender] = (count, position)
    return found


def kinds_of(tx: Cursor, targets: Sequence[str]) -> dict[str, set[tuple[str, str]]]:
    """Relation type and sender of all that relates to some events."""
    tx.execute(
        f"SELECT DISTINCT r.target, r.rel_type, {_SENDER} FROM relations r JOIN events e USING (position)"
        " WHERE r.target = ANY(%s) AND e.status = 0",
        (list(targets),),
    )
    found: dict[str, set[tuple[str, str]]] = {}
    for target, rel_type, sender in tx.fetchall():
        found.setdefault(target, set()).add((rel_type, sender))
    return found


@dataclass(frozen=True, slots=True)
class Related:
    """Which children are asked for. `low` and `high`: between these places (depth, position)."""

    room: int
    targets: Sequence[str]
    rel_type: str | None
    event_type: str | None
    low: tuple[int, int]
    high: tuple[int, int]
    ceiling: int


def page(tx: Cursor, asked: Related, limit: int, *, backwards: bool) -> list[int]:
    """Positions of children in (`low`, `high`], in the order of the history or, `backwards`, against it."""
    direction = "DESC" if backwards else "ASC"
    tx.execute(
        "SELECT DISTINCT e.depth, e.position FROM relations r JOIN events e USING (position)"
        " WHERE r.target = ANY(%s) AND e.room = %s AND e.status = 0"
        " AND (%s::text IS NULL OR r.rel_type = %s) AND (%s::text IS NULL OR e.type = %s)"
        " AND (e.depth, e.position) > (%s, %s) AND (e.depth, e.position) <= (%s, %s) AND e.position <= %s"
        f" ORDER BY e.depth {direction}, e.position {direction} LIMIT %s",
        (
            list(asked.targets),
            asked.room,
            asked.rel_type,
            asked.rel_type,
            asked.event_type,
            asked.event_type,
            *asked.low,
            *asked.high,
            asked.ceiling,
            limit,
        ),
    )
    return [position for _, position in tx.fetchall()]


def ids_of_children(tx: Cursor, targets: Sequence[str], limit: int) -> list[str]:
    """Event ids of what relates to some events."""
    tx.execute(
        "SELECT e.event_id FROM relations r JOIN events e USING (position) WHERE r.target = ANY(%s) AND e.status = 0"
        " ORDER BY position DESC LIMIT %s",
        (list(targets), limit),
    )
    return [event_id for (event_id,) in tx.fetchall()]


def threads(tx: Cursor, room: int, before: int, limit: int, participant: str | None) -> list[tuple[str, int]]:
    """Root and newest position of the threads of a room whose newest event is before a position, newest first.

    `participant`: only those in which this user wrote, or whose root is theirs.
    """
    took_part = f"bool_or({_SENDER} = %(participant)s)" if participant is not None else "true"
    own_root = (
        f" AND (took_part OR EXISTS (SELECT FROM events e WHERE e.event_id = root AND {_SENDER} = %(participant)s))"
        if participant is not None
        else ""
    )
    tx.execute(
        f"WITH threads AS (SELECT e.thread AS root, max(e.position) AS newest, {took_part} AS took_part"
        " FROM events e JOIN relations r ON r.target = e.thread AND r.position = e.position AND r.rel_type = 'm.thread'"
        " WHERE e.room = %(room)s AND e.thread IS NOT NULL AND e.status = 0 GROUP BY e.thread)"
        f" SELECT root, newest FROM threads WHERE newest < %(before)s{own_root} ORDER BY newest DESC LIMIT %(limit)s",
        {"room": room, "before": before, "participant": participant, "limit": limit},
    )
    return tx.fetchall()
