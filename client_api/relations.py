"""Children of events, and threads. Specification: client-server API, "Relationships API" and "Threading"."""

from __future__ import annotations

from typing import Literal

import msgspec

from homeserver.core.ids import EventId, RoomId
from homeserver.rooms.reading import token_of
from homeserver.rooms.related import Related, RelatedAsk
from homeserver.web.endpoint import USER_OR_GUEST, Requester, endpoint, endpoints
from homeserver.web.errors import InvalidParam

DEFAULT_CHILDREN = 10
DEFAULT_THREADS = 20
_PARENT = "/_matrix/client/v1/rooms/{room_id}/relations/{event_id}"
_UNSTABLE = "/_matrix/client/unstable/rooms/{room_id}/relations/{event_id}"


class RelationsQuery(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """The query of GET /relations."""

    from_: str | None = None
    to: str | None = None
    limit: int = DEFAULT_CHILDREN
    dir: Literal["b", "f"] = "b"
    recurse: bool = False


class ThreadsQuery(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """The query of GET /threads."""

    include: Literal["all", "participated"] = "all"
    limit: int = DEFAULT_THREADS
    from_: str | None = None


@endpoint(
    "GET", _PARENT + "/{rel_type}/{event_type}", access=USER_OR_GUEST, also=(_UNSTABLE + "/{rel_type}/{event_type}",)
)
@endpoint("GET", _PARENT + "/{rel_type}", access=USER_OR_GUEST, also=(_UNSTABLE + "/{rel_type}",))
@endpoint("GET", _PARENT, access=USER_OR_GUEST, also=(_UNSTABLE,))
async def relations(
    related: Related,
    who: Requester,
    room_id: RoomId,
    event_id: EventId,
    query: RelationsQuery,
    rel_type: str = "",
    event_type: str = "",
) -> bytes:
    """What relates to an event. Specification: client-server API, GET /rooms/{roomId}/relations/{eventId}…"""
    ask = RelatedAsk(
        event_id,
        rel_type or None,
        event_type or None,
        start=token_of(query.from_ or None),
        stop=token_of(query.to or None),
        limit=_positive(query.limit),
        backwards=query.dir == "b",
        recurse=query.recurse,
    )
    return await related.children(who.user_id, who.device_number, room_id, ask)


@endpoint("GET", "/_matrix/client/v1/rooms/{room_id}/threads", access=USER_OR_GUEST)
async def threads(related: Related, who: Requester, room_id: RoomId, query: ThreadsQuery) -> bytes:
    """The threads of a room. Specification: client-server API, GET /rooms/{roomId}/threads."""
    return await related.threads(
        who.user_id,
        who.device_number,
        room_id,
        participated=query.include == "participated",
        limit=_positive(query.limit),
        start=query.from_ or None,
    )


def _positive(limit: int) -> int:
    if limit < 1:
        raise InvalidParam("limit must be greater than zero.")
    return limit


ENDPOINTS = endpoints(__name__)
