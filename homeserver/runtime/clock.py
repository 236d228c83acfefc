"""Time, as a part that is handed over: the reactor's in the server, one that a test moves by hand in tests."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.internet.task import Clock as TwistedClock

from homeserver.runtime.timers import ReactorTime, Timers


class Timer(Protocol):
    """A call that is to come."""

    def cancel(self) -> None:
        """Do not make the call. Harmless if it was made or cancelled already."""
        ...


class Clock(Protocol):
    """What the time is, and waiting."""

    def now_ms(self) -> int:
        """Milliseconds since 1970, as the wall clock says; may jump."""
        ...

    def monotonic_s(self) -> float:
        """Seconds since some moment; never jumps."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after this time; cancelling the waiting coroutine's Deferred ends it early."""
        ...

    def call_later(self, seconds: float, call: Callable[[], object]) -> Timer:
        """Make a call after this time."""
        ...


class _DelayedCall:
    """Twisted's delayed call, forgiving a late cancel."""

    __slots__ = ("_call",)

    def __init__(self, call: Timer) -> None:
        self._call = call

    def cancel(self) -> None:
        try:
            self._call.cancel()
        except (AlreadyCalled, AlreadyCancelled):
            return


class ReactorClock:
    """The real time, from a reactor."""

    def __init__(self, reactor: ReactorTime) -> None:
        self._timers = Timers(reactor)

    def now_ms(self) -> int:
        """Milliseconds since 1970."""
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        """Seconds of the monotonic clock."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait without blocking."""
        waiting: Deferred[None] = Deferred(lambda _: timer.cancel())
        timer = self._timers.call_later(seconds, lambda: waiting.callback(None))
        await waiting

    def call_later(self, seconds: float, call: Callable[[], object]) -> Timer:
        """Make a call after this time."""
        return self._timers.call_later(seconds, call)


class FakeClock:
    """A time that stands still until a test moves it with `advance`."""

    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        self._start_ms = now_ms
        self._clock = TwistedClock()

    def now_ms(self) -> int:
        """The start plus what was advanced."""
        return self._start_ms + int(self._clock.seconds() * 1000)

    def monotonic_s(self) -> float:
        """Seconds advanced so far."""
        return float(self._clock.seconds())

    async def sleep(self, seconds: float) -> None:
        """Return once a test has advanced the time far enough."""
        waiting: Deferred[None] = Deferred(lambda _: call.cancel())
        call = _DelayedCall(self._clock.callLater(seconds, waiting.callback, None))
        await waiting

    def call_later(self, seconds: float, call: Callable[[], object]) -> Timer:
        """Make a call once a test has advanced the time far enough."""
        return _DelayedCall(self._clock.callLater(seconds, call))

    def advance(self, seconds: float) -> None:
        """Let time pass; what is due by then runs before this returns."""
        self._clock.advance(seconds)
