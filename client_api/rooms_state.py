"""Reading the state of rooms. Specification: client-server API, "Getting events for a room"."""

from __future__ import annotations

from typing import Literal

import msgspec

from homeserver.core.ids import RoomId
from homeserver.rooms.state_reads import StateReads
from homeserver.web.endpoint import USER_OR_GUEST, Requester, endpoint, endpoints
from homeserver.web.response import StreamedResponse


class StateQuery(msgspec.Struct, frozen=True):
    """Whether the whole event is wanted."""

    format: Literal["content", "event"] = "content"


@endpoint("GET", "/_matrix/client/v3/rooms/{room_id}/state", access=USER_OR_GUEST)
async def state(reads: StateReads, who: Requester, room_id: RoomId) -> bytes | StreamedResponse:
    """All state. Specification: client-server API, GET /rooms/{roomId}/state."""
    return await reads.everything(who.user_id, room_id)


@endpoint("GET", "/_matrix/client/v3/rooms/{room_id}/state/{event_type}/{state_key}", access=USER_OR_GUEST)
@endpoint("GET", "/_matrix/client/v3/rooms/{room_id}/state/{event_type}", access=USER_OR_GUEST)
async def one_state(
    reads: StateReads, who: Requester, room_id: RoomId, event_type: str, query: StateQuery, state_key: str = ""
) -> bytes:
    """One piece of state. Specification: client-server API, GET /rooms/{roomId}/state/{eventType}/{stateKey}."""
    return await reads.one(who.user_id, room_id, event_type, state_key, whole_event=query.format == "event")


ENDPOINTS = endpoints(__name__)
