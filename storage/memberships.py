"""Reads who is in which room, and how that changed. Written by storage.room_log."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg2.extensions import cursor as Cursor


def of(tx: Cursor, room: int, user_ids: Sequence[str]) -> dict[str, tuple[str, int]]:
    """Membership and position of the member event of some users in a room; who has none is not in it."""
    tx.execute(
        "SELECT user_id, membership, position FROM memberships WHERE room = %s AND user_id = ANY(%s)",
        (room, list(user_ids)),
    )
    return {user_id: (membership, position) for user_id, membership, position in tx.fetchall()}


def changes_of(tx: Cursor, user_id: str, after: int, upto: int) -> list[tuple[int, int, str]]:
    """Position, room and membership for every change of a local user's memberships in (after, upto], oldest first."""
    tx.execute(
        "SELECT position, room, membership FROM membership_changes"
        " WHERE user_id = %s AND position > %s AND position <= %s ORDER BY position",
        (user_id, after, upto),
    )
    return tx.fetchall()


def before(tx: Cursor, user_id: str, room: int, position: int) -> tuple[int, str] | None:
    """A local user's last change in a room up to a position: where and to what. None if there was none."""
    tx.execute(
        "SELECT position, membership FROM membership_changes WHERE user_id = %s AND room = %s AND position <= %s"
        " ORDER BY position DESC LIMIT 1",
        (user_id, room, position),
    )
    return tx.fetchone()


def members(
    tx: Cursor, room: int, memberships: Sequence[str], *, after: str = "", limit: int | None = None
) -> list[tuple[str, str, int]]:
    """User id, membership and position of the member event, in the order of the user ids."""
    tx.execute(
        "SELECT user_id, membership, position FROM memberships"
        " WHERE room = %s AND membership = ANY(%s) AND user_id > %s ORDER BY user_id LIMIT %s",
        (room, list(memberships), after, limit),
    )
    return tx.fetchall()


def joined_or_moved_since(tx: Cursor, room: int, position: int) -> list[tuple[str, int]]:
    """Who is in a room, or has a newer membership there than this position; with the position of their member event."""
    tx.execute(
        "SELECT user_id, position FROM memberships WHERE room = %s AND (membership = 'join' OR position > %s)",
        (room, position),
    )
    return tx.fetchall()


def heroes(tx: Cursor, room: int, limit: int) -> list[str]:
    """Those after whom a room without a name is called: the first who are in it or invited.

    Where these are not two, also those who have left, after them (client-server API, "Calculating the display name
    for a room").
    """
    tx.execute(
        "SELECT user_id FROM memberships WHERE room = %s AND membership IN ('join', 'invite')"
        " ORDER BY position, user_id LIMIT %s",
        (room, limit),
    )
    found = [user_id for (user_id,) in tx.fetchall()]
    if len(found) < 2:
        tx.execute(
            "SELECT user_id FROM memberships WHERE room = %s AND membership IN ('leave', 'ban')"
            " ORDER BY position, user_id LIMIT %s",
            (room, limit - len(found)),
        )
        found += [user_id for (user_id,) in tx.fetchall()]
    return found


def shared_rooms(tx: Cursor, user_id: str, other: str) -> list[int]:
    """The rooms that both are in."""
    tx.execute(
        "SELECT a.room FROM memberships a JOIN memberships b USING (room)"
        " WHERE a.user_id = %s AND b.user_id = %s AND a.membership = 'join' AND b.membership = 'join' ORDER BY a.room",
        (user_id, other),
    )
    return [room for (room,) in tx.fetchall()]


def neighbours(tx: Cursor, user_id: str) -> set[str]:
    """Everybody who is in a room with the user."""
    tx.execute(
        "SELECT DISTINCT other.user_id FROM memberships own JOIN memberships other USING (room)"
        " WHERE own.user_id = %s AND own.membership = 'join' AND other.membership = 'join' AND other.user_id <> %s",
        (user_id, user_id),
    )
    return {neighbour for (neighbour,) in tx.fetchall()}


def neighbours_among(tx: Cursor, user_id: str, others: Sequence[str]) -> set[str]:
    """Those of the others who are in a room with the user."""
    tx.execute(
        "SELECT DISTINCT other.user_id FROM memberships own JOIN memberships other USING (room)"
        " WHERE own.user_id = %s AND own.membership = 'join' AND other.membership = 'join'"
        " AND other.user_id = ANY(%s)",
        (user_id, list(others)),
    )
    return {neighbour for (neighbour,) in tx.fetchall()}


def servers_in(tx: Cursor, room: int) -> list[tuple[str, int]]:
    """The servers whose users are in a room, with how many each has; the largest first.

    Where we do not know all members yet, also those of which another server said that they are in it.
    """
    tx.execute(
        "SELECT server, sum(users)::bigint FROM ("
        " SELECT substr(user_id, strpos(user_id, ':') + 1) AS server, count(*) AS users FROM memberships"
        " WHERE room = %s AND membership = 'join' GROUP BY server"
        " UNION ALL SELECT server_name, 0 FROM partial_servers WHERE room = %s) AS present"
        " GROUP BY server ORDER BY sum(users) DESC, server",
        (room, room),
    )
    return tx.fetchall()


def of_server(tx: Cursor, room: int, server_name: str) -> list[str]:
    """The users of a server who are in a room, or ever were."""
    tx.execute(
        "SELECT user_id FROM memberships WHERE room = %s AND substr(user_id, strpos(user_id, ':') + 1) = %s",
        (room, server_name),
    )
    return [user_id for (user_id,) in tx.fetchall()]


def of_user(tx: Cursor, user_id: str) -> list[tuple[int, str, int]]:
    """Room, membership and position of the member event, for all rooms that the user has not forgotten."""
    tx.execute(
        "SELECT room, membership, position FROM memberships WHERE user_id = %s AND NOT is_forgotten ORDER BY position",
        (user_id,),
    )
    return tx.fetchall()


def stays_of(tx: Cursor, user_id: str) -> dict[int, int]:
    """Room → position at which a local user's present stay began, for the rooms that they are in."""
    tx.execute(
        "SELECT room, min(position) FROM (SELECT room, position, membership,"
        " max(position) FILTER (WHERE membership <> 'join') OVER (PARTITION BY room) AS last_out"
        " FROM membership_changes WHERE user_id = %s) AS change"
        " WHERE membership = 'join' AND position > coalesce(last_out, 0) GROUP BY room",
        (user_id,),
    )
    return dict(tx.fetchall())


def stay_ended_at(tx: Cursor, user_id: str, room: int) -> int | None:
    """Where a local user's last stay in a room ended; None if there was none, or it lasts."""
    tx.execute(
        "SELECT min(position) FROM membership_changes WHERE user_id = %s AND room = %s AND position >"
        " (SELECT max(position) FROM membership_changes WHERE user_id = %s AND room = %s AND membership = 'join')",
        (user_id, room, user_id, room),
    )
    row = tx.fetchone()
    return None if row is None or row[0] is None else int(row[0])


def in_room(tx: Cursor, room: int, user_id: str) -> tuple[str, bool] | None:
    """A user's membership of a room, and whether they have forgotten it; None if they never had one."""
    tx.execute("SELECT membership, is_forgotten FROM memberships WHERE room = %s AND user_id = %s", (room, user_id))
    return tx.fetchone()


def joined_of_server(tx: Cursor, room: int, server_name: str) -> list[str]:
    """The joined users of one server."""
    ending = ":" + server_name
    tx.execute(
        "SELECT user_id FROM memberships WHERE room = %s AND membership = 'join' AND right(user_id, %s) = %s",
        (room, len(ending), ending),
    )
    return [user_id for (user_id,) in tx.fetchall()]


def has_users_of(tx: Cursor, rooms: Sequence[int], server_name: str) -> bool:
    """Whether a user of a server is in one of these rooms, or invited to it."""
    tx.execute(
        "SELECT 1 FROM memberships WHERE substr(user_id, strpos(user_id, ':') + 1) = %s AND room = ANY(%s)"
        " AND membership IN ('join', 'invite')"
        " UNION ALL SELECT 1 FROM partial_servers WHERE server_name = %s AND room = ANY(%s) LIMIT 1",
        (server_name, list(rooms), server_name, list(rooms)),
    )
    return tx.fetchone() is not None
