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
