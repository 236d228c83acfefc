"""Sending the body of a `StreamedResponse`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import cast

from twisted.internet.defer import Deferred

from homeserver.web.response import StreamedResponse
from homeserver.web.transport import Transport


async def send_chunks(
    answer: StreamedResponse,
    chunked: bool,
    transport: Transport,
    drained: Callable[[], Deferred[None] | None],
    still_wanted: Callable[[], bool],
) -> None:
    """Write the chunks no faster than the other side takes them. ValueError if they are not what was announced."""
    sent_bytes = 0
    async for chunk in answer.chunks:
        if not still_wanted():
            return
        sent_bytes += len(chunk)
        if chunk:
            transport.write(b"%x\r\n%b\r\n" % (len(chunk), chunk) if chunked else chunk)
        blocked = drained()
        if blocked is not None:
            await blocked
    if not still_wanted():
        return
    if chunked:
        transport.write(b"0\r\n\r\n")
    elif answer.length is not None and answer.length != sent_bytes:
        raise ValueError(f"an answer of {answer.length} bytes was announced, {sent_bytes} were made")


async def close_chunks(answer: StreamedResponse) -> None:
    """Let the maker of the chunks clean up, whether they were all sent or not."""
    close = getattr(answer.chunks, "aclose", None)
    if close is not None:
        await cast("Awaitable[None]", close())
