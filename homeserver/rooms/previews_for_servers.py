"""What another server may know of our rooms for the sake of its users: a space and what is right below it.

Specification: server-server API, GET /hierarchy/{roomId}.
"""

from __future__ import annotations

from homeserver.core.canonical_json import JsonObject, JsonValue
from homeserver.rooms.heads import Heads
from homeserver.rooms.membership import is_here
from homeserver.rooms.previews import OPEN_TO_ALL, Previews, child_entry, summary_of
from homeserver.rooms.restricted import RESTRICTED, allowed_rooms
from homeserver.rooms.room import Room
from homeserver.web.errors import NotFound
from storage import memberships as membership_table
from storage.database import Database

JOIN_RULES = ("m.room.join_rules", "")


class PreviewsForServers:
    """Shows rooms to servers."""

    def __init__(self, previews: Previews, heads: Heads, database: Database) -> None:
        self._previews = previews
        self._heads = heads
        self._database = database

    async def hierarchy(self, server: str, room_id: str, *, suggested_only: bool) -> JsonObject:
        """A space and the rooms right below it that users of the server could get into."""
        room = await self._heads.if_known(room_id)
        if room is None or not is_here(room) or not await self._may_preview(server, room):
            raise NotFound("There is no such room here, or your users may not know of it.")
        children = await self._previews.children(room, suggested_only=suggested_only)
        shown: list[JsonValue] = []
        inaccessible: list[JsonValue] = []
        for event in children:
            child = await self._heads.if_known(event.state_key or "")
            # What we are not in ourselves others know better.
            if child is not None and is_here(child):
                if await self._may_preview(server, child):
                    shown.append(summary_of(child))
                else:
                    inaccessible.append(child.room_id)
        whole: JsonObject = {**summary_of(room), "children_state": [child_entry(each) for each in children]}
        return {"room": whole, "children": shown, "inaccessible_children": inaccessible}

    async def _may_preview(self, server: str, room: Room) -> bool:
        if room.history_visibility == "world_readable" or room.join_rule in OPEN_TO_ALL:
            return True
        numbers = [room.number]
        if room.join_rule in RESTRICTED:
            row = room.known.get(JOIN_RULES)
            for allowed in allowed_rooms({} if row is None else row.event.content):
                other = await self._heads.if_known(allowed)
                if other is not None:
                    numbers.append(other.number)
        return await self._database.read(membership_table.has_users_of, numbers, server)
