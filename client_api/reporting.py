"""Reporting content. Specification: client-server API, "Reporting content"."""

from __future__ import annotations

import msgspec

from homeserver.core import rate
from homeserver.core.ids import EventId, RoomId, UserId
from homeserver.rooms.reports import Reports
from homeserver.web.endpoint import USER, Requester, endpoint, endpoints


class Reason(msgspec.Struct, frozen=True):
    """Why; may be empty."""

    reason: str


class OptionalReason(msgspec.Struct, frozen=True):
    """Why."""

    reason: str | None = None


@endpoint("POST", "/_matrix/client/v3/rooms/{room_id}/report", access=USER, limit=rate.REPORT)
async def report_room(reports: Reports, who: Requester, room_id: RoomId, body: Reason) -> None:
    """Report a room. Specification: client-server API, POST /rooms/{roomId}/report."""
    await reports.of_room(who.user_id, room_id, body.reason)


@endpoint("POST", "/_matrix/client/v3/rooms/{room_id}/report/{event_id}", access=USER, limit=rate.REPORT)
async def report_event(
    reports: Reports, who: Requester, room_id: RoomId, event_id: EventId, body: OptionalReason
) -> None:
    """Report an event. Specification: client-server API, POST /rooms/{roomId}/report/{eventId}."""
    await reports.of_event(who.user_id, room_id, event_id, body.reason or "")


@endpoint("POST", "/_matrix/client/v3/users/{user_id}/report", access=USER, limit=rate.REPORT)
async def report_user(reports: Reports, who: Requester, user_id: UserId, body: Reason) -> None:
    """Report a user. Specification: client-server API, POST /users/{userId}/report."""
    await reports.of_user(who.user_id, user_id, body.reason)


ENDPOINTS = endpoints(__name__)
