"""The stream over WebSocket, as docs/websocket.md describes it."""

from __future__ import annotations

from homeserver.sync.stream_requests import Conversations
from homeserver.web.endpoint import OPTIONAL, Requester, endpoints, websocket
from homeserver.web.websocket import Socket


@websocket("/_matrix/client/unstable/org.myelin.stream", protocols=("org.myelin.sync.v1.json",), access=OPTIONAL)
async def stream(conversations: Conversations, who: Requester | None, socket: Socket) -> None:
    """Speak with a client until it goes. Browsers show who they are in the first frame."""
    await conversations.hold(who, socket)


ENDPOINTS = endpoints(__name__)
