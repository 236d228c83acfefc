"""WebSockets, spoken by hand frame by frame."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import select
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.http_client import Answer, Connection, RunningSite, request, running_site

SOCKET = "/_matrix/client/v3/socket"
UPGRADE = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSite]:
    """One site for all tests here."""
    with running_site(tmp_path_factory.mktemp("site")) as running:
        yield running


class Client:
    """The client's side of a WebSocket."""

    def __init__(self, connection: Connection, **headers: str) -> None:
        self.connection = connection
        key = base64.b64encode(os.urandom(16)).decode()
        wanted = {
            "Upgrade": "websocket",
            "Connection": "keep-alive, Upgrade",
            "Sec-WebSocket-Key": key,
            "Sec-WebSocket-Version": "13",
            "Origin": "https://app.example",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        connection.send(request("GET", SOCKET, headers=wanted))
        self.opening: Answer = connection.answer()
        accept = hashlib.sha1(key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        if self.opening.status == 101:
            assert self.opening.headers["sec-websocket-accept"] == base64.b64encode(accept).decode()

    def say(self, payload: bytes, opcode: int = TEXT) -> None:
        """Send one masked frame."""
        length = len(payload)
        size = bytes([0x80 | length]) if length < 126 else b"\xff" + struct.pack("!Q", length)
        if 126 <= length <= 0xFFFF:
            size = b"\xfe" + struct.pack("!H", length)
        self.connection.send(bytes([0x80 | opcode]) + size + b"\0\0\0\0" + payload)

    def hear(self) -> tuple[int, bytes]:
        """Opcode and payload of the next frame."""
        first, length = self.connection.take(2)
        if length == 126:
            (length,) = struct.unpack("!H", self.connection.take(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", self.connection.take(8))
        return first & 0x0F, self.connection.take(length)

    def end(self) -> tuple[int, str]:
        """Code and reason of the closing frame, which comes next."""
        opcode, payload = self.hear()
        assert opcode == CLOSE
        self.say(payload, CLOSE)
        assert self.connection.is_closed()
        return struct.unpack("!H", payload[:2])[0], payload[2:].decode()


def test_a_socket_is_opened_with_the_first_protocol_that_both_speak(site: RunningSite) -> None:
    with site.connect() as connection:
        client = Client(connection, Sec_WebSocket_Protocol="m.unknown, m.other, m.test")
        assert client.opening.status == 101
        assert client.opening.headers["sec-websocket-protocol"] == "m.other"
        assert client.opening.headers["x-request-id"]
        assert json.loads(client.hear()[1]) == {"hello": "@alice:test", "protocol": "m.other"}
        client.say("tsch\u00fcss".encode())
        assert client.hear() == (TEXT, "echo tsch\u00fcss".encode())


def test_frames_sent_with_the_handshake_are_not_lost(site: RunningSite) -> None:
    headers = {**UPGRADE, "Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode()}
    with site.connect() as connection:
        connection.send(request("GET", SOCKET, headers=headers) + b"\x81\x82\0\0\0\0hi")
        assert connection.answer().status == 101
        client = Client.__new__(Client)
        client.connection = connection
        client.hear()
        assert client.hear() == (TEXT, b"echo hi")


def test_a_ping_is_answered(site: RunningSite) -> None:
    with site.connect() as connection:
        client = Client(connection)
        client.hear()
        client.say(b"there?", PING)
        assert client.hear() == (PONG, b"there?")


def test_a_large_message_passes_and_a_huge_one_ends_the_socket(site: RunningSite) -> None:
    with site.connect() as connection:
        client = Client(connection)
        client.hear()
        client.say(b"x" * 200_000)
        assert client.hear() == (TEXT, b"echo " + b"x" * 200_000)
        client.say(b"x" * 300_000)
        opcode, payload = client.hear()
        assert (opcode, struct.unpack("!H", payload[:2])[0]) == (CLOSE, 1009)


@pytest.mark.parametrize(
    ("message", "code", "reason"),
    [
        (b"close", 4000, "as you wish"),
        (b"return", 1000, ""),
        (b"refuse", 1008, "M_FORBIDDEN: no more of this"),
    ],
)
def test_the_handler_ends_the_socket_with_a_code(site: RunningSite, message: bytes, code: int, reason: str) -> None:
    with site.connect() as connection:
        client = Client(connection)
        client.hear()
        client.say(message)
        assert client.end() == (code, reason)


def test_a_broken_handler_ends_the_socket_and_names_the_request(site: RunningSite) -> None:
    with site.connect() as connection:
        client = Client(connection)
        client.hear()
        client.say(b"break")
        code, reason = client.end()
        assert code == 1011
        assert client.opening.headers["x-request-id"] in reason


def test_binary_messages_are_not_spoken(site: RunningSite) -> None:
    with site.connect() as connection:
        client = Client(connection)
        client.hear()
        client.say(b"x", BINARY)
        assert client.end()[0] == 1003


def test_a_client_that_goes_away_ends_its_handler(site: RunningSite) -> None:
    before = site.counts()["sockets_closed"]
    connection = site.connect()
    Client(connection).hear()
    connection.close()
    site.wait_for(lambda counts: counts["sockets_closed"] > before)


def test_a_slow_reader_holds_the_sender_back(site: RunningSite) -> None:
    with site.connect() as connection:
        client = Client(connection)
        client.hear()
        client.say(b"flood 500")
        # Nothing is read until another request was answered: the flood must not be in the way, nor in memory.
        before = site.counts()["rss"]
        for _ in range(500):
            assert client.hear() == (TEXT, b"f" * 65536)
        most = json.loads(client.hear()[1])["most"]
        assert 65536 <= most < 16_000_000
        assert site.counts()["rss"] - before < 16_000_000


@pytest.mark.parametrize("opcode", [PING, TEXT])
def test_who_asks_and_takes_no_answer_is_not_listened_to(site: RunningSite, opcode: int) -> None:
    with site.connect() as connection:
        client = Client(connection)
        client.hear()
        frame = bytes([0x80 | opcode, 0x80 | 125]) + b"\0\0\0\0" + b"x" * 125
        frames, before = frame * 4_000, site.counts()["rss"]
        asked = 0
        connection.socket.setblocking(False)
        while asked < 64_000_000 and select.select([], [connection.socket], [], 2.0)[1]:
            asked += connection.socket.send(frames[asked % len(frame) :])
        assert asked < 64_000_000
        assert site.counts()["rss"] - before < 16_000_000
        # Once it takes the answers it is heard again.
        connection.socket.setblocking(True)
        answer = PONG if opcode == PING else TEXT
        for _ in range(asked // len(frame)):
            assert client.hear()[0] == answer


def test_who_answers_no_ping_is_gone(tmp_path: Path) -> None:
    with running_site(tmp_path, heartbeat=[0.2, 1.0]) as site:
        with site.connect() as connection:
            client = Client(connection)
            client.hear()
            for _ in range(2):
                opcode, payload = client.hear()
                assert opcode == PING
                client.say(payload, PONG)
            assert client.hear()[0] == PING
            assert connection.is_closed()
        assert site.counts()["sockets_closed"] == 1


@pytest.mark.parametrize(
    ("headers", "token", "status", "errcode"),
    [
        ({}, "alice", 426, "M_UNRECOGNIZED"),
        ({"Upgrade": "h2c", "Connection": "Upgrade"}, "alice", 426, "M_UNRECOGNIZED"),
        ({"Upgrade": "websocket", "Connection": "Upgrade"}, "alice", 426, "M_UNRECOGNIZED"),
        (
            UPGRADE,
            None,
            401,
            "M_MISSING_TOKEN",
        ),
        (UPGRADE, "x", 401, "M_UNKNOWN_TOKEN"),
        (
            {**UPGRADE, "Sec-WebSocket-Protocol": "other"},
            "alice",
            400,
            "M_UNKNOWN",
        ),
    ],
)
def test_what_cannot_become_a_socket_is_an_ordinary_refusal(
    site: RunningSite, headers: dict[str, str], token: str | None, status: int, errcode: str
) -> None:
    with site.connect() as connection:
        connection.send(request("GET", SOCKET, None, token, headers))
        answer = connection.answer()
        assert (answer.status, answer.errcode) == (status, errcode)
        connection.send(request("GET", "/_matrix/client/v3/whoami"))
        assert connection.answer().status == 200


def test_a_malformed_key_is_refused(site: RunningSite) -> None:
    headers = {**UPGRADE, "Sec-WebSocket-Key": "x"}
    with site.connect() as connection:
        connection.send(request("GET", SOCKET, headers=headers))
        assert connection.answer().status == 400


def test_a_stopping_server_says_good_bye(tmp_path_factory: pytest.TempPathFactory) -> None:
    with running_site(tmp_path_factory.mktemp("site")) as stopping, stopping.connect() as connection:
        client = Client(connection)
        client.hear()
        stopping.process.terminate()
        assert client.end() == (1012, "the server is stopping")
