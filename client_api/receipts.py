"""Read receipts and the read marker. Specification: client-server API, "Receipts" and "Fully read markers"."""

from __future__ import annotations

import msgspec

from homeserver.core.canonical_json import JsonObject
from homeserver.core.ids import EventId, RoomId
from homeserver.core.receipts import FULLY_READ, READ, READ_PRIVATE, BadReceipt, check_receipt_type, parse_thread_id
from homeserver.rooms.receipts import Receipts
from homeserver.web.decode import decode_object
from homeserver.web.endpoint import USER_OR_GUEST, Requester, endpoint, endpoints
from homeserver.web.errors import InvalidParam
from homeserver.web.request import RequestInfo


class ReadMarkers(
    msgspec.Struct, frozen=True, rename={"fully_read": FULLY_READ, "read": READ, "private": READ_PRIVATE}
):
    """The body of POST /read_markers."""

    fully_read: str | None = None
    read: str | None = None
    private: str | None = None


@endpoint("POST", "/_matrix/client/v3/rooms/{room_id}/receipt/{receipt_type}/{event_id}", access=USER_OR_GUEST)
async def receipt(
    receipts: Receipts, who: Requester, room_id: RoomId, receipt_type: str, event_id: EventId, request: RequestInfo
) -> None:
    """Say up to where one has read. Specification: client-server API, POST /rooms/{roomId}/receipt/…"""
    body: JsonObject = decode_object(request.body) if request.body else {}
    try:
        check_receipt_type(receipt_type)
        thread_id = parse_thread_id(receipt_type, body)
    except BadReceipt as bad:
        raise InvalidParam(str(bad)) from None
    await receipts.mark(who.user_id, room_id, {receipt_type: event_id}, thread_id=thread_id)


@endpoint("POST", "/_matrix/client/v3/rooms/{room_id}/read_markers", access=USER_OR_GUEST)
async def read_markers(receipts: Receipts, who: Requester, room_id: RoomId, body: ReadMarkers) -> None:
    """Set marker and receipts at once. Specification: client-server API, POST /rooms/{roomId}/read_markers."""
    marks = {FULLY_READ: body.fully_read, READ: body.read, READ_PRIVATE: body.private}
    await receipts.mark(who.user_id, room_id, {type: mark for type, mark in marks.items() if mark})


ENDPOINTS = endpoints(__name__)
