"""What clients must not send is refused with the right code, and never breaks the server."""

from __future__ import annotations

import contextlib
import socket
import time

import pytest

from tests.cast import Actor, Cast
from tests.wire import Json, Response, client_path


@pytest.fixture
def romeo(cast: Cast) -> Actor:
    """Someone who sends nonsense."""
    return cast("romeo")


@pytest.fixture
def room(romeo: Actor) -> str:
    """A room to send it to."""
    return romeo.creates_room()


def sends_raw(who: Actor, room: str, body: bytes, type: str = "m.room.message") -> Response:
    """Send these bytes as an event."""
    return who.call("PUT", client_path("rooms", room, "send", type, who.new_txn_id()), raw=body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"body": "x"',
        b'{"body": x}',
        b"{'body': 'x'}",
        b'{"body": "x",}',
        b'{"body": "x"} more',
        b'{"body": "tab\tinside"}',
        b'{"body": "\xff\xfe"}',
        b'{"body": "\xed\xa0\x80"}',
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": 01}',
        b'{"a": +1}',
        b"\xef\xbb\xbf{}",
        b"not json",
        '{"body": "utf-16"}'.encode("utf-16"),
    ],
    ids=repr,
)
def test_what_is_not_json_is_refused(romeo: Actor, room: str, body: bytes) -> None:
    answer = sends_raw(romeo, room, body)
    assert (answer.status, answer.errcode) == (400, "M_NOT_JSON"), answer


@pytest.mark.parametrize("body", [b"[]", b'"text"', b"1", b"null", b"true"], ids=repr)
def test_what_is_json_but_no_object_is_refused(romeo: Actor, room: str, body: bytes) -> None:
    answer = sends_raw(romeo, room, body)
    assert (answer.status, answer.errcode) == (400, "M_BAD_JSON"), answer


@pytest.mark.parametrize(
    "content",
    [
        {"n": 1.5},
        {"n": [{"deep": 0.1}]},
        {"n": 1e300},
        {"n": 2**53},
        {"n": -(2**53)},
        {"n": 10**400},
    ],
    ids=lambda content: str(content)[:40],
)
@pytest.mark.parametrize("version", ["6", "12"])
def test_numbers_that_canonical_json_does_not_have_are_refused_in_events(
    romeo: Actor, content: Json, version: str
) -> None:
    room = romeo.creates_room(room_version=version)
    answer = romeo.call("PUT", client_path("rooms", room, "send", "org.example", "t"), content)
    assert (answer.status, answer.errcode) == (400, "M_BAD_JSON"), answer
    answer = romeo.call("PUT", client_path("rooms", room, "state", "org.example", ""), content)
    assert (answer.status, answer.errcode) == (400, "M_BAD_JSON"), answer


def test_whole_numbers_up_to_the_limit_are_taken(romeo: Actor, room: str) -> None:
    content = {"most": 2**53 - 1, "least": -(2**53) + 1, "zero": 0}
    assert romeo.event(room, romeo.sends(room, "org.example", content))["content"] == content


def test_ten_thousand_levels_are_refused(romeo: Actor, room: str) -> None:
    for opening, closing in ((b"[", b"]"), (b'{"a":', b"}")):
        body = b'{"a":' + opening * 10_000 + b"1" + closing * 10_000 + b"}"
        answer = sends_raw(romeo, room, body)
        assert answer.status == 400, answer
        answer = romeo.call("POST", client_path("createRoom"), raw=body)
        assert answer.status == 400, answer
        answer = romeo.call("PUT", client_path("user", romeo.user_id, "account_data", "org.example"), raw=body)
        assert answer.status == 400, answer
        unclosed = sends_raw(romeo, room, b'{"a":' + opening * 10_000)
        assert unclosed.status == 400, unclosed


def test_events_of_too_many_bytes_are_refused(romeo: Actor, room: str) -> None:
    for text in ("x" * 65_600, "é" * 33_000):
        answer = romeo.call("PUT", client_path("rooms", room, "send", "m.room.message", "t"), {"body": text})
        assert (answer.status, answer.errcode) == (413, "M_TOO_LARGE"), answer
    sent = romeo.says(room, "x" * 60_000)
    assert len(romeo.event(room, sent)["content"]["body"]) == 60_000


def test_a_body_of_a_hundred_megabytes_is_refused_before_it_is_read(romeo: Actor, room: str) -> None:
    path = client_path("rooms", room, "send", "m.room.message", "t")
    with socket.create_connection((romeo.wire.host, romeo.wire.port), timeout=20) as connection:
        head = f"PUT {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {romeo.token}\r\n"
        connection.sendall(f"{head}Content-Length: {100 * 1024 * 1024}\r\n\r\n".encode())
        answer = b""
        while b"\r\n\r\n" not in answer and (more := connection.recv(65536)):
            answer += more
    assert answer.startswith(b"HTTP/1.1 413 "), answer


def test_a_flood_without_a_length_is_cut_off(romeo: Actor, room: str) -> None:
    path = client_path("rooms", room, "send", "m.room.message", "t")
    with socket.create_connection((romeo.wire.host, romeo.wire.port), timeout=20) as connection:
        head = f"PUT {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {romeo.token}\r\n"
        connection.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        with contextlib.suppress(ConnectionError):
            for _ in range(32):
                connection.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        answer = b""
        while more := connection.recv(65536):
            answer += more
    assert answer.startswith(b"HTTP/1.1 413 "), answer
    assert answer.count(b"HTTP/1.1 ") == 1, answer
    assert romeo.sync(timeout_ms=0).next_batch


@pytest.mark.parametrize("version", ["10", "12"])
def test_names_that_are_too_long_are_refused(romeo: Actor, version: str) -> None:
    room = romeo.creates_room(room_version=version)
    long = "x" * 256
    paths = [
        client_path("rooms", room, "send", long, "t"),
        client_path("rooms", room, "state", long, ""),
        client_path("rooms", room, "state", "org.example", long),
        client_path("rooms", room, "state", "org.example", "é" * 128),
    ]
    for path in paths:
        answer = romeo.call("PUT", path, {})
        assert answer.status in (400, 413), answer
        assert answer.errcode in ("M_BAD_JSON", "M_INVALID_PARAM", "M_TOO_LARGE"), answer
    romeo.sets_state(room, "org.example", {}, "x" * 255)


@pytest.mark.parametrize(
    "path",
    [
        client_path("rooms", "!" + "x" * 300 + ":example.org", "messages"),
        client_path("rooms", "no sigil", "messages"),
        client_path("rooms", "", "messages"),
        client_path("rooms", "\0", "messages"),
        client_path("rooms", "!a:b", "event", "$" + "x" * 5000),
        client_path("rooms", "!a:b", "event", "\0"),
        client_path("profile", "@" + "x" * 300 + ":example.org"),
        client_path("profile", "\0"),
        client_path("directory", "room", "#\0:example.org"),
        client_path("join", "#" + "x" * 300 + ":example.org"),
        client_path("devices", "\0"),
        client_path("user", "@\0:b", "account_data", "x"),
        "/_matrix/client/v3/rooms/%ff%fe/messages",
        "/_matrix/client/v3/profile/%ed%a0%80",
        "/_matrix/client/v3/rooms/%zz/messages",
    ],
)
def test_ids_that_are_none_are_refused(romeo: Actor, path: str) -> None:
    answer = romeo.call("GET" if "/join/" not in path else "POST", path)
    assert 400 <= answer.status < 500, answer
    assert answer.errcode is not None, answer


def test_nul_and_lone_surrogates_in_events_do_no_harm(romeo: Actor, room: str) -> None:
    assert romeo.event(room, romeo.says(room, "a\0b"))["content"]["body"] == "a\0b"
    # "\ud800" alone is no character: it cannot be written as UTF-8, so it cannot be in canonical JSON.
    for body in (b'{"body": "\\ud800"}', b'{"\\udfff": 1}', b'{"a": ["\\ud83d\\ud83d"]}'):
        answer = sends_raw(romeo, room, body)
        assert answer.status == 400, answer
    assert sends_raw(romeo, room, b'{"body": "\\ud83d\\ude00"}').status == 200
    for path in (
        client_path("rooms", room, "state", "org.example", "\0"),
        client_path("rooms", room, "send", "org.\0", "t"),
        client_path("rooms", room, "send", "org.example", "\0"),
        client_path("user", romeo.user_id, "account_data", "\0"),
    ):
        answer = romeo.call("PUT", path, {})
        assert (answer.status, answer.errcode) == (400, "M_INVALID_PARAM"), answer
    romeo.keeps("org.example", {"a\0": "\0"})
    assert romeo.kept("org.example") == {"a\0": "\0"}
    answer = romeo.call("PUT", client_path("profile", romeo.user_id, "displayname"), {"displayname": "a\0b"})
    assert answer.status in (200, 400)


def test_keys_that_come_twice_do_not_smuggle(romeo: Actor, room: str) -> None:
    answer = sends_raw(romeo, room, b'{"body": "one", "body": "two", "msgtype": "m.text"}')
    if answer.status == 200:
        assert romeo.event(room, answer.json["event_id"])["content"]["body"] in ("one", "two")
    else:
        assert answer.errcode in ("M_NOT_JSON", "M_BAD_JSON")


@pytest.mark.parametrize(
    ("type", "content"),
    [
        ("m.room.create", {}),
        ("m.room.member", {"membership": "dance"}),
        ("m.room.member", {"membership": 5}),
        ("m.room.member", {}),
        ("m.room.power_levels", {"users": []}),
        ("m.room.power_levels", {"ban": "50"}),
        ("m.room.power_levels", {"users": {"not a user": 50}}),
        ("m.room.power_levels", {"events": {"m.room.name": 1.5}}),
    ],
    ids=str,
)
def test_state_that_would_break_the_room_is_refused(romeo: Actor, room: str, type: str, content: Json) -> None:
    key = romeo.user_id if type == "m.room.member" else ""
    answer = romeo.call("PUT", client_path("rooms", room, "state", type, key), content)
    assert answer.status in (400, 403), answer
    romeo.says(room, "still alive")


def test_nobody_sets_state_under_anothers_name(cast: Cast, romeo: Actor, room: str) -> None:
    juliet = cast("juliet")
    romeo.invites(room, juliet)
    juliet.joins(room)
    levels = romeo.state(room, "m.room.power_levels")
    romeo.sets_state(room, "m.room.power_levels", {**levels, "state_default": 0})
    answer = juliet.call("PUT", client_path("rooms", room, "state", "org.example", romeo.user_id), {})
    assert (answer.status, answer.errcode) == (403, "M_FORBIDDEN")
    juliet.sets_state(room, "org.example", {}, juliet.user_id)


@pytest.mark.parametrize(
    "query",
    ["dir=x", "", "dir=b&limit=many", "dir=b&from=nonsense", "dir=b&from=s9999999", "dir=b&limit=-5", "dir=b&filter=["],
)
def test_bad_queries_of_messages_are_refused(romeo: Actor, room: str, query: str) -> None:
    answer = romeo.call("GET", client_path("rooms", room, "messages") + f"?{query}")
    assert answer.status in (200, 400), answer
    if query not in ("dir=b&from=s9999999",):
        assert answer.status == 400, answer


def test_negative_and_huge_limits_and_timeouts_do_no_harm(romeo: Actor, room: str) -> None:
    for query in ("timeout=-1", "timeout=x", f"timeout={10**30}", "full_state=perhaps", "set_presence=dancing"):
        answer = romeo.call("GET", client_path("sync") + f"?{query}")
        assert answer.status in (200, 400), answer
    assert len(romeo.messages(room, limit=10**9)[0]) < 1001
    for limit in (0, -1, 10**12):
        answer = romeo.call("GET", client_path("sync", filter={"room": {"timeline": {"limit": limit}}}))
        assert answer.status in (200, 400), answer


SMUGGLING = [
    b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n{}   x",
    b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    b"Content-Length: +2\r\n\r\n{}",
    b"Content-Length: 2_0\r\n\r\n{}",
    b"Content-Length: -1\r\n\r\n{}",
    b"Content-Length: 0x2\r\n\r\n{}",
    b"Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n",
    b"A: b\r\n c: d\r\nContent-Length: 2\r\n\r\n{}",
    b"A\0: b\r\nContent-Length: 2\r\n\r\n{}",
]


@pytest.mark.parametrize("rest", SMUGGLING, ids=repr)
def test_what_two_parsers_could_read_differently_is_refused_and_the_connection_closed(
    romeo: Actor, rest: bytes
) -> None:
    head = f"PUT {client_path('user', romeo.user_id, 'account_data', 'x')} HTTP/1.1\r\nHost: x\r\n"
    head += f"Authorization: Bearer {romeo.token}\r\n"
    with socket.create_connection((romeo.wire.host, romeo.wire.port), timeout=20) as connection:
        connection.sendall(head.encode() + rest)
        answer = b""
        while more := connection.recv(65536):
            answer += more
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 501 ")), answer
    assert answer.count(b"HTTP/1.1 ") == 1, answer


def test_the_server_lives_through_half_a_request(romeo: Actor) -> None:
    for part in (b"P", b"PUT / HTT", b"PUT / HTTP/1.1\r\nHos", b"PUT / HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc"):
        with socket.create_connection((romeo.wire.host, romeo.wire.port), timeout=20) as connection:
            connection.sendall(part)
    begin_s = time.monotonic()
    assert romeo.call("GET", client_path("account", "whoami")).status == 200
    assert time.monotonic() - begin_s < 20
