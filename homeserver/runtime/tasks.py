"""Background work: coroutines beside the requests, logged when they fail, cancelled at the stop."""

from __future__ import annotations

import contextvars
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

import structlog
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.python.failure import Failure

from homeserver.runtime.clock import Clock

log: Final = structlog.get_logger("homeserver.tasks")

FIRST_RETRY_S: Final = 1.0
LAST_RETRY_S: Final = 60.0


class Tasks:
    """The background coroutines of one process. `stop` ends them all."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._running: dict[Deferred[None], str] = {}
        self._stopping = False

    def start(self, name: str, work: Coroutine[Deferred[Any], Any, object]) -> Deferred[None]:
        """Run a coroutine to its end. A failure is logged under the name. Cancel the answer to end the work early."""
        if self._stopping:
            work.close()
            raise RuntimeError(f"{name} cannot start: the server is stopping")

        async def guarded() -> None:
            try:
                await work
            except CancelledError:
                log.debug("task cancelled", task=name)
            except Exception:  # nobody else is there to see it
                log.exception("task failed", task=name)

        # A context of its own: what a request put there (its id) is not what the task is about.
        running: Deferred[None] = contextvars.Context().run(Deferred.fromCoroutine, guarded())
        if not running.called:
            self._running[running] = name
            running.addBoth(self._ended, running)
        return running

    def keep(self, name: str, work: Callable[[], Awaitable[object]]) -> Deferred[None]:
        """Run something that should never end: after a failure it is started again, at growing distances."""
        return self.start(name, self._keep(name, work))

    def every(self, name: str, seconds: float, work: Callable[[], Awaitable[object]]) -> Deferred[None]:
        """Run something again and again with this pause between the runs; a failed run does not end the series."""
        return self.start(name, self._every(name, seconds, work))

    async def stop(self) -> None:
        """Cancel everything and wait until it has ended. Nothing can be started afterwards."""
        self._stopping = True
        running = list(self._running)
        ended = DeferredList([_when_done(each) for each in running])
        for each in running:
            each.cancel()
        await ended

    @property
    def names(self) -> tuple[str, ...]:
        """What is running."""
        return tuple(self._running.values())

    def _ended(self, result: None | Failure, running: Deferred[None]) -> None | Failure:
        self._running.pop(running, None)
        return result

    async def _keep(self, name: str, work: Callable[[], Awaitable[object]]) -> None:
        pause_s = FIRST_RETRY_S
        while True:
            started_s = self._clock.monotonic_s()
            try:
                await work()
                return
            except CancelledError:
                raise
            except Exception:  # it is tried again
                log.exception("task failed and will be started again", task=name, pause_s=pause_s)
            if self._clock.monotonic_s() - started_s > LAST_RETRY_S:
                pause_s = FIRST_RETRY_S
            await self._clock.sleep(pause_s)
            pause_s = min(pause_s * 2, LAST_RETRY_S)

    async def _every(self, name: str, seconds: float, work: Callable[[], Awaitable[object]]) -> None:
        while True:
            await self._clock.sleep(seconds)
            try:
                await work()
            except CancelledError:
                raise
            except Exception:  # the next run may do better
                log.exception("periodic task failed", task=name)


def _when_done(running: Deferred[None]) -> Deferred[None]:
    """Fires when another Deferred does, without touching its result."""
    done: Deferred[None] = Deferred()

    def tell(result: None | Failure) -> None | Failure:
        done.callback(None)
        return result

    running.addBoth(tell)
    return done
