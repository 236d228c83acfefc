"""Two devices meet, one of them not logged in yet, and exchange texts."""

from __future__ import annotations

from urllib.parse import urlsplit

from tests.cast import Cast
from tests.wire import Response, Wire

OPEN = "/_matrix/client/unstable/org.matrix.msc4108/rendezvous"


def call(wire: Wire, method: str, path: str, text: bytes | None = None, **headers: str) -> Response:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if text is not None:
        sent.setdefault("Content-Type", "text/plain")
    return wire.ask(method, path, raw=text, headers=sent)


def opened(wire: Wire, text: bytes = b"first") -> tuple[str, Response]:
    answer = call(wire, "POST", OPEN, text)
    assert answer.status == 201, answer
    return urlsplit(answer.json["url"]).path, answer


def etag(answer: Response) -> str:
    return answer.headers["etag"]


def test_each_device_reads_what_the_other_wrote(cast: Cast) -> None:
    wire = cast.server.wire
    path, first = opened(wire)
    read = call(wire, "GET", path)
    assert (read.status, read.body, etag(read)) == (200, b"first", etag(first))
    assert call(wire, "GET", path, If_None_Match=etag(first)).status == 304
    second = call(wire, "PUT", path, b"second", If_Match=etag(first))
    assert second.status == 202
    assert etag(second) != etag(first)
    again = call(wire, "GET", path, If_None_Match=etag(first))
    assert (again.status, again.body) == (200, b"second")
    assert call(wire, "DELETE", path).status == 204
    assert call(wire, "GET", path).errcode == "M_NOT_FOUND"


def test_nothing_is_overwritten_unread(cast: Cast) -> None:
    wire = cast.server.wire
    path, first = opened(wire)
    assert call(wire, "PUT", path, b"one", If_Match=etag(first)).status == 202
    late = call(wire, "PUT", path, b"two", If_Match=etag(first))
    assert (late.status, late.json["org.matrix.msc4108.errcode"]) == (412, "M_CONCURRENT_WRITE")
    assert call(wire, "GET", path).body == b"one"
    assert call(wire, "PUT", path, b"three").errcode == "M_MISSING_PARAM"


def test_texts_are_small_and_plain(cast: Cast) -> None:
    wire = cast.server.wire
    assert call(wire, "POST", OPEN, b"x" * 5000).status == 413
    assert call(wire, "POST", OPEN, b"{}", Content_Type="text/html").errcode == "M_INVALID_PARAM"
    path, first = opened(wire, b"")
    assert call(wire, "PUT", path, b"x" * 5000, If_Match=etag(first)).status == 413
    assert call(wire, "GET", path).body == b""


def test_the_same_as_json(cast: Cast) -> None:
    wire, juliet = cast.server.wire, cast("juliet")
    path = "/_matrix/client/unstable/io.element.msc4388/rendezvous"
    for token in (None, juliet.token):
        assert wire.ask("GET", path, None, token).json == {"create_available": True}
    opened = wire.ask("POST", path, {"data": "first"}, juliet.token)
    assert opened.status == 200
    assert 120_000 <= opened.json["expires_in_ms"] <= 300_000
    session = f"{path}/{opened.json['id']}"
    read = wire.ask("GET", session).json
    assert (read["data"], read["sequence_token"]) == ("first", opened.json["sequence_token"])
    assert read["expires_ts"] == opened.json["expires_ts"]
    answer = wire.ask("PUT", session, {"data": "zweitens, ö", "sequence_token": read["sequence_token"]})
    assert answer.status == 200
    again = wire.ask("GET", session).json
    assert (again["data"], again["sequence_token"]) == ("zweitens, ö", answer.json["sequence_token"])
    # Who has not read it cannot write.
    late = wire.ask("PUT", session, {"data": "late", "sequence_token": read["sequence_token"]})
    assert (late.status, late.errcode) == (409, "IO_ELEMENT_MSC4388_CONCURRENT_WRITE")
    assert wire.ask("GET", session, headers={"Sec-Fetch-Mode": "navigate"}).errcode == "M_FORBIDDEN"
    assert wire.ask("DELETE", session).json == {}
    for method, body in (("GET", None), ("PUT", {"data": "x", "sequence_token": "x"}), ("DELETE", None)):
        gone = wire.ask(method, session, body)
        assert (gone.status, gone.errcode) == (404, "M_NOT_FOUND")


def test_texts_as_json_are_small_strings(cast: Cast) -> None:
    wire = cast.server.wire
    path = "/_matrix/client/unstable/io.element.msc4388/rendezvous"
    assert wire.ask("POST", path, {"data": "ö" * 4096}).status == 200
    for data in ("x" * 4097, "x" * 100_000):
        assert wire.ask("POST", path, {"data": data}).errcode == "M_TOO_LARGE"
    assert wire.ask("POST", path, {}).errcode == "M_MISSING_PARAM"
    assert wire.ask("POST", path, {"data": {}}).errcode == "M_BAD_JSON"
    session = wire.ask("POST", path, {"data": ""}).json["id"]
    assert wire.ask("PUT", f"{path}/{session}", {"data": "x"}).errcode == "M_MISSING_PARAM"
    # Each kind of session is its own.
    assert call(wire, "GET", f"/_synapse/client/rendezvous/{session}").status == 404
