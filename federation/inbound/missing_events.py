"""What lies between events. Specification: server-server API, "Backfilling and retrieving missing events"."""

from __future__ import annotations

import msgspec

from homeserver.core.ids import EventId, RoomId, ServerName
from homeserver.rooms.federation_reads import FederationReads
from homeserver.web.endpoint import SERVER, endpoint, endpoints


class MissingBody(msgspec.Struct, frozen=True):
    """Between which events, and how much."""

    earliest_events: list[str]
    latest_events: list[str]
    limit: int = 10
    min_depth: int = 0


@endpoint("POST", "/_matrix/federation/v1/get_missing_events/{room_id}", access=SERVER)
async def get_missing_events(
    reads: FederationReads, who: ServerName, room_id: RoomId, body: MissingBody
) -> dict[str, list[msgspec.Raw]]:
    """The events between. Specification: server-server API, POST /get_missing_events/{roomId}."""
    earliest, latest = ([EventId(each) for each in ids] for ids in (body.earliest_events, body.latest_events))
    shown = await reads.missing(who, room_id, earliest, latest, body.limit, body.min_depth)
    return {"events": [msgspec.Raw(pdu) for pdu in shown]}


ENDPOINTS = endpoints(__name__)
