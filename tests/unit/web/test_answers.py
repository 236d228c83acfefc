"""Heads of answers, errors as JSON, groups of paths, and what is measured."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable

import pytest

from homeserver.runtime.clock import FakeClock
from homeserver.runtime.metrics import Metrics
from homeserver.web.answer import COMPRESS_IN_THREAD_FROM_BYTES, Heads, compress, compressed_stream, takes_gzip
from homeserver.web.errors import LimitExceeded, MatrixError, UnknownToken
from homeserver.web.groups import groups_of
from homeserver.web.measures import HttpMeasures


def test_a_head_has_what_browsers_and_caches_need() -> None:
    clock = FakeClock(784111777000)
    lines = Heads(clock).write(200, {}, 2, "id-1", False).decode().split("\r\n")
    assert lines[0] == "HTTP/1.1 200 OK"
    assert "Access-Control-Allow-Origin: *" in lines
    assert "Date: Sun, 06 Nov 1994 08:49:37 GMT" in lines
    assert "X-Request-Id: id-1" in lines
    assert "Content-Type: application/json" in lines
    assert "Content-Length: 2" in lines
    assert lines[-2:] == ["", ""]


def test_the_date_moves_on() -> None:
    clock = FakeClock(784111777000)
    heads = Heads(clock)
    heads.write(200, {}, 0, "", False)
    clock.advance(2)
    assert b"08:49:39" in heads.write(200, {}, 0, "", False)


def test_an_answer_without_a_body_says_nothing_about_one() -> None:
    head = Heads(FakeClock()).write(204, {}, 0, "", False)
    assert b"\r\nContent-Length" not in head and b"\r\nContent-Type" not in head


def test_a_length_that_is_not_known_is_chunked_or_ends_with_the_connection() -> None:
    heads = Heads(FakeClock())
    assert b"Transfer-Encoding: chunked" in heads.write(200, {}, None, "", False)
    assert b"Connection: close" in heads.write(200, {}, None, "", True)


def test_an_own_content_type_replaces_the_usual_one() -> None:
    head = Heads(FakeClock()).write(200, {"content-type": "text/plain"}, 0, "", False)
    assert b"content-type: text/plain" in head and b"application/json" not in head


@pytest.mark.parametrize("value", ["a\r\nX: y", "a\nX: y", "a\0"])
def test_a_header_cannot_begin_another_one(value: str) -> None:
    with pytest.raises(ValueError, match="line break"):
        Heads(FakeClock()).write(200, {"X-A": value}, 0, "", False)


@pytest.mark.parametrize(
    ("accepts", "takes"),
    [
        (None, False),
        ("gzip", True),
        ("deflate, gzip;q=0.5", True),
        ("GZIP, gzip", True),
        ("gzip;q=0", False),
        ("gzip; q=0.0", False),
        ("x-gzip", False),
        ("br", False),
    ],
)
def test_gzip_is_for_those_who_take_it(accepts: str | None, takes: bool) -> None:
    assert takes_gzip(accepts) is takes


def test_compressed_bodies_open_again() -> None:
    assert gzip.decompress(compress(b"abc" * 10_000)) == b"abc" * 10_000


def test_an_error_is_the_standard_error_response() -> None:
    assert json.loads(MatrixError(400, "M_X", "Sentence.", more=[1]).body()) == {
        "errcode": "M_X",
        "error": "Sentence.",
        "more": [1],
    }
    assert json.loads(UnknownToken(soft_logout=True).body())["soft_logout"] is True
    assert LimitExceeded(1).headers["Retry-After"] == "1"
    assert LimitExceeded(2001).headers["Retry-After"] == "3"


@pytest.mark.parametrize(
    ("path", "groups"),
    [
        ("/_matrix/client/v3/sync", {"client"}),
        ("/_matrix/client/versions", {"client"}),
        ("/_matrix/client/v1/media/download/{server_name}/{media_id}", {"client", "media"}),
        ("/_matrix/media/v3/upload", {"media"}),
        ("/_matrix/federation/v1/send/{txn_id}", {"federation"}),
        ("/_matrix/federation/v1/media/download/{media_id}", {"federation", "media"}),
        ("/_matrix/key/v2/server", {"federation"}),
        ("/_synapse/admin/v1/register", {"admin"}),
        ("/metrics", {"metrics"}),
        ("/.well-known/matrix/server", {"client", "federation"}),
        ("/.well-known/matrix/client", {"client"}),
    ],
)
def test_paths_belong_to_groups(path: str, groups: set[str]) -> None:
    assert groups_of(path) == groups


def test_measures_come_out_in_prometheus_text() -> None:
    metrics, measures = Metrics(), HttpMeasures()
    metrics.collect(measures)
    sync = measures.of("GET", "/sync")
    sync.done(200, 0.003)
    sync.done(200, 0.2)
    sync.done(401, 100.0)
    sync.waiting += 1
    measures.of("GET", "/never")
    measures.unmatched(404)
    text = metrics.text().decode()
    assert 'myelin_http_requests_total{endpoint="/sync",method="GET",status="200"} 2.0' in text
    assert 'myelin_http_requests_total{endpoint="",method="",status="404"} 1.0' in text
    assert 'myelin_http_request_seconds_bucket{endpoint="/sync",le="0.005",method="GET"} 1.0' in text
    assert 'myelin_http_request_seconds_count{endpoint="/sync",method="GET"} 3.0' in text
    assert 'myelin_http_requests_in_flight{endpoint="/sync",method="GET"} 1.0' in text
    assert "/never" not in text


def test_what_comes_in_pieces_is_one_compressed_body_and_its_maker_hears_of_the_end() -> None:
    pieces = [b"small", b"large" * COMPRESS_IN_THREAD_FROM_BYTES, b"", b"small again"]
    elsewhere: list[bytes] = []
    ended: list[bool] = []

    async def made() -> AsyncIterator[bytes]:
        try:
            for piece in pieces:
                yield piece
        finally:
            ended.append(True)

    async def in_thread(work: Callable[[bytes], bytes], body: bytes) -> bytes:
        elsewhere.append(body)
        return work(body)

    async def read() -> bytes:
        return b"".join([piece async for piece in compressed_stream(made(), in_thread)])

    async def read_some() -> None:
        stream = compressed_stream(made(), in_thread)
        await anext(stream)
        await stream.aclose()  # type: ignore[attr-defined]  # it is a generator

    assert gzip.decompress(asyncio.run(read())) == b"".join(pieces)
    assert elsewhere == [pieces[1]]
    asyncio.run(read_some())
    assert ended == [True, True]
