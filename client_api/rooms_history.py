"""The history of rooms. Specification: client-server API, "Getting events for a room"; "Event context"."""

from __future__ import annotations

from typing import Literal

import msgspec

from homeserver.core.ids import EventId, RoomId
from homeserver.rooms.history import DEFAULT_LIMIT, History, Messages
from homeserver.rooms.reading import token_of
from homeserver.sync.asking import parse_event_filter
from homeserver.web.endpoint import USER_OR_GUEST, Requester, endpoint, endpoints
from homeserver.web.errors import InvalidParam


class MessagesQuery(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """The query of GET /messages."""

    dir: Literal["b", "f"]
    from_: str | None = None
    to: str | None = None
    limit: int | None = None
    filter: str | None = None


class ContextQuery(msgspec.Struct, frozen=True):
    """The query of GET /context."""

    limit: int | None = None
    filter: str | None = None


@endpoint("GET", "/_matrix/client/v3/rooms/{room_id}/messages", access=USER_OR_GUEST)
async def messages(history: History, who: Requester, room_id: RoomId, query: MessagesQuery) -> bytes:
    """A page of messages. Specification: client-server API, GET /rooms/{roomId}/messages."""
    wanted = parse_event_filter(query.filter)
    ask = Messages(
        backwards=query.dir == "b",
        start=token_of(query.from_ or None),
        stop=token_of(query.to or None),
        limit=_limit(query.limit, wanted.limit),
        filter=wanted,
    )
    return await history.messages(who.user_id, who.device_number, room_id, ask)


@endpoint("GET", "/_matrix/client/v3/rooms/{room_id}/context/{event_id}", access=USER_OR_GUEST)
async def context(history: History, who: Requester, room_id: RoomId, event_id: EventId, query: ContextQuery) -> bytes:
    """What happened around an event. Specification: client-server API, GET /rooms/{roomId}/context/{eventId}."""
    wanted = parse_event_filter(query.filter)
    limit = _limit(query.limit, wanted.limit)
    return await history.context(who.user_id, who.device_number, room_id, event_id, limit, wanted)


def _limit(asked: int | None, of_filter: int | None) -> int:
    limit = asked if asked is not None else of_filter if of_filter is not None else DEFAULT_LIMIT
    if limit < 0:
        raise InvalidParam("limit must not be negative.")
    return limit


ENDPOINTS = endpoints(__name__)
