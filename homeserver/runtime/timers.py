"""Many timers in one: nearly all of them are time limits, which are cancelled long before they end.

Twisted compares its delayed calls in Python, several for each one that comes and goes. These are kept in a heap that
is compared in C, and the reactor knows of one call: the one for the nearest of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Any, Final, Protocol

import structlog

CANCELLED_AT_LEAST: Final = 64
"""So many lie in the heap before it is cleared of them."""

log: Final = structlog.get_logger("homeserver.timers")


class ReactorTime(Protocol):
    """The part of a reactor that we use here. (zope's interface carries no usable types.)"""

    def callLater(self, delay: float, call: Callable[..., object], /, *args: object) -> Any:
        """Twisted's delayed call, whose cancel raises if it comes late."""
        ...

    def seconds(self) -> float:
        """The time that delays are counted in."""
        ...


class Timers:
    """Calls to make later, on a reactor."""

    def __init__(self, reactor: ReactorTime) -> None:
        self._reactor = reactor
        self._heap: list[tuple[float, int, _Timer]] = []
        self._count = 0
        self._cancelled = 0
        self._wake: Any = None
        self._wake_s = math.inf

    def __len__(self) -> int:
        """How many calls are to come, those included that were cancelled and are not cleared away."""
        return len(self._heap)

    def call_later(self, seconds: float, call: Callable[[], object]) -> _Timer:
        """Make a call after this time; in one of the next turns of the reactor where it is none."""
        timer = _Timer(self, call)
        when_s = self._reactor.seconds() + seconds
        self._count += 1
        # The count keeps the order of those for the same moment, and timers from being compared.
        heappush(self._heap, (when_s, self._count, timer))
        if when_s < self._wake_s:
            self._wake_at(when_s)
        return timer

    def note_cancelled(self) -> None:
        """One more lies in the heap for nothing."""
        self._cancelled += 1
        if self._cancelled > CANCELLED_AT_LEAST and self._cancelled > len(self._heap) // 2:
            self._cancelled = 0
            self._heap = [each for each in self._heap if each[2].call is not None]
            heapify(self._heap)

    def _wake_at(self, when_s: float) -> None:
        if self._wake is not None:
            self._wake.cancel()
        self._wake_s = when_s
        self._wake = self._reactor.callLater(max(0.0, when_s - self._reactor.seconds()), self._run)

    def _run(self) -> None:
        self._wake, self._wake_s = None, math.inf
        now_s, last = self._reactor.seconds(), self._count
        later = []
        while self._heap:
            when_s, number, timer = self._heap[0]
            call = timer.call
            if call is None:
                self._cancelled -= 1
            elif when_s > now_s:
                break
            heappop(self._heap)
            if call is None:
                continue
            if number > last:
                # Made by one of these calls: the reactor reads its sockets first.
                later.append((when_s, number, timer))
                continue
            timer.call = None
            try:
                call()
            except Exception:  # one call's mistake must not hold up the others
                log.exception("a call that was put off failed")
        for each in later:
            heappush(self._heap, each)
        if self._heap and self._heap[0][0] < self._wake_s:
            self._wake_at(self._heap[0][0])


class _Timer:
    """A call that is to come; `call` is None when it was made or cancelled."""

    __slots__ = ("_timers", "call")

    def __init__(self, timers: Timers, call: Callable[[], object]) -> None:
        self._timers = timers
        self.call: Callable[[], object] | None = call

    def cancel(self) -> None:
        """Do not make the call. Harmless if it was made or cancelled already."""
        if self.call is not None:
            self.call = None
            self._timers.note_cancelled()
