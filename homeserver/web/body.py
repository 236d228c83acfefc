"""Bodies on their way in: gathered up to a limit, or handed on in pieces at the pace of the one who takes them."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Final

from twisted.internet.defer import Deferred

from homeserver.web.errors import TooLarge
from homeserver.web.http1 import ChunkedBody
from homeserver.web.request import ConnectionAborted

HOLD_BACK_FROM_BYTES: Final = 256 * 1024


class IncomingBody:
    """Where a body ends and how large it may be. Feed it what arrives; `rest` is what belongs to the next request."""

    __slots__ = ("_chunked", "_left", "_limit_bytes", "finished", "received_bytes", "rest")

    def __init__(self, length: int | None, limit_bytes: int) -> None:
        self._chunked = ChunkedBody() if length is None else None
        self._left = length or 0
        self._limit_bytes = limit_bytes
        self.received_bytes = 0
        self.finished = False
        self.rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The pieces in these bytes. Raises TooLarge past the limit, BadRequestBytes for malformed chunks."""
        if self._chunked is None:
            piece = data[: self._left]
            self._left -= len(piece)
            self.finished = not self._left
            self.rest = data[len(piece) :]
            pieces = [piece] if piece else []
        else:
            pieces = self._chunked.feed(data)
            self.finished, self.rest = self._chunked.finished, self._chunked.rest
        self.received_bytes += sum(map(len, pieces))
        if self.received_bytes > self._limit_bytes:
            raise TooLarge(self._limit_bytes)
        return pieces


class UploadStream:
    """An `Upload`: pieces go in at one end as they arrive and out at the other when they are asked for."""

    def __init__(
        self,
        content_type: str | None,
        content_length: int | None,
        hold_back: Callable[[], None],
        go_on: Callable[[], None],
    ) -> None:
        self.content_type = content_type
        self.content_length = content_length
        self._hold_back = hold_back
        self._go_on = go_on
        self._pieces: deque[bytes] = deque()
        self._held_bytes = 0
        self._holding_back = False
        self._ended = False
        self._error: Exception | None = None
        self._waiting: Deferred[None] | None = None

    def add(self, piece: bytes) -> None:
        """A piece has arrived."""
        self._pieces.append(piece)
        self._held_bytes += len(piece)
        if self._held_bytes >= HOLD_BACK_FROM_BYTES and not self._holding_back:
            self._holding_back = True
            self._hold_back()
        self._wake()

    def end(self, error: Exception | None = None) -> None:
        """The body is complete, or will never be."""
        if not self._ended:
            self._ended = True
            self._error = error
            self._wake()

    def lost(self) -> None:
        """The sender has gone."""
        self.end(ConnectionAborted("the connection was closed in the middle of an upload"))

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        while not self._pieces:
            if self._ended:
                if self._error is not None:
                    raise self._error
                raise StopAsyncIteration
            self._waiting = Deferred()
            await self._waiting
        piece = self._pieces.popleft()
        self._held_bytes -= len(piece)
        if self._holding_back and self._held_bytes < HOLD_BACK_FROM_BYTES // 2:
            self._holding_back = False
            self._go_on()
        return piece

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.called:
            waiting.callback(None)
