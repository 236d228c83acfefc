"""Connections in time: what is slow is given up, what waits may wait."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.testing import StringTransport

from homeserver.runtime.clock import FakeClock
from homeserver.web.access import AccessControl, Requester
from homeserver.web.channel import BODY_S, HEAD_S, IDLE_S, LINGER_S, Channel
from homeserver.web.endpoint import NONE, Endpoint, declarations_of, endpoint
from homeserver.web.errors import UnknownToken
from homeserver.web.gate import Gate
from homeserver.web.limits import Limiter
from homeserver.web.measures import HttpMeasures
from homeserver.web.plan import bind
from homeserver.web.request import RequestInfo, Upload
from homeserver.web.response import StreamedResponse
from homeserver.web.site import LOOK_EVERY_S, Site
from homeserver.web.websocket import Heartbeat, WebSockets

HEAD = b"GET /wait HTTP/1.1\r\nHost: h\r\n\r\n"
LATE_S = 2 * LOOK_EVERY_S + 1


class Nobody:
    """Knows no token; nothing here asks."""

    def cached(self, token_hash: bytes) -> Requester | None:
        return None

    async def resolve(self, token_hash: bytes) -> Requester:
        raise UnknownToken()

    async def masquerade(self, requester: Requester, user_id: str, device_id: str | None) -> Requester:
        raise UnknownToken()


class Desk:
    """What the handlers here do."""

    def __init__(self) -> None:
        self.waiting: Deferred[None] = Deferred()
        self.bodies: list[bytes] = []
        self.made_chunks = 0
        self.asked: list[Deferred[None]] = []


@endpoint("GET", "/wait", access=NONE)
async def wait(desk: Desk) -> None:
    await desk.waiting


@endpoint("POST", "/body", access=NONE)
async def body(desk: Desk, request: RequestInfo) -> None:
    desk.bodies.append(request.body)


@endpoint("POST", "/upload", access=NONE, body_limit_bytes=10_000_000)
async def upload(desk: Desk, upload: Upload) -> None:
    async for piece in upload:
        asked: Deferred[None] = Deferred()
        desk.asked.append(asked)
        await asked
        desk.bodies.append(piece)


@endpoint("GET", "/stream", access=NONE)
async def stream(desk: Desk) -> StreamedResponse:
    async def chunks() -> AsyncIterator[bytes]:
        while desk.made_chunks < 10:
            desk.made_chunks += 1
            yield b"c" * 1000

    return StreamedResponse(chunks())


async def _in_thread(function: Any, *arguments: Any) -> Any:
    return function(*arguments)


class Wire(StringTransport):
    """A transport that remembers how it was ended."""

    def __init__(self) -> None:
        cast(Any, super()).__init__()
        self.ending = ""

    def loseConnection(self) -> None:
        self.ending = self.ending or "closed"

    def abortConnection(self) -> None:
        self.ending = "aborted"

    @property
    def sent(self) -> bytes:
        """What was written."""
        return cast(bytes, cast(Any, self).value())


class Stage:
    """A site with one connection."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.desk = Desk()
        endpoints = [Endpoint(declarations_of(each)[0], each) for each in (wait, body, upload, stream)]
        measures = HttpMeasures()
        gate = Gate(
            bind(endpoints, self.desk),
            AccessControl(Nobody()),
            Limiter(self.clock),
            self.clock,
            measures,
            _in_thread,
        )
        self.site = Site(gate, self.clock, WebSockets(None, self.clock, Heartbeat()), measures)
        self.channel: Channel = self.site.buildProtocol(None)
        self.wire = Wire()
        cast(Any, self.channel).makeConnection(self.wire)

    def passes(self, seconds: float) -> None:
        """Let time pass, with the site looking at its deadlines as usual."""
        for _ in range(int(seconds / LOOK_EVERY_S) + 1):
            self.clock.advance(LOOK_EVERY_S)


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_a_client_that_says_nothing_is_let_go(stage: Stage) -> None:
    stage.passes(HEAD_S - LATE_S)
    assert stage.wire.ending == ""
    stage.passes(2 * LATE_S)
    assert (stage.wire.ending, stage.wire.sent) == ("closed", b"")


def test_a_head_that_drips_is_cut_off_however_lively_it_drips(stage: Stage) -> None:
    for byte in HEAD[:-2]:
        stage.channel.dataReceived(bytes([byte]))
        stage.passes(2)
    assert stage.wire.ending == "aborted"


def test_a_client_may_think_between_requests_but_not_for_ever(stage: Stage) -> None:
    stage.channel.dataReceived(b"POST /body HTTP/1.1\r\nHost: h\r\n\r\n")
    stage.passes(IDLE_S - LATE_S)
    assert stage.wire.ending == ""
    stage.passes(2 * LATE_S)
    assert stage.wire.ending == "closed"


def test_a_body_that_does_not_come_is_answered_with_408(stage: Stage) -> None:
    stage.channel.dataReceived(b"POST /body HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab")
    stage.passes(BODY_S + LATE_S)
    assert stage.wire.sent.startswith(b"HTTP/1.1 408 ")
    stage.passes(LINGER_S + LATE_S)
    assert stage.wire.ending == "aborted"
    assert stage.desk.bodies == []


def test_a_body_that_drips_is_not_waited_for(stage: Stage) -> None:
    stage.channel.dataReceived(b"POST /body HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(100):
        stage.channel.dataReceived(b"x")
        stage.passes(1)
    assert stage.wire.sent.startswith(b"HTTP/1.1 408 ")


def test_a_slow_but_steady_body_arrives(stage: Stage) -> None:
    stage.channel.dataReceived(b"POST /body HTTP/1.1\r\nHost: h\r\nContent-Length: 200000\r\n\r\n")
    for _ in range(20):
        stage.passes(20)
        stage.channel.dataReceived(b"x" * 10_000)
    assert stage.desk.bodies == [b"x" * 200_000]


def test_a_waiting_request_may_wait_as_long_as_its_handler_likes(stage: Stage) -> None:
    stage.channel.dataReceived(HEAD)
    stage.passes(3600)
    assert (stage.wire.ending, stage.wire.sent) == ("", b"")
    stage.desk.waiting.callback(None)
    assert stage.wire.sent.startswith(b"HTTP/1.1 200 ")


def test_what_is_sent_ahead_while_a_request_waits_is_bounded(stage: Stage) -> None:
    stage.channel.dataReceived(HEAD)
    stage.channel.dataReceived(b"POST /body HTTP/1.1\r\nHost: h\r\nContent-Length: 20000\r\n\r\n")
    assert stage.wire.producerState == "producing"
    stage.channel.dataReceived(b"x" * 20_000)
    assert stage.wire.producerState == "paused"
    stage.desk.waiting.callback(None)
    assert stage.wire.producerState == "producing"
    assert stage.desk.bodies == [b"x" * 20_000]


def test_a_client_that_does_not_take_its_answer_is_cut_off(stage: Stage) -> None:
    stage.channel.dataReceived(b"POST /body HTTP/1.1\r\nHost: h\r\n\r\n")
    stage.channel.pauseProducing()
    stage.passes(BODY_S + LATE_S)
    assert stage.wire.ending == "aborted"


def test_no_request_is_begun_while_answers_pile_up(stage: Stage) -> None:
    stage.channel.pauseProducing()
    stage.channel.dataReceived(b"POST /body HTTP/1.1\r\nHost: h\r\n\r\n" * 2)
    assert stage.desk.bodies == []
    stage.channel.resumeProducing()
    assert stage.desk.bodies == [b"", b""]


def test_a_stream_is_made_no_faster_than_it_is_taken(stage: Stage) -> None:
    stage.channel.dataReceived(HEAD)
    stage.channel.pauseProducing()
    stage.desk.waiting.callback(None)
    stage.channel.dataReceived(b"GET /stream HTTP/1.1\r\nHost: h\r\n\r\n")
    assert stage.desk.made_chunks == 0
    stage.channel.resumeProducing()
    assert stage.desk.made_chunks == 10
    assert stage.wire.sent.endswith(b"\r\n0\r\n\r\n")


def test_an_upload_is_read_no_faster_than_the_handler_takes_it(stage: Stage) -> None:
    stage.channel.dataReceived(b"POST /upload HTTP/1.1\r\nHost: h\r\nContent-Length: 600000\r\n\r\n")
    for _ in range(5):
        stage.channel.dataReceived(b"x" * 100_000)
    assert stage.wire.producerState == "paused"
    while stage.desk.asked:
        stage.desk.asked.pop().callback(None)
    assert stage.wire.producerState == "producing"
    stage.channel.dataReceived(b"x" * 100_000)
    while stage.desk.asked:
        stage.desk.asked.pop().callback(None)
    assert sum(map(len, stage.desk.bodies)) == 600_000
    assert stage.wire.sent.startswith(b"HTTP/1.1 200 ")


def test_an_unwanted_large_body_is_answered_without_reading_it(stage: Stage) -> None:
    stage.channel.dataReceived(b"POST /nothing HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n")
    assert stage.wire.sent.startswith(b"HTTP/1.1 404 ")
    assert b"Connection: close" in stage.wire.sent
    stage.channel.dataReceived(b"GET /wait HTTP/1.1\r\nHost: h\r\n\r\n" * 10)
    assert stage.wire.sent.count(b"HTTP/1.1") == 1
