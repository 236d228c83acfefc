"""Writing answers on a connection, no faster than the other side takes them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, cast

from twisted.internet.defer import Deferred

from homeserver.web.answer import Heads
from homeserver.web.request import RequestInfo
from homeserver.web.response import Response, StreamedResponse
from homeserver.web.transport import Transport, write_now

_NO_BODY_STATUS: Final = frozenset({204, 304})


class Sender:
    """The writing half of a connection."""

    __slots__ = ("_drained", "_heads", "_transport", "is_blocked")

    def __init__(self, transport: Transport, heads: Heads) -> None:
        self._transport = transport
        self._heads = heads
        self._drained: Deferred[None] | None = None
        self.is_blocked = False

    def block(self) -> None:
        """The transport's buffer is full."""
        self.is_blocked = True

    def unblock(self) -> None:
        """The transport's buffer has emptied, or nobody will take anything any more."""
        self.is_blocked = False
        drained, self._drained = self._drained, None
        if drained is not None and not drained.called:
            drained.callback(None)

    def send(self, answer: Response, request_id: str, is_head: bool, close: bool) -> None:
        """Send a whole answer in one write. Raises ValueError, with nothing sent, if its headers are not sendable."""
        head = self._heads.write(answer.status, answer.headers, len(answer.body), request_id, close)
        has_body = not is_head and answer.status not in _NO_BODY_STATUS
        write_now(self._transport, head + answer.body if has_body else head)

    async def stream(
        self,
        answer: StreamedResponse,
        request: RequestInfo,
        chunked: bool,
        close: bool,
        still_wanted: Callable[[], bool],
    ) -> None:
        """Send an answer as it is made, and tell its maker the end. ValueError if it is not what was announced."""
        try:
            if not still_wanted():
                return
            self._transport.write(
                self._heads.write(answer.status, answer.headers, answer.length, request.request_id, close)
            )
            if request.method != "HEAD":
                await self._send_chunks(answer, chunked, still_wanted)
        finally:
            end = getattr(answer.chunks, "aclose", None)
            if end is not None:
                await cast("Awaitable[None]", end())

    async def _send_chunks(self, answer: StreamedResponse, chunked: bool, still_wanted: Callable[[], bool]) -> None:
        sent_bytes = 0
        async for chunk in answer.chunks:
            if not still_wanted():
                return
            sent_bytes += len(chunk)
            if chunk:
                self._transport.write(b"%x\r\n%b\r\n" % (len(chunk), chunk) if chunked else chunk)
            if self.is_blocked:
                self._drained = drained = Deferred[None]()
                await drained
        if not still_wanted():
            return
        if chunked:
            self._transport.write(b"0\r\n\r\n")
        elif answer.length is not None and answer.length != sent_bytes:
            raise ValueError(f"an answer of {answer.length} bytes was announced, {sent_bytes} were made")
