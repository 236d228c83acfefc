"""Which events of a room another server may see whole: history visibility, asked for all of its users at once.

Specification: client-server API, "Room History Visibility"; the rules are homeserver.core.visibility. State events are
for all servers that are in the room, since without them nobody could check anything.
"""

from __future__ import annotations

from collections.abc import Sequence

from homeserver.core.redaction import redacted
from homeserver.core.state_trie import EMPTY_ROOT
from homeserver.core.visibility import View, history_visibility_of, may_see
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.state import StateStore
from storage import memberships as membership_table
from storage import partial_rooms
from storage.database import Database
from storage.rows import EventRow

_VISIBILITY = ("m.room.history_visibility", "")
_STRENGTH = ("join", "invite", "knock", "leave", "ban")


class ServerSight:
    """Asks for other servers whether they may see events. They are in the room now."""

    def __init__(self, database: Database, state: StateStore, events: EventCache) -> None:
        self._database = database
        self._state = state
        self._events = events

    async def shown(self, server: str, room: int, rows: Sequence[EventRow]) -> list[bytes]:
        """The events as the server gets them: whole, or what is left of them when redacted."""
        seen = await self.seen(server, room, rows)
        return [row.event.json if row.position in seen else redacted(row.event).json for row in rows]

    async def seen(self, server: str, room: int, rows: Sequence[EventRow]) -> set[int]:
        """Positions of those of the events that the server may see."""
        users: list[str] | None = None
        views: dict[bytes, bool] = {}
        seen: set[int] = set()
        for row in rows:
            root = row.state_root
            if row.event.is_state or root is None or root == EMPTY_ROOT:
                seen.add(row.position)
                continue
            if root not in views:
                visibility = await self._visibility(room, root)
                if visibility in ("world_readable", "shared"):
                    # One of its users is in the room now, so it was there later than any event.
                    views[root] = True
                else:
                    if users is None:
                        users = await self._database.read(membership_table.of_server, room, server)
                    views[root] = may_see(
                        View(
                            history_visibility_of({"history_visibility": visibility}),
                            await self._strongest(server, room, root, users),
                        ),
                        joined_later=True,
                    )
            if views[root]:
                seen.add(row.position)
        return seen

    async def _visibility(self, room: int, root: bytes) -> str:
        position = await self._state.get(room, root, *_VISIBILITY)
        if position is None:
            return "shared"
        row = (await self._events.by_positions([position])).get(position)
        return history_visibility_of(None if row is None else row.event.content)

    async def _strongest(self, server: str, room: int, root: bytes, users: Sequence[str]) -> str | None:
        """The strongest membership that any of the users had."""
        positions = await self._state.get_many(room, root, [("m.room.member", user_id) for user_id in users])
        rows = await self._events.by_positions(positions.values())
        found = {row.event.membership for row in rows.values()}
        strongest = next((membership for membership in _STRENGTH if membership in found), None)
        if strongest is None and await self._database.read(partial_rooms.has_server, room, server):
            # It was in the room before us, and not all members are known here yet.
            return "join"
        return strongest
