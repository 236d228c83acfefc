"""Memberships of local users in rooms that this server is not in: invites that came, knocks that went out, their ends.

Such a room has a number and single member events, but no head and no state.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from homeserver.core.event import Event
from homeserver.core.ids import ServerName, server_name_of
from homeserver.core.room_rules import ROOM_RULES, RoomRules
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.heads import Heads
from homeserver.runtime.writer import Also, Writer
from storage import invite_states
from storage import memberships as membership_table
from storage import rooms as room_table
from storage.database import Cursor, Database
from storage.rows import EventRow, MemberChange, NewRoom, RoomChanges
from storage.statements import Statements


class OutsideMemberships:
    """Keeps them. Whoever calls `put` holds the turn of the room."""

    def __init__(
        self, database: Database, writer: Writer, heads: Heads, events: EventCache, server_name: ServerName
    ) -> None:
        self._database = database
        self._writer = writer
        self._heads = heads
        self._events = events
        self._server_name = server_name

    async def put(self, event: Event, stripped: Sequence[bytes] | None) -> EventRow:
        """Take a member event. `stripped`: what is shown of the room with it; None where nothing is to be shown."""
        known = await self._events.by_id(event.event_id)
        if known is not None:
            return known
        assert event.state_key is not None, "a member event has a state key"
        number = (await self._database.read(room_table.numbers_of, [event.room_id])).get(event.room_id)
        changes = RoomChanges(None)
        if number is None:
            number = await self._heads.new_number()
            changes.new_room = NewRoom(event.room_id, event.rules.version)
        row = EventRow(number, event, None, changes=changes)
        is_local = server_name_of(event.state_key) == self._server_name
        change = MemberChange(event.state_key, event.membership or "leave", self._writer.next_position, is_local)
        row.members = (change,)
        await self._writer.append([row], [_write_stripped(number, event.state_key, stripped)])
        return row

    async def current(self, room_id: str, user_id: str) -> EventRow | None:
        """The member event of a user in a room that this server is not in; None if there is none."""
        position = await self._database.read(_position_of, room_id, user_id)
        return None if position is None else (await self._events.by_positions([position])).get(position)

    async def servers_behind(self, room_id: str, user_id: str) -> list[str]:
        """Servers that are or were in the room as far as we know: of the inviter, of those named in what was shown."""
        found = await self._database.read(_servers_behind, room_id, user_id)
        current = await self.current(room_id, user_id)
        return found if current is None else [server_name_of(current.event.sender), *found]

    async def rules_of(self, room_id: str) -> RoomRules | None:
        """The version of a room that we know of; None if we do not."""
        version = await self._database.read(room_table.version_of, room_id)
        return None if version is None else ROOM_RULES.get(version)


class _Shown(msgspec.Struct, frozen=True):
    """A stripped event, as far as it matters here."""

    sender: str


def _servers_behind(tx: Cursor, room_id: str, user_id: str) -> list[str]:
    room = room_table.numbers_of(tx, [room_id]).get(room_id)
    if room is None:
        return []
    servers = [server for server, _ in membership_table.servers_in(tx, room)]
    shown = invite_states.one(tx, room, user_id)
    events = [] if shown is None else msgspec.json.decode(shown, type=list[_Shown])
    return [*servers, *(event.sender.partition(":")[2] for event in events)]


def _write_stripped(room: int, user_id: str, stripped: Sequence[bytes] | None) -> Also:
    """Writes, or deletes, what is shown of a room."""

    def write(tx: Statements) -> None:
        if stripped is None:
            invite_states.delete(tx, room, user_id)
        else:
            invite_states.put(tx, room, user_id, b"[" + b",".join(stripped) + b"]")

    return write


def _position_of(tx: Cursor, room_id: str, user_id: str) -> int | None:
    room = room_table.numbers_of(tx, [room_id]).get(room_id)
    found = None if room is None else membership_table.of(tx, room, [user_id]).get(user_id)
    return None if found is None else found[1]
