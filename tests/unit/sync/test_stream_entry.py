"""Who opens a stream has to say who they are in time."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from homeserver.core.ids import DeviceId, UserId
from homeserver.runtime.clock import FakeClock
from homeserver.sync.stream import Streams
from homeserver.sync.stream_requests import Conversations, StreamServices
from homeserver.web.access import Requester

ROMEO = Requester(UserId("@romeo:localhost"), DeviceId("SWORD"), 1, b"hash")


class SilentClient:
    """A client that opens a socket and says nothing."""

    def __init__(self) -> None:
        self.closed: list[int] = []

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        await Deferred()
        raise StopAsyncIteration

    def send(self, message: bytes) -> None:
        raise AssertionError(f"nobody is told anything: {message!r}")

    def close(self, code: int, reason: str) -> None:
        self.closed.append(code)

    async def writable(self) -> None:
        return


@contextlib.contextmanager
def opened(clock: FakeClock, who: Requester | None) -> Iterator[SilentClient]:
    """A client of a server that has a clock and no streams yet; for more it is not asked."""
    nothing = cast(Any, None)
    parts = dict.fromkeys(StreamServices.__dataclass_fields__, nothing)
    services = StreamServices(**{**parts, "clock": clock, "streams": Streams(nothing, nothing, nothing)})
    client = SilentClient()
    holding = Deferred.fromCoroutine(Conversations(services).hold(who, client))
    yield client
    holding.addErrback(_was_cancelled)
    holding.cancel()


def _was_cancelled(failure: Failure) -> None:
    assert isinstance(failure.value, CancelledError)


def test_who_says_nothing_within_ten_seconds_is_shown_out() -> None:
    clock = FakeClock()
    with opened(clock, None) as client:
        clock.advance(9.9)
        assert client.closed == []
        clock.advance(0.2)
        assert client.closed == [4408]


def test_who_came_with_a_token_may_be_silent() -> None:
    clock = FakeClock()
    with opened(clock, ROMEO) as client:
        clock.advance(3600)
        assert client.closed == []
