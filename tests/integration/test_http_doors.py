"""The HTTP server, over real connections: what clients, proxies, browsers and rude strangers see of it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator

import pytest

from tests.integration.http_client import Connection, RunningSite, request, running_site

C = "/_matrix/client/v3"
SEND = f"{C}/rooms/!a%3Ab/send/m.room.message/t1"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSite]:
    """One site for all tests here that leave it as it was."""
    with running_site(tmp_path_factory.mktemp("site")) as running:
        yield running


def test_a_request_is_answered_with_json_and_the_connection_stays(site: RunningSite) -> None:
    with site.connect() as connection:
        for _ in range(3):
            connection.send(request("PUT", SEND, b'{"body":"x"}'))
            answer = connection.answer()
            assert (answer.status, answer.json) == (200, {"event_id": "$t1:m.room.message:7:1"})
            assert answer.headers["content-type"] == "application/json"
            assert answer.headers["access-control-allow-origin"] == "*"
            assert answer.headers["x-request-id"]
            assert "connection" not in answer.headers


def test_every_request_has_an_id_of_its_own(site: RunningSite) -> None:
    ids = {site.ask("GET", f"{C}/whoami").headers["x-request-id"] for _ in range(5)}
    assert len(ids) == 5


def test_requests_sent_at_once_are_answered_in_order(site: RunningSite) -> None:
    with site.connect() as connection:
        connection.send(
            b"".join(request("PUT", SEND.replace("t1", f"t{number}"), b"{}") for number in range(200))
            + request("GET", f"{C}/nothing")
        )
        for number in range(200):
            assert connection.answer().json["event_id"].startswith(f"$t{number}:")
        assert connection.answer().status == 404


def test_a_request_may_arrive_byte_by_byte(site: RunningSite) -> None:
    with site.connect() as connection:
        for byte in request("PUT", SEND, b'{"a":1}'):
            connection.send(bytes([byte]))
        assert connection.answer().status == 200


def test_a_chunked_body_is_put_together(site: RunningSite) -> None:
    with site.connect() as connection:
        head = request("PUT", SEND, headers={"Transfer-Encoding": "chunked"})
        connection.send(head + b'3\r\n{"a\r\n4\r\n":1}\r\n0\r\n\r\n' + request("GET", f"{C}/whoami"))
        assert connection.answer().json == {"event_id": "$t1:m.room.message:7:1"}
        assert connection.answer().json["user_id"] == "@alice:test"


def test_a_client_that_asks_first_is_told_to_go_on(site: RunningSite) -> None:
    with site.connect() as connection:
        connection.send(request("PUT", SEND, headers={"Expect": "100-continue", "Content-Length": "2"}))
        assert connection.answer().status == 100
        connection.send(b"{}")
        assert connection.answer().status == 200


def test_a_client_that_asks_first_with_too_much_is_told_at_once(site: RunningSite) -> None:
    with site.connect() as connection:
        connection.send(request("PUT", SEND, headers={"Expect": "100-continue", "Content-Length": "9999999"}))
        answer = connection.answer()
        assert (answer.status, answer.errcode) == (413, "M_TOO_LARGE")
        assert connection.is_closed()


def test_a_body_that_is_too_large_is_refused_while_it_arrives(site: RunningSite) -> None:
    with site.connect() as connection:
        connection.send(request("PUT", SEND, headers={"Transfer-Encoding": "chunked"}))
        for _ in range(17):
            connection.send(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        answer = connection.answer()
        assert (answer.status, answer.errcode) == (413, "M_TOO_LARGE")
        assert answer.headers["connection"] == "close"


def test_http_1_0_gets_its_answer_and_the_end(site: RunningSite) -> None:
    with site.connect() as connection:
        connection.send(b"GET /_matrix/client/v3/maybe HTTP/1.0\r\n\r\n")
        assert connection.answer().json == {"user_id": None}
        assert connection.is_closed()


def test_the_client_may_ask_for_the_end(site: RunningSite) -> None:
    with site.connect() as connection:
        connection.send(request("GET", f"{C}/whoami", headers={"Connection": "close"}))
        assert connection.answer().headers["connection"] == "close"
        assert connection.is_closed()


def test_head_is_get_without_its_body(site: RunningSite) -> None:
    with site.connect() as connection:
        connection.send(request("HEAD", f"{C}/whoami") + request("GET", f"{C}/whoami"))
        answer = connection.answer(head_only=True)
        assert answer.status == 200
        assert int(answer.headers["content-length"]) == len(connection.answer().body)


def test_browsers_may_ask_from_anywhere(site: RunningSite) -> None:
    for target in (SEND, f"{C}/nothing/at/all", "/_matrix/media/v3/upload"):
        answer = site.ask("OPTIONS", target, token=None, headers={"Origin": "https://app.example"})
        assert answer.status == 204
        assert answer.headers["access-control-allow-origin"] == "*"
        assert answer.headers["access-control-allow-methods"] == "GET, HEAD, POST, PUT, DELETE, OPTIONS"
        assert answer.headers["access-control-allow-headers"] == (
            "X-Requested-With, Content-Type, Authorization, If-Match, If-None-Match"
        )


def test_unknown_paths_and_methods_are_unrecognized_with_cors(site: RunningSite) -> None:
    unknown = site.ask("GET", f"{C}/nothing")
    wrong = site.ask("DELETE", f"{C}/whoami")
    assert (unknown.status, unknown.errcode) == (404, "M_UNRECOGNIZED")
    assert (wrong.status, wrong.errcode, wrong.headers["allow"]) == (405, "M_UNRECOGNIZED", "GET, HEAD, OPTIONS")
    assert unknown.headers["access-control-allow-origin"] == "*"
    with site.connect() as connection:
        connection.send(request("POST", f"{C}/nothing", b"{}") + request("GET", f"{C}/whoami"))
        assert connection.answer().status == 404
        assert connection.answer().status == 200


def test_old_and_unstable_paths_lead_to_the_same_endpoint(site: RunningSite) -> None:
    assert site.ask("PUT", SEND.replace("/v3/", "/r0/"), b"{}").status == 200
    assert site.ask("GET", "/_matrix/client/unstable/test/query?limit=3").json["limit"] == 3


def test_state_keys_may_be_empty_or_hold_anything(site: RunningSite) -> None:
    state = f"{C}/rooms/%21a:b/state/m.t%2Fx"
    for end, key in [("", ""), ("/", ""), ("/%40a%3Ab", "@a:b"), ("/%F0%9F%8D%80", "\N{FOUR LEAF CLOVER}")]:
        assert site.ask("GET", state + end).json == {"room_id": "!a:b", "type": "m.t/x", "state_key": key}


@pytest.mark.parametrize(
    ("target", "status", "errcode"),
    [
        (f"{C}/rooms/nonsense/state/t", 400, "M_INVALID_PARAM"),
        (f"{C}/rooms/!a%00:b/state/t", 400, "M_INVALID_PARAM"),
        (f"{C}/rooms/!a:b/state/t%00", 400, "M_INVALID_PARAM"),
        (f"{C}/rooms/!a:b/state/%ff", 400, "M_INVALID_PARAM"),
        (f"{C}/query?limit=many", 400, "M_INVALID_PARAM"),
        (f"{C}/query?limit=%ff", 400, "M_INVALID_PARAM"),
    ],
)
def test_a_parameter_of_the_wrong_form_is_invalid(site: RunningSite, target: str, status: int, errcode: str) -> None:
    answer = site.ask("GET", target)
    assert (answer.status, answer.errcode) == (status, errcode)


@pytest.mark.parametrize(
    ("body", "errcode"),
    [
        (b"", "M_NOT_JSON"),
        (b"nonsense", "M_NOT_JSON"),
        (b'{"a":NaN}', "M_NOT_JSON"),
        (b'{"a":Infinity}', "M_NOT_JSON"),
        (b'{"a":"\\ud800"}', "M_NOT_JSON"),
        (b'{"a":"\xff"}', "M_NOT_JSON"),
        (b"[]", "M_BAD_JSON"),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "M_BAD_JSON"),
        (b'{"a":' + b"[" * 200_000, "M_NOT_JSON"),
    ],
)
def test_a_body_that_is_no_object_is_refused_and_the_server_lives(site: RunningSite, body: bytes, errcode: str) -> None:
    with site.connect() as connection:
        connection.send(request("PUT", SEND, body))
        answer = connection.answer()
        assert answer.status == 400
        assert answer.errcode == errcode or (body.endswith(b"[[") and answer.errcode == "M_BAD_JSON")
        connection.send(request("PUT", SEND, b"{}"))
        assert connection.answer().status == 200


def test_typed_bodies_are_judged_by_their_types(site: RunningSite) -> None:
    for body, status, errcode in [
        (b'{"type":"m.login.password","attempts":2,"unknown":[1]}', 200, ""),
        (b"{}", 400, "M_MISSING_PARAM"),
        (b'{"type":5}', 400, "M_BAD_JSON"),
        (b'{"type":"x","attempts":-1}', 400, "M_BAD_JSON"),
    ]:
        answer = site.ask("POST", f"{C}/login", body, token=None)
        assert answer.status == status
        if errcode:
            assert answer.errcode == errcode
    assert site.ask("POST", f"{C}/leave").status == 200
    assert site.ask("POST", f"{C}/leave", b"").body == b"{}"


def test_tokens_say_who_asks(site: RunningSite) -> None:
    def asked(target: str, token: str | None) -> tuple[int, str]:
        answer = site.ask("GET", target, token=token)
        return answer.status, answer.json.get("user_id") or answer.json.get("errcode", "")

    assert asked(f"{C}/whoami", "alice") == (200, "@alice:test")
    assert asked(f"{C}/whoami", "slow-alice") == (200, "@alice:test")
    assert asked(f"{C}/whoami?access_token=alice", None) == (200, "@alice:test")
    assert asked(f"{C}/whoami", None) == (401, "M_MISSING_TOKEN")
    assert asked(f"{C}/whoami", "nobody") == (401, "M_UNKNOWN_TOKEN")
    assert asked(f"{C}/whoami", "guest") == (200, "@guest:test")
    assert asked(f"{C}/sync", "guest") == (403, "M_GUEST_ACCESS_FORBIDDEN")
    assert asked(f"{C}/admins", "alice") == (403, "M_FORBIDDEN")
    assert asked(f"{C}/admins", "admin") == (200, "")
    assert asked(f"{C}/bridges", "bridge") == (200, "")
    assert asked(f"{C}/whoami?user_id=@bridge_x:test", "bridge") == (200, "@bridge_x:test")
    assert asked(f"{C}/whoami?user_id=@alice:test", "bridge") == (403, "M_EXCLUSIVE")
    assert asked(f"{C}/maybe", "nobody") == (401, "M_UNKNOWN_TOKEN")
    assert site.ask("GET", f"{C}/whoami", token="expired").json["soft_logout"] is True


def test_servers_are_asked_for_their_signature(site: RunningSite) -> None:
    hello = "/_matrix/federation/v1/hello"
    signed = {"Authorization": "X-Matrix origin=remote"}
    assert site.ask("GET", hello, token=None, headers=signed).json == {"origin": "remote"}
    assert site.ask("GET", hello).errcode == "M_UNAUTHORIZED"


def test_a_waiting_request_is_answered_when_there_is_something(site: RunningSite) -> None:
    with site.connect() as connection:
        connection.send(request("GET", f"{C}/sync"))
        site.wait_for(lambda counts: counts["waiting"] == 1)
        site.ask("POST", f"{C}/wake")
        assert connection.answer().json == {"next_batch": "s1"}
        connection.send(request("GET", f"{C}/whoami"))
        assert connection.answer().status == 200


def test_a_client_that_goes_away_ends_its_waiting_but_not_its_writing(site: RunningSite) -> None:
    before = site.counts()
    reader, writer = site.connect(), site.connect()
    reader.send(request("GET", f"{C}/sync"))
    writer.send(request("POST", f"{C}/slow_write"))
    site.wait_for(lambda counts: counts["waiting"] == 2)
    reader.close()
    writer.close()
    site.wait_for(lambda counts: counts["waiting"] == 1 and counts["cancelled"] == before["cancelled"] + 1)
    site.ask("POST", f"{C}/wake")
    site.wait_for(lambda counts: counts["finished_writes"] == before["finished_writes"] + 1)


def test_a_mistake_of_ours_names_the_request_and_logs_no_secret(site: RunningSite) -> None:
    answer = site.ask("GET", f"{C}/broken?access_token=alice")
    assert (answer.status, answer.errcode) == (500, "M_UNKNOWN")
    request_id = answer.headers["x-request-id"]
    assert request_id in answer.json["error"]
    assert "hunter2" not in answer.body.decode()
    (line,) = [line for line in site.log() if line.get("request_id") == request_id and line["level"] == "error"]
    assert "RuntimeError" in line["exception"]
    assert "hunter2" not in json.dumps(line)


def test_a_handler_cannot_smuggle_a_header_out(site: RunningSite) -> None:
    answer = site.ask("GET", f"{C}/bad_header")
    assert answer.status == 500
    assert "x-other" not in answer.headers


def test_without_its_database_the_server_says_so(site: RunningSite) -> None:
    site.ask("POST", f"{C}/database/0")
    try:
        answer = site.ask("GET", f"{C}/database")
        assert (answer.status, answer.errcode) == (503, "M_UNKNOWN")
        assert int(answer.headers["retry-after"]) > 0
        assert site.ask("GET", "/health", token=None).status == 503
    finally:
        site.ask("POST", f"{C}/database/1")
    health = site.ask("GET", "/health", token=None)
    assert (health.status, health.body) == (200, b"OK")


def test_large_answers_are_compressed_for_those_who_take_it(site: RunningSite) -> None:
    for size in (20_000, 500_000):
        plain = site.ask("GET", f"{C}/big?limit={size}")
        packed = site.ask("GET", f"{C}/big?limit={size}", headers={"Accept-Encoding": "gzip, br"})
        assert "content-encoding" not in plain.headers
        assert (packed.headers["content-encoding"], packed.headers["vary"]) == ("gzip", "Accept-Encoding")
        assert gzip.decompress(packed.body) == plain.body
        assert len(packed.body) < size / 10
    small = site.ask("GET", f"{C}/big?limit=100", headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in small.headers


def test_an_upload_streams_in_and_its_limit_holds(site: RunningSite) -> None:
    upload = "/_matrix/media/v3/upload"
    data = b"d" * (3 * 1024 * 1024)
    answer = site.ask("POST", upload, data, headers={"Content-Type": "image/png"})
    assert answer.json == {"size": len(data), "type": "image/png", "streamed": True}
    with site.connect() as connection:
        connection.send(request("POST", upload, headers={"Content-Length": str(9 * 1024 * 1024)}))
        assert connection.answer().status == 413
    with site.connect() as connection:
        connection.send(request("POST", upload, headers={"Transfer-Encoding": "chunked"}))
        piece = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
        for _ in range(9):
            connection.send(piece)
        assert connection.answer().errcode == "M_TOO_LARGE"


def test_an_upload_by_nobody_is_refused_before_it_is_read(site: RunningSite) -> None:
    with site.connect() as connection:
        head = request("POST", "/_matrix/media/v3/upload", token=None, headers={"Content-Length": "5000000"})
        connection.send(head)
        answer = connection.answer()
        assert (answer.status, answer.errcode) == (401, "M_MISSING_TOKEN")
        assert answer.headers["connection"] == "close"


def test_an_upload_that_breaks_off_tells_the_handler(site: RunningSite) -> None:
    before = len(site.counts()["upload_errors"])
    connection = site.connect()
    connection.send(request("POST", "/_matrix/media/v3/upload", headers={"Content-Length": "5000"}) + b"half")
    connection.close()
    site.wait_for(lambda counts: len(counts["upload_errors"]) == before + 1)
    broken = site.connect()
    broken.send(request("POST", "/_matrix/media/v3/upload", headers={"Transfer-Encoding": "chunked"}))
    broken.send(b"4\r\nhalf\r\nx\r\n")
    assert broken.answer().status == 400
    assert broken.is_closed()
    site.wait_for(lambda counts: len(counts["upload_errors"]) == before + 2)


def test_a_download_streams_out_chunked_or_with_its_length(site: RunningSite) -> None:
    chunked = site.ask("GET", "/_matrix/media/v3/download/20")
    assert chunked.headers["transfer-encoding"] == "chunked"
    assert len(chunked.body) == 20 * 65536
    known = site.ask("GET", "/_matrix/media/v3/known_length/20")
    assert int(known.headers["content-length"]) == len(known.body) == 20 * 65536
    with site.connect() as old:
        old.send(b"GET /_matrix/media/v3/download/3 HTTP/1.0\r\n\r\n")
        assert len(old.answer().body) == 3 * 65536


def test_a_download_waits_for_its_reader_and_ends_with_it(site: RunningSite) -> None:
    before = site.counts()
    connection = site.connect()
    connection.send(request("GET", "/_matrix/media/v3/download/100000"))
    connection.socket.recv(1000)
    connection.close()
    after = site.wait_for(lambda counts: counts["closed_streams"] == before["closed_streams"] + 1)
    # 6.5 GB were asked for.
    assert after["rss"] - before["rss"] < 50_000_000


def test_a_thousand_waiting_requests_are_light(site: RunningSite) -> None:
    head = {"User-Agent": "Client/1.0 (Linux; something long)", "Accept": "application/json", "Accept-Language": "en"}
    connections: list[Connection] = []
    try:
        for count in (100, 1100):
            while len(connections) < count:
                connections.append(site.connect())
                connections[-1].send(request("GET", f"{C}/sync?since=s72594&timeout=30000", headers=head))
            counts = site.wait_for(lambda counts, count=count: counts["waiting"] == count)  # type: ignore[misc]
            if count == 100:
                before = counts["rss"]
        assert counts["rss"] - before < 1000 * 20_000
    finally:
        for connection in connections:
            connection.close()
    site.wait_for(lambda counts: counts["waiting"] == 0)


def test_measures_are_there_for_prometheus(site: RunningSite) -> None:
    site.ask("GET", f"{C}/whoami")
    answer = site.ask("GET", "/metrics", token=None)
    assert answer.headers["content-type"].startswith("text/plain")
    assert 'myelin_http_requests_total{endpoint="/_matrix/client/v3/whoami",method="GET",status="200"}' in str(
        answer.body
    )


def test_a_proxy_tells_whose_request_it_is(site: RunningSite) -> None:
    forwarded = {"X-Forwarded-For": "1.1.1.1, 203.0.113.7", "User-Agent": "ua"}
    answer = site.ask("POST", f"{C}/login", b'{"type":"x"}', headers=forwarded)
    assert (answer.json["ip"], answer.json["agent"]) == ("203.0.113.7", "ua")
    assert site.ask("POST", f"{C}/login", b'{"type":"x"}').json["ip"] == "127.0.0.1"
