"""States of rooms at events, and what events lean on.

Specification: server-server API, "Retrieving events", "Retrieving event authorisation information".
"""

from __future__ import annotations

import msgspec

from homeserver.core.ids import EventId, RoomId, ServerName
from homeserver.rooms.event_pieces import object_of
from homeserver.rooms.federation_reads import FederationReads
from homeserver.web.endpoint import SERVER, endpoint, endpoints
from homeserver.web.response import StreamedResponse


class AtEvent(msgspec.Struct, frozen=True):
    """At which event."""

    event_id: str


@endpoint("GET", "/_matrix/federation/v1/state/{room_id}", access=SERVER)
async def state(reads: FederationReads, who: ServerName, room_id: RoomId, query: AtEvent) -> StreamedResponse:
    """The state before an event. Specification: server-server API, GET /state/{roomId}."""
    at = await reads.state_at(who, room_id, EventId(query.event_id))
    pdus = reads.pieces.pdus
    return StreamedResponse(object_of({"auth_chain": pdus(at.auth_chain), "pdus": pdus(at.state)}))


@endpoint("GET", "/_matrix/federation/v1/state_ids/{room_id}", access=SERVER)
async def state_ids(reads: FederationReads, who: ServerName, room_id: RoomId, query: AtEvent) -> StreamedResponse:
    """The ids of the same. Specification: server-server API, GET /state_ids/{roomId}."""
    at = await reads.state_at(who, room_id, EventId(query.event_id))
    ids = reads.pieces.ids
    return StreamedResponse(object_of({"auth_chain_ids": ids(at.auth_chain), "pdu_ids": ids(at.state)}))


@endpoint("GET", "/_matrix/federation/v1/event_auth/{room_id}/{event_id}", access=SERVER)
async def event_auth(reads: FederationReads, who: ServerName, room_id: RoomId, event_id: EventId) -> StreamedResponse:
    """The auth chain of an event. Specification: server-server API, GET /event_auth/{roomId}/{eventId}."""
    chain = await reads.auth_of(who, room_id, event_id)
    return StreamedResponse(object_of({"auth_chain": reads.pieces.pdus(chain)}))


ENDPOINTS = endpoints(__name__)
