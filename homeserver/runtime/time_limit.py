"""An end to waiting."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred

from homeserver.runtime.clock import Clock

T = TypeVar("T")


class TookTooLong(Exception):
    """What was waited for did not come in time."""


async def within(clock: Clock, seconds: float, work: Coroutine[Deferred[Any], Any, T] | Deferred[T]) -> T:
    """The result of the work; it is cancelled, and TookTooLong raised, if it takes longer than this."""
    running = work if isinstance(work, Deferred) else Deferred.fromCoroutine(work)
    late = False

    def end() -> None:
        nonlocal late
        late = True
        running.cancel()

    timer = clock.call_later(seconds, end)
    try:
        return await running
    except CancelledError:
        if late:
            raise TookTooLong(f"no answer within {seconds:g} seconds") from None
        raise
    finally:
        timer.cancel()
