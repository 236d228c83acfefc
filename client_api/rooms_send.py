"""Sending events. Specification: client-server API, "Sending events to a room" and "Redactions"."""

from __future__ import annotations

import msgspec

from homeserver.core import rate
from homeserver.core.canonical_json import JsonObject
from homeserver.core.ids import EventId, RoomId
from homeserver.rooms.send import Sending
from homeserver.web.endpoint import USER_OR_GUEST, Requester, endpoint, endpoints
from homeserver.web.errors import InvalidParam
from homeserver.web.request import RequestInfo


class Redaction(msgspec.Struct, frozen=True):
    """Why an event is redacted."""

    reason: str | None = None


class SentEvent(msgspec.Struct, frozen=True, gc=False):
    """The id of the event that was sent."""

    event_id: str


@endpoint(
    "PUT",
    "/_matrix/client/v3/rooms/{room_id}/send/{event_type}/{txn_id}",
    access=USER_OR_GUEST,
    limit=rate.MESSAGE,
    once_per="txn_id",
)
async def send_message(
    sending: Sending,
    who: Requester,
    room_id: RoomId,
    event_type: str,
    txn_id: str,
    content: JsonObject,
    request: RequestInfo,
) -> SentEvent:
    """Send a message event. Specification: client-server API, PUT /rooms/{roomId}/send/{eventType}/{txnId}."""
    return SentEvent(
        await sending.message(
            who.user_id,
            room_id,
            event_type,
            content,
            device=who.device_number or None,
            txn_id=txn_id,
            timestamp_ms=_timestamp_ms(who, request),
        )
    )


@endpoint(
    "PUT",
    "/_matrix/client/v3/rooms/{room_id}/redact/{event_id}/{txn_id}",
    access=USER_OR_GUEST,
    limit=rate.MESSAGE,
    once_per="txn_id",
)
async def redact(
    sending: Sending, who: Requester, room_id: RoomId, event_id: EventId, txn_id: str, body: Redaction
) -> SentEvent:
    """Redact an event. Specification: client-server API, PUT /rooms/{roomId}/redact/{eventId}/{txnId}."""
    content: JsonObject = {} if body.reason is None else {"reason": body.reason}
    return SentEvent(
        await sending.redact(who.user_id, room_id, event_id, content, device=who.device_number or None, txn_id=txn_id)
    )


@endpoint(
    "PUT",
    "/_matrix/client/v3/rooms/{room_id}/state/{event_type}/{state_key}",
    access=USER_OR_GUEST,
    limit=rate.MESSAGE,
)
@endpoint("PUT", "/_matrix/client/v3/rooms/{room_id}/state/{event_type}", access=USER_OR_GUEST, limit=rate.MESSAGE)
async def send_state(
    sending: Sending,
    who: Requester,
    room_id: RoomId,
    event_type: str,
    content: JsonObject,
    request: RequestInfo,
    state_key: str = "",
) -> SentEvent:
    """Set a piece of state. Specification: client-server API, PUT /rooms/{roomId}/state/{eventType}/{stateKey}."""
    return SentEvent(
        await sending.state(
            who.user_id,
            room_id,
            event_type,
            state_key,
            content,
            device=who.device_number or None,
            timestamp_ms=_timestamp_ms(who, request),
        )
    )


def _timestamp_ms(who: Requester, request: RequestInfo) -> int | None:
    """The time that an appservice gives an event. Specification: application service API, "Timestamp massaging"."""
    if who.appservice_id is None or not request.query_string:
        return None
    text = request.query_value("ts")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise InvalidParam("ts must be a time in milliseconds since 1970.")
    return int(text)


ENDPOINTS = endpoints(__name__)
