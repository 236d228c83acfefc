"""Messages to devices. Specification: client-server API, "Send-to-Device messaging"."""

from __future__ import annotations

import msgspec

from homeserver.core.rate import KEYS
from homeserver.users.to_device import ToDevice
from homeserver.web.decode import ObjectField
from homeserver.web.endpoint import USER_OR_GUEST, Requester, endpoint, endpoints
from homeserver.web.request import RequestInfo


class MessagesBody(msgspec.Struct, frozen=True):
    """Contents by user and device."""

    messages: dict[str, dict[str, ObjectField]]


@endpoint(
    "PUT",
    "/_matrix/client/v3/sendToDevice/{event_type}/{txn_id}",
    access=USER_OR_GUEST,
    limit=KEYS,
    once_per="txn_id",
    body_limit_bytes=8 * 1024 * 1024,
)
async def send_to_device(
    to_device: ToDevice, who: Requester, event_type: str, txn_id: str, body: MessagesBody, request: RequestInfo
) -> None:
    """Send messages to devices."""
    await to_device.send(who, event_type, request.transaction_key, body.messages)


ENDPOINTS = endpoints(__name__)
