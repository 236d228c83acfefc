"""Single events. Specification: client-server API, "Getting events for a room"."""

from __future__ import annotations

from typing import Literal

import msgspec

from homeserver.core.ids import EventId, RoomId
from homeserver.rooms.event_reads import EventReads
from homeserver.web.endpoint import USER_OR_GUEST, Requester, endpoint, endpoints


class TimeQuery(msgspec.Struct, frozen=True):
    """From when on, and in which direction."""

    ts: int
    dir: Literal["f", "b"]


class EventAtTime(msgspec.Struct, frozen=True):
    """The event found."""

    event_id: str
    origin_server_ts: int


@endpoint("GET", "/_matrix/client/v3/rooms/{room_id}/event/{event_id}", access=USER_OR_GUEST)
async def event(reads: EventReads, who: Requester, room_id: RoomId, event_id: EventId) -> bytes:
    """One event. Specification: client-server API, GET /rooms/{roomId}/event/{eventId}."""
    return await reads.one(who.user_id, who.device_number, room_id, event_id)


@endpoint(
    "GET",
    "/_matrix/client/v1/rooms/{room_id}/timestamp_to_event",
    access=USER_OR_GUEST,
    also=("/_matrix/client/unstable/org.matrix.msc3030/rooms/{room_id}/timestamp_to_event",),
)
async def timestamp_to_event(reads: EventReads, who: Requester, room_id: RoomId, query: TimeQuery) -> EventAtTime:
    """The event closest to a time. Specification: client-server API, GET /rooms/{roomId}/timestamp_to_event."""
    return EventAtTime(*await reads.near(who.user_id, room_id, query.ts, query.dir))


ENDPOINTS = endpoints(__name__)
