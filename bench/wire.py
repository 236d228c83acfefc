"""A Matrix client on bare sockets: HTTP/1.1 and WebSocket, as little work per message as Python allows.

The load generator shares its few cores with the server that it measures, so it builds requests by hand, reads no more
of an answer than it needs, and does no JSON where a search in the bytes will do.
"""

import asyncio
import base64
import os
import re
import struct
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, TypeVar
from urllib.parse import quote

import msgspec

Item = TypeVar("Item")
Result = TypeVar("Result")
JsonObject = dict[str, object]

NEXT_BATCH = re.compile(rb'"next_batch"\s*:\s*"([^"]*)"')
CONTENT_LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)
CHUNKED = re.compile(rb"\r\ntransfer-encoding:\s*chunked", re.IGNORECASE)
CONNECTION_CLOSE = re.compile(rb"\r\nconnection:\s*close", re.IGNORECASE)


class Address(NamedTuple):
    """Where a server listens."""

    host: str
    port: int


class Answer(NamedTuple):
    """An HTTP answer: its status and its body, nothing else."""

    status: int
    body: bytes


class Refused(Exception):
    """The server answered a request with something other than 200."""

    def __init__(self, what: str, answer: Answer) -> None:
        super().__init__(f"{what}: the server answered {answer.status} {answer.body[:300].decode(errors='replace')}")
        self.answer = answer


def encode_request(method: str, path: str, token: str | None = None, body: bytes | None = None) -> bytes:
    """The bytes of one HTTP/1.1 request on a connection that stays open."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1"]
    if token is not None:
        lines.append(f"Authorization: Bearer {token}")
    if body is not None:
        lines.append("Content-Type: application/json")
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b"")


def path_of(*parts: str) -> str:
    """A client-server API path (without the /_matrix/client/v3) with its variable parts quoted."""
    return "/_matrix/client/v3/" + "/".join(quote(part, safe="") for part in parts)


class Connection(asyncio.Protocol):
    """One HTTP/1.1 connection that stays open and carries one request at a time."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._waiting: asyncio.Future[Answer] | None = None
        self._needed = 0
        self._loop = asyncio.get_running_loop()

    @classmethod
    async def open(cls, address: Address) -> "Connection":
        """Connect to a server."""
        _, connection = await asyncio.get_running_loop().create_connection(cls, address.host, address.port)
        return connection

    @property
    def is_open(self) -> bool:
        """Whether another request may be sent on this connection."""
        return self.transport is not None and not self.transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio when the connection stands."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio when the connection is gone: whoever waits for an answer is told."""
        self.transport = None
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(ConnectionResetError("the server closed the connection before it answered"))

    def data_received(self, data: bytes) -> None:
        """Called by asyncio with what arrived: completes the answer that is waited for."""
        received = self._received
        received += data
        if len(received) < self._needed:
            return
        split = received.find(b"\r\n\r\n")
        if split < 0:
            return
        head = bytes(received[:split])
        if (length := CONTENT_LENGTH.search(head)) is not None:
            self._needed = split + 4 + int(length[1])
            if len(received) < self._needed:
                return
            body = bytes(received[split + 4 : self._needed])
        elif CHUNKED.search(head) is not None:
            chunks = _dechunk(received, split + 4)
            if chunks is None:
                return
            body = chunks
        else:
            body = b""
        received.clear()
        self._needed = 0
        waiting, self._waiting = self._waiting, None
        if CONNECTION_CLOSE.search(head) is not None and self.transport is not None:
            self.transport.close()
        if waiting is not None and not waiting.done():
            waiting.set_result(Answer(int(head[9:12]), body))

    def call(self, request: bytes) -> "asyncio.Future[Answer]":
        """Send a request made by `encode_request`; the future gives the answer, or the loss of the connection."""
        assert self._waiting is None, "a connection carries one request at a time"
        waiting = self._waiting = self._loop.create_future()
        if self.transport is None:
            self._waiting = None
            waiting.set_exception(ConnectionResetError("the connection is closed"))
        else:
            self.transport.write(request)
        return waiting

    def close(self) -> None:
        """Close the connection, with whatever is under way on it."""
        if self.transport is not None:
            self.transport.abort()


def _dechunk(received: bytearray, start: int) -> bytes | None:
    """The body of a chunked answer; None while it is not all there."""
    parts: list[bytes] = []
    while True:
        line_end = received.find(b"\r\n", start)
        if line_end < 0:
            return None
        size = int(received[start:line_end].split(b";")[0], 16)
        start = line_end + 2
        if len(received) < start + size + 2:
            return None
        if size == 0:
            return b"".join(parts)
        parts.append(bytes(received[start : start + size]))
        start += size + 2


class Client:
    """A user on a connection, reconnecting where the server closed it. One request at a time."""

    def __init__(self, address: Address, token: str | None = None) -> None:
        self.address = address
        self.token = token
        self._connection: Connection | None = None

    async def raw(self, request: bytes) -> Answer:
        """Send a prepared request and return the answer, whatever its status."""
        if self._connection is None or not self._connection.is_open:
            self._connection = await Connection.open(self.address)
        return await self._connection.call(request)

    async def call(self, method: str, path: str, body: JsonObject | None = None, token: str | None = None) -> bytes:
        """Send a request and return the body of the answer. Raises Refused unless the status is 200."""
        encoded = None if body is None else msgspec.json.encode(body)
        answer = await self.raw(encode_request(method, path, token or self.token, encoded))
        if answer.status != 200:
            raise Refused(f"{method} {path}", answer)
        return answer.body

    async def json(
        self, method: str, path: str, body: JsonObject | None = None, token: str | None = None
    ) -> JsonObject:
        """As `call`, with the answer decoded."""
        return msgspec.json.decode(await self.call(method, path, body, token), type=dict[str, object])

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def next_batch(body: bytes) -> str:
    """The token to continue with, of an answer of /sync or a frame of a stream."""
    found = NEXT_BATCH.search(body)
    if found is None:
        raise ValueError(f"no next_batch in {body[:200]!r}")
    return found[1].decode()


async def spread(
    items: Sequence[Item], address: Address, connections: int, work: Callable[[Client, Item], Awaitable[Result]]
) -> list[Result]:
    """Do some work for each of the items, over a number of connections at once; the results are in the items' order."""
    results: dict[int, Result] = {}
    waiting = deque(enumerate(items))

    async def drain() -> None:
        client = Client(address)
        try:
            while waiting:
                index, item = waiting.popleft()
                results[index] = await work(client, item)
        finally:
            client.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(min(connections, len(items))):
            group.create_task(drain())
    return [results[index] for index in range(len(items))]


class StreamClosed(Exception):
    """The server closed a WebSocket, or refused to open it."""


class Stream:
    """A WebSocket client (RFC 6455) for text messages, for Myelin's stream of /sync answers."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, address: Address, path: str, subprotocol: str, token: str) -> "Stream":
        """Connect and shake hands; raises StreamClosed where the server does not switch protocols."""
        reader, writer = await asyncio.open_connection(address.host, address.port, limit=1 << 22)
        key = base64.b64encode(os.urandom(16)).decode()
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: {address.host}:{address.port}\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: {subprotocol}\r\n"
            f"Authorization: Bearer {token}\r\n\r\n".encode()
        )
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101"):
            writer.close()
            raise StreamClosed(f"the server did not open the stream: {head[:100]!r}")
        return cls(reader, writer)

    def send(self, message: JsonObject) -> None:
        """Send one text message."""
        self._send_frame(0x1, msgspec.json.encode(message))

    async def receive(self) -> bytes:
        """The next text message; answers pings on the way."""
        message = b""
        while True:
            first, second = await self._reader.readexactly(2)
            length = second & 0x7F
            if length == 126:
                (length,) = struct.unpack(">H", await self._reader.readexactly(2))
            elif length == 127:
                (length,) = struct.unpack(">Q", await self._reader.readexactly(8))
            payload = await self._reader.readexactly(length) if length else b""
            opcode = first & 0x0F
            if opcode == 0x9:
                self._send_frame(0xA, payload)
            elif opcode == 0x8:
                raise StreamClosed(f"the server closed the stream: {payload[2:].decode(errors='replace')}")
            elif opcode != 0xA:
                message += payload
                if first & 0x80:
                    return message

    def close(self) -> None:
        """Close the connection."""
        self._writer.close()

    def _send_frame(self, opcode: int, payload: bytes) -> None:
        # A client must mask what it sends (RFC 6455, 5.3). With a mask of zeros the payload stays as it is.
        length = len(payload)
        if length < 126:
            head = struct.pack(">BB", 0x80 | opcode, 0x80 | length)
        elif length < 65536:
            head = struct.pack(">BBH", 0x80 | opcode, 0x80 | 126, length)
        else:
            head = struct.pack(">BBQ", 0x80 | opcode, 0x80 | 127, length)
        self._writer.write(head + b"\0\0\0\0" + payload)
