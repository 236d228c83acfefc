"""The bytes of an answer's head, and the compression of its body."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from email.utils import formatdate
from http import HTTPStatus
from typing import Final, cast

from homeserver.runtime.clock import Clock

# Client-server API, "Web Browser Clients". Authorization is all that identifies anyone here: no cookies, so any origin
# may ask. X-Request-Id lets a page tell an admin which request failed.
CORS: Final = (
    "Access-Control-Allow-Origin: *\r\n"
    "Access-Control-Allow-Methods: GET, HEAD, POST, PUT, DELETE, OPTIONS\r\n"
    "Access-Control-Allow-Headers: X-Requested-With, Content-Type, Authorization, If-Match, If-None-Match\r\n"
    "Access-Control-Expose-Headers: Retry-After, X-Request-Id, ETag\r\n"
)
JSON_TYPE: Final = "Content-Type: application/json\r\n"
COMPRESS_FROM_BYTES: Final = 10 * 1024
COMPRESS_IN_THREAD_FROM_BYTES: Final = 64 * 1024
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class Heads:
    """Writes heads. The date is made once a second, the usual parts once."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._second = -1
        self._date = ""
        self._starts = {
            status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n{CORS}" for status in HTTPStatus if status >= 200
        }
        self._usual = self._starts[200] + JSON_TYPE

    def write(self, status: int, headers: Mapping[str, str], length: int | None, request_id: str, close: bool) -> bytes:
        """The head with its empty line. `length` None: the body comes in chunks, or ends with the connection."""
        if status == 200 and not headers:
            start = self._usual
        else:
            start = self._start(status, headers)
        if status == 204 or status == 304:
            framing = ""
        elif length is not None:
            framing = f"Content-Length: {length}\r\n"
        else:
            framing = "" if close else "Transfer-Encoding: chunked\r\n"
        ending = "Connection: close\r\n\r\n" if close else "\r\n"
        return f"{start}{self._now()}X-Request-Id: {request_id}\r\n{framing}{ending}".encode()

    def _start(self, status: int, headers: Mapping[str, str]) -> str:
        start = self._starts.get(status) or f"HTTP/1.1 {status} Unknown\r\n{CORS}"
        has_type = False
        for name, value in headers.items():
            # Whatever a handler puts into a header, it must not be able to begin another one.
            line = f"{name}: {value}"
            if "\r" in line or "\n" in line or "\0" in line:
                raise ValueError(f"the header {name!r} would have a line break in it")
            start += line + "\r\n"
            has_type = has_type or name.lower() == "content-type"
        return start if has_type or status in (204, 304) else start + JSON_TYPE

    def _now(self) -> str:
        second = self._clock.now_ms() // 1000
        if second != self._second:
            self._second = second
            self._date = f"Date: {formatdate(second, usegmt=True)}\r\n"
        return self._date


def takes_gzip(accept_encoding: str | None) -> bool:
    """Whether a client's Accept-Encoding allows gzip."""
    if accept_encoding is None or "gzip" not in accept_encoding:
        return False
    for each in accept_encoding.split(","):
        coding, _, weight = each.replace(" ", "").partition(";")
        if coding.lower() == "gzip":
            return weight not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def compress(body: bytes) -> bytes:
    """The body as gzip; quick rather than small."""
    compressor = zlib.compressobj(level=3, wbits=31)
    return compressor.compress(body) + compressor.flush()


async def compressed_stream(
    chunks: AsyncIterator[bytes], in_thread: Callable[[Callable[[bytes], bytes], bytes], Awaitable[bytes]]
) -> AsyncIterator[bytes]:
    """The same for a body that comes in pieces; large ones are compressed elsewhere."""
    compressor = zlib.compressobj(level=3, wbits=31)
    try:
        async for chunk in chunks:
            if len(chunk) < COMPRESS_IN_THREAD_FROM_BYTES:
                yield compressor.compress(chunk)
            else:
                yield await in_thread(compressor.compress, chunk)
        yield compressor.flush()
    finally:
        end = getattr(chunks, "aclose", None)
        if end is not None:
            await cast("Awaitable[None]", end())
