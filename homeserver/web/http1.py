"""HTTP/1.1 requests as bytes: the head, and where the body ends. Pure: no connection, no clock.

Strict on purpose. Two programs that read the same bytes as different requests (a proxy and we) is how requests are
smuggled, so that everything which is read in more than one way out there is refused and the connection closed: bare
line feeds, folded headers, both Content-Length and Transfer-Encoding, anything but plain digits as a length, white
space where none belongs.
Specification: RFC 9112, sections 2 to 7.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec

MAX_HEAD_BYTES: Final = 32 * 1024
MAX_HEADERS: Final = 100
MAX_CHUNK_LINE_BYTES: Final = 256
MAX_TRAILER_BYTES: Final = 4096

_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_METHOD: Final = re.compile(r"[A-Z]{1,20}")
_TARGET: Final = re.compile(r"/[\x21-\x7e]*")
_LENGTH: Final = re.compile(r"[0-9]{1,15}")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_CHUNK_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,12})(?:[ \t]*;[\x20-\x7e\t\x80-\xff]*)?")
_ONCE_ONLY: Final = frozenset(
    {"host", "content-length", "transfer-encoding", "authorization", "content-type", "expect"}
)


class BadRequestBytes(Exception):
    """No request that we read. The connection must be closed, as nobody knows where the next request begins."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Head(msgspec.Struct, frozen=True):
    """The head of a request. `length` is the number of bytes in the body, None where it comes in chunks."""

    method: str
    target: str
    headers: Mapping[str, str]
    keep_alive: bool
    length: int | None
    expects_continue: bool
    is_1_0: bool


def find_head(buffer: bytes) -> int:
    """Where the head ends (the index of the empty line's CRLFCRLF), or -1 if it has not all arrived yet."""
    end = buffer.find(b"\r\n\r\n")
    if (end if end >= 0 else len(buffer)) > MAX_HEAD_BYTES:
        raise BadRequestBytes(f"The head of the request is larger than {MAX_HEAD_BYTES} bytes.")
    if end < 0 and buffer.count(b"\n") != buffer.count(b"\r\n"):
        raise BadRequestBytes("Lines must end with CR LF.")
    return end


def parse_head(block: bytes) -> Head:
    """Read a head, given without the empty line that ends it. Raises BadRequestBytes."""
    if block.count(b"\n") != block.count(b"\r\n") or block.count(b"\r") != block.count(b"\r\n"):
        raise BadRequestBytes("Lines must end with CR LF.")
    text = block.decode("latin-1")
    lines = text.split("\r\n")
    method, target, is_1_0 = _parse_request_line(lines[0])
    if len(lines) > MAX_HEADERS + 1:
        raise BadRequestBytes(f"The request has more than {MAX_HEADERS} headers.")
    headers: dict[str, str] = {}
    for index in range(1, len(lines)):
        name, colon, value = lines[index].partition(":")
        if not colon or _TOKEN.fullmatch(name) is None:
            raise BadRequestBytes("A header is malformed.")
        name = name.lower()
        value = value.strip(" \t")
        if not value.isprintable() and _CONTROL.search(value):
            raise BadRequestBytes("A header has a control character.")
        if name not in headers:
            headers[name] = value
        elif name in _ONCE_ONLY:
            raise BadRequestBytes(f"The header {name} may come only once.")
        else:
            headers[name] = f"{headers[name]}, {value}"
    if "host" not in headers and not is_1_0:
        raise BadRequestBytes("The header Host is missing.")
    connection = headers.get("connection", "")
    keep_alive = not is_1_0 and (not connection or "close" not in _tokens(connection))
    expects_continue = not is_1_0 and headers.get("expect", "").lower() == "100-continue"
    return Head(method, target, headers, keep_alive, _body_length(headers, is_1_0), expects_continue, is_1_0)


def _parse_request_line(line: str) -> tuple[str, str, bool]:
    parts = line.split(" ")
    if len(parts) != 3:
        raise BadRequestBytes("The request line must be: METHOD TARGET HTTP/1.1")
    method, target, version = parts
    if _METHOD.fullmatch(method) is None:
        raise BadRequestBytes("The method is malformed.")
    if _TARGET.fullmatch(target) is None and not (target == "*" and method == "OPTIONS"):
        raise BadRequestBytes("The request target must be a path that begins with a slash, percent-encoded.")
    if version not in ("HTTP/1.1", "HTTP/1.0"):
        raise BadRequestBytes("Only HTTP/1.1 is spoken here.")
    return method, target, version == "HTTP/1.0"


def _body_length(headers: Mapping[str, str], is_1_0: bool) -> int | None:
    coding = headers.get("transfer-encoding")
    length = headers.get("content-length")
    if coding is not None:
        if length is not None:
            raise BadRequestBytes("Content-Length and Transfer-Encoding exclude each other.")
        if is_1_0 or coding.lower() != "chunked":
            raise BadRequestBytes("The only Transfer-Encoding taken is: chunked")
        return None
    if length is None:
        return 0
    if _LENGTH.fullmatch(length) is None:
        raise BadRequestBytes("Content-Length must be a number of bytes.")
    return int(length)


def _tokens(value: str) -> frozenset[str]:
    return frozenset(each.strip(" \t").lower() for each in value.split(","))


class ChunkedBody:
    """Takes a chunked body apart. Feed it until `finished`; `rest` then holds what belongs to the next request."""

    __slots__ = ("_buffer", "_left", "_state", "_trailer_bytes", "finished", "rest")

    def __init__(self) -> None:
        self._buffer = b""
        self._left = 0
        self._state = "size"
        self._trailer_bytes = 0
        self.finished = False
        self.rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The pieces of the body in these bytes. Raises BadRequestBytes."""
        buffer = self._buffer + data if self._buffer else data
        position = 0
        pieces: list[bytes] = []
        while not self.finished:
            if self._state == "data":
                piece = buffer[position : position + self._left]
                if not piece:
                    break
                pieces.append(piece)
                position += len(piece)
                self._left -= len(piece)
                if self._left:
                    break
                self._state = "end of data"
            elif self._state == "end of data":
                ending = buffer[position : position + 2]
                if not b"\r\n".startswith(ending):
                    raise BadRequestBytes("A chunk is longer than its size.")
                if len(ending) < 2:
                    break
                position += 2
                self._state = "size"
            else:
                line = self._line(buffer, position)
                if line is None:
                    break
                position += len(line) + 2
                self._take_line(line)
        self._buffer = buffer[position:]
        if self.finished:
            self.rest, self._buffer = self._buffer, b""
        return pieces

    def _line(self, buffer: bytes, position: int) -> bytes | None:
        limit = MAX_CHUNK_LINE_BYTES if self._state == "size" else MAX_TRAILER_BYTES
        feed = buffer.find(b"\n", position, position + limit + 2)
        if feed < 0:
            if len(buffer) - position > limit:
                raise BadRequestBytes("A line between the chunks is too long.")
            return None
        line = buffer[position : feed - 1]
        if feed == position or buffer[feed - 1] != 0x0D or b"\r" in line:
            raise BadRequestBytes("Lines must end with CR LF.")
        return line

    def _take_line(self, line: bytes) -> None:
        if self._state == "size":
            size = _CHUNK_LINE.fullmatch(line)
            if size is None:
                raise BadRequestBytes("The size of a chunk must be a hexadecimal number.")
            self._left = int(size[1], 16)
            self._state = "data" if self._left else "trailer"
        elif line:
            # Trailers are read past: nothing here asks for one.
            self._trailer_bytes += len(line)
            name, colon, _ = line.decode("latin-1").partition(":")
            if not colon or _TOKEN.fullmatch(name) is None or b"\0" in line:
                raise BadRequestBytes("A trailer is malformed.")
            if self._trailer_bytes > MAX_TRAILER_BYTES:
                raise BadRequestBytes("The trailers are too large.")
        else:
            self.finished = True
