"""HTTP/1.1 answers as bytes: the head, and where the body ends. Pure: no connection, no clock.

Where `homeserver.web.http1` is strict with what clients ask, this takes what servers out there really send: line feeds
without carriage returns, folded headers, a body that ends with the connection. Only what nobody could read is refused.
Specification: RFC 9112, sections 4 to 7.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from homeserver.web.http1 import BadRequestBytes, ChunkedBody

MAX_HEAD_BYTES: Final = 64 * 1024

_END: Final = re.compile(rb"\r?\n\r?\n")
_STATUS_LINE: Final = re.compile(r"HTTP/1\.([01]) ([1-9][0-9]{2})(?: .*)?", re.DOTALL)
_LENGTH: Final = re.compile(r"[0-9]{1,15}")
_FOLDED: Final = re.compile(r"\r?\n[ \t]+")
_BODILESS: Final = frozenset({204, 304})


class BadAnswerBytes(Exception):
    """No answer that can be read; the text says why."""


class AnswerHead(msgspec.Struct, frozen=True):
    """The head of an answer. Header names are in lower case; of several with one name the values are joined."""

    status: int
    headers: Mapping[str, str]
    keep_alive: bool
    length: int | None
    """Bytes in the body; None where that is not announced."""
    is_chunked: bool


class AnswerReader:
    """Reads one answer. Feed it until `finished`; `rest` then holds what came after the answer."""

    __slots__ = ("_buffer", "_chunks", "_head_bytes", "_left", "_method", "finished", "head", "rest")

    def __init__(self, method: str) -> None:
        self._method = method
        self._buffer = b""
        self._head_bytes = 0
        self._left: int | None = 0
        self._chunks: ChunkedBody | None = None
        self.head: AnswerHead | None = None
        self.finished = False
        self.rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The pieces of the body in these bytes. `head` may be set by it. Raises BadAnswerBytes."""
        if self.head is not None:
            return self._feed_body(data)
        # What was searched before is not searched again, but for the beginning of an end.
        searched = max(0, len(self._buffer) - 3)
        buffer = self._buffer + data if self._buffer else data
        self._head_bytes += len(data)
        while True:
            end = _END.search(buffer, searched)
            if self._head_bytes - (0 if end is None else len(buffer) - end.end()) > MAX_HEAD_BYTES:
                raise BadAnswerBytes(f"the head of the answer is larger than {MAX_HEAD_BYTES} bytes")
            if end is None:
                self._buffer = buffer
                return []
            head = parse_head(buffer[: end.start()], self._method)
            buffer, searched = buffer[end.end() :], 0
            if head.status >= 200:  # what is below only says that the answer will come
                break
        self._buffer = b""
        self._begin_body(head)
        return self._feed_body(buffer)

    def end(self) -> bool:
        """The connection has ended; whether the answer is complete."""
        head = self.head
        if head is not None and not self.finished and head.length is None and not head.is_chunked:
            self.finished = True
        return self.finished

    def _begin_body(self, head: AnswerHead) -> None:
        self.head = head
        self._left = head.length
        if head.is_chunked:
            self._chunks = ChunkedBody()

    def _feed_body(self, data: bytes) -> list[bytes]:
        if self._chunks is not None:
            try:
                pieces = self._chunks.feed(data)
            except BadRequestBytes as error:
                raise BadAnswerBytes(f"the answer is malformed: {error.message}") from None
            self.finished, self.rest = self._chunks.finished, self._chunks.rest
            return pieces
        if self._left is None:
            return [data] if data else []
        piece = data[: self._left]
        self._left -= len(piece)
        self.finished = not self._left
        self.rest = data[len(piece) :]
        return [piece] if piece else []


def parse_head(block: bytes, method: str) -> AnswerHead:
    """Read a head, given without the empty line that ends it. Raises BadAnswerBytes."""
    text = block.decode("latin-1")
    if "\n " in text or "\n\t" in text:
        text = _FOLDED.sub(" ", text)
    first, *lines = text.split("\n")
    status_line = _STATUS_LINE.fullmatch(first.rstrip("\r"))
    if status_line is None:
        raise BadAnswerBytes("the answer is not HTTP/1.1")
    status = int(status_line[2])
    if status == 101:
        raise BadAnswerBytes("the answer speaks another protocol, which was not asked for")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise BadAnswerBytes("a header of the answer is malformed")
        name, value = name.strip().lower(), value.strip()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    length, is_chunked = _body(headers, status, method)
    connection = headers.get("connection")
    keep_alive = (
        status_line[1] == "1"
        and (length is not None or is_chunked)
        and not (is_chunked and "content-length" in headers)
        and (connection is None or "close" not in connection.lower())
    )
    return AnswerHead(status, headers, keep_alive, length, is_chunked)


def _body(headers: Mapping[str, str], status: int, method: str) -> tuple[int | None, bool]:
    """Length of the body, and whether it comes in chunks (RFC 9112, section 6.3)."""
    if method == "HEAD" or status < 200 or status in _BODILESS:
        return 0, False
    coding = headers.get("transfer-encoding")
    if coding is not None:
        if coding.lower() != "chunked":
            raise BadAnswerBytes(f"the answer comes in an encoding that was not asked for: {coding[:100]}")
        return None, True
    announced = headers.get("content-length")
    if announced is None:
        return None, False
    # Some servers say it twice.
    lengths = {each.strip() for each in announced.split(",")}
    if len(lengths) != 1 or _LENGTH.fullmatch(length := lengths.pop()) is None:
        raise BadAnswerBytes("the length of the answer is not a number")
    return int(length), False
