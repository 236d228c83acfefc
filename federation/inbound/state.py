"""States of rooms at events, and what events lean on.

Specification: server-server API, "Retrieving events", "Retrieving event authorisation information".
"""

from __future__ import annotations

import msgspec

from homeserver.core.ids import EventId, RoomId, ServerName
from homeserver.rooms.federation_reads import FederationReads, pdus_of
from homeserver.web.endpoint import SERVER, endpoint, endpoints


class AtEvent(msgspec.Struct, frozen=True):
    """At which event."""

    event_id: str


@endpoint("GET", "/_matrix/federation/v1/state/{room_id}", access=SERVER)
async def state(
    reads: FederationReads, who: ServerName, room_id: RoomId, query: AtEvent
) -> dict[str, list[msgspec.Raw]]:
    """The state before an event. Specification: server-server API, GET /state/{roomId}."""
    rows, chain = await reads.state_at(who, room_id, EventId(query.event_id))
    return {"auth_chain": pdus_of(chain), "pdus": pdus_of(rows)}


@endpoint("GET", "/_matrix/federation/v1/state_ids/{room_id}", access=SERVER)
async def state_ids(reads: FederationReads, who: ServerName, room_id: RoomId, query: AtEvent) -> dict[str, list[str]]:
    """The ids of the same. Specification: server-server API, GET /state_ids/{roomId}."""
    rows, chain = await reads.state_at(who, room_id, EventId(query.event_id))
    return {
        "auth_chain_ids": [row.event.event_id for row in chain],
        "pdu_ids": [row.event.event_id for row in rows],
    }


@endpoint("GET", "/_matrix/federation/v1/event_auth/{room_id}/{event_id}", access=SERVER)
async def event_auth(
    reads: FederationReads, who: ServerName, room_id: RoomId, event_id: EventId
) -> dict[str, list[msgspec.Raw]]:
    """The auth chain of an event. Specification: server-server API, GET /event_auth/{roomId}/{eventId}."""
    return {"auth_chain": pdus_of(await reads.auth_of(who, room_id, event_id))}


ENDPOINTS = endpoints(__name__)
