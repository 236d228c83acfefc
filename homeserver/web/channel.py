"""One HTTP connection: bytes to requests, answers to bytes, and what to do about clients that are slow, rude or gone.

A protocol of our own on Twisted's transports, rather than twisted.web's channel and request: a connection that waits
holds few objects, a request is read and answered in one pass, and what may be read in two ways is refused (`http1`).
"""

from __future__ import annotations

import enum
import math
from typing import Final, cast

import msgspec
from twisted.internet import protocol
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IProducer
from twisted.python.failure import Failure

from homeserver.web.answer import CONTINUE
from homeserver.web.body import IncomingBody, UploadStream
from homeserver.web.contracts import Connections, TakenBy
from homeserver.web.errors import BadRequest, InternalError, MatrixError, TooLarge
from homeserver.web.gate import Answer, Gate, RequestMatch, error_response
from homeserver.web.http1 import BadRequestBytes, Head, find_head, parse_head
from homeserver.web.request import RequestInfo
from homeserver.web.response import Response, StreamedResponse
from homeserver.web.sender import Sender
from homeserver.web.tls import TlsLayer
from homeserver.web.transport import Transport

IDLE_S: Final = 120.0  # between requests
HEAD_S: Final = 20.0  # from the first byte of a head to its end
BODY_S: Final = 60.0  # for each PROGRESS_BYTES of a body, and for the other side to take what we send
PROGRESS_BYTES: Final = 16 * 1024
LINGER_S: Final = 2.0  # reading past what we refused, so that the answer is not lost to a reset

DISCARD_BYTES: Final = 64 * 1024  # of a body that nobody wants; more is not worth keeping the connection
PIPELINED_BYTES: Final = 16 * 1024

_NEVER: Final = math.inf
_NO_BODY_STATUS: Final = frozenset({204, 304})


class State(enum.Enum):
    """What the bytes that arrive next are."""

    HEAD = "head"
    BODY = "body"
    WAITING = "waiting"  # the next request, which waits until this one is answered
    TAKEN = "taken"  # another protocol's
    DISCARDING = "discarding"
    CLOSED = "closed"


class Channel(protocol.Protocol):
    """One connection. `deadline_s` is looked at by the site from time to time."""

    def __init__(self, site: Connections, gate: Gate) -> None:
        self._site = site
        self._gate = gate
        self._state = State.HEAD
        self._buffer = b""
        self._advancing = False
        self._reading_paused = False
        self._running: Deferred[None] | None = None
        self._cancellable = False
        self._head: Head | None = None
        self._head_bytes = b""
        self._request: RequestInfo | None = None
        self._match: RequestMatch | Response | None = None
        self._incoming: IncomingBody | None = None
        self._pieces: list[bytes] = []
        self._upload: UploadStream | None = None
        self._taken: TakenBy | None = None
        self._progress_bytes = 0
        self.deadline_s = site.now_s + HEAD_S

    # What Twisted calls

    def connectionMade(self) -> None:
        """A client has connected."""
        transport = self._transport = cast(Transport, self.transport)
        self._sender = Sender(transport, self._site.heads)
        peer = transport.getPeer()
        self._peer_ip = str(getattr(peer, "host", "") or "")
        self._peer_trusted = self._site.proxies.trusts(self._peer_ip)
        self._secure = isinstance(transport, TlsLayer)
        set_no_delay = getattr(transport, "setTcpNoDelay", None)
        if set_no_delay is not None:
            set_no_delay(True)
        transport.registerProducer(cast(IProducer, self), True)
        self._site.opened(self)

    def dataReceived(self, data: bytes) -> None:
        """Bytes have arrived."""
        state = self._state
        if state is State.HEAD or state is State.BODY:
            self._buffer = self._buffer + data if self._buffer else data
            self._advance()
        elif state is State.WAITING:
            self._buffer += data
            if len(self._buffer) > PIPELINED_BYTES:
                self._pause_reading()
        elif self._taken is not None:
            self._taken.dataReceived(data)

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        """The client has gone, or we have closed."""
        was_waiting = self._state is not State.TAKEN
        self._state = State.CLOSED
        self._site.closed(self)
        self._buffer = b""
        if self._taken is not None:
            self._taken.connectionLost(reason)
        if self._upload is not None:
            self._upload.lost()
        if self._running is not None and self._cancellable and was_waiting:
            self._running.cancel()
        self._sender.unblock()

    def pauseProducing(self) -> None:
        """The transport's buffer is full: the client takes our answers slower than we make them."""
        if not self._sender.is_blocked:
            self._sender.block()
            self.deadline_s = self._site.now_s + BODY_S

    def resumeProducing(self) -> None:
        """The transport's buffer has emptied."""
        self._sender.unblock()
        if self._state is State.HEAD:
            self.deadline_s = self._site.now_s + IDLE_S
            self._advance()
        elif self._state is State.WAITING:
            self.deadline_s = _NEVER

    def stopProducing(self) -> None:
        """The transport wants no more; connectionLost comes next."""

    # What the site calls

    def overdue(self) -> None:
        """The deadline has passed: whatever this connection is at, it takes too long."""
        if self._state is State.BODY and self._running is None:
            self._give_up(MatrixError(408, "M_UNKNOWN", "The request body did not arrive in time."))
        elif self._state is State.HEAD and not self._buffer and not self._sender.is_blocked:
            self._close()
        else:
            self._transport.abortConnection()

    def stop(self) -> bool:
        """The server is stopping: close where nothing is under way. Whether there is something to wait for."""
        if self._state is State.WAITING and not self._cancellable:
            return True
        if self._state is State.BODY and self._running is not None:
            return True
        if self._state in (State.HEAD, State.BODY, State.WAITING):
            self._close()
        elif self._taken is not None and self._state is State.TAKEN:
            self._taken.going_away()
            return True
        return False

    def abort(self) -> None:
        """Cut the connection off."""
        self._transport.unregisterProducer()
        self._transport.abortConnection()

    # What a WebSocket opener calls

    def take_over(self, by: TakenBy) -> tuple[Transport, bytes]:
        """Give the connection to another protocol: the transport, and the bytes that belong to it (head included)."""
        self._transport.unregisterProducer()
        self._sender.unblock()
        self._state = State.TAKEN
        self._taken = by
        self.deadline_s = _NEVER
        received = self._head_bytes + self._buffer
        self._buffer = self._head_bytes = b""
        self._resume_reading()
        return self._transport, received

    # Requests

    def _advance(self) -> None:
        """Read as many requests as are here and can be answered now."""
        if self._advancing:
            return
        self._advancing = True
        try:
            while True:
                if self._state is State.HEAD:
                    if self._sender.is_blocked or not self._take_head():
                        return
                elif self._state is State.BODY:
                    if not self._take_body():
                        return
                else:
                    return
        except BadRequestBytes as error:
            self._give_up(BadRequest(error.message, "M_UNKNOWN"))
        finally:
            self._advancing = False

    def _take_head(self) -> bool:
        buffer = self._buffer
        if buffer[:2] == b"\r\n":
            # RFC 9112, section 2.2: an empty line before a request is skipped.
            buffer = self._buffer = buffer[2:]
        if not buffer:
            return False
        if not 0x41 <= buffer[0] <= 0x5A and buffer != b"\r":
            raise BadRequestBytes("This is not HTTP.")
        end = find_head(buffer)
        if end < 0:
            if self.deadline_s > self._site.now_s + HEAD_S:
                self.deadline_s = self._site.now_s + HEAD_S
            return False
        block = buffer[:end]
        self._head = head = parse_head(block)
        self._buffer = buffer[end + 4 :]
        ip = self._peer_ip
        if self._peer_trusted and "x-forwarded-for" in head.headers:
            ip = self._site.proxies.client(ip, head.headers["x-forwarded-for"])
        request_id = self._site.next_request_id()
        self._request = request = RequestInfo(head.method, head.target, head.headers, ip, request_id, self._secure)
        self._match = match = self._gate.match(request)
        if not isinstance(match, Response) and match.endpoint.declaration.is_websocket:
            self._head_bytes = block + b"\r\n\r\n"
        if head.length == 0:
            self._run()
        else:
            self._begin_body(head, match)
        return True

    def _begin_body(self, head: Head, match: RequestMatch | Response) -> None:
        unwanted = isinstance(match, Response)
        limit_bytes = DISCARD_BYTES if isinstance(match, Response) else match.endpoint.declaration.body_limit_bytes
        if head.length is not None and head.length > limit_bytes:
            self._refuse_body(match, TooLarge(limit_bytes))
            return
        self._incoming = IncomingBody(head.length, limit_bytes)
        self._state = State.BODY
        self._progress_bytes = 0
        self.deadline_s = self._site.now_s + BODY_S
        if head.expects_continue and not self._buffer and not unwanted:
            self._transport.write(CONTINUE)
        if not isinstance(match, Response) and match.endpoint.bound.takes_upload:
            self._upload = UploadStream(
                head.headers.get("content-type"), head.length, self._pause_reading, self._resume_reading
            )
            self._run()

    def _take_body(self) -> bool:
        incoming = self._incoming
        data, self._buffer = self._buffer, b""
        if incoming is None or not data:
            return False
        try:
            pieces = incoming.feed(data)
        except TooLarge as error:
            self._incoming = None
            if self._upload is None:
                self._refuse_body(self._match, error)
            else:
                # The handler is told, and its answer goes out; what still arrives is read past.
                self._upload.end(error)
            return False
        self._progress_bytes += len(data)
        if self._progress_bytes >= PROGRESS_BYTES:
            self._progress_bytes = 0
            self.deadline_s = self._site.now_s + BODY_S
        if self._upload is not None:
            for piece in pieces:
                self._upload.add(piece)
        else:
            self._pieces += pieces
        if not incoming.finished:
            return False
        self._buffer = incoming.rest
        self._incoming = None
        if self._upload is not None:
            self._state = State.WAITING
            self.deadline_s = _NEVER
            self._upload.end()
            return False
        if self._request is not None and not isinstance(self._match, Response):
            self._request.body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces = []
        self._run()
        return True

    def _refuse_body(self, match: RequestMatch | Response | None, error: TooLarge) -> None:
        if match is not None and not isinstance(match, Response) and self._request is not None:
            self._gate.note_refused(match, error, self._request)
        self._give_up(match if isinstance(match, Response) else error)

    # Answers

    def _run(self) -> None:
        """Have the request answered: at once, or when its handler is done."""
        match, request = self._match, self._request
        if request is None or match is None:
            return
        if self._upload is None:
            self._state = State.WAITING
            self.deadline_s = _NEVER
        if isinstance(match, Response):
            self._send(match, request)
            self._next()
            return
        self._cancellable = match.endpoint.declaration.cancel_on_disconnect
        running: Deferred[None] = Deferred.fromCoroutine(self._answer(match, request))
        if not running.called:
            self._running = running
        running.addErrback(self._failed, request)

    async def _answer(self, match: RequestMatch, request: RequestInfo) -> None:
        answer: Answer | None
        if match.endpoint.declaration.is_websocket:
            answer = await self._site.sockets.serve(self._gate, match, request, self)
            if answer is None:
                return
        else:
            answer = await self._gate.serve(match, request, self._upload)
        if isinstance(answer, StreamedResponse):
            await self._send_stream(answer, request)
        elif self._expects_answer():
            self._send(answer, request)
        if self._expects_answer():
            self._next()

    def _send(self, answer: Response, request: RequestInfo) -> None:
        close, is_head = self._closes_after(), request.method == "HEAD"
        try:
            self._sender.send(answer, request.request_id, is_head, close)
        except ValueError as error:
            refusal = error_response(self._gate.refusal(error, request))
            self._sender.send(refusal, request.request_id, is_head, close)

    async def _send_stream(self, answer: StreamedResponse, request: RequestInfo) -> None:
        head = self._head
        chunked = answer.length is None and head is not None and not head.is_1_0
        if answer.length is None and not chunked and head is not None:
            # Only the end of the connection can tell such a client where the body ends.
            self._head = msgspec.structs.replace(head, keep_alive=False)
        await self._sender.stream(answer, request, chunked, self._closes_after(), self._expects_answer)

    def _failed(self, failure: Failure, request: RequestInfo) -> None:
        """The handler was cancelled, or broke when part of the answer was out: all that is left is to close."""
        error = failure.value
        if not isinstance(error, CancelledError):
            self._gate.refusal(error if isinstance(error, Exception) else InternalError(request.request_id), request)
        self._running = None
        if self._state is not State.CLOSED:
            self._transport.unregisterProducer()
            self._transport.abortConnection()

    def _next(self) -> None:
        """The answer is out: go on with the next request, or close."""
        close = self._closes_after()
        complete = self._state is State.WAITING
        self._running = self._upload = self._request = self._match = self._head = None
        self._head_bytes = b""
        if close:
            if complete:
                self._close()
            else:
                self._linger()
            return
        self._state = State.HEAD
        self.deadline_s = self._site.now_s + (BODY_S if self._sender.is_blocked else IDLE_S)
        self._resume_reading()
        if self._buffer:
            self._advance()

    def _expects_answer(self) -> bool:
        """Whether a handler's answer still has a place to go; not after the client went or was told off."""
        return self._state is State.WAITING or self._state is State.BODY

    def _closes_after(self) -> bool:
        """Whether the connection ends with this answer: as asked, or because the body was not read to its end."""
        head = self._head
        return head is None or not head.keep_alive or self._state is not State.WAITING or self._site.stopping

    def _give_up(self, error: MatrixError | Response) -> None:
        """Answer what cannot be read on, and close."""
        answer = error if isinstance(error, Response) else error_response(error)
        request_id = self._request.request_id if self._request is not None else self._site.next_request_id()
        is_head = self._request is not None and self._request.method == "HEAD"
        self._sender.send(answer, request_id, is_head, close=True)
        self._linger()
        if self._upload is not None:
            # Only now: what the handler answers to this has no place to go any more.
            self._upload.lost()

    def _linger(self) -> None:
        """Close for writing, but read on for a moment: a reset would take our answer with it."""
        self._state = State.DISCARDING
        self._buffer = b""
        self._pieces = []
        self.deadline_s = self._site.now_s + LINGER_S
        self._resume_reading()
        self._transport.unregisterProducer()
        end_writing = getattr(self._transport, "loseWriteConnection", None)
        if end_writing is not None and not self._secure:
            end_writing()
        else:
            self._transport.loseConnection()

    def _close(self) -> None:
        self._state = State.DISCARDING
        self.deadline_s = self._site.now_s + BODY_S
        self._transport.unregisterProducer()
        self._transport.loseConnection()

    def _pause_reading(self) -> None:
        if not self._reading_paused and self._state is not State.CLOSED:
            self._reading_paused = True
            self._transport.pauseProducing()

    def _resume_reading(self) -> None:
        if self._reading_paused and self._state is not State.CLOSED:
            self._reading_paused = False
            self._transport.resumeProducing()
