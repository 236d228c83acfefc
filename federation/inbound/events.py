"""Single events, by id or by time. Specification: server-server API, "Retrieving events"."""

from __future__ import annotations

from typing import Literal

import msgspec

from homeserver.core.ids import EventId, RoomId, ServerName
from homeserver.rooms.federation_reads import FederationReads, pdus_of
from homeserver.runtime.clock import Clock
from homeserver.web.endpoint import SERVER, endpoint, endpoints


class Time(msgspec.Struct, frozen=True):
    """A time and a direction."""

    ts: int
    dir: Literal["f", "b"] = "f"


class EventDoor:
    """Events as a transaction of this server."""

    def __init__(self, reads: FederationReads, server_name: ServerName, clock: Clock) -> None:
        self.reads = reads
        self._server_name = server_name
        self._clock = clock

    def transaction(self, pdus: list[msgspec.Raw]) -> dict[str, object]:
        """What is answered where the specification wants a transaction."""
        return {"origin": self._server_name, "origin_server_ts": self._clock.now_ms(), "pdus": pdus}


@endpoint("GET", "/_matrix/federation/v1/event/{event_id}", access=SERVER)
async def event(door: EventDoor, who: ServerName, event_id: EventId) -> dict[str, object]:
    """One event. Specification: server-server API, GET /event/{eventId}."""
    return door.transaction(pdus_of([await door.reads.event(who, event_id)]))


@endpoint("GET", "/_matrix/federation/v1/timestamp_to_event/{room_id}", access=SERVER)
async def timestamp_to_event(door: EventDoor, who: ServerName, room_id: RoomId, query: Time) -> dict[str, object]:
    """The event closest to a time. Specification: server-server API, GET /timestamp_to_event/{roomId}."""
    event_id, ts = await door.reads.near(who, room_id, query.ts, forwards=query.dir == "f")
    return {"event_id": event_id, "origin_server_ts": ts}


ENDPOINTS = endpoints(__name__)
