"""Stripped state: what those are shown of a room who are invited to it or knock on it.

Specification: client-server API, "Stripped state".
"""

from __future__ import annotations

from typing import Final

from homeserver.core.client_format import stripped_event_bytes
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.state import StateStore
from storage import invite_states
from storage.database import Database
from storage.rows import EventRow

SHOWN: Final = (
    ("m.room.create", ""),
    ("m.room.name", ""),
    ("m.room.avatar", ""),
    ("m.room.topic", ""),
    ("m.room.join_rules", ""),
    ("m.room.canonical_alias", ""),
    ("m.room.encryption", ""),
)


class StrippedStates:
    """Makes stripped states of rooms of ours, and finds those that came with invites to others."""

    def __init__(self, database: Database, state: StateStore, events: EventCache) -> None:
        self._database = database
        self._state = state
        self._events = events

    async def for_member(self, row: EventRow) -> list[bytes]:
        """The stripped state for an invite or knock, as encoded events; the member event itself comes last."""
        event = row.event
        shown = await self.of_root(row.room, row.state_root, event.sender) if row.state_root is not None else []
        return [*shown, stripped_event_bytes(event)]

    async def of_root(self, room: int, root: bytes, inviter: str | None = None) -> list[bytes]:
        """The stripped state of a state, with the member event of whoever invites."""
        return [stripped_event_bytes(row.event) for row in await self.rows(room, root, inviter)]

    async def rows(self, room: int, root: bytes, inviter: str | None = None) -> list[EventRow]:
        """The events of which the stripped state is made: other servers get them whole."""
        keys = SHOWN if inviter is None else (*SHOWN, ("m.room.member", inviter))
        positions = await self._state.get_many(room, root, keys)
        rows = await self._events.by_positions(positions.values())
        found = (rows.get(positions[key]) for key in keys if key in positions)
        return [row for row in found if row is not None]

    async def received(self, room: int, user_id: str) -> bytes | None:
        """The JSON array that came with an invite to a room in which this server is not; None if there is none."""
        return await self._database.read(invite_states.one, room, user_id)
