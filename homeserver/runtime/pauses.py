"""Pauses between the tries of work that goes on by itself, each of which something may end early."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred

from homeserver.runtime.clock import Clock

K = TypeVar("K", bound=Hashable)


class Pauses(Generic[K]):
    """One pause at a time for each key."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: dict[K, Deferred[None]] = {}

    async def wait(self, key: K, seconds: float) -> None:
        """Return after this time, or once `end` is called."""
        self._waiting[key] = waiting = Deferred[None]()
        timer = self._clock.call_later(seconds, lambda: self.end(key))
        try:
            await waiting
        finally:
            timer.cancel()
            self._waiting.pop(key, None)

    def end(self, key: K) -> None:
        """End the pause, if there is one."""
        waiting = self._waiting.pop(key, None)
        if waiting is not None:
            waiting.callback(None)
