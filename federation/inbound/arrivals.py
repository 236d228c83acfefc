"""Users of other servers join rooms, knock on them, and leave them.

Specification: server-server API, "Joining Rooms", "Knocking upon a room", "Leaving Rooms (Rejecting Invites)".
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec

from homeserver.core.canonical_json import JsonObject
from homeserver.core.ids import EventId, RoomId, ServerName, UserId
from homeserver.rooms.arrivals import Arrivals
from homeserver.web.endpoint import SERVER, endpoint, endpoints
from homeserver.web.response import StreamedResponse


class Versions(msgspec.Struct, frozen=True):
    """Room versions that the asking server knows."""

    ver: tuple[str, ...] = ("1",)


class KnockVersions(msgspec.Struct, frozen=True):
    """The same of a server that knocks, which must name them."""

    ver: tuple[str, ...]


class JoinQuery(msgspec.Struct, frozen=True):
    """Does the server manage without members at first?"""

    omit_members: bool = False


@endpoint("GET", "/_matrix/federation/v1/make_join/{room_id}/{user_id}", access=SERVER)
async def make_join(
    arrivals: Arrivals, who: ServerName, room_id: RoomId, user_id: UserId, query: Versions
) -> JsonObject:
    """Propose a join. Specification: server-server API, GET /make_join/{roomId}/{userId}."""
    return await arrivals.propose(who, "join", room_id, user_id, query.ver)


@endpoint("PUT", "/_matrix/federation/v2/send_join/{room_id}/{event_id}", access=SERVER)
async def send_join(
    arrivals: Arrivals, who: ServerName, room_id: RoomId, event_id: EventId, content: JsonObject, query: JoinQuery
) -> StreamedResponse:
    """Take a join. Specification: server-server API, PUT /v2/send_join/{roomId}/{eventId}."""
    return StreamedResponse(await arrivals.join(who, room_id, event_id, content, omit_members=query.omit_members))


@endpoint("PUT", "/_matrix/federation/v1/send_join/{room_id}/{event_id}", access=SERVER)
async def send_join_v1(
    arrivals: Arrivals, who: ServerName, room_id: RoomId, event_id: EventId, content: JsonObject
) -> StreamedResponse:
    """The same in the old form. Specification: server-server API, PUT /v1/send_join/{roomId}/{eventId}."""
    return StreamedResponse(_in_array(await arrivals.join(who, room_id, event_id, content, omit_members=False)))


@endpoint("GET", "/_matrix/federation/v1/make_knock/{room_id}/{user_id}", access=SERVER)
async def make_knock(
    arrivals: Arrivals, who: ServerName, room_id: RoomId, user_id: UserId, query: KnockVersions
) -> JsonObject:
    """Propose a knock. Specification: server-server API, GET /make_knock/{roomId}/{userId}."""
    return await arrivals.propose(who, "knock", room_id, user_id, query.ver)


@endpoint("PUT", "/_matrix/federation/v1/send_knock/{room_id}/{event_id}", access=SERVER)
async def send_knock(
    arrivals: Arrivals, who: ServerName, room_id: RoomId, event_id: EventId, content: JsonObject
) -> bytes:
    """Take a knock. Specification: server-server API, PUT /send_knock/{roomId}/{eventId}."""
    return await arrivals.knock(who, room_id, event_id, content)


@endpoint("GET", "/_matrix/federation/v1/make_leave/{room_id}/{user_id}", access=SERVER)
async def make_leave(arrivals: Arrivals, who: ServerName, room_id: RoomId, user_id: UserId) -> JsonObject:
    """Propose a leave. Specification: server-server API, GET /make_leave/{roomId}/{userId}."""
    return await arrivals.propose(who, "leave", room_id, user_id, None)


@endpoint("PUT", "/_matrix/federation/v2/send_leave/{room_id}/{event_id}", access=SERVER)
async def send_leave(
    arrivals: Arrivals, who: ServerName, room_id: RoomId, event_id: EventId, content: JsonObject
) -> None:
    """Take a leave. Specification: server-server API, PUT /v2/send_leave/{roomId}/{eventId}."""
    await arrivals.leave(who, room_id, event_id, content)


@endpoint("PUT", "/_matrix/federation/v1/send_leave/{room_id}/{event_id}", access=SERVER)
async def send_leave_v1(
    arrivals: Arrivals, who: ServerName, room_id: RoomId, event_id: EventId, content: JsonObject
) -> bytes:
    """The same in the old form. Specification: server-server API, PUT /v1/send_leave/{roomId}/{eventId}."""
    await arrivals.leave(who, room_id, event_id, content)
    return b"[200,{}]"


async def _in_array(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """What version 1 of these endpoints answers: the status again, and the answer."""
    yield b"[200,"
    async for piece in pieces:
        yield piece
    yield b"]"


ENDPOINTS = endpoints(__name__)
