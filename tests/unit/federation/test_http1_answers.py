"""What other servers answer, as bytes: where the head ends, where the body ends, what nobody could read."""

from __future__ import annotations

import pytest

from federation.outbound.http1_answers import MAX_HEAD_BYTES, AnswerReader, BadAnswerBytes

OK = b"HTTP/1.1 200 OK\r\n"


def read(data: bytes, method: str = "GET", piece_bytes: int | None = None) -> tuple[AnswerReader, bytes]:
    """The reader after all of this has arrived, and the body."""
    reader, body = AnswerReader(method), b""
    for begin in range(0, len(data), piece_bytes or len(data)):
        body += b"".join(reader.feed(data[begin : begin + (piece_bytes or len(data))]))
    return reader, body


WITH_LENGTH = OK + b"Content-Length: 5\r\nX-A: 1\r\nx-a:  2 \r\n\r\nhello"
CHUNKED = OK + b"Transfer-Encoding: Chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nT: 1\r\n\r\n"
BARE = b"HTTP/1.1 200\nContent-Length: 5\nX-Folded: a\n b\n\nhello"
WITH_HINTS = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + WITH_LENGTH


@pytest.mark.parametrize("piece_bytes", [None, 1, 7])
@pytest.mark.parametrize("data", [WITH_LENGTH, CHUNKED, BARE, WITH_HINTS])
def test_an_answer_ends_where_it_says_however_it_is_cut(data: bytes, piece_bytes: int | None) -> None:
    reader, body = read(data, piece_bytes=piece_bytes)
    assert (body, reader.finished, reader.rest) == (b"hello", True, b"")
    assert reader.head is not None
    assert (reader.head.status, reader.head.keep_alive) == (200, True)


def test_headers_are_in_lower_case_and_joined_and_unfolded() -> None:
    first, _ = read(WITH_LENGTH)
    second, _ = read(BARE)
    assert first.head is not None
    assert first.head.headers == {"content-length": "5", "x-a": "1, 2"}
    assert second.head is not None
    assert second.head.headers["x-folded"] == "a b"


def test_a_body_without_a_length_ends_with_the_connection() -> None:
    reader, body = read(OK + b"\r\nhello")
    assert (body, reader.finished) == (b"hello", False)
    assert reader.end()
    assert reader.head is not None
    assert not reader.head.keep_alive


@pytest.mark.parametrize("data", [b"", OK, WITH_LENGTH[:-1], CHUNKED[:-3]])
def test_an_answer_that_breaks_off_is_not_complete(data: bytes) -> None:
    reader, _ = read(data) if data else (AnswerReader("GET"), b"")
    assert not reader.end()


@pytest.mark.parametrize(
    ("method", "status"), [("HEAD", b"200 OK"), ("GET", b"204 No Content"), ("GET", b"304 Not Modified")]
)
def test_some_answers_have_no_body_whatever_they_announce(method: str, status: bytes) -> None:
    reader, body = read(b"HTTP/1.1 " + status + b"\r\nContent-Length: 5\r\n\r\n", method)
    assert (reader.finished, body) == (True, b"")


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        OK + b"Connection: Close\r\nContent-Length: 0\r\n\r\n",
        OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
def test_the_connection_is_not_used_again_where_that_is_not_safe(head: bytes) -> None:
    reader, body = read(head)
    assert (reader.finished, body) == (True, b"")
    assert reader.head is not None
    assert not reader.head.keep_alive


def test_what_comes_after_the_answer_is_kept_apart() -> None:
    assert read(WITH_LENGTH + b"HTTP/1.1")[0].rest == b"HTTP/1.1"
    assert read(CHUNKED + b"more")[0].rest == b"more"


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        OK + b"no header\r\n\r\n",
        OK + b"Content-Length: -1\r\n\r\n",
        OK + b"Content-Length: 1, 2\r\n\r\n",
        OK + b"Content-Length: " + b"9" * 20 + b"\r\n\r\n",
        OK + b"Transfer-Encoding: gzip\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
        OK + b"X: y\r\n" * (MAX_HEAD_BYTES // 6),
        b"HTTP/1.1 100 Continue\r\n\r\n" * (MAX_HEAD_BYTES // 25 + 1),
    ],
)
def test_what_nobody_could_read_is_refused(data: bytes) -> None:
    with pytest.raises(BadAnswerBytes):
        read(data)


def test_a_length_that_is_said_twice_is_one() -> None:
    reader, body = read(OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nab")
    assert (reader.finished, body) == (True, b"ab")
