"""History for servers that came later.

Specification: server-server API, "Backfilling and retrieving missing events".
"""

from __future__ import annotations

import msgspec

from federation.inbound.events import EventDoor
from homeserver.core.ids import EventId, RoomId, ServerName
from homeserver.web.endpoint import SERVER, endpoint, endpoints


class BackfillQuery(msgspec.Struct, frozen=True):
    """From where, and how much."""

    v: list[str]
    limit: int


@endpoint("GET", "/_matrix/federation/v1/backfill/{room_id}", access=SERVER)
async def backfill(door: EventDoor, who: ServerName, room_id: RoomId, query: BackfillQuery) -> dict[str, object]:
    """Events and what came before them. Specification: server-server API, GET /backfill/{roomId}."""
    start = [EventId(event_id) for event_id in query.v]
    shown = await door.reads.backfill(who, room_id, start, query.limit)
    return door.transaction([msgspec.Raw(pdu) for pdu in shown])


ENDPOINTS = endpoints(__name__)
