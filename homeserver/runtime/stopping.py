"""The end of a server, in steps: each has its time, and one that fails does not keep the others from theirs."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final

import structlog
from twisted.internet.defer import Deferred

from homeserver.runtime.clock import Clock
from homeserver.runtime.time_limit import within

log: Final = structlog.get_logger("homeserver.stopping")


class Stopping:
    """Runs the steps of a stop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def step(
        self, name: str, at_most_s: float, work: Callable[[], Coroutine[Deferred[Any], Any, object]]
    ) -> bool:
        """Run one step, given up after a while; whether it was done. What went wrong is one line in the log."""
        try:
            await within(self._clock, at_most_s, work())
        except Exception as problem:  # noqa: BLE001 -- whatever it was, the next steps have their turn
            log.warning("a step of the stop failed", step=name, reason=str(problem) or type(problem).__name__)
            return False
        return True
