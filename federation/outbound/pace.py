"""An end for what comes too slowly: a peer that sends a byte now and then would keep us waiting for ever."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final, TypeVar

from twisted.internet.defer import CancelledError, Deferred

from homeserver.runtime.clock import Clock, Timer
from homeserver.runtime.time_limit import TookTooLong

PACE_S: Final = 30.0
PACE_BYTES: Final = 32 * 1024

T = TypeVar("T")


class Pace:
    """Hands pieces on as they come, and ends what has begun to come but comes too slowly."""

    def __init__(self, clock: Clock, take: Callable[[bytes], object]) -> None:
        self._clock = clock
        self._take = take
        self._came_bytes = 0

    def take(self, piece: bytes) -> None:
        """A piece has come."""
        self._came_bytes += len(piece)
        self._take(piece)

    async def keep(self, work: Coroutine[Deferred[Any], Any, T]) -> T:
        """The result of the work; it is cancelled, and TookTooLong raised, where so little comes in a while."""
        running = Deferred.fromCoroutine(work)
        is_slow = False
        timers: list[Timer] = []

        def look(seen_bytes: int) -> None:
            nonlocal is_slow
            if seen_bytes and self._came_bytes - seen_bytes < PACE_BYTES:
                is_slow = True
                running.cancel()
            else:
                timers[:] = [self._clock.call_later(PACE_S, partial(look, self._came_bytes))]

        look(0)
        try:
            return await running
        except CancelledError:
            if is_slow:
                raise TookTooLong(f"less than {PACE_BYTES} bytes came in {PACE_S:g} seconds") from None
            raise
        finally:
            for timer in timers:
                timer.cancel()
