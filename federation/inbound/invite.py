"""Other servers invite users of this one. Specification: server-server API, "Inviting to a room"."""

from __future__ import annotations

from typing import Any

import msgspec

from homeserver.core.canonical_json import JsonObject
from homeserver.core.ids import EventId, RoomId, ServerName
from homeserver.rooms.received_invites import ReceivedInvites
from homeserver.web.decode import ObjectField
from homeserver.web.endpoint import SERVER, endpoint, endpoints


class Invite(msgspec.Struct, frozen=True):
    """An invite, with what is shown of the room."""

    event: ObjectField
    room_version: str
    invite_room_state: list[ObjectField] = []


@endpoint("PUT", "/_matrix/federation/v2/invite/{room_id}/{event_id}", access=SERVER)
async def invite(
    invites: ReceivedInvites, who: ServerName, room_id: RoomId, event_id: EventId, body: Invite
) -> JsonObject:
    """Take an invite. Specification: server-server API, PUT /v2/invite/{roomId}/{eventId}."""
    signed = await invites.take(who, room_id, event_id, body.event, body.room_version, body.invite_room_state)
    return {"event": signed}


@endpoint("PUT", "/_matrix/federation/v1/invite/{room_id}/{event_id}", access=SERVER)
async def invite_v1(
    invites: ReceivedInvites, who: ServerName, room_id: RoomId, event_id: EventId, content: JsonObject
) -> list[Any]:
    """The same in the old form, for room versions 1 and 2. Specification: PUT /v1/invite/{roomId}/{eventId}."""
    unsigned = content.get("unsigned")
    state = unsigned.get("invite_room_state") if isinstance(unsigned, dict) else None
    signed = await invites.take(who, room_id, event_id, content, "1", state if isinstance(state, list) else ())
    return [200, {"event": signed}]


ENDPOINTS = endpoints(__name__)
