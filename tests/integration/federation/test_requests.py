"""Signed requests to other servers: what arrives there, and what becomes of whatever comes back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from federation.outbound import x_matrix
from federation.outbound.bodies import NotTaken
from federation.outbound.client import path
from federation.outbound.errors import RemoteBackedOff, RemoteNonsense, RemoteRefused, RemoteUnreachable
from homeserver.core.signatures import verify_bytes
from tests.integration.federation.house import House, in_house
from tests.integration.federation.network import Asked, Connection, answer
from tests.postgres import FreshDatabase

VERSION = "/_matrix/federation/v1/version"
HOUR_MS = 3_600_000


def ok(asked: Asked, connection: Connection) -> bytes:
    return answer(b'{"ok":true}')


def test_a_request_arrives_signed_with_its_destination(fresh_database: FreshDatabase, tmp_path: Path) -> None:
    async def story(house: House) -> None:
        peer = house.peer("peer.example", ok)
        target = path("/_matrix/federation/v1/event/{}", "$a/b+c ü")
        assert await house.client.get("peer.example:8448", target, {"q": "a b&c", "n": 5, "yes": True, "no": None}) == {
            "ok": True
        }
        assert await house.client.put("peer.example:8448", "/x", body={"b": 1, "a": "ü"}) == {"ok": True}
        assert await house.client.post("peer.example:8448", "/y", body=b'{"a":1}') == {"ok": True}
        get, put, post = peer.asked
        assert get.target == "/_matrix/federation/v1/event/%24a%2Fb%2Bc%20%C3%BC?q=a%20b%26c&n=5&yes=true"
        assert put.body == '{"a":"ü","b":1}'.encode()
        assert put.headers["content-type"] == "application/json"
        assert post.body == b'{"a":1}'
        for asked in (get, put, post):
            (credentials,) = x_matrix.parse(asked.headers["authorization"])
            assert (credentials.origin, credentials.destination) == ("ours.example", "peer.example:8448")
            message = x_matrix.signed_bytes(
                asked.method, asked.target, "ours.example", "peer.example:8448", asked.body or None
            )
            assert verify_bytes(message, credentials.signature, house.signer.key.verify_key_base64)
            assert asked.headers["host"] == "peer.example:8448"
        assert len(peer.connections) == 1, "the connection is used again"

    in_house(story, fresh_database(), tmp_path)


TARGETS = ["/a;b=c/d", "/a%3Fb", "/a//b/./c/../d", "/%25%20", "/a?b=c?d&e;f", "/a?%26=%3D", "/:@!$&'()*+,=~._-", "//x"]


def test_the_target_that_was_signed_is_the_one_that_is_sent(fresh_database: FreshDatabase, tmp_path: Path) -> None:
    async def story(house: House) -> None:
        peer = house.peer("peer.example", ok)
        for target in TARGETS:
            await house.client.get("peer.example:8448", target)
        assert [asked.target for asked in peer.asked] == TARGETS

    in_house(story, fresh_database(), tmp_path)


def endless(asked: Asked, connection: Connection) -> None:
    """A body without end, as fast as it is taken."""
    connection.send(b"HTTP/1.1 200 OK\r\n\r\n{")
    connection.flood()


def endless_head(asked: Asked, connection: Connection) -> None:
    """Headers without end."""
    connection.send(b"HTTP/1.1 200 OK\r\n")

    def further() -> None:
        if connection in connection.peer.open:
            connection.send(b"X-Header: value\r\n" * 1000)
            connection.peer.reactor.callLater(0, further)

    further()


def silent(asked: Asked, connection: Connection) -> None:
    """Nothing at all."""


def trickling(asked: Asked, connection: Connection) -> None:
    """A beginning, and no end."""
    connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{")


def cut_off(asked: Asked, connection: Connection) -> None:
    connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{")
    connection.close()


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (lambda *_: answer(b"no json"), RemoteNonsense),
        (lambda *_: answer(b"[]"), RemoteNonsense),
        (lambda *_: answer(b""), RemoteNonsense),
        (lambda *_: answer(b'{"a":' * 500 + b"1" + b"}" * 500), RemoteNonsense),
        (lambda *_: answer(b"{}" + b" " * 2000), RemoteNonsense),
        (lambda *_: b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n{", RemoteNonsense),
        (endless, RemoteNonsense),
        (endless_head, RemoteUnreachable),
        (silent, RemoteUnreachable),
        (trickling, RemoteUnreachable),
        (cut_off, RemoteUnreachable),
        (lambda *_: b"SSH-2.0-OpenSSH\r\n\r\n", RemoteUnreachable),
        (lambda *_: answer(b"{}", 302, location="https://elsewhere.example/"), RemoteRefused),
        (lambda *_: answer(b"<html>", 502), RemoteRefused),
    ],
)
def test_nonsense_floods_and_silence_become_errors(
    fresh_database: FreshDatabase, tmp_path: Path, script: Any, error: type[Exception]
) -> None:
    async def story(house: House) -> None:
        peer = house.peer("peer.example", script)
        with pytest.raises(error):
            await house.client.get("peer.example:8448", VERSION, timeout_s=0.5, limit_bytes=1000)
        assert ("elsewhere.example", 443) not in house.wires.dialled
        assert {asked.target for asked in peer.asked} == {VERSION}

    in_house(story, fresh_database(), tmp_path)


def test_a_refusal_tells_status_code_and_sentence(fresh_database: FreshDatabase, tmp_path: Path) -> None:
    async def story(house: House) -> None:
        body = b'{"errcode":"M_INCOMPATIBLE_ROOM_VERSION","error":"Too new","room_version":"12"}'
        house.peer("peer.example", lambda *_: answer(body, 400))
        with pytest.raises(RemoteRefused) as caught:
            await house.client.get("peer.example:8448", VERSION)
        refusal = caught.value
        assert (refusal.status, refusal.errcode, refusal.error) == (400, "M_INCOMPATIBLE_ROOM_VERSION", "Too new")
        assert refusal.body["room_version"] == "12"
        assert house.destinations.retry_at_ms("peer.example:8448") is None

    in_house(story, fresh_database(), tmp_path)


def test_a_kept_connection_that_the_other_side_closed_is_replaced(
    fresh_database: FreshDatabase, tmp_path: Path
) -> None:
    async def story(house: House) -> None:
        def once_a_connection(asked: Asked, connection: Connection) -> bytes | None:
            if connection in served:
                connection.abort()
                return None
            served.append(connection)
            return answer(b"{}")

        served: list[Connection] = []
        peer = house.peer("peer.example", once_a_connection)
        await house.client.put("peer.example:8448", "/a")
        await house.client.put("peer.example:8448", "/b")
        assert [asked.target for asked in peer.asked] == ["/a", "/b", "/b"]
        # What must not happen twice is not repeated.
        with pytest.raises(RemoteUnreachable):
            await house.client.post("peer.example:8448", "/c", repeatable=False)
        assert [asked.target for asked in peer.asked] == ["/a", "/b", "/b", "/c"]

    in_house(story, fresh_database(), tmp_path)


def test_an_answer_may_come_in_chunks_or_end_with_the_connection(fresh_database: FreshDatabase, tmp_path: Path) -> None:
    def until_the_end(asked: Asked, connection: Connection) -> None:
        connection.send(b'HTTP/1.1 200 OK\r\n\r\n{"ok":true}')
        connection.close()

    async def story(house: House) -> None:
        chunked = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n{"ok\r\n7\r\n":true}\r\n0\r\n\r\n'
        peer = house.peer("peer.example", lambda *_: chunked)
        for _ in range(2):
            assert await house.client.get("peer.example:8448", VERSION) == {"ok": True}
        assert len(peer.connections) == 1
        peer.script = until_the_end
        for _ in range(2):
            assert await house.client.get("peer.example:8448", VERSION) == {"ok": True}
        assert len(peer.connections) == 2

    in_house(story, fresh_database(), tmp_path)


def test_an_answer_that_nobody_asked_for_is_not_taken_for_that_to_the_next_request(
    fresh_database: FreshDatabase, tmp_path: Path
) -> None:
    async def story(house: House) -> None:
        peer = house.peer("peer.example", lambda *_: answer(b'{"n":1}') + answer(b'{"forged":true}'))
        assert await house.client.get("peer.example:8448", VERSION) == {"n": 1}
        peer.script = ok
        assert await house.client.get("peer.example:8448", VERSION) == {"ok": True}
        assert len(peer.connections) == 2

    in_house(story, fresh_database(), tmp_path)


def test_no_more_than_so_many_requests_go_to_a_server_at_once(fresh_database: FreshDatabase, tmp_path: Path) -> None:
    async def story(house: House) -> None:
        def hold(asked: Asked, connection: Connection) -> None:
            waiting.append(connection)
            if len(waiting) == 10:
                full.callback(None)

        waiting: list[Connection] = []
        full: Deferred[None] = Deferred()
        peer = house.peer("peer.example", hold)
        other = house.peer("other.example", ok)
        running = [Deferred.fromCoroutine(house.client.get("peer.example:8448", f"/{number}")) for number in range(25)]
        await full
        await house.client.get("other.example:8448", VERSION)
        assert len(peer.asked) == 10
        assert len(other.asked) == 1
        peer.script = ok
        for connection in waiting:
            connection.send(answer(b"{}"))
        for each in running:
            await each
        assert len(peer.asked) == 25

    in_house(story, fresh_database(), tmp_path)


def test_a_server_that_does_not_answer_is_left_alone_until_its_time_or_until_it_is_heard_from(
    fresh_database: FreshDatabase, tmp_path: Path
) -> None:
    async def story(house: House) -> None:
        house.names.addresses_of["dead.example"] = [("9.9.9.9",)]
        recovered: list[str] = []

        async def ask() -> None:
            await house.client.get("dead.example:8448", VERSION)

        for expected in (1, 2, 3):
            with pytest.raises(RemoteUnreachable):
                await ask()
            with pytest.raises(RemoteBackedOff):
                await ask()
            assert len(house.wires.dialled) == expected
            retry_at_ms = house.destinations.retry_at_ms("dead.example:8448")
            assert retry_at_ms is not None
            house.clock.ahead_ms += retry_at_ms - house.clock.now_ms() + 1
        with pytest.raises(RemoteUnreachable):
            await ask()
        await house.destinations.save()
        house.build()
        await house.destinations.start(house.tasks)
        with pytest.raises(RemoteBackedOff):
            await ask()
        house.destinations.on_recovery(recovered.append)
        house.destinations.heard_from("dead.example:8448")
        house.destinations.heard_from("dead.example:8448")
        assert recovered == ["dead.example:8448"]
        house.peer("dead.example", ok)
        await ask()
        await house.destinations.save()
        house.build()
        await house.destinations.start(house.tasks)
        assert house.destinations.retry_at_ms("dead.example:8448") is None

    in_house(story, fresh_database(), tmp_path)


def test_a_download_is_handed_on_in_pieces_and_ends_at_its_limit(fresh_database: FreshDatabase, tmp_path: Path) -> None:
    async def story(house: House) -> None:
        pieces: list[bytes] = []

        async def download(limit_bytes: int) -> None:
            pieces.clear()
            await house.client.download(
                "peer.example:8448", "/file", take=pieces.append, timeout_s=5, limit_bytes=limit_bytes
            )

        peer = house.peer("peer.example", lambda *_: answer(b"x" * 300_000))
        await download(300_000)
        assert b"".join(pieces) == b"x" * 300_000
        with pytest.raises(RemoteNonsense):
            await download(299_999)
        peer.script = endless
        with pytest.raises(RemoteNonsense):
            await download(1_000_000)
        assert sum(map(len, pieces)) <= 1_000_000

    in_house(story, fresh_database(), tmp_path)


def test_this_server_does_not_ask_itself(fresh_database: FreshDatabase, tmp_path: Path) -> None:
    async def story(house: House) -> None:
        with pytest.raises(RemoteUnreachable):
            await house.client.get("ours.example", VERSION)
        assert house.wires.dialled == []

    in_house(story, fresh_database(), tmp_path)


def test_headers_without_end_end_the_connection_long_before_the_time_is_up(
    fresh_database: FreshDatabase, tmp_path: Path
) -> None:
    async def story(house: House) -> None:
        peer = house.peer("peer.example", endless_head)
        with pytest.raises(RemoteUnreachable, match="head of the answer"):
            await house.client.post("peer.example:8448", VERSION, timeout_s=50, repeatable=False)
        assert len(peer.asked) == 1

    in_house(story, fresh_database(), tmp_path)


def test_whoever_takes_a_download_sees_its_headers_first_and_may_end_it(
    fresh_database: FreshDatabase, tmp_path: Path
) -> None:
    class Enough(Exception):
        pass

    def refuse(*_: object) -> None:
        raise Enough

    async def story(house: House) -> None:
        seen: list[object] = []
        peer = house.peer("peer.example", lambda *_: answer(b"abc", content_type="text/plain"))

        async def download(take: Any, opened: Any) -> None:
            await house.client.download(
                "peer.example:8448", "/f", take=take, opened=opened, timeout_s=5, limit_bytes=10_000_000
            )

        await download(seen.append, lambda head: seen.append((head.status, head.headers["content-type"])))
        assert seen == [(200, "text/plain"), b"abc"]
        peer.script = endless
        with pytest.raises(Enough):
            await download(seen.append, refuse)
        with pytest.raises(NotTaken):
            await download(refuse, None)
        assert len(seen) == 2
        # A redirect is handed back, and its body goes to nobody.
        peer.script = lambda *_: answer(b"moved", 307, location="https://elsewhere.example/f")
        await download(seen.append, seen.append)
        assert len(seen) == 2
        # An error is an error.
        peer.script = lambda *_: answer(b'{"errcode":"M_LIMIT_EXCEEDED"}', 429, retry_after="7")
        with pytest.raises(RemoteRefused) as caught:
            await download(seen.append, seen.append)
        assert (caught.value.errcode, caught.value.retry_after_ms) == ("M_LIMIT_EXCEEDED", 7000)

    in_house(story, fresh_database(), tmp_path)


def test_a_server_that_is_busy_with_our_requests_is_not_called_dead(
    fresh_database: FreshDatabase, tmp_path: Path
) -> None:
    async def story(house: House) -> None:
        peer = house.peer("peer.example", silent)
        running = [Deferred.fromCoroutine(house.client.get("peer.example:8448", "/")) for _ in range(10)]
        with pytest.raises(RemoteUnreachable, match="too many requests"):
            await house.client.get("peer.example:8448", "/late", timeout_s=0.2)
        assert house.destinations.retry_at_ms("peer.example:8448") is None
        assert "/late" not in {asked.target for asked in peer.asked}
        for each in running:
            each.addErrback(lambda failure: None)
            each.cancel()
        # Whoever is cancelled gives its place back.
        peer.script = ok
        assert await house.client.get("peer.example:8448", "/") == {"ok": True}

    in_house(story, fresh_database(), tmp_path)


NO_NAMES = ["a\0b.example", 'x",sig="y', "a b.example", "", "x" * 300, "é.example", "a.example:0"]


def test_a_name_that_is_none_is_refused_and_not_remembered(fresh_database: FreshDatabase, tmp_path: Path) -> None:
    async def story(house: House) -> None:
        for name in NO_NAMES:
            with pytest.raises(RemoteUnreachable):
                await house.client.get(name, VERSION)
        await house.destinations.save()
        await house.destinations.start(house.tasks)
        assert [house.destinations.retry_at_ms(name) for name in NO_NAMES] == [None] * len(NO_NAMES)
        assert house.wires.dialled == []

    in_house(story, fresh_database(), tmp_path)
