"""Reads bodies of responses up to a limit, and ends the connection of those who send more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss


class BodyTooLong(Exception):
    """A body is longer than the limit."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"the answer is longer than {limit_bytes} bytes")


class NotTaken(Exception):
    """The one to whom a body was handed on has failed; the cause is what it raised."""


def drop(response: Any) -> None:
    """Leave the body of a response unread, and end its connection."""
    reader = _Reader(0, None)
    reader.done.addErrback(lambda failure: None)
    response.deliverBody(reader)
    reader.fail(BodyTooLong(0))


def read_body(
    response: Any, announced_bytes: int | None, limit_bytes: int, take: Callable[[bytes], object] | None = None
) -> Deferred[bytes]:
    """The whole body, or b"" after all of it was given to `take`. Cancelling ends the connection.

    Fails with BodyTooLong past the limit, with NotTaken where `take` raises, with the reason where a body breaks off.
    """
    reader = _Reader(limit_bytes, take)
    response.deliverBody(reader)
    if announced_bytes is not None and announced_bytes > limit_bytes:
        reader.fail(BodyTooLong(limit_bytes))
    return reader.done


class _Reader(Protocol):
    def __init__(self, limit_bytes: int, take: Callable[[bytes], object] | None) -> None:
        self.done: Deferred[bytes] = Deferred(lambda _: self._abort())
        self._limit_bytes = limit_bytes
        self._take = take
        self._pieces: list[bytes] = []
        self._received_bytes = 0

    def dataReceived(self, data: bytes) -> None:
        if self.done.called:
            return
        self._received_bytes += len(data)
        if self._received_bytes > self._limit_bytes:
            self.fail(BodyTooLong(self._limit_bytes))
        elif self._take is None:
            self._pieces.append(data)
        else:
            try:
                self._take(data)
            except Exception as error:  # noqa: BLE001 -- handed to the one who waits
                failed = NotTaken(str(error))
                failed.__cause__ = error
                self.fail(failed)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.done.called:
            return
        # PotentialDataLoss: the end of the connection is the end of the body. Who parses it will notice a lost part.
        if isinstance(reason.value, ResponseDone | PotentialDataLoss):
            self.done.callback(b"".join(self._pieces))
        else:
            self.done.errback(reason)

    def fail(self, error: Exception) -> None:
        """End the connection; the one who waits gets the error."""
        if not self.done.called:
            self.done.errback(error)
            self._pieces.clear()
            self._abort()

    def _abort(self) -> None:
        abort = getattr(self.transport, "abortConnection", None)
        if abort is not None:
            abort()
