"""The state of rooms as users may read it: the current one, or that of when they left.

Specification: client-server API, GET /rooms/{roomId}/state, GET /rooms/{roomId}/state/{eventType}/{stateKey}.
"""

from __future__ import annotations

import msgspec

from homeserver.rooms.client_events import ClientEvents
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.member_lists import MemberLists
from homeserver.rooms.reading import Readings
from homeserver.rooms.state import StateStore
from homeserver.rooms.wholeness import Wholeness
from homeserver.runtime.clock import Clock
from homeserver.web.errors import NotFound
from homeserver.web.response import StreamedResponse


class StateReads:
    """Answers what state rooms have."""

    def __init__(
        self,
        readings: Readings,
        state: StateStore,
        events: EventCache,
        client_events: ClientEvents,
        member_lists: MemberLists,
        wholeness: Wholeness,
        clock: Clock,
    ) -> None:
        self._readings = readings
        self._state = state
        self._events = events
        self._client_events = client_events
        self._member_lists = member_lists
        self._wholeness = wholeness
        self._clock = clock

    async def everything(self, user_id: str, room_id: str) -> bytes | StreamedResponse:
        """All state events, encoded as an array."""
        reading = await self._readings.of(user_id, room_id)
        await self._wholeness.of(reading.room)
        root, room = await self._readings.root(reading), reading.room.number
        positions = [position for _, position in await self._state.items(room, root, members=False)]
        found = await self._events.by_positions(positions)
        rows = [found[position] for position in positions if position in found]
        encoded = await self._client_events.rendered_state(rows, self._clock.now_ms())
        members = await self._member_lists.of(room, root)
        between = b"," if encoded and members.count else b""
        return members.answer(b"[" + b",".join(encoded) + between, members.chosen(None, None), b"]")

    async def one(self, user_id: str, room_id: str, event_type: str, state_key: str, *, whole_event: bool) -> bytes:
        """One piece of state: its content, or the whole event."""
        reading = await self._readings.of(user_id, room_id)
        root = await self._readings.root(reading)
        position = await self._state.get(reading.room.number, root, event_type, state_key)
        if position is None and event_type == "m.room.member" and reading.room.partial is not None:
            await self._wholeness.of(reading.room)
            root = await self._readings.root(reading)
            position = await self._state.get(reading.room.number, root, event_type, state_key)
        row = None if position is None else (await self._events.by_positions((position,))).get(position)
        if row is None:
            raise NotFound(f"The room has no state of type {event_type} with the key {state_key!r}.")
        if whole_event:
            return (await self._client_events.rendered_state((row,), self._clock.now_ms()))[0]
        return msgspec.json.encode(row.event.content)
