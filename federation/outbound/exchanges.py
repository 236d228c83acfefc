"""One connection to a peer, on which requests are asked one after another.

A protocol of our own in place of Twisted's Agent, whose objects and Deferreds cost a fifth of what it takes to send a
message to another server.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec
from twisted.internet import protocol
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionClosed, ConnectionDone
from twisted.python.failure import Failure

from federation.outbound.bodies import BodyTooLong, NotTaken
from federation.outbound.http1_answers import AnswerHead, AnswerReader, BadAnswerBytes
from homeserver.web.transport import write_now

Take = Callable[[bytes], object]


class ExchangeFailed(Exception):
    """There was no complete answer. `may_have_arrived`: the request was, at least in part, sent."""

    def __init__(self, reason: str, *, may_have_arrived: bool) -> None:
        super().__init__(reason)
        self.may_have_arrived = may_have_arrived


class HttpAnswer(msgspec.Struct, frozen=True):
    """A response. Header names are in lower case. The body is empty where it was handed on piece by piece."""

    status: int
    headers: Mapping[str, str]
    body: bytes


Opened = Callable[[HttpAnswer], object]


class Exchange:
    """A request, and what has come of its answer."""

    __slots__ = ("_limit_bytes", "_opened", "_pieces", "_reader", "_received_bytes", "_take")

    def __init__(self, method: str, limit_bytes: int, take: Take | None, opened: Opened | None) -> None:
        self._reader = AnswerReader(method)
        self._limit_bytes = limit_bytes
        self._take = take
        self._opened = opened
        self._pieces: list[bytes] = []
        self._received_bytes = 0

    def feed(self, data: bytes) -> bool:
        """Bytes have arrived; whether the answer is complete.

        Raises BadAnswerBytes, BodyTooLong, NotTaken where `take` fails, and what `opened` raises.
        """
        reader = self._reader
        is_new = reader.head is None
        pieces = reader.feed(data)
        if is_new and reader.head is not None:
            self._begin(reader.head)
        for piece in pieces:
            self._received_bytes += len(piece)
            if self._received_bytes > self._limit_bytes:
                raise BodyTooLong(self._limit_bytes)
            if self._take is None:
                self._pieces.append(piece)
            else:
                self._hand_on(self._take, piece)
        return reader.finished

    def end(self) -> bool:
        """The connection has ended in good order; whether the answer is complete with it."""
        return self._reader.end()

    def answer(self) -> HttpAnswer:
        """The complete answer."""
        head, pieces = self._reader.head, self._pieces
        assert head is not None, "asked only for complete answers"
        return HttpAnswer(head.status, head.headers, pieces[0] if len(pieces) == 1 else b"".join(pieces))

    def leaves_connection(self) -> bool:
        """Whether another request can be asked after it."""
        head = self._reader.head
        return head is not None and head.keep_alive and not self._reader.rest

    def _begin(self, head: AnswerHead) -> None:
        if head.status != 200:
            self._take = None
        elif self._opened is not None:
            self._opened(HttpAnswer(head.status, head.headers, b""))
        if head.length is not None and head.length > self._limit_bytes:
            raise BodyTooLong(self._limit_bytes)

    @staticmethod
    def _hand_on(take: Take, piece: bytes) -> None:
        try:
            take(piece)
        except Exception as error:
            raise NotTaken(str(error)) from error


class Keeper(Protocol):
    """Who keeps connections between their requests."""

    def keep(self, connection: Connection) -> None:
        """The connection can be used for another request."""
        ...

    def lost(self, connection: Connection) -> None:
        """The connection is closed."""
        ...


class Connection(protocol.Protocol):
    """A connection. It has one exchange at a time."""

    def __init__(self, keeper: Keeper) -> None:
        self.idle_since_s = 0.0
        self.closed: Deferred[None] = Deferred()
        self._keeper = keeper
        self._exchange: Exchange | None = None
        self._waiting: Deferred[HttpAnswer] | None = None

    def ask(self, request: bytes, exchange: Exchange) -> Deferred[HttpAnswer]:
        """Send a request, given as its bytes; its answer. Cancelling ends the connection.

        Fails with ExchangeFailed, and with what Exchange.feed raises but BadAnswerBytes.
        """
        waiting: Deferred[HttpAnswer] = Deferred(lambda _: self.abort())
        self._exchange, self._waiting = exchange, waiting
        write_now(self._wire, request)
        return waiting

    def close(self) -> None:
        """Close in good order."""
        self._wire.loseConnection()

    def abort(self) -> None:
        """Close at once, whatever is under way."""
        self._exchange = self._waiting = None
        self._wire.abortConnection()

    # What the transport calls.

    def dataReceived(self, data: bytes) -> None:
        """Bytes have arrived."""
        exchange = self._exchange
        if exchange is None:
            # What nobody has asked for would be taken for the answer to the next request.
            self.abort()
            return
        try:
            is_complete = exchange.feed(data)
        except BadAnswerBytes as error:
            self._fail(ExchangeFailed(str(error), may_have_arrived=True))
        except Exception as error:  # noqa: BLE001 -- handed to the one who waits
            self._fail(error)
        else:
            if is_complete:
                self._succeed(exchange)

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        """The connection is closed."""
        self._keeper.lost(self)
        exchange = self._exchange
        if exchange is not None:
            if isinstance(reason.value, ConnectionDone) and exchange.end():
                self._succeed(exchange)
            else:
                self._fail(ExchangeFailed(describe(reason.value), may_have_arrived=True))
        self.closed.callback(None)

    @property
    def _wire(self) -> Any:
        return self.transport

    def _succeed(self, exchange: Exchange) -> None:
        waiting, self._exchange, self._waiting = self._waiting, None, None
        if exchange.leaves_connection():
            self._keeper.keep(self)
        else:
            self.close()
        if waiting is not None:
            waiting.callback(exchange.answer())

    def _fail(self, error: Exception) -> None:
        waiting = self._waiting
        self.abort()
        if waiting is not None:
            waiting.errback(error)


def describe(error: BaseException | None) -> str:
    """Why a connection was lost, in words for an admin."""
    if error is None or isinstance(error, ConnectionClosed):
        return "the connection was closed before the answer was complete"
    return f"{type(error).__name__} {error}".strip()
