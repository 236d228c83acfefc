"""Reads the graph of auth events. It is written by storage.room_log."""

from __future__ import annotations

from collections.abc import Collection

from psycopg2.extensions import cursor as Cursor

LEVELS_AT_ONCE = 4
"""A walk that asks for an event will ask for what is under it next."""


def below(tx: Cursor, event_ids: Collection[str]) -> dict[str, tuple[tuple[str, ...], int]]:
    """Event id → ids of the auth events and rank, of these state events and of some levels under them."""
    tx.execute(
        "WITH RECURSIVE walk (position, level) AS ("
        " SELECT position, 1 FROM events WHERE event_id = ANY(%s)"
        " UNION SELECT unnest(a.auth), level + 1 FROM walk JOIN auth_edges a USING (position) WHERE level < %s)"
        " SELECT e.event_id, a.rank, ARRAY(SELECT under.event_id FROM events under WHERE under.position = ANY(a.auth))"
        " FROM (SELECT DISTINCT position FROM walk) AS found"
        " JOIN auth_edges a USING (position) JOIN events e USING (position)",
        (list(event_ids), LEVELS_AT_ONCE),
    )
    return {event_id: (tuple(auth), rank) for event_id, rank, auth in tx.fetchall()}


def citing(tx: Cursor, room: int, event_ids: Collection[str]) -> dict[str, list[str]]:
    """Event id → ids of the room's state events that have it among their auth events."""
    tx.execute(
        "SELECT cited.event_id, citing.event_id"
        " FROM events cited, auth_edges a JOIN events citing USING (position)"
        " WHERE cited.event_id = ANY(%s) AND citing.room = %s AND a.auth @> ARRAY[cited.position]",
        (list(event_ids), room),
    )
    found: dict[str, list[str]] = {}
    for cited, by in tx.fetchall():
        found.setdefault(cited, []).append(by)
    return found


def chain_of(tx: Cursor, positions: Collection[int]) -> list[int]:
    """Positions of all that stands behind some state events: their auth events, the auth events of those, and so on.

    What others lean on comes before them.
    """
    tx.execute("SELECT DISTINCT unnest(auth) FROM auth_edges WHERE position = ANY(%s)", (list(positions),))
    first = [position for (position,) in tx.fetchall()]
    # Thousands of members lean on the same few events. Were the walk begun at the members, PostgreSQL would make room
    # for millions of rows, which takes longer than the walk; for the same reason brackets hide the array's length.
    tx.execute(
        "WITH RECURSIVE walk (position) AS ("
        " SELECT unnest((SELECT %s::bigint[]))"
        " UNION SELECT unnest(a.auth) FROM walk JOIN auth_edges a USING (position))"
        " SELECT position FROM walk JOIN auth_edges USING (position) ORDER BY rank, position",
        (first,),
    )
    return [position for (position,) in tx.fetchall()]
