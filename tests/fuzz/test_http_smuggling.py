"""Request smuggling: what we read as requests must be what everybody else reads.

Streams are put together from pieces that are known to divide parsers. Whatever of a stream we take for a request,
Twisted's own parser (an independent one, for us) must take for the same request with the same body; where we refuse, we
close, and nothing after that is taken for a request.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.testing import StringTransport
from twisted.web import http

from homeserver.runtime.clock import FakeClock
from homeserver.web.access import AccessControl, Requester
from homeserver.web.endpoint import NONE, Endpoint, declarations_of, endpoint
from homeserver.web.errors import UnknownToken
from homeserver.web.gate import Gate
from homeserver.web.limits import Limiter
from homeserver.web.measures import HttpMeasures
from homeserver.web.plan import bind
from homeserver.web.request import RequestInfo
from homeserver.web.response import Response
from homeserver.web.site import Site
from homeserver.web.websocket import Heartbeat, WebSockets


class Seen(NamedTuple):
    """A request as a parser understood it."""

    method: str
    target: str
    body: bytes


class Nobody:
    """Knows no token; nothing here asks."""

    def cached(self, token_hash: bytes) -> Requester | None:
        return None

    async def resolve(self, token_hash: bytes) -> Requester:
        raise UnknownToken()

    async def masquerade(self, requester: Requester, user_id: str, device_id: str | None) -> Requester:
        raise UnknownToken()


@endpoint("GET", "/{name}", access=NONE)
@endpoint("POST", "/{name}", access=NONE)
async def note(seen: list[Seen], name: str, request: RequestInfo) -> Response:
    """Write down what arrived."""
    seen.append(Seen(request.method, request.target, request.body))
    return Response(200, {}, b"{}")


class Outcome(NamedTuple):
    """What a stream came to."""

    seen: list[Seen]
    closed: bool
    answers: int
    refusals: int


async def _in_thread(function: Any, *arguments: Any) -> Any:
    return function(*arguments)


def ours(pieces: list[bytes]) -> Outcome:
    """Our own reading of a stream that arrives in these pieces."""
    seen: list[Seen] = []
    clock, measures = FakeClock(), HttpMeasures()
    bound = bind([Endpoint(each, note) for each in declarations_of(note)], seen)
    gate = Gate(bound, AccessControl(Nobody()), Limiter(clock), clock, measures, _in_thread)
    site = Site(gate, clock, WebSockets(None, clock, Heartbeat()), measures)
    channel = site.buildProtocol(None)
    transport = cast(Any, StringTransport)()
    cast(Any, channel).makeConnection(transport)
    closed = False
    for piece in pieces:
        channel.dataReceived(piece)
        closed = closed or transport.disconnecting
    answers = transport.value()
    # The end of the connection must be taken well in any state.
    channel.connectionLost()
    lingering = b"\r\nConnection: close\r\n" in answers
    return Outcome(seen, closed or lingering, answers.count(b"HTTP/1.1 200 "), answers.count(b"HTTP/1.1 400 "))


class _TwistedRequest(http.Request):
    """Notes what Twisted's parser understood."""

    def process(self) -> None:
        content = cast(Any, self).content
        body = content.read()
        channel = cast(Any, self).channel
        channel.seen.append(Seen(self.method.decode("latin-1"), self.uri.decode("latin-1"), body))
        cast(Any, self).setHeader(b"content-length", b"0")
        cast(Any, self).finish()


def theirs(stream: bytes) -> list[Seen]:
    """Twisted's reading."""
    channel: Any = cast(Any, http.HTTPChannel)()
    channel.requestFactory = _TwistedRequest
    channel.timeOut = None
    channel.seen = []
    channel.factory = http.HTTPFactory(reactor=cast(Any, _NoReactor()))
    channel.factory.log = lambda request: None
    channel.makeConnection(cast(Any, StringTransport)())
    channel.dataReceived(stream)
    # Other methods are answered with 405 here, and not noted.
    return [each for each in channel.seen if each.method in ("GET", "POST")]


class _NoReactor:
    def callLater(self, *_: object) -> Deferred[None]:
        return Deferred()

    def seconds(self) -> float:
        return 0.0


LINE_ENDS = st.sampled_from([b"\r\n"] * 150 + [b"\n", b"\r", b"\n\r", b"\r\r\n", b"\r\n ", b" \r\n", b"\0\r\n"])
REQUEST_LINES = st.sampled_from(
    [b"POST /a HTTP/1.1"] * 40
    + [
        b"GET /b HTTP/1.1",
        b"GET /b HTTP/1.0",
        b"POST  /a HTTP/1.1",
        b"POST /a\t HTTP/1.1",
        b"POST /a HTTP/1.1 ",
        b"POST http://h/a HTTP/1.1",
        b"POST /a?b=%2F\xff HTTP/1.1",
        b"post /a HTTP/1.1",
        b"POST /a HTTP/1.2",
        b"POST /a",
        b"\x16\x03\x01\x02",
    ]
)
ODD_HEADERS = st.sampled_from(
    [
        b"Host: h",
        b"Content-Length: 5",
        b"Content-Length: 5",
        b"Content-Length: 0",
        b"content-length: 31",
        b"Content-Length: 5, 5",
        b"Content-Length: +5",
        b"Content-Length: 0x5",
        b"Content-Length: 05",
        b"Content-Length : 5",
        b"Content-Length:5",
        b"Content-Length: 5\x0b",
        b"Content_Length: 5",
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: chunked",
        b"transfer-encoding: CHUNKED",
        b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding: chunked, identity",
        b"Transfer-Encoding: identity, chunked",
        b"Transfer-Encoding:\tchunked",
        b"Transfer-Encoding:\x0bchunked",
        b"Transfer-Encoding : chunked",
        b"Transfer-Encoding: identity",
        b" Transfer-Encoding: chunked",
        b"X: y\rTransfer-Encoding: chunked",
        b"X: y\nTransfer-Encoding: chunked",
        b"X: y\0",
        b"X\0: y",
        b": y",
        b"nothing",
        b" folded",
        b"Connection: close",
        b"Expect: 100-continue",
    ]
)
USUAL_HEADERS = st.sampled_from([b"X-A: b", b"Accept: */*", b"Content-Length: 5", b"Transfer-Encoding: chunked"])
HEADERS = st.one_of(USUAL_HEADERS, USUAL_HEADERS, ODD_HEADERS)
BODIES = st.sampled_from(
    [
        *[b"", b"abcde", b"5\r\nabcde\r\n0\r\n\r\n"] * 5,
        b"5\r\nabcde\r\n0\r\nTrailer: x\r\n\r\n",
        b"5;ext=1\r\nabcde\r\n0\r\n\r\n",
        b'5;ext="\r\n"\r\nabcde\r\n0\r\n\r\n',
        b"5\nabcde\n0\n\n",
        b"5 \r\nabcde\r\n0\r\n\r\n",
        b"0x5\r\nabcde\r\n0\r\n\r\n",
        b"-5\r\nabcde\r\n0\r\n\r\n",
        b"5\r\nabcdeX\r\n0\r\n\r\n",
        b"5\r\nabcdef\r\n0\r\n\r\n",
        b"5\r\nabcdeXX0\r\n\r\n",
        b"0005\r\nabcde\r\n00\r\n\r\n",
        b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n",
        b"\r\n",
        b"\r\n\r\n",
        b"\n",
    ]
)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Something like a request."""
    lines = [
        draw(REQUEST_LINES),
        *draw(st.sampled_from([[b"Host: h"]] * 19 + [[]])),
        *draw(st.lists(HEADERS, max_size=3)),
    ]
    return b"".join(line + draw(LINE_ENDS) for line in lines) + draw(LINE_ENDS) + draw(BODIES)


STREAMS = st.lists(requests(), min_size=1, max_size=3).map(b"".join)


def split(stream: bytes, places: list[int]) -> list[bytes]:
    """The stream in pieces."""
    ends = sorted({min(place, len(stream)) for place in places} | {len(stream)})
    starts = [0, *ends[:-1]]
    return [stream[start:end] for start, end in zip(starts, ends, strict=True) if end > start]


@settings(max_examples=400)
@given(STREAMS)
@example(b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcdeXX0\r\n\r\n")
@example(b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x")
@example(b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n\r\nGET /b HTTP/1.1\r\nHost: h\r\n\r\n")
def test_what_we_take_for_requests_everybody_takes_for_the_same(stream: bytes) -> None:
    outcome = ours([stream])
    assert theirs(stream)[: len(outcome.seen)] == outcome.seen


@given(STREAMS, st.lists(st.integers(0, 400), max_size=12))
def test_it_makes_no_difference_in_which_pieces_a_stream_arrives(stream: bytes, places: list[int]) -> None:
    whole = ours([stream])
    assert ours(split(stream, places)) == whole


@given(STREAMS)
def test_a_refusal_is_the_last_thing_said(stream: bytes) -> None:
    outcome = ours([stream, b"GET /after HTTP/1.1\r\nHost: h\r\n\r\n"])
    assert outcome.refusals <= 1
    if outcome.refusals:
        assert outcome.closed
        assert Seen("GET", "/after", b"") not in outcome.seen


@given(st.lists(st.binary(max_size=200), max_size=8))
def test_noise_is_survived(pieces: list[bytes]) -> None:
    outcome = ours(pieces)
    assert outcome.seen == []


@given(st.binary(max_size=300), st.booleans(), st.lists(st.integers(0, 400), max_size=6))
def test_any_body_arrives_whole_and_the_next_request_is_found(body: bytes, chunked: bool, places: list[int]) -> None:
    if chunked:
        framing = b"Transfer-Encoding: chunked"
        chunks = [b"%X\r\n%b\r\n" % (len(part), part) for part in split(body, places)]
        sent = b"".join(chunks) + b"0\r\n\r\n"
    else:
        framing, sent = b"Content-Length: %d" % len(body), body
    stream = b"POST /a HTTP/1.1\r\nHost: h\r\n" + framing + b"\r\n\r\n" + sent
    stream += b"GET /b HTTP/1.1\r\nHost: h\r\n\r\n"
    assert ours(split(stream, places)).seen == [Seen("POST", "/a", body), Seen("GET", "/b", b"")]
