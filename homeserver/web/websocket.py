"""WebSocket connections: autobahn's protocol on a connection that began as an HTTP request of ours.

Doors declare them with `@websocket(path, protocols=[...])`; the handler gets a `Socket`. Anyone may open one from any
origin, as only an access token says who asks: there are no cookies to abuse.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol, cast

import structlog
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IProducer

from homeserver.runtime import logs
from homeserver.runtime.clock import Clock
from homeserver.web.contracts import Takeable
from homeserver.web.errors import BadRequest, MatrixError
from homeserver.web.gate import Gate, RequestMatch, error_response
from homeserver.web.request import RequestInfo
from homeserver.web.response import Response
from homeserver.web.transport import Transport, unsent_bytes, write_now

MAX_MESSAGE_BYTES: Final = 256 * 1024
HELD_MESSAGES: Final = 64
HELD_BYTES: Final = 256 * 1024
UNTAKEN_BYTES: Final = 256 * 1024
"""Answers (and pongs) for a client that takes nothing; with more of them, nothing more is read from it."""

_TEXT: Final = 1
"""The opcode of frames that hold a text message."""

NORMAL: Final = 1000
GOING_AWAY: Final = 1001
SERVICE_RESTART: Final = 1012
UNSUPPORTED_DATA: Final = 1003
POLICY_VIOLATION: Final = 1008
INTERNAL_ERROR: Final = 1011


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """How often clients are pinged, and how long they may take to answer."""

    ping_every_s: float = 30
    pong_within_s: float = 30


class Pausable(Protocol):
    """A producer that can wait (Twisted's IPushProducer)."""

    def pauseProducing(self) -> None:
        """Make no more for now."""
        ...

    def resumeProducing(self) -> None:
        """Go on."""
        ...


class Socket:
    """One WebSocket as its handler sees it: iterate over what the client says, send, close.

    A handler that does not iterate holds the client back after a while; `writable` and `buffered_bytes` tell a
    handler how far the client is behind.
    """

    def __init__(self, connection: _Connection, protocol: str | None) -> None:
        self._connection = connection
        self._messages: deque[bytes] = deque()
        self._held_bytes = 0
        self._holding_back = False
        self._waiting: list[Deferred[None]] = []
        self._closing: list[Deferred[None]] = []
        self.protocol = protocol
        self.is_closed = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The client's text messages, as UTF-8; ends when the connection does."""
        return self

    async def __anext__(self) -> bytes:
        while not self._messages:
            if self.is_closed:
                raise StopAsyncIteration
            arrived: Deferred[None] = Deferred()
            self._waiting.append(arrived)
            await arrived
        message = self._messages.popleft()
        self._held_bytes -= len(message)
        if self._holding_back and self._held_bytes < HELD_BYTES // 2 and len(self._messages) < HELD_MESSAGES // 2:
            self._holding_back = False
            self._connection.read_on()
        return message

    def send(self, message: bytes) -> None:
        """Send a text message (UTF-8). Nothing happens if the connection has ended."""
        if not self.is_closed:
            self._connection.say(message)

    def close(self, code: int = NORMAL, reason: str = "") -> None:
        """End the connection, telling why."""
        if not self.is_closed:
            self._connection.end(code, reason)

    @property
    def buffered_bytes(self) -> int:
        """Bytes sent that the client has not taken yet, here and (on Linux) in the kernel."""
        transport = self._connection.transport
        return 0 if transport is None or self.is_closed else unsent_bytes(transport)

    @property
    def is_writable(self) -> bool:
        """Whether the client takes what it is sent: False while the transport's buffer is full."""
        return not self._connection.is_blocked

    async def writable(self) -> None:
        """Return when the client takes more, or has gone."""
        while self._connection.is_blocked and not self.is_closed:
            await self._connection.unblocked()

    def register_producer(self, producer: Pausable) -> None:
        """Have a producer paused and resumed as the client falls behind and catches up."""
        self._connection.inner_producer = producer
        if self._connection.is_blocked:
            producer.pauseProducing()

    def unregister_producer(self) -> None:
        """Leave the producer alone again."""
        self._connection.inner_producer = None

    def when_closed(self) -> Deferred[None]:
        """Fires when the connection has ended; at once if it has."""
        closed: Deferred[None] = Deferred()
        if self.is_closed:
            closed.callback(None)
        else:
            self._closing.append(closed)
        return closed

    def _received(self, message: bytes) -> None:
        self._messages.append(message)
        self._held_bytes += len(message)
        if not self._holding_back and (self._held_bytes > HELD_BYTES or len(self._messages) > HELD_MESSAGES):
            self._holding_back = True
            self._connection.hold_back()
        self._wake(self._waiting)

    def _ended(self) -> None:
        self.is_closed = True
        self._wake(self._waiting)
        self._wake(self._closing)

    @staticmethod
    def _wake(waiting: list[Deferred[None]]) -> None:
        woken = list(waiting)
        waiting.clear()
        for each in woken:
            if not each.called:
                each.callback(None)


class _Connection(WebSocketServerProtocol):
    """autobahn's side of a socket."""

    def __init__(self, protocols: tuple[str, ...], request_id: str, opened: Callable[[Socket | None], None]) -> None:
        super().__init__()
        self._protocols = protocols
        self._request_id = request_id
        self._opened = opened
        self._blocked: list[Deferred[None]] = []
        self._untaken_bytes = 0
        """Written since the transport's buffer is full."""
        self._held_back = False
        self.is_blocked = False
        self.inner_producer: Pausable | None = None
        self.socket: Socket | None = None

    # What autobahn calls

    def onConnect(self, request: Any) -> tuple[str | None, dict[str, str]]:
        """Choose the first of the client's protocols that the endpoint speaks."""
        chosen = next((each for each in request.protocols if each in self._protocols), None)
        self.socket = Socket(self, chosen)
        return chosen, {"X-Request-Id": self._request_id}

    def onOpen(self) -> None:
        """The handshake is done."""
        self._wire.registerProducer(cast(IProducer, self), True)
        self._opened(self.socket)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """A whole message has arrived."""
        if isBinary:
            self.end(UNSUPPORTED_DATA, "only text messages are spoken here")
        elif self.socket is not None:
            self.socket._received(payload)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        """The connection has ended."""
        self.resumeProducing()
        if self.socket is not None:
            self.socket._ended()
        self._opened(None)

    def dropConnection(self, abort: bool = False) -> None:
        """Close the transport; it would wait for a registered producer for ever."""
        if self.transport is not None:
            self._wire.unregisterProducer()
        super().dropConnection(abort)

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:
        """Write the bytes of a frame. (autobahn's own has two ways of slow motion and a line of log, for tests.)"""
        write_now(self._wire, data)
        if self.is_blocked:
            self._untaken_bytes += len(data)
            if self._untaken_bytes > UNTAKEN_BYTES:
                self._wire.pauseProducing()

    # What the transport calls

    def pauseProducing(self) -> None:
        """The transport's buffer is full."""
        self.is_blocked = True
        if self.inner_producer is not None:
            self.inner_producer.pauseProducing()

    def resumeProducing(self) -> None:
        """The transport's buffer has emptied."""
        self.is_blocked = False
        if self._untaken_bytes > UNTAKEN_BYTES and not self._held_back:
            self._wire.resumeProducing()
        self._untaken_bytes = 0
        Socket._wake(self._blocked)
        if self.inner_producer is not None:
            self.inner_producer.resumeProducing()

    def stopProducing(self) -> None:
        """The transport wants no more; connectionLost comes next."""

    # What the socket and the channel call

    @property
    def _wire(self) -> Transport:
        return cast(Transport, self.transport)

    def say(self, message: bytes) -> None:
        """Send a text message; nothing once either side has begun to close."""
        if cast(Any, self).state == WebSocketServerProtocol.STATE_OPEN:
            # Not sendMessage: that applies the limit for what clients say to what they are told.
            cast(Any, self).sendFrame(opcode=_TEXT, payload=message)

    def going_away(self) -> None:
        """The server is stopping."""
        self.end(SERVICE_RESTART, "the server is stopping")

    def end(self, code: int, reason: str) -> None:
        """Begin to close. (autobahn's sendClose takes only some of the codes that the standard has for servers.)"""
        if cast(Any, self).state == WebSocketServerProtocol.STATE_OPEN:
            cast(Any, self).sendCloseFrame(code=code, reasonUtf8=_shortened(reason), isReply=False)

    def unblocked(self) -> Deferred[None]:
        """Fires when the transport's buffer has emptied."""
        waiting: Deferred[None] = Deferred()
        self._blocked.append(waiting)
        return waiting

    def hold_back(self) -> None:
        """Read no more for now."""
        self._held_back = True
        self._wire.pauseProducing()

    def read_on(self) -> None:
        """Read again."""
        self._held_back = False
        if self._untaken_bytes <= UNTAKEN_BYTES:
            self._wire.resumeProducing()


class WebSockets:
    """Opens sockets on channels and runs their handlers."""

    def __init__(self, reactor: object, clock: Clock, heartbeat: Heartbeat) -> None:
        self._clock = clock
        self._log = structlog.get_logger("homeserver.websocket").bind()
        self._factory: Any = cast(Any, WebSocketServerFactory)(reactor=reactor, server=None)
        self._factory.setProtocolOptions(
            webStatus=False,
            failByDrop=False,
            maxFramePayloadSize=MAX_MESSAGE_BYTES,
            maxMessagePayloadSize=MAX_MESSAGE_BYTES,
            autoPingInterval=heartbeat.ping_every_s,
            autoPingTimeout=heartbeat.pong_within_s,
            autoPingRestartOnAnyTraffic=True,
            allowedOrigins=["*"],
            allowNullOrigin=True,
            closeHandshakeTimeout=5,
            openHandshakeTimeout=20,
        )

    def refusal(self, request: RequestInfo, protocols: tuple[str, ...]) -> MatrixError | None:
        """Why this request cannot become a WebSocket; None if it can. Specification: RFC 6455, section 4.2.1."""
        upgrade = request.header("upgrade") or ""
        connection = request.header("connection") or ""
        if "websocket" not in upgrade.lower() or "upgrade" not in connection.lower():
            headers = {"Upgrade": "websocket", "Connection": "Upgrade"}
            return MatrixError(426, "M_UNRECOGNIZED", "Only WebSocket connections are taken here.", headers)
        if request.header("sec-websocket-version") != "13":
            headers = {"Sec-WebSocket-Version": "13"}
            return MatrixError(426, "M_UNRECOGNIZED", "Only version 13 of WebSocket is spoken here.", headers)
        offered = [each.strip() for each in (request.header("sec-websocket-protocol") or "").split(",") if each.strip()]
        if offered and protocols and not set(offered) & set(protocols):
            return BadRequest(f"The protocols spoken here are: {', '.join(protocols)}.", "M_UNKNOWN")
        return None

    async def serve(self, gate: Gate, match: RequestMatch, request: RequestInfo, channel: Takeable) -> Response | None:
        """Take the connection over and run the handler to its end; or the refusal, with the connection untouched."""
        logs.request_id.set(request.request_id)
        protocols = match.endpoint.declaration.protocols or ()
        try:
            refused = self.refusal(request, protocols)
            if refused is not None:
                raise refused
            who = await gate.admit(match, request)
        except CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 -- the gate knows what to tell whom
            return error_response(gate.refusal(error, request))
        measures = match.endpoint.measures
        started_s = self._clock.monotonic_s()
        measures.waiting += 1
        try:
            socket = await self._open(channel, protocols, request)
            if socket is not None:
                await self._run(gate, match, request, who, socket)
        finally:
            measures.waiting -= 1
            measures.done(101, self._clock.monotonic_s() - started_s)
        return None

    def _open(self, channel: Takeable, protocols: tuple[str, ...], request: RequestInfo) -> Deferred[Socket | None]:
        opened: Deferred[Socket | None] = Deferred()

        def tell(socket: Socket | None) -> None:
            if not opened.called:
                opened.callback(socket)

        connection = _Connection(protocols, request.request_id, tell)
        connection.factory = self._factory
        transport, received = channel.take_over(connection)
        cast(Any, connection).makeConnection(transport)
        connection.dataReceived(received)
        return opened

    async def _run(self, gate: Gate, match: RequestMatch, request: RequestInfo, who: object, socket: Socket) -> None:
        running: Deferred[object] = Deferred.fromCoroutine(
            cast(Any, match.endpoint.bound.call(match.arguments, who, request, socket))
        )
        # When the client goes, the handler is told by cancelling what it waits for.
        socket.when_closed().addCallback(lambda _: running.cancel())
        try:
            await running
            socket.close(NORMAL)
        except CancelledError:
            socket.close(GOING_AWAY)
        except MatrixError as error:
            socket.close(POLICY_VIOLATION, f"{error.errcode}: {error.message}")
        except Exception as error:  # noqa: BLE001 -- logged by the gate; the socket must be closed
            socket.close(INTERNAL_ERROR, gate.refusal(error, request).message)


def _shortened(reason: str) -> bytes | None:
    """A close frame has room for 123 bytes."""
    return reason.encode("utf-8")[:123].decode("utf-8", "ignore").encode("utf-8") or None
