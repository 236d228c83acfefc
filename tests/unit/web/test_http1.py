"""Requests as bytes: what is read, and what is refused because others may read it differently."""

from __future__ import annotations

import pytest

from homeserver.web.http1 import (
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    BadRequestBytes,
    ChunkedBody,
    Head,
    find_head,
    parse_head,
)


def head(*lines: bytes) -> Head:
    return parse_head(b"\r\n".join(lines))


def with_headers(*lines: bytes) -> Head:
    return head(b"POST /a HTTP/1.1", b"Host: h", *lines)


def test_a_usual_head_is_read() -> None:
    found = head(
        b"PUT /a/b%20c?d=e HTTP/1.1", b"HOST: h:8008", b"Content-Length: 12", b"X-A:  one \t", b"x-a: two", b"Empty:"
    )
    assert (found.method, found.target, found.length, found.keep_alive) == ("PUT", "/a/b%20c?d=e", 12, True)
    assert found.headers == {"host": "h:8008", "content-length": "12", "x-a": "one, two", "empty": ""}


def test_without_a_length_there_is_no_body() -> None:
    assert with_headers().length == 0


def test_a_chunked_body_has_no_length_beforehand() -> None:
    assert with_headers(b"Transfer-Encoding: Chunked").length is None


@pytest.mark.parametrize(
    ("lines", "keep_alive"),
    [
        ((b"Connection: close",), False),
        ((b"Connection: Keep-Alive, Close",), False),
        ((b"Connection: keep-alive",), True),
        ((b"Connection: disclose",), True),
    ],
)
def test_the_client_says_whether_the_connection_stays(lines: tuple[bytes, ...], keep_alive: bool) -> None:
    assert with_headers(*lines).keep_alive is keep_alive


def test_http_1_0_is_answered_and_closed() -> None:
    found = head(b"GET / HTTP/1.0")
    assert (found.is_1_0, found.keep_alive) == (True, False)


@pytest.mark.parametrize(
    "block",
    [
        b"GET / HTTP/1.1",  # no Host
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: a",
        b"GET / HTTP/1.1\nHost: a",
        b"GET / HTTP/1.1\r\nHost: a\n",
        b"GET / HTTP/1.1\rHost: a",
        b"GET / HTTP/1.1\r\nHost: a\r",
        b"GET / HTTP/1.1\r\nHost: a\r\n folded",
        b"GET / HTTP/1.1\r\nHost: a\r\n\tfolded",
        b"GET / HTTP/1.1\r\n Host: a",
        b"GET / HTTP/1.1\r\nHost : a",
        b"GET / HTTP/1.1\r\nHost: a\r\nno colon",
        b"GET / HTTP/1.1\r\nHost: a\r\n: no name",
        b"GET / HTTP/1.1\r\nHost: a\r\nN\x00: x",
        b"GET / HTTP/1.1\r\nHost: a\r\nName: x\x00y",
        b"GET / HTTP/1.1\r\nHost: a\r\nName: x\x0by",
        b"GET / HTTP/1.1\r\nHost: a\r\nN\xc3\xa4me: x",
        b"GET http://a/ HTTP/1.1\r\nHost: a",
        b"GET a HTTP/1.1\r\nHost: a",
        b"CONNECT a:80 HTTP/1.1\r\nHost: a",
        b"GET * HTTP/1.1\r\nHost: a",
        b"GET  / HTTP/1.1\r\nHost: a",
        b"GET / HTTP/1.1 \r\nHost: a",
        b"GET /\x00 HTTP/1.1\r\nHost: a",
        b"GET /\t HTTP/1.1\r\nHost: a",
        b"GET /\xc3\xa4 HTTP/1.1\r\nHost: a",
        b"GET /\r\nHost: a",
        b"get / HTTP/1.1\r\nHost: a",
        b"GET / HTTP/2.0\r\nHost: a",
        b"GET / HTTP/1.2\r\nHost: a",
        b"GET / http/1.1\r\nHost: a",
        b"GET / HTTP/0.9\r\nHost: a",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +1",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1_0",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: \xb2",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length:",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999999999999",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked",
        b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 1",
        b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity",
        b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked",
        b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity",
        b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked",
        b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked",
        b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked",
        b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:",
        b"GET / HTTP/1.0\r\nTransfer-Encoding: chunked",
        b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer a\r\nAuthorization: Bearer b",
        b"GET / HTTP/1.1\r\nHost: a" + b"\r\na: b" * (MAX_HEADERS + 1),
        b"",
    ],
)
def test_what_may_be_read_in_two_ways_is_refused(block: bytes) -> None:
    with pytest.raises(BadRequestBytes):
        parse_head(block)


def test_a_head_is_found_once_it_is_complete() -> None:
    assert find_head(b"GET / HTTP/1.1\r\nHost: a\r\n\r") == -1
    assert find_head(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nrest") == 23


def test_a_head_that_never_ends_is_refused() -> None:
    with pytest.raises(BadRequestBytes):
        find_head(b"GET /" + b"a" * MAX_HEAD_BYTES)
    with pytest.raises(BadRequestBytes):
        find_head(b"GET /" + b"a" * MAX_HEAD_BYTES + b"\r\n\r\n")


def test_a_bare_line_feed_is_refused_before_the_head_is_complete() -> None:
    with pytest.raises(BadRequestBytes):
        find_head(b"GET / HTTP/1.1\nHost: a\n\n")


WIKI = b'4\r\nWiki\r\n5;name="value"\r\npedia\r\nE\r\n in\r\n\r\nchunks.\r\n0\r\nTrailer: x\r\n\r\n'


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
def test_chunks_are_put_together_however_they_arrive(step: int) -> None:
    body = ChunkedBody()
    pieces: list[bytes] = []
    sent = WIKI + b"NEXT"
    for start in range(0, len(sent), step):
        if body.finished:
            body.rest += sent[start : start + step]
        else:
            pieces += body.feed(sent[start : start + step])
    assert body.finished
    assert b"".join(pieces) == b"Wikipedia in\r\n\r\nchunks."
    assert body.rest == b"NEXT"


@pytest.mark.parametrize(
    "sent",
    [
        b"g\r\n",
        b"-1\r\n",
        b"+1\r\n",
        b"0x1\r\n",
        b" 1\r\n",
        b"1 \r\n",
        b"1_0\r\n",
        b"\r\n",
        b"1\na",
        b"1\r\nab\r\n",
        b"1\r\na\n0\r\n\r\n",
        b"1\r\na\r0\r\n\r\n",
        b"1;a\x00\r\n",
        b"1;a\rb\r\n",
        b"1;\n",
        b"fffffffffffff\r\n",
        b"1;" + b"a" * 300,
        b"0\r\nbroken trailer\r\n\r\n",
        b"0\r\n folded: x\r\n\r\n",
        b"0\r\na: b\n\r\n",
        b"0\r\n" + b"a: b\r\n" * 5000,
        b"0\r\na: " + b"b" * 5000,
        b"0\n\n",
    ],
)
def test_malformed_chunks_are_refused(sent: bytes) -> None:
    body = ChunkedBody()
    with pytest.raises(BadRequestBytes):
        for start in range(len(sent)):
            body.feed(sent[start : start + 1])
    with pytest.raises(BadRequestBytes):
        ChunkedBody().feed(sent)
