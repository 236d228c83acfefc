"""A blocking WebSocket client (RFC 6455) made by hand, for text messages that hold JSON objects."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import struct
from collections import deque
from typing import Final

from tests.wire import PATIENCE_S, Json

STREAM_PATH: Final = "/_matrix/client/unstable/org.myelin.stream"
SUBPROTOCOL: Final = "org.myelin.sync.v1.json"

TEXT: Final = 0x1
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA


class StreamClosed(Exception):
    """The server closed the stream; `code` says why, None where it just hung up."""

    def __init__(self, code: int | None, reason: str) -> None:
        super().__init__(f"the server closed the stream with {code}: {reason}")
        self.code = code


class Stream:
    """One connection to the stream of a server."""

    def __init__(self, host: str, port: int, token: str | None = None) -> None:
        self._socket = socket.create_connection((host, port), timeout=PATIENCE_S)
        self._received = b""
        self._deltas: deque[Json] = deque()
        self._last_id = 0
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            f"GET {STREAM_PATH} HTTP/1.1",
            f"Host: {host}:{port}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {key}",
            f"Sec-WebSocket-Protocol: {SUBPROTOCOL}",
            *([] if token is None else [f"Authorization: Bearer {token}"]),
        ]
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode())
        while b"\r\n\r\n" not in self._received:
            self._receive()
        head, _, self._received = self._received.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101 "):
            self._socket.close()
            raise StreamClosed(None, head.decode(errors="replace"))

    def asks(self, op: str, **members: Json) -> Json:
        """Send a request and return its answer; deltas that come in between are kept for `delta`."""
        self._last_id += 1
        self.send({"op": op, "id": self._last_id, **members})
        while True:
            frame = self.frame()
            if frame.get("id") == self._last_id:
                return frame
            assert "id" not in frame, f"an answer to nobody: {frame}"
            self._deltas.append(frame)

    def delta(self) -> Json:
        """The next delta."""
        if self._deltas:
            return self._deltas.popleft()
        frame = self.frame()
        assert "id" not in frame, f"an answer to nobody: {frame}"
        return frame

    def send(self, message: Json) -> None:
        """Send one object, expecting nothing."""
        self.send_text(json.dumps(message).encode())

    def send_text(self, message: bytes) -> None:
        """Send a text message, whatever it is."""
        self._send_frame(TEXT, message)

    def says_farewell(self, code: int = 1000) -> None:
        """Begin to close, as one should; the server's answer raises StreamClosed."""
        self._send_frame(CLOSE, struct.pack(">H", code))

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def frame(self) -> Json:
        """The next object, answer or delta."""
        message = b""
        while True:
            first, second = self._take(2)
            length = second & 0x7F
            if length == 126:
                (length,) = struct.unpack(">H", self._take(2))
            elif length == 127:
                (length,) = struct.unpack(">Q", self._take(8))
            payload = self._take(length)
            opcode = first & 0x0F
            if opcode == PING:
                self._send_frame(PONG, payload)
            elif opcode == CLOSE:
                code = struct.unpack(">H", payload[:2])[0] if len(payload) >= 2 else None
                raise StreamClosed(code, payload[2:].decode(errors="replace"))
            elif opcode != PONG:
                message += payload
                if first & 0x80:
                    return json.loads(message)

    def _take(self, count: int) -> bytes:
        while len(self._received) < count:
            self._receive()
        found, self._received = self._received[:count], self._received[count:]
        return found

    def _receive(self) -> None:
        try:
            more = self._socket.recv(1 << 16)
        except ConnectionError as problem:
            raise StreamClosed(None, str(problem)) from None
        if not more:
            raise StreamClosed(None, "no farewell")
        self._received += more

    def _send_frame(self, opcode: int, payload: bytes) -> None:
        length = len(payload)
        if length < 126:
            head = struct.pack(">BB", 0x80 | opcode, 0x80 | length)
        elif length < 65536:
            head = struct.pack(">BBH", 0x80 | opcode, 0x80 | 126, length)
        else:
            head = struct.pack(">BBQ", 0x80 | opcode, 0x80 | 127, length)
        mask = os.urandom(4)
        pad = int.from_bytes((mask * (length // 4 + 1))[:length], "big")
        masked = (int.from_bytes(payload, "big") ^ pad).to_bytes(length, "big")
        with contextlib.suppress(ConnectionError):  # the reason why it was closed is still to be read
            self._socket.sendall(head + mask + masked)
