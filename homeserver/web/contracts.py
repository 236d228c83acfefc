"""What a connection needs from those around it: its site, and the protocols that take connections over."""

from __future__ import annotations

from typing import Protocol

from twisted.python.failure import Failure

from homeserver.web.answer import Heads
from homeserver.web.gate import Gate, RequestMatch
from homeserver.web.proxies import TrustedProxies
from homeserver.web.request import RequestInfo
from homeserver.web.response import Response
from homeserver.web.transport import Transport


class TakenBy(Protocol):
    """A protocol that has taken the connection over."""

    def dataReceived(self, data: bytes) -> None:
        """Bytes for it."""
        ...

    def connectionLost(self, reason: Failure) -> None:
        """The connection has gone."""
        ...

    def going_away(self) -> None:
        """The server is stopping: say good-bye."""
        ...


class Takeable(Protocol):
    """A connection that can be taken over."""

    def take_over(self, by: TakenBy) -> tuple[Transport, bytes]:
        """Give the connection to another protocol: the transport, and the bytes that belong to it (head included)."""
        ...


class Watched(Protocol):
    """A connection whose deadline is looked at from time to time."""

    deadline_s: float

    def overdue(self) -> None:
        """The deadline has passed."""
        ...

    def stop(self) -> bool:
        """The server is stopping: close where nothing is under way. Whether there is something to wait for."""
        ...

    def abort(self) -> None:
        """Cut the connection off."""
        ...


class SocketOpener(Protocol):
    """Starts a WebSocket on a connection (`homeserver.web.websocket`)."""

    async def serve(self, gate: Gate, match: RequestMatch, request: RequestInfo, channel: Takeable) -> Response | None:
        """Take the connection over and run the handler to its end; or the refusal, with the connection untouched."""
        ...


class Connections(Protocol):
    """What a channel needs from its site."""

    heads: Heads
    proxies: TrustedProxies
    sockets: SocketOpener
    now_s: float  # of the last look at the clock, for deadlines: seconds are exact enough
    stopping: bool

    def next_request_id(self) -> str:
        """An id for logs and for the X-Request-Id header."""
        ...

    def opened(self, channel: Watched) -> None:
        """Keep an eye on this connection's deadline."""
        ...

    def closed(self, channel: Watched) -> None:
        """No longer."""
        ...
